"""logfmt: `level=info msg="..." key=value`.

Knows pairs and quotes; leaves the names to log_fields.py. A line is logfmt when a message is named beside a level or a time, or when it
is nothing but pairs. Next: streams/log_lines.py
"""

import re

from streams.log_fields import from_fields
from streams.log_line import HEADER_CHARS, LogLine

READ_CHARS = 16 * HEADER_CHARS
"""Pairs beyond this many characters are not looked for."""
FEWEST = 3
"""So many pairs, and nothing else, make a line logfmt that names no message."""
_PAIR = re.compile(r'(?:^|(?<=\s))([A-Za-z_@][\w.@/-]{0,63})=("[^"\\]*+(?:\\.[^"\\]*+)*+"|[^\s"]*)(?=\s|$)', re.S)
_ESCAPED = re.compile(r'\\(["\\n])')
_TELLING = frozenset({"level", "lvl", "time", "ts", "severity", "loglevel"})


def from_logfmt(text: str) -> LogLine | None:
    head = text[:HEADER_CHARS]
    first, equals, _ = head.partition("=")
    opens = bool(equals) and " " not in first
    if not equals or not (opens or "msg=" in head or "message=" in head):
        return None
    found = _PAIR.findall(text[:READ_CHARS])
    pairs = {key: _plain(value) for key, value in found}
    names = pairs.keys()
    if not (names & {"msg", "message"} and names & _TELLING):
        covered = sum(len(key) + len(value) + 2 for key, value in found) - 1
        if not (opens and len(found) >= FEWEST and len(text) <= READ_CHARS and covered == len(text)):
            return None
        pairs.setdefault("level", pairs.get("at", ""))
    return from_fields({key: value for key, value in pairs.items() if value != ""}, text)


def _plain(value: str) -> str:
    if not value.startswith('"'):
        return value
    inner = value[1:-1]
    return _ESCAPED.sub(lambda found: "\n" if found[1] == "n" else found[1], inner) if "\\" in inner else inner
