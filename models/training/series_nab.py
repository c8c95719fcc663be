"""The score of the Numenta Anomaly Benchmark: early detection in windows, a cost for each detection outside, one threshold for all series.

Written from the benchmark's description: probation of min(15 %, 750) rows; the earliest detection of a window counts, by a sigmoid of its
place; each detection outside costs, little just after a window; 0 is what a detector has that never speaks, 100 the best possible.
Source: Lavin and Ahmad 2015, arXiv:1510.03336. Next: models/training/series_figures.py
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.training.series_data import LabelledSeries


@dataclass(frozen=True)
class Profile:
    """Weights of a found window, of a false detection, of a missed window."""

    found: float
    false: float
    missed: float


PROFILES: Mapping[str, Profile] = {"standard": Profile(1, 0.11, 1), "low FP": Profile(1, 0.22, 1), "low FN": Profile(1, 0.11, 2)}


def sigmoid(y: float) -> float:
    return -1.0 if y > 3 else 2 / (1 + math.exp(5 * y)) - 1


@dataclass(frozen=True)
class Places:
    """What a detection at each row of one series is worth, for any detector."""

    category: str
    window: np.ndarray
    """int (n,), number of the window a row lies in; -1 outside, -2 in the probation."""
    worth: np.ndarray
    """In a window 0..1, outside -1..0."""
    n_windows: int


def places(series: LabelledSeries) -> Places:
    n = len(series.values)
    window, worth, before = np.full(n, -1), np.full(n, -1.0), -1
    for k, (first, last) in enumerate(series.windows):
        window[first : last + 1] = k
    for row in range(n):
        if window[row] >= 0:
            before = int(window[row])
            first, last = series.windows[before]
            worth[row] = sigmoid(-(last - row + 1) / (last - first + 1)) / sigmoid(-1)
        elif before >= 0:
            first, last = series.windows[before]
            worth[row] = sigmoid((row - last) / max(last - first, 1))
    window[: min(int(0.15 * n), 750)] = -2
    return Places(series.category, window, worth, len(series.windows))


def raw_scores(scores: np.ndarray, at: Places, thresholds: np.ndarray, profile: Profile) -> np.ndarray:
    """Unnormalised score of one series at each threshold (a row is a detection when score >= threshold)."""
    outside = at.window == -1
    order = np.argsort(scores[outside], kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(at.worth[outside][order])])
    total = profile.false * (sums[-1] - sums[np.searchsorted(scores[outside][order], thresholds)])
    for k in range(at.n_windows):
        inside = at.window == k
        highest = np.maximum.accumulate(scores[inside])
        first = np.searchsorted(highest, thresholds)  # the earliest row that reaches it
        worth = np.append(profile.found * at.worth[inside], -profile.missed)
        total = total + worth[first]
    return total


def normal(raw: float, windows: int, profile: Profile) -> float:
    """0..100."""
    return 100 * (raw + profile.missed * windows) / ((profile.found + profile.missed) * windows)


def table(corpus: Sequence[np.ndarray], at: Sequence[Places], thresholds: np.ndarray, profile: Profile) -> np.ndarray:
    """Unnormalised scores, (series, thresholds)."""
    return np.array([raw_scores(scores, place, thresholds, profile) for scores, place in zip(corpus, at, strict=True)])


def thresholds_of(corpus: Iterable[np.ndarray]) -> np.ndarray:
    """Every threshold that makes a difference above the median of what is not zero, at most some 4,000; the last detects nothing."""
    values = np.unique(np.concatenate(list(corpus)))
    values = values[values > 0]
    return np.append(values[len(values) // 2 :: max(1, len(values) // 8000)], math.inf)


@dataclass(frozen=True)
class Judged:
    """What one profile says of a detector, 0..100."""

    oracle: float
    """With the threshold that is best on these series: what the public scoreboard shows."""
    threshold: float
    left_out: float
    """Each category with the threshold that is best on the others."""


def judge(corpus: Sequence[np.ndarray], at: Sequence[Places], profile: Profile) -> Judged:
    thresholds = thresholds_of(corpus)
    scores = table(corpus, at, thresholds, profile)
    windows, best = sum(place.n_windows for place in at), int(scores.sum(axis=0).argmax())
    categories, left_out = np.array([place.category for place in at]), 0.0
    for category in np.unique(categories):
        own = categories == category
        left_out += scores[own][:, scores[~own].sum(axis=0).argmax()].sum()
    return Judged(normal(scores.sum(axis=0)[best], windows, profile), float(thresholds[best]), normal(left_out, windows, profile))


def judge_choice(candidates: Sequence[Sequence[np.ndarray]], at: Sequence[Places], profile: Profile) -> float:
    """Each category with the detector of `candidates` and the threshold that are best on the others."""
    tables = [table(corpus, at, thresholds_of(corpus), profile) for corpus in candidates]
    categories, total = np.array([place.category for place in at]), 0.0
    for category in np.unique(categories):
        own = categories == category
        chosen = max(tables, key=lambda scores: scores[~own].sum(axis=0).max())
        total += chosen[own][:, chosen[~own].sum(axis=0).argmax()].sum()
    return normal(total, sum(place.n_windows for place in at), profile)
