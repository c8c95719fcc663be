"""From scores to standard deviations: each view of a line or session is measured against how often it raised its voice before.

A view that looks at a hundred places at once finds something unlikely a hundred times as often; counting its scores on the stream
itself, each before it was learned, makes all views comparable and needs no labels (conformal prediction). While few were counted
nothing is rare. Knows scores; leaves what a view looks at to models/latent_model.py.
Source: Vovk et al. 2005 (conformal p-values). Next: models/latent_model.py
"""

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LINE_VIEWS = ("unseen template", "unseen transition", "rare severity", "latent distance", "off trajectory")
SESSION_VIEWS = ("worst line", "incomplete or odd session")
VIEWS = (*LINE_VIEWS, "any of a line", *SESSION_VIEWS)
OF_LINES, OF_SESSIONS = slice(0, len(LINE_VIEWS) + 1), slice(len(LINE_VIEWS) + 1, len(VIEWS))
"""Rows of the views of a line and of a session. The last of a line's is the loudest of the others: five views that each are rare
once in a thousand lines together are not. Of sessions there are too few to count that finely."""
BINS = 96
WIDTH = 0.25
"""Of a bin, nats: what was never seen and what was seen once differ by 0.7."""
TRUSTED = 1000.0
"""Scores of a view after which what lies above all of them is as rare as it says."""
SETTLED = 10_000.0
"""Lines after which the loudest view is measured too: before, what was new in the first hour would excuse what is grave."""
FULL = 1 << 20
"""Scores of a view before its counts are halved."""
SURE = 3.0
"""Standard deviations from what is normal at which a line or session is an anomaly, by default."""
MOST = 6.0
"""Standard deviations of value 1.0."""
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Tails:
    """How often each view gave at least which score. `with_more` makes new ones."""

    above: Floats
    """(views, BINS) scores in this bin or a higher one."""

    @classmethod
    def empty(cls) -> "Tails":
        return cls(np.zeros((len(VIEWS), BINS)))

    def judged_lines(self, scores: Floats) -> tuple[Floats, Floats]:
        """How often each view gave such a score or a higher one (views, n), and how often any of them was so rare (n,); 0..1.

        scores: nats, (views, n).
        """
        single = self._chances(self.above[OF_LINES][:-1], scores)
        least, loudest = single.min(0), self.above[OF_LINES][-1:]
        return single, np.maximum(least, self._chances(loudest, -np.log(least)[None])[0]) if loudest[0, 0] >= SETTLED else least

    def judged_sessions(self, scores: Floats) -> Floats:
        """How often each view gave such a score or a higher one, 0..1. scores: nats, (views, n); so is what returns."""
        return self._chances(self.above[OF_SESSIONS], scores)

    def with_loudest(self, scores: Floats) -> Floats:
        """Scores of all views of lines: those given, and of the loudest of them."""
        single = self._chances(self.above[OF_LINES][:-1], scores)
        found: Floats = np.concatenate([scores, -np.log(single.min(0))[None]])
        return found

    @staticmethod
    def _chances(above: Floats, scores: Floats) -> Floats:
        """A score above all seen is rarer than one in all, by as many nats as it is above."""
        seen = above[np.arange(len(above))[:, None], bins_of(scores)]
        highest = (above > 0).sum(1, keepdims=True) * WIDTH  # where the occupied bins end
        beyond = np.where(seen > 0, 0.0, np.maximum(scores - highest, 0.0))
        trusted = np.minimum(above[:, :1] / TRUSTED, 1.0)
        found: Floats = np.minimum((seen + 1.0) / (above[:, :1] + 1.0), 1.0) * np.exp(-beyond * trusted)
        return found

    def with_more(self, first: int, scores: Floats) -> "Tails":
        above = self.above.copy()
        for view, bins in enumerate(bins_of(scores), first):
            above[view] += np.bincount(bins, minlength=BINS)[::-1].cumsum()[::-1]
        return Tails(above)

    def joined(self, views: slice, other: "Tails") -> "Tails":
        """With what the other counted of these views."""
        above = self.above.copy()
        above[views] += other.above[views]
        above[above[:, 0] > FULL] /= 2.0
        return Tails(above)

    def without(self, views: slice) -> "Tails":
        above = self.above.copy()
        above[views] = 0.0
        return Tails(above)


def bins_of(scores: Floats) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.minimum(np.maximum(scores / WIDTH, 0.0), BINS - 1.0).astype(np.int64)
    return found


@lru_cache(maxsize=16_384)
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
