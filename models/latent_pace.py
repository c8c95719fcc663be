"""How fast lines come in a session, and how rare that is: a flood and a silence are both unusual though every line of them is known.

The pace is the mean time between the last CONTEXT lines; a session's first lines have none. Paces of CONTEXT lines overlap, so that of
those that were counted one in CONTEXT is news. Knows seconds; leaves lines to models/latent_model.py. Next: models/latent_model.py
"""

import numpy as np
from numpy.typing import NDArray

from models.learnable import CONTEXT

Floats = NDArray[np.float64]
BINS = 48
"""Of a factor of two each, from a microsecond to four years."""
FASTEST_S = 1e-6
UNKNOWN = -1.0
"""Pace of a session's first lines."""


def after(pace_s: float, gap_s: float, lines: int) -> float:
    """The pace after one more gap. lines: before it in the session."""
    return pace_s + (gap_s - pace_s) / min(max(lines, 1), CONTEXT)


def bins_of(paces_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bin of each pace, 1 and above; 0 where it is unknown."""
    found = np.log2(np.maximum(paces_s, FASTEST_S) / FASTEST_S).astype(np.int64) + 1
    return np.where(paces_s < 0.0, 0, np.minimum(found, BINS - 1))


def chances(counts: Floats, bins: NDArray[np.int64]) -> Floats:
    """How often lines came so fast, or so slowly, or more so, whichever is rarer; 1 where the pace is unknown. counts: (BINS,) lines."""
    known = counts[1:]
    slower, faster = known[::-1].cumsum()[::-1], known.cumsum()
    share = np.minimum((np.minimum(slower, faster) + CONTEXT) / (known.sum() + CONTEXT), 1.0)
    found: Floats = np.where(bins > 0, share[np.maximum(bins, 1) - 1], 1.0)
    return found
