"""From raw chances to standard deviations: each view of a line or session is measured against how often it raised its voice before.

A view that looks at twenty places at once finds something rare twenty times as often; its `excess` says so, counted on the stream
itself, each lesson before it was learned. Knows chances; leaves what a view looks at to models/latent_model.py.
Next: models/latent_model.py
"""

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LINE_VIEWS = ("unseen template", "unseen transition", "rare severity")
SESSION_VIEWS = ("worst line", "incomplete or odd session", "unseen ending")
VIEWS = (*LINE_VIEWS, *SESSION_VIEWS)
RARE = 1e-3
"""Where the excess is counted: rare enough to be the tail, common enough to be counted soon."""
PRIOR = 2.0
"""Rare cases a view is given before any was counted: new streams are judged with care."""
SURE = 3.0
"""Standard deviations from what is normal at which a line or session is an anomaly, by default."""
MOST = 6.0
"""Standard deviations of value 1.0."""
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Tails:
    """How often each view was rarer than RARE, and of how many. `with_more` makes new ones."""

    rare: Floats
    """(views,)"""
    counted: Floats
    """(views,)"""

    @classmethod
    def empty(cls) -> "Tails":
        return cls(np.zeros(len(VIEWS)), np.zeros(len(VIEWS)))

    def excess(self) -> Floats:
        """Times as often rare as the view's chances say, at least 1."""
        found: Floats = np.maximum((self.rare + PRIOR) / (self.counted * RARE + PRIOR), 1.0)
        return found

    def with_more(self, first: int, chances: Floats) -> "Tails":
        """chances: (views from `first` on, lessons)."""
        rare, counted = self.rare.copy(), self.counted.copy()
        last = first + len(chances)
        rare[first:last] += (chances <= RARE).sum(1)
        counted[first:last] += chances.shape[1]
        return Tails(rare, counted)


@lru_cache(maxsize=65_536)
def deviations_of(chance: float) -> float:
    """Standard deviations above the mean beyond which a normal variable lies with this chance; 0 for what is not rare."""
    if chance >= 0.5:
        return 0.0
    return -_NORMAL.inv_cdf(max(chance, 1e-12))


def chance_of(deviations: float) -> float:
    return _NORMAL.cdf(-deviations)


def value_of(deviations: float) -> float:
    """0..1, linear in standard deviations."""
    return min(deviations / MOST, 1.0)
