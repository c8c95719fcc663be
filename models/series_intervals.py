"""Where a forecast's truth will lie: quantiles of its errors that correct themselves, online.

Errors are measured in units of their own recent size, and each quantile is moved up or down by whether the truth fell below it, so that in
the long run it holds its share whatever the errors look like (Gibbs and Candes 2021, adaptive conformal inference, on the quantile).
Next: models/series_hours.py
"""

import math

import numpy as np

from models.series_compile import compiled
from models.series_state import N_QUANTILES

SHARES = np.array([0.05, 0.25, 0.75, 0.95])
FIRST = np.array([-2.5, -0.7, 0.7, 2.5])
"""Before anything is known: of a Laplace distribution, about."""
MOST = 1e3


@compiled
def learn_interval(quantiles, n, error, unit, slowest):
    """`n`: errors seen before; the step falls with its root to `slowest`."""
    if n == 0:
        for k in range(N_QUANTILES):
            quantiles[k] = FIRST[k]
    scaled = min(max(error / unit, -MOST), MOST) if unit > 0.0 else (math.copysign(9.0, error) if error != 0.0 else 0.0)
    step = max(0.5 / math.sqrt(n + 1.0), slowest) * (quantiles[N_QUANTILES - 1] - quantiles[0] + 0.1)
    for k in range(N_QUANTILES):
        share = SHARES[k]
        reach = 1.0 if share in (0.05, 0.95) else 0.5  # the inner ones stand closer together
        quantiles[k] = min(max(quantiles[k] + reach * step * (share if scaled > quantiles[k] else share - 1.0), -MOST), MOST)


@compiled
def say_interval(center, quantiles, n, unit, half, most):
    """Writes low and high of 1 in 2 to `half`, of 9 in 10 to `most`."""
    low, high = (quantiles[0], quantiles[3]) if n > 0 else (FIRST[0], FIRST[3])
    inner_low, inner_high = (quantiles[1], quantiles[2]) if n > 0 else (FIRST[1], FIRST[2])
    low, high = min(low, high, inner_low), max(low, high, inner_high)
    most[0], most[1] = center + low * unit, center + high * unit
    half[0], half[1] = center + min(inner_low, inner_high) * unit, center + max(inner_low, inner_high) * unit


@compiled
def learn_size(usual, size, n, weight):
    """Mean size of the errors, single ones clipped."""
    clipped = min(size, 10.0 * usual) if usual > 0.0 and n > 10 else size
    return usual + (clipped - usual) * max(1.0 / (n + 1.0), weight)
