"""Masking: what looks like a value in a message becomes a hole, so that lines of one kind have one text.

Knows the shapes of values (numbers, ids, paths, addresses, times, key=value) and how to find them fast: only the shapes that a text's
signs allow are searched, and texts that differ in digits alone are searched once. Nothing here is set per system. Leaves groups to
templates.py. Next: models/templates.py
"""

import re
from collections.abc import Sequence
from functools import cache

HOLE = "\x00"
"""Stands for <*> inside a text; no other NUL gets in."""
MAX_CHARS = 1024
"""Characters of a message that are read: what differs only after them is one group."""
CACHED, CACHED_CHARS = 4096, 512
"""Messages, their digits taken as equal, whose holes are kept, and how long they may be: 8 MB at most; then the cache starts anew."""

_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_BRACES = r"\{[^{}=]*+(?:\{[^{}=]*+(?:\{[^{}=]*+\}[^{}=]*+)*+\}[^{}=]*+)*+\}"
_DATE, _PAIR, _BRACE, _LIST, _PATH, _DOTTED, _NAMED, _DIGIT, _CONSTANT, _EMPTY = (1 << n for n in range(10))
_SHAPES = {
    _DATE: rf"\b(?:{_DAY},?\s+)?(?:{_MONTH}\s+\d{{1,2}}|\d{{1,2}}\s+{_MONTH})[\s,]+(?:\d{{4}}\s+)?\d\d:\d\d(?::\d\d)?(?:\s[A-Z]{{3,4}})?(?:\s\d{{4}})?\b",
    _PAIR: rf"""(?<==)\s?(?:"[^"]*"?|'[^']*'?|(?![\w.]+\s?=)[^\s,;()\[\]{{}}"']+(?:{_BRACES})?)""",
    _BRACE: _BRACES,  # {...} without keys
    _LIST: r"\[[^\[\]]*,[^\[\]]*(?:\]|$)",  # [a, b]
    _PATH: r"""(?:(?<![\w.])[A-Za-z]:\\|(?<![\w<])\.{0,2}/|\b[a-z]+://)[^\s,;()\[\]{}"'<>]*""",
    _DOTTED: r"""(?<![\w.$-])[A-Za-z_$][\w$-]*(?:\.[\w$-]+){2,}(?:[/:#@][^\s,;()\[\]{}"'=]*)?""",  # names of three parts or more
    _NAMED: r"(?<=\buser\s)[\w.@-]+|(?<=\bhost\s)[\w.@-]+",
    _DIGIT: r"""(?<![^\s,;:()\[\]{}"'=<>|.])[^\s,;:()\[\]{}"'=<>|.]*(?:\.[^\s,;:()\[\]{}"'=<>|.]+)*\d[^\s,;()\[\]{}"'=<>|]*(?:\s(?:[KMGTP]i?B|B|ms)\b)?""",
    _CONSTANT: r"\b(?:true|false|null)\b",
    _EMPTY: r"(?<=\()(?=\))|(?<=\[)(?=\])",  # empty brackets hold an empty value
}
"""Earlier ones win where two begin at one place."""
_SEPARATORS = frozenset(" ,:;/|.-\\")
_ONE_DIGIT = str.maketrans("123456789", "000000000")

Cut = tuple[str, tuple[tuple[int, int], ...]]
"""Text with holes, white space made single; and where in the message each hole was."""
_cuts: dict[str, Cut] = {}


def mask(message: str) -> tuple[str, list[str]]:
    """Text with holes, white space made single; and what was in each hole. Neighbouring holes become one."""
    message = message[:MAX_CHARS].replace(HOLE, " ")
    if not message.isascii():
        message = message.encode("utf-8", "replace").decode()  # a lone surrogate cannot be packed
    shape = message.translate(_ONE_DIGIT)  # no shape of a value asks which digit it is
    found = _cuts.get(shape)
    if found is None:
        found = cut(shape)
        if len(shape) <= CACHED_CHARS:
            if len(_cuts) >= CACHED:
                _cuts.clear()
            _cuts[shape] = found
    text, spans = found
    if "0" in text:  # a digit outside of every hole, as in `{a}-1.{b}`: which one it is matters
        text = joined(message, spans)
    return text, [message[start:end] for start, end in spans]


def forget() -> None:
    """Empty the cache: what a line costs a worker that starts."""
    _cuts.clear()


def cut(message: str) -> Cut:
    """Find the holes of a message whose digits are all 0."""
    pattern = _pattern(signs(message))
    spans = list[tuple[int, int]]()
    for value in pattern.finditer(message) if pattern else ():
        start, stop = value.span()
        if spans and _SEPARATORS.issuperset(message[spans[-1][1] : start]):  # nothing but punctuation between two values: one value
            spans[-1] = spans[-1][0], stop
        else:
            spans.append((start, stop))
    return joined(message, spans), tuple(spans)


def joined(message: str, spans: Sequence[tuple[int, int]]) -> str:
    """The message with a hole for each span, white space made single."""
    starts, ends = [end for _, end in spans], [start for start, _ in spans]
    return " ".join(HOLE.join([message[start:end] for start, end in zip([0, *starts], [*ends, len(message)])]).split())


def signs(message: str) -> int:
    """The shapes that the message can hold at all, by what each of them needs; its digits are all 0."""
    has_digit = "0" in message or not message.isascii()  # other scripts have digits of their own
    return (
        has_digit * _DIGIT
        | (has_digit and ":" in message) * _DATE
        | ("=" in message) * _PAIR
        | ("{" in message) * _BRACE
        | ("[" in message and "," in message) * _LIST
        | ("/" in message or "\\" in message) * _PATH
        | (message.count(".") > 1) * _DOTTED
        | ("user" in message or "host" in message) * _NAMED
        | ("true" in message or "false" in message or "null" in message) * _CONSTANT
        | ("()" in message or "[]" in message) * _EMPTY
    )


@cache
def _pattern(shapes: int) -> re.Pattern[str] | None:
    """One expression for these shapes, 1,024 at most; None for none of them."""
    chosen = [expression for shape, expression in _SHAPES.items() if shapes & shape]
    return re.compile("|".join(f"(?:{expression})" for expression in chosen)) if chosen else None
