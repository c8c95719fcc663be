"""Traces: whether a line goes on with a record that began at an earlier line, as the lines of a stack trace do.

Knows the traces of Java, Python, Go, .NET and JavaScript and the pieces of container runtimes; leaves headers to streams/log_*.py, which
say in Item.speaker who wrote a line and whether it has a header of its own. Pure: the records still open go in and come out, so any split
of a session decides the same. A line that goes on has the template and severity of its record. Next: models/log_model.py
"""

import re
from zlib import crc32

import msgspec

WRITERS = 4
"""So many programs may write in turns, as on a host's syslog; of the others the last line is forgotten."""
LOOSE = 8
"""So many lines of any shape may stand in a trace whose record has a header, while they have none: a message of several lines."""
READ_CHARS = 400
"""A line shows in its beginning whether it belongs to a trace."""
HEADER, PARTIAL = "h", "p"
"""Marks: the line has a header of its own program; its runtime cut it, and the next piece follows."""

PLAIN, PIECE, FRAMES, PYTHON, PYTHON_END, GO = range(6)
"""What a record is known to be so far. PIECE is cut by its runtime, PYTHON_END has named its exception."""


class Open(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last record of one writer: what a line may go on with. About 35 bytes as msgpack."""

    writer: int
    head: int
    """Position of its first line."""
    kind: int
    lines: int
    """Lines after the first."""
    loose: int
    """How many more lines of any shape it takes."""
    severity: int
    template: str
    """Id of its first line's group."""

    @property
    def shown(self) -> dict[str, int]:
        """`trace` in the output of an answer about the line."""
        return {"head": self.head, "line": self.lines}


Traces = tuple[Open, ...]
"""Open records of a session, the one written last at the end."""
NONE: Traces = ()
"""Of a session that begins, or goes on after its end."""

_TAB = r"(?:\t|#011|\\t| {2,}+)"
"""What a frame is indented by; rsyslog writes a tab as #011."""
_ERROR = r"(?:\w+[.:$])*[A-Z]\w*(?:Error|Exception|Throwable|Failure|Warning|Interrupt|Fault)\b"
_STARTS = re.compile(
    r"(?P<python>Traceback \(most recent call last\):|  \+ Exception Group Traceback )"
    r"|(?P<go>goroutine \d+ [\[(]|panic: |fatal error: )"
    rf"|(?P<frames>Exception in thread \"|Unhandled [Ee]xception|Uncaught |{_ERROR}(?::|$|\s*\())"
)
_KINDS = {"python": PYTHON, "go": GO, "frames": FRAMES}
_FRAME = re.compile(
    rf"{_TAB}++\s*+(?:at \S|\.\.\. \d+ (?:more|common)|Suppressed: |Caused by: |- (?:locked|waiting|parking|eliminated)|--- End of |---> )"
    r"|Caused by: |Wrapped by: |Suppressed: | ---> | *--- End of |\.\.\. \d+ (?:more|common)|at [\w.$/<>]+\([\w.$ ]*(?::\d+)?\)"
)
_PYTHON_FRAME = re.compile(rf"{_TAB}\s*+\S|\s*+[|+] |\s*+$")
_PYTHON_END = re.compile(r"(?:\w+\.)*\w+(?::|$)")
_PYTHON_AGAIN = re.compile(r"Traceback \(most recent call last\):|During handling of the above |The above exception was the |\s*+$")
_GO = re.compile(
    rf"\s*+$|goroutine \d+ [\[(]|created by |\[signal |\[recovered\]|exit status \d|{_TAB}++\S|\s*+/\S+\.(?:go|s):\d+"
    r"|[^\s(]+\((?:[^)]*\))+\s*+$|\.\.\.(?:additional|\d+ frames) |runtime[. ]|r\w+\s+0x"
)


def speaker(writer: str, has_header: bool, is_partial: bool) -> str:
    """What Item.speaker says of a log line: its marks, then who wrote it."""
    return f"{HEADER if has_header else ''}{PARTIAL if is_partial else ''}:{writer}"


def joined(traces: Traces, text: str, speaker: str) -> Open | None:
    """The record that this line goes on with, counted on; None where the line begins one. `text` is the message, indentation kept."""
    if not traces:
        return None
    marks, _, name = speaker.partition(":")
    writer = crc32(name.encode("utf-8", "replace"))
    before = next((one for one in reversed(traces) if one.writer == writer), None)
    if before is None:
        return None
    if before.kind == PIECE:
        return _counted(before, PIECE if PARTIAL in marks else PLAIN)
    if HEADER in marks:
        return None
    kind = _goes_on(before, text[:READ_CHARS])
    if kind is not None:
        return _counted(before, kind)
    if before.kind != PLAIN and before.loose > 0 and text[:1] not in ("", "{"):
        return _counted(before, before.kind, before.loose - 1)
    return None


def begun(position: int, text: str, speaker: str, severity: int, template: str) -> Open:
    """The record that this line begins."""
    marks, _, name = speaker.partition(":")
    has_header = HEADER in marks
    kind = PIECE if PARTIAL in marks else PLAIN
    if not marks:
        kind = _starts(text[:READ_CHARS])
        if kind == PLAIN and _FRAME.match(text[:READ_CHARS]):
            kind = FRAMES  # half a trace: its beginning was not seen
    return Open(crc32(name.encode("utf-8", "replace")), position, kind, 0, LOOSE if has_header else 0, severity, template)


def kept(traces: Traces, one: Open) -> Traces:
    """The open records after a line of `one`: it is its writer's last, and the longest silent writer is forgotten."""
    if len(traces) == 1 and traces[0].writer == one.writer:
        return (one,)
    return (*[other for other in traces if other.writer != one.writer][-WRITERS + 1 :], one)


def _counted(before: Open, kind: int, loose: int | None = None) -> Open:
    left = before.loose if loose is None else loose
    return Open(before.writer, before.head, kind, before.lines + 1, left, before.severity, before.template)


def _starts(text: str) -> int:
    found = _STARTS.match(text)
    return _KINDS[found.lastgroup or ""] if found else PLAIN


def _goes_on(before: Open, text: str) -> int | None:
    """What the record is once it has this line; None where the line is none of it."""
    kind = before.kind
    if kind == GO:
        return GO if _GO.match(text) else None
    if kind == PYTHON:
        return PYTHON if _PYTHON_FRAME.match(text) else PYTHON_END if _PYTHON_END.match(text) else None
    if kind == PYTHON_END and (again := _PYTHON_AGAIN.match(text)):
        return PYTHON if again[0].startswith("Traceback") else PYTHON_END
    if _FRAME.match(text):
        return FRAMES
    if kind == PLAIN and before.severity <= 4 and (started := _starts(text)) != PLAIN:  # an error, and then what it was
        return started
    return None
