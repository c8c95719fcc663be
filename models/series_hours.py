"""The coming hour: the mean of the series over the next 60 minutes, mixed from forecasts as the next value is.

What a forecast of an hour was worth shows an hour later: up to N_PENDING wait, a quarter of an hour apart, each with the sum of what came
since. Of a series with a point an hour or less often it is the next value. Next: models/series_point.py
"""

import numpy as np

from models.series_clock import HOUR_US
from models.series_compile import compiled
from models.series_experts import mix
from models.series_intervals import learn_interval, learn_size
from models.series_state import N_HOUR_EXPERTS, N_PENDING
from models.series_tails import day_bin, week_bin

FORGETTING = 0.95
SLOWEST = 0.03


@compiled
def learn_hours(s, x, at_us):
    """Adds the point to the forecasts that wait, and learns from those whose hour has ended."""
    for p in range(N_PENDING):
        if s.pending_us[p] == 0:
            continue
        passed = at_us - s.pending_us[p]
        if passed <= HOUR_US or s.pending_points[p] == 0:
            s.pending_sums[p] += x
            s.pending_points[p] += 1
        if passed >= HOUR_US:
            learn_hour(s, p, s.pending_sums[p] / s.pending_points[p])
            s.pending_us[p] = 0


@compiled
def learn_hour(s, p, truth):
    error = truth - s.pending_next[p]
    unit = max(s.hour_spread, 1e-12 * abs(truth) + 1e-300)
    for k in range(N_HOUR_EXPERTS):
        s.hour_merits[k] = s.hour_merits[k] * FORGETTING - min(abs(truth - s.pending[p, k]) / unit, 5.0)
    learn_interval(s.hour_quantiles, s.n_hours, error, s.hour_spread, SLOWEST)
    s.hour_spread = learn_size(s.hour_spread, abs(error), s.n_hours, 0.02)
    s.n_hours += 1


@compiled
def forecast_hour(s, x, at_us, experts):
    """The coming hour's mean; waits to be judged when there is a place. Uses `experts` (N_HOUR_EXPERTS) to write in."""
    share = min(max(s.step_us / HOUR_US, 0.02), 1.0)
    s.hourly = x if s.points == 0 else s.hourly + (x - s.hourly) * share
    first, second, middle = day_bin(at_us + HOUR_US // 4), day_bin(at_us + 3 * HOUR_US // 4), week_bin(at_us + HOUR_US // 2)
    day = 0.5 * (s.day[first] + s.day[second])
    has_day = s.day_points[first] > 0 and s.day_points[second] > 0
    experts[0], experts[1], experts[2], experts[3] = x, s.quick, s.smooth, s.hourly
    experts[4] = day + s.day_offset if has_day else x
    experts[5] = float(s.week[middle]) + s.week_offset if s.week_points[middle] > 0 else x
    experts[6] = day if has_day else x
    experts[7] = s.next
    said = mix(experts, s.hour_merits)
    if s.points == 0 or at_us - s.opened_us >= HOUR_US // N_PENDING or at_us < s.opened_us:
        for p in range(N_PENDING):
            if s.pending_us[p] == 0:
                s.pending_us[p], s.pending_points[p], s.pending_sums[p], s.pending_next[p] = max(at_us, np.int64(1)), 0, 0.0, said
                for k in range(N_HOUR_EXPERTS):
                    s.pending[p, k] = experts[k]
                s.opened_us = at_us
                break
    return said
