"""One point of one series: forecast judged, views, score, forecast made, in this order.

Knows the order; every step changes the series' row `s` (STATE) in place. Next: models/series_clock.py
"""

import numpy as np

from models.series_clock import FARTHEST_US, is_late, keep_time
from models.series_compile import compiled
from models.series_experts import forecast_next, learn_next
from models.series_hours import forecast_hour, learn_hours
from models.series_intervals import learn_interval, learn_size, say_interval
from models.series_novelty import look_at_levels, look_at_spread
from models.series_score import TAIL_WEIGHT, once_per_incident, probability, together
from models.series_state import N_HOUR_EXPERTS, N_TAILS, VIEWS
from models.series_tails import look_at_errors, look_at_season, tail_digits

LARGEST = 1e100
"""Larger values are read as this one: sums and ratios must stay finite."""
SLOWEST = 0.015
N_VIEWS = len(VIEWS)


@compiled
def read_point(s, spare, value, at_us, out):
    """Writes the verdict to `out` (VERDICT). `spare`: STATE (1,), to write in."""
    x, at_us = min(max(value, -LARGEST), LARGEST), min(max(at_us, -FARTHEST_US), FARTHEST_US)
    if is_late(s, x, at_us):
        spare[0] = s
        out.late = 1
        learn_and_judge(spare[0], x, at_us, out)
    else:
        learn_and_judge(s, x, at_us, out)


@compiled
def learn_and_judge(s, x, at_us, out):
    n = s.points
    # 1. what was said of this point
    learn_next(s, x)
    if n > 0:
        learn_interval(s.quantiles, n - 1, x - s.next, unit_of(s), SLOWEST)
        s.spread_slow = learn_size(s.spread_slow, abs(x - s.next), n - 1, 0.01)
        s.spread_fast = learn_size(s.spread_fast, abs(x - s.next), n - 1, 0.08)
    learn_hours(s, x, at_us)
    # 2. how it looks
    keep_time(s, at_us)
    found, digits = np.zeros(N_TAILS), np.zeros(N_TAILS)
    look_at_errors(s, x, found)
    look_at_season(s, x, at_us, found)
    tail_digits(s, found, digits)
    out.views[0], out.views[1] = look_at_levels(s, x), look_at_spread(s, x)
    out.views[2], out.views[3], out.views[4] = digits[0], digits[1], digits[2]
    # 3. how unusual that is
    evidence = once_per_incident(s, together(out.views))
    out.score = probability(evidence)
    out.view = loudest(out.views) if evidence > 0.0 else 0
    # 4. what comes next
    forecast_next(s, x, at_us)
    out.next = s.next
    say_interval(s.next, s.quantiles, n, unit_of(s), out.next_50, out.next_90)
    out.hour = forecast_hour(s, x, at_us, np.zeros(N_HOUR_EXPERTS))
    say_interval(out.hour, s.hour_quantiles, s.n_hours, s.hour_spread, out.hour_50, out.hour_90)
    s.last, s.points = x, n + 1


@compiled
def unit_of(s):
    """Size that the next error is expected to have."""
    return 0.5 * (s.spread_slow + s.spread_fast)


@compiled
def loudest(views):
    """Number of the view that says most, from 1."""
    best, most = 0, 0.0
    for k in range(N_VIEWS):
        weight = views[k] if k < 2 else TAIL_WEIGHT * views[k]
        if weight > most:
            best, most = k + 1, weight
    return best
