"""Counts of what normal lines do, hashed into a table of fixed size: how often a value came in its family, and how often novelty does.

A family is a condition ("the line before was this template"), a value what was seen under it. Good-Turing says what a value never
seen weighs: the share of values seen once. Knows keys of 64 bits; leaves which families there are to models/latent_model.py.
Source: Good 1953 (novelty), Cormode and Muthukrishnan 2005 (the smaller of two cells bounds collisions). Next: models/latent_model.py
"""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Floats = NDArray[np.float64]

BITS = 17
"""Cells of a row of the table, as a power of two: two rows of int32 are 1 MB, half full with 65,000 values."""
CELLS = 1 << BITS
_SHIFT = np.uint64(64 - BITS)
FULL = 1 << 24
"""Values counted before all counts are halved: what was normal years ago fades, and nothing overflows."""
NEVER = 0.1
"""Times seen of novelty where every value so far came more than once: the smaller, the more what is new early stands apart from what
was seen once by a model that knows much; how rare that is, tails say."""
_ODD = tuple(np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93))
_27, _30, _31 = np.uint64(27), np.uint64(30), np.uint64(31)
_TOTAL, _ONCE = np.uint64(0x51ED270B), np.uint64(0x2545F491)
"""Salts of the two cells each family has beside its values: all it counted, and values counted once."""


@lru_cache(maxsize=16_384)
def key_of(text: str) -> int:
    """64 bits for a text, the same in every process; 0 is kept for no text."""
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little") if text else 0


def mixed(*parts: Keys | np.uint64) -> Keys:
    """One key for several, order kept (splitmix64's finisher between them)."""
    key = np.zeros(1, np.uint64)
    for part in parts:
        key = (key ^ part) * _ODD[0]
        key = (key ^ (key >> _30)) * _ODD[1]
        key = (key ^ (key >> _27)) * _ODD[2]
        key = key ^ (key >> _31)
    return key


@dataclass(frozen=True, slots=True)
class Counts:
    """The table. `with_more` makes a new one."""

    cells: NDArray[np.int32]
    """(2, CELLS)"""
    counted: int = 0

    @classmethod
    def empty(cls) -> "Counts":
        return cls(np.zeros((2, CELLS), np.int32))

    def chance(self, families: Keys, values: Keys) -> Floats:
        """How often the value comes in its family; for one never seen, how often such novelty does. 0..1, float64 (n)."""
        asked = np.stack([values, np.full_like(values, _TOTAL), np.full_like(values, _ONCE)])
        seen, total, once = self._read(mixed(families, asked))  # all at once: a step of one line costs what its calls cost
        share: Floats = np.where(seen > 0, seen, np.minimum(once, total) + NEVER) / (total + 1.0)
        return np.minimum(share, 1.0)

    def seen(self, families: Keys, values: Keys) -> NDArray[np.int32]:
        """How often the value came in its family (n)."""
        return _read(self.cells, mixed(families, values))

    def with_more(self, families: Keys, values: Keys) -> "Counts":
        """Count each pair once; the order does not matter."""
        if not len(families):
            return self
        cells = self.cells.copy()
        keys, first, times = np.unique(mixed(families, values), return_index=True, return_counts=True)
        before = _read(cells, keys)
        _add(cells, mixed(families, _TOTAL), np.ones(len(families), np.int32))
        _raise_to(cells, keys, before + times)
        once = ((before + times) == 1).astype(np.int32) - (before == 1).astype(np.int32)
        changed = once != 0
        _add(cells, mixed(families[first][changed], _ONCE), once[changed])
        counted = self.counted + len(families)
        return Counts(cells, counted) if counted < FULL else Counts(cells >> 1, counted >> 1)

    def _read(self, keys: Keys) -> Floats:
        return _read(self.cells, keys).astype(np.float64)


def _places(keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return (keys >> _SHIFT).astype(np.int64), ((keys * _ODD[3]) >> _SHIFT).astype(np.int64)


def _read(cells: NDArray[np.int32], keys: Keys) -> NDArray[np.int32]:
    """The smaller of the key's two cells: collisions only ever add."""
    left, right = _places(keys)
    return np.maximum(np.minimum(cells[0, left], cells[1, right]), 0)  # below 0 where another family's novelty was taken back


def _add(cells: NDArray[np.int32], keys: Keys, amounts: NDArray[np.int32]) -> None:
    left, right = _places(keys)
    np.add.at(cells[0], left, amounts)
    np.add.at(cells[1], right, amounts)


def _raise_to(cells: NDArray[np.int32], keys: Keys, counts: NDArray[np.int32]) -> None:
    """A cell shared with a more frequent key keeps that key's count."""
    left, right = _places(keys)
    np.maximum.at(cells[0], left, counts)
    np.maximum.at(cells[1], right, counts)
