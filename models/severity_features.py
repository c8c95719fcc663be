"""What a message says of its own severity: its words, their neighbours and its shape, as numbers of rows of a table.

Knows English level words, failure words and denials ("0 errors") and how text becomes features; leaves what each is worth to
severity_model.py. Nothing here is fitted to a log set. Next: models/severity_model.py
"""

import re
from itertools import pairwise
from zlib import crc32

READ_CHARS = 300
"""A message says how bad it is near its start; reading more costs time on dumps."""
READ_PIECES = 60
ROWS = 1 << 17
"""Of the table; a feature's row is its hash."""

_PIECES = re.compile(r"\x00|[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\w\s]")
"""Holes, words, what a camelCase name is made of (Class Cast Exception), signs."""
_CALL = re.compile(r"[a-z]+[A-Z]\w*(?:\(|\.\.\.|:\s|\s\w+=|$)")
"""A message that opens with a camelCase call or field dump is a developer's trace."""
_OPENING = re.compile(r"[a-z]|(?P<capital>[A-Z])|(?P<hole>\x00)|(?P<bracket>[\[({<])")
_TRACED = re.compile(r"\w(?:Exception|Error)\b")
_THROWN = re.compile(r"[\w.$]*(?:Exception|Error)(?::|$)")
_DENIABLE = re.compile(r"err|fail|warn|excep", re.IGNORECASE)
_DENIED = re.compile(
    r"\b(?:no|0|zero|without|ignor\w+|any|correctable|corrected)\s(?:\w+\s)?(?:errors?|fail\w*|warnings?|exceptions?)\b"
    r"|\b(?:errors?|failures?|failed|warnings?|exceptions?)\s?[=:]\s?(?:0\b|none|null|false|\[\])|\berrors?\b.{0,20}\b(?:detected and )?corrected\b",
    re.IGNORECASE,
)
"""An error that is counted as none, or was put right, is no error."""

_BY_LEVEL = {
    0: "emergency emerg",
    1: "alert",
    2: "fatal critical panic segfault segmentation oom unrecoverable uncorrectable uncorrected corruption severe",
    3: "error errors err errno exception exceptions fail failed fails failure failures failing cannot denied refused abort aborted aborting "
    "crash crashed crashing corrupt corrupted forbidden unreachable broken traceback unable couldn assertion",
    4: "warn warning warnings deprecated deprecation retry retrying retries slow timeout timeouts exceeded exceeds exceed unknown "
    "unexpected unavailable bad invalid lost rejected overflow threshold throttled throttling degraded violation missing illegal unrecognized",
    5: "notice",
    7: "debug trace verbose",
}
LEVEL_WORDS = {word: level for level, words in _BY_LEVEL.items() for word in words.split()}
"""Words that name a level or what it is for; the worst one of a message is a feature beside the words themselves."""


PLAIN, WITH_EXCEPTION, WITH_DENIAL, THROWN = 0, 1, 2, 4


def signs(text: str, message: str) -> int:
    """What masking takes away and matters: whether the message names an exception, or opens with one, and whether it denies
    its own failure."""
    found = PLAIN
    if ("Exception" in message or "Error" in message) and _TRACED.search(message[: 4 * READ_CHARS]):
        found |= WITH_EXCEPTION | (THROWN if _THROWN.match(message) else PLAIN)
    if _DENIABLE.search(text) and _DENIED.search(message[: 2 * READ_CHARS]):
        found |= WITH_DENIAL
    return found


def features(text: str, sign: int = PLAIN) -> list[int]:
    """Rows of the table that a masked text speaks for, each once, ascending."""
    pieces = _PIECES.findall(text[:READ_CHARS])[:READ_PIECES]
    small = [piece.lower() for piece in pieces]
    words = [piece for piece in small if piece.isalpha()]
    named = [f"w{piece}" for piece in small]
    named += [f"b{a} {b}" for a, b in pairwise(small)]  # neighbours, signs and holes too
    named += [f"s{a} {b}" for a, b in pairwise(words)]
    named += [f"u{piece}" for piece in pieces if len(piece) > 1 and piece.isupper()]
    if words:
        named += [f"^{words[0]}", f"${words[-1]}"]
    if small:
        named += [f"<{small[0]}", f">{small[-1]}"]
    opening = _OPENING.match(text)
    named += [
        f"n{min(6, len(words) // 2)}",
        f"h{min(4, small.count(chr(0)))}",
        f"e{min(3, small.count('='))}",
        f"o{opening.lastgroup if opening else ''}",
    ]
    if _CALL.match(text):
        named.append("call")
    if sign & WITH_EXCEPTION:
        named.append("traced")
    known = [LEVEL_WORDS[word] for word in words if word in LEVEL_WORDS]
    named.append(f"k{min(known) if known else ''}{'denied' if sign & WITH_DENIAL else ''}")
    return sorted({crc32(name.encode()) % ROWS for name in named})
