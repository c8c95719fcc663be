"""Words taken apart: the marks before, the core and its outline, the marks after.

Pure and cached; knows characters only. Next: models/boundary_scorer.py, models/boundary_net.py
"""

from dataclasses import dataclass
from functools import lru_cache

PUNCTUATION = "\"'“”‘’()[]{}<>*_«».,:;!?…-–—=/\\|~#&%@^+`$"


@dataclass(frozen=True, slots=True)
class Word:
    """A word taken apart: marks before, core, marks after, the core's shape and lower case."""

    lead: str
    tail: str
    shape: str
    lower: str
    size: str


@lru_cache(maxsize=32768)
def take_apart(word: str) -> Word:
    core = word.strip(PUNCTUATION)
    start = word.find(core) if core else len(word)
    return Word(word[:start], word[start + len(core) :], _shape(core), core.lower()[:14], str(min(len(core), 8)))


def _shape(core: str) -> str:
    """A word's outline: x, Xx, XX, 9, url, or its classes of characters with runs cut to two."""
    if not core:
        return "-"
    if core.isalpha():
        if core.islower():
            return "x"
        if core.isupper():
            return "X" if len(core) == 1 else "XX"
        return "Xx" if core[0].isupper() and core[1:].islower() else "xX" if core[0] != core[0].lower() or core.lower() != core else "x"
    if core.isdigit():
        return "9" if len(core) < 3 else "99" if len(core) < 5 else "999"
    if "@" in core:
        return "@"
    if "://" in core or "www." in core:
        return "url"
    out: list[str] = []
    for c in core[:16]:
        k = "X" if c.isupper() else "x" if c.isalpha() else "9" if c.isdigit() else c
        if out[-2:] != [k, k]:
            out.append(k)
    return "".join(out[:10])
