"""Boundary net: how likely a sentence ends between two words, from the ten words around the gap; numpy only.

Knows six words before a gap, four after it and the length of the open sentence; each word by its own vector, its ending, its outline and
the marks after it. It learned from millions of words of books, talks and chat, with case and punctuation taken away in part, so that
it knows what people say, not only how they write it (training/boundary_net.py). Leaves what its answer is worth to boundary_scorer.py.
All numbers are multiples of small powers of two and sums stay below the precision of their type: every order of adding gives the same bits.
Next: models/boundary_scorer.py
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from models.word_shapes import take_apart

BEFORE, AFTER, WIDTH = 6, 4, 32
"""Words before and after the gap, numbers of a word's vector."""

LENGTHS = (0, 1, 2, 3, 4, 5, 6, 8, 11, 15, 21, 31)
"""Words of the open sentence from which the next class of length begins."""

SHAPES = frozenset(("x", "Xx", "XX", "X", "xX", "9", "99", "999", "@", "url", "-"))
PATH = Path(__file__).parent / "weights" / "boundary_net.npz"
APART = "\x1e"
"""Between the names of two tables in the file; a line break between two names."""

KEPT_WORDS = 2048
"""Words whose products are kept, 5 KB each."""


@dataclass(frozen=True, slots=True)
class WordNames:
    """What the net calls a word."""

    word: str
    ending: str
    outline: str
    marks: str


def names_of(word: str) -> WordNames:
    """A word's lower case, its last three letters, its outline with the mark before it, and the marks after it."""
    parts = take_apart(word)
    core = parts.lower.replace("’", "'")
    shape = parts.shape if parts.shape in SHAPES else "other"
    return WordNames(core, core[-3:] if len(core) > 3 else "", f"{parts.lead[:2]}|{shape}", parts.tail[-3:])


def length_class(n_words: int) -> int:
    return bisect_right(LENGTHS, n_words) - 1


@dataclass(frozen=True, slots=True)
class Net:
    """The net as its file holds it. Row 0 of each table stands for what it does not know; the last row of `words` for no word."""

    vocabulary: tuple[dict[str, int], dict[str, int], dict[str, int], dict[str, int]]
    tables: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    """float32 (names, WIDTH): words, endings, outlines, marks."""
    first: np.ndarray
    """float32 (WIDTH, places * hidden)."""
    lengths: np.ndarray
    """float32 (classes, hidden), the bias included."""
    second: np.ndarray
    """float64 (hidden + 1, units): the bias is its last row."""

    def rows(self, word: str | None) -> tuple[int, int, int, int]:
        """Rows of a word in the four tables."""
        if word is None:
            return (len(self.tables[0]) - 1, 0, 0, 0)
        n = names_of(word)
        words, endings, outlines, marks = self.vocabulary
        return words.get(n.word, 0), endings.get(n.ending, 0), outlines.get(n.outline, 0), marks.get(n.marks, 0)


@cache
def net() -> Net:
    """The shipped net, read once."""
    with np.load(PATH) as file:
        names = bytes(file["names"]).decode("utf-8").split(APART)
        vocabulary = tuple({name: row for row, name in enumerate(part.split("\n"), 1)} for part in names)
        tables = tuple(file[name].astype(np.float32) / 32 for name in ("words", "endings", "outlines", "marks"))
        first, lengths, second = (file[name].astype(np.float32) / 128 for name in ("first", "lengths", "second"))
    return Net(vocabulary, tables, first, lengths, second.astype(np.float64))  # type: ignore[arg-type]


@lru_cache(maxsize=KEPT_WORDS)
def products(word: str | None) -> np.ndarray:
    """A word's part of the hidden layer at every place around a gap, float32 (places, hidden)."""
    model = net()
    vector = np.zeros(WIDTH, np.float32)
    for table, row in zip(model.tables, model.rows(word)):
        vector += table[row]
    return (vector @ model.first).reshape(BEFORE + AFTER, -1)


def units(before: str, word: str, ahead: Sequence[str], n_words: int) -> np.ndarray:
    """What the net makes of a gap, float64 (units,), none below 0.

    before: the text before, white space collapsed; words before its last line break are hidden. ahead: the words after `word` on
    the same line. n_words: words of the open sentence.
    """
    hidden = net().lengths[length_class(n_words)].copy()
    for place, at in enumerate(places(before, word, ahead)):
        hidden += products(at)[place]
    model = net()
    return np.maximum(np.maximum(hidden, 0).astype(np.float64) @ model.second[:-1] + model.second[-1], 0)


def places(before: str, word: str, ahead: Sequence[str]) -> tuple[str | None, ...]:
    """The words around a gap, None where there is none."""
    last = before[before.rfind("\n") + 1 :].rsplit(" ", BEFORE)[-BEFORE:]
    following = (word, *ahead[: AFTER - 1])
    return (*(None,) * (BEFORE - len(last)), *last, *following, *(None,) * (AFTER - len(following)))
