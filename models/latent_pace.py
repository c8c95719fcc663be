"""How fast lines come in a session beside how fast they came there before: a burst and a silence are unusual though every line is known.

The rate is how many times as fast the last CONTEXT lines came as the last USUAL; a session's first lines have none. Rates of CONTEXT lines
overlap, so that of those that were counted one in CONTEXT is news. Knows seconds; leaves lines to models/latent_model.py.
Next: models/latent_model.py
"""

import numpy as np
from numpy.typing import NDArray

from models.learnable import CONTEXT

Floats = NDArray[np.float64]
USUAL = 200
"""Lines that a session's usual pace is the mean of, about."""
BINS, EVEN = 48, 24
"""Bins of a factor of two each, and that of a rate of 1."""
LEAST = 4
"""Bins from EVEN from which on a rate may be unusual: 16 times as fast, or a sixteenth. Nearer ones are unlike those before where a system
is young, and no news."""
FINEST_S = 1e-3
"""Gaps are no finer: many clocks tell no more."""
UNKNOWN = 0.0
"""Rate of a session's first lines."""


def mean(before_s: float, gap_s: float, gaps: int, most: int) -> float:
    """The mean gap after one more. gaps: counted before it."""
    return before_s + (gap_s - before_s) / min(max(gaps, 1), most)


def rate_of(pace_s: float, usual_s: float) -> float:
    return (usual_s + FINEST_S) / (pace_s + FINEST_S)


def bins_of(rates: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bin of each rate, 1 and above; 0 where it is unknown."""
    found = EVEN + np.rint(np.log2(np.where(rates > 0.0, rates, 1.0))).astype(np.int64)
    return np.where(rates > 0.0, np.clip(found, 1, BINS - 1), 0)


def chances(counts: Floats, bins: NDArray[np.int64]) -> Floats:
    """How often lines came at such a rate or one further from even, 0..1; 1 where it is unknown or near even. counts: (BINS,) lines."""
    known = counts[1:]
    above, below = known[::-1].cumsum()[::-1], known.cumsum()
    further = np.where(np.arange(1, BINS) > EVEN, above, below)
    share = np.minimum((further + CONTEXT) / (known.sum() + CONTEXT), 1.0)
    found: Floats = np.where((bins > 0) & (np.abs(bins - EVEN) >= LEAST), share[np.maximum(bins, 1) - 1], 1.0)
    return found
