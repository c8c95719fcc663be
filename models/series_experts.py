"""The next value: ten simple forecasts of it, mixed by how well each did lately.

Last value, two means, Holt's trend, an autoregression fitted on the way, the profiles of day, week and hour moved to where the series is
now, the day's profile as it is, and the long mean. Each loses merit with its errors, exponentially forgotten, and weighs by it
(Cesa-Bianchi and Lugosi 2006; the errors in units of the mixture's own). Next: models/series_intervals.py
"""

import math

import numpy as np

from models.series_clock import HOUR_US
from models.series_compile import compiled
from models.series_state import HOUR_BINS, LAGS, N_EXPERTS
from models.series_tails import ROBUST, day_bin, week_bin

LEARNING, FORGETTING = 0.5, 0.97
FIT_FORGETTING = 0.998
"""Of the autoregression: it knows about the last 500 points."""
MOST_INVERSE = 1e4
DAMPED = 0.9


@compiled
def learn_next(s, x):
    """What the experts' forecasts of this point were worth."""
    n = s.points
    if n == 0:
        return
    size = abs(x - s.next)
    unit = max(s.usual, 1e-12 * abs(x) + 1e-300)
    for k in range(N_EXPERTS):
        s.merits[k] = s.merits[k] * FORGETTING - min(abs(x - s.experts[k]) / unit, 5.0)
    s.usual += (min(size, ROBUST * s.usual if s.usual > 0.0 else size) - s.usual) * max(1.0 / n, 0.01)


@compiled
def forecast_next(s, x, at_us):
    """Learns the point, then says the next one, at the usual distance in time."""
    if s.points == 0:
        s.quick, s.smooth, s.holt, s.level = x, x, x, x
    smooth_on(s, x)
    fitted = fit(s, x)
    e, then_us = s.experts, at_us + np.int64(s.step_us)
    follow_profiles(s, x, at_us)
    d, w, h = day_bin(then_us), week_bin(then_us), hour_bin(then_us)
    e[0], e[1], e[2], e[3], e[4] = x, s.quick, s.smooth, s.holt + DAMPED * s.trend, fitted
    e[5] = s.day[d] + s.day_offset if s.day_points[d] > 0 else x
    e[6] = float(s.week[w]) + s.week_offset if s.week_points[w] > 0 else x
    e[7] = s.hour[h] + s.hour_offset if s.hour_points[h] > 0 else x
    e[8] = s.day[d] if s.day_points[d] > 0 else x
    e[9] = s.level
    s.next = mix(e, s.merits)


@compiled
def mix(forecasts, merits):
    """Mean of the forecasts, weighted by merit."""
    best = merits[0]
    for k in range(1, len(forecasts)):
        best = max(best, merits[k])
    total, weights = 0.0, 0.0
    for k in range(len(forecasts)):
        weight = math.exp(LEARNING * (merits[k] - best))
        total += weight * forecasts[k]
        weights += weight
    return total / weights


@compiled
def smooth_on(s, x):
    n = s.points
    s.quick += (x - s.quick) * 0.4
    s.smooth += (x - s.smooth) * 0.1
    off = x - (s.holt + DAMPED * s.trend)
    s.holt, s.trend = s.holt + DAMPED * s.trend + 0.4 * off, DAMPED * s.trend + 0.08 * off
    s.level += (x - s.level) * max(1.0 / (n + 1.0), 0.005)
    far = abs(x - s.level)
    s.scale += (min(far, ROBUST * s.scale if s.scale > 0.0 and n > 10 else far) - s.scale) * max(1.0 / (n + 1.0), 0.005)


@compiled
def follow_profiles(s, x, at_us):
    """How far the series lies from each profile now; then the hour's profile (day and week are learned in series_tails.py)."""
    d, w, h = day_bin(at_us), week_bin(at_us), hour_bin(at_us)
    s.day_offset += (x - s.day[d] - s.day_offset) * 0.3
    s.week_offset += (x - float(s.week[w]) - s.week_offset) * 0.3
    if s.hour_points[h] > 0:
        s.hour_offset += (x - s.hour[h] - s.hour_offset) * 0.1
    s.hour_points[h] = min(s.hour_points[h] + 1, 1000)
    s.hour[h] += (x - s.hour[h]) * max(1.0 / s.hour_points[h], 0.03)


@compiled
def hour_bin(at_us):
    return at_us % HOUR_US * HOUR_BINS // HOUR_US


@compiled
def standard(value, level, unit):
    return min(max((value - level) / unit, -10.0), 10.0)


@compiled
def fit(s, x):
    """The autoregression's next value, after recursive least squares on this one; values in units of the scale, errors clipped."""
    n, size = s.points, LAGS + 1
    unit = s.scale if s.scale > 0.0 else 1.0
    if n == 0:
        reset_fit(s)
        s.weights[0] = 1.0
    if n > LAGS:
        gain, spread, said = np.zeros(size), FIT_FORGETTING, 0.0
        for a in range(size):
            for b in range(size):
                gain[a] += s.inverse[a, b] * s.lags[b]
            spread += s.lags[a] * gain[a]
            said += s.weights[a] * s.lags[a]
        if not spread >= FIT_FORGETTING * 0.5:  # rounding has made the matrix indefinite
            reset_fit(s)
        else:
            off, trace = min(max(standard(x, s.level, unit) - said, -4.0), 4.0), 0.0
            for a in range(size):
                s.weights[a] = min(max(s.weights[a] + gain[a] / spread * off, -10.0), 10.0)
                for b in range(a + 1):
                    s.inverse[a, b] = (s.inverse[a, b] - gain[a] * gain[b] / spread) / FIT_FORGETTING
                    s.inverse[b, a] = s.inverse[a, b]
                trace += s.inverse[a, a]
            if trace > MOST_INVERSE:  # nothing new comes in: what is unknown must not grow for ever
                for a in range(size):
                    for b in range(size):
                        s.inverse[a, b] *= 0.5
    for a in range(LAGS - 1, 0, -1):
        s.lags[a] = s.lags[a - 1]
    s.lags[0], s.lags[LAGS] = standard(x, s.level, unit), 1.0
    said = 0.0
    for a in range(size):
        said += s.weights[a] * s.lags[a]
    return s.level + unit * min(max(said, -20.0), 20.0) if n > 2 * LAGS else x


@compiled
def reset_fit(s):
    for a in range(LAGS + 1):
        for b in range(LAGS + 1):
            s.inverse[a, b] = 100.0 if a == b else 0.0
