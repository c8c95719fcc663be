"""One point of one series: views, tails, score, forecast, in this order.

Knows the order; every step changes the series' row `s` (STATE) in place. Next: models/series_state.py
"""

import math

import numpy as np

from models.series_compile import compiled
from models.series_state import BINS, N_VIEWS, RECENT

LARGEST = 1e100
"""Larger values are read as this one: their squares must stay finite."""
WARM_UP = 30
TAIL = 0.05
SLOW = 0.003
DAY_US = 86_400_000_000
SEASON_AFTER_US = DAY_US * 3 // 2
DAMPING, FADING = 0.5, 0.99
MOST_DIGITS = 9.0
TEN = 1.0 / math.log(10.0)


@compiled
def read_point(s, value, at_us, out):
    """Writes the verdict to `out` (VERDICT)."""
    x = min(max(value, -LARGEST), LARGEST)
    n = s.points
    if n == 0:
        s.first_us, s.fast, s.level, s.high, s.low, s.season_error = at_us, x, x, x, x, -1.0
        s.quantiles[0], s.quantiles[1], s.quantiles[2], s.quantiles[3] = -2.0, -0.5, 0.5, 2.0
        for k in range(N_VIEWS):
            s.excesses[k] = 0.3
    note_forecast(s, x)
    found = np.zeros(N_VIEWS)
    look_at_level(s, x, found)
    look_at_range(s, x, found)
    look_at_season(s, x, at_us, found)
    digits, view = least_likely(s, found)
    s.points = n + 1
    eased = max(digits - DAMPING * s.incident, 0.0)
    s.incident = max(s.incident * FADING, digits)
    out.score = 1.0 - 10.0**-eased
    out.view = view + 1 if eased > 0.0 else 0
    forecast_next(s, x, at_us, out)
    s.last, s.last_us = x, at_us


@compiled
def least_likely(s, found):
    n, worst, view = s.points, 0.0, 0
    step, share = max(1.0 / math.sqrt(n + 1.0), 0.05), max(1.0 / (1.0 + n * TAIL), 0.01)
    for k in range(N_VIEWS):
        statistic, threshold, excess = found[k], s.thresholds[k], s.excesses[k]
        move = max(excess, 0.02) * step
        if statistic > threshold and n > 0:
            over = statistic - threshold
            if n >= WARM_UP:
                digits = min(1.3 + over / max(excess, 1e-3) * TEN, MOST_DIGITS)
                if digits > worst:
                    worst, view = digits, k
            s.excesses[k] = excess + (min(over, 5.0 * excess + 0.5) - excess) * share
            s.thresholds[k] = threshold + move * (1.0 - TAIL)
        elif n > 0:
            s.thresholds[k] = max(threshold - move * TAIL, 0.0)
        else:
            s.thresholds[k] = statistic
    return worst, view


@compiled
def look_at_level(s, x, found):
    n = s.points
    jump, usual = abs(x - s.fast), s.jump
    if usual > 0.0:
        found[0] = math.log1p(min(jump / usual, 1e9))
    else:
        found[0] = 5.0 if jump > 0.0 else 0.0
        usual = jump * 0.1
    s.jump = usual + (min(jump, usual * 8.0) - usual) * max(1.0 / (n + 1), 0.01)
    s.fast += (x - s.fast) * 0.4
    s.recent[n % RECENT] = x
    total, count = 0.0, min(n + 1, RECENT)
    for k in range(count):
        total += s.recent[k]
    deviation = math.sqrt(s.variance)
    shift = abs(total / count - s.level)
    far = x - s.level
    if deviation > 0.0 and n > 30:
        far = max(min(far, 6.0 * deviation), -6.0 * deviation)
    weight = max(1.0 / (n + 1), SLOW)
    s.level += weight * far
    s.variance += (far * far - s.variance) * weight
    if deviation > 0.0:
        found[1] = math.log1p(min(shift / deviation, 1e9))
        found[2] = math.log1p(min(abs(x - s.level) / deviation, 1e9))


@compiled
def look_at_range(s, x, found):
    width, beyond = s.high - s.low, max(x - s.high, s.low - x)
    fading = width * 0.0002 if s.points > 20 else 0.0
    s.high, s.low = max(s.high - fading, x), min(s.low + fading, x)
    if beyond > 0.0 and s.points > 20:
        found[3] = math.log1p(min(10.0 * beyond / width, 1e9)) if width > 0.0 else 3.0


@compiled
def look_at_season(s, x, at_us, found):
    slot = at_us // (DAY_US // BINS) % BINS
    count, expected = s.season_points[slot], s.season[slot]
    if count > 3 and at_us - s.first_us > SEASON_AFTER_US:
        error = x - expected
        usual = s.season_error if s.season_error >= 0.0 else abs(error)
        s.season_recent[s.n_season_recent % RECENT] = error
        s.n_season_recent += 1
        total, members = 0.0, min(s.n_season_recent, RECENT)
        for k in range(members):
            total += s.season_recent[k]
        if usual > 0.0:
            found[4] = math.log1p(min(abs(total) / members / usual, 1e9))
            found[5] = math.log1p(min(abs(error) / usual, 1e9))
        s.season_error = usual + (min(abs(error), 8.0 * usual) - usual) * 0.005
    s.season[slot] = x if count == 0 else expected + (x - expected) * max(1.0 / (count + 1), 0.05)
    s.season_points[slot] = min(count + 1, 1000)


@compiled
def note_forecast(s, x):
    n = s.points
    if n == 0:
        return
    error, usual = x - s.forecasts[s.chosen], s.errors[s.chosen]
    scaled = error / usual if usual > 0.0 else math.copysign(9.0, error) if error != 0.0 else 0.0
    step = max(0.5 / math.sqrt(n), 0.02) * (1.0 + s.quantiles[3] - s.quantiles[0])
    for k in range(4):
        share = 0.05 if k == 0 else 0.25 if k == 1 else 0.75 if k == 2 else 0.95
        moved = s.quantiles[k] + step * (share if scaled > s.quantiles[k] else share - 1.0)
        s.quantiles[k] = max(min(moved, 0.0), -1e3) if k < 2 else min(max(moved, 0.0), 1e3)
    weight = max(1.0 / n, 0.02)
    for k in range(3):
        s.errors[k] += (abs(x - s.forecasts[k]) - s.errors[k]) * weight


@compiled
def forecast_next(s, x, at_us, out):
    slot = at_us // (DAY_US // BINS) % BINS
    offset = x - s.season[slot]
    if s.n_season_recent > 0:
        total, members = 0.0, min(s.n_season_recent, RECENT)
        for k in range(members):
            total += s.season_recent[k]
        offset = total / members
    s.forecasts[0], s.forecasts[1], s.forecasts[2] = x, s.fast, s.season[slot] + offset
    best = 0
    for k in range(1, 3):
        if s.errors[k] < s.errors[best]:
            best = k
    s.chosen = best
    out.next = s.forecasts[best]
    usual = s.errors[best]
    out.next_90[0], out.next_90[1] = out.next + s.quantiles[0] * usual, out.next + s.quantiles[3] * usual
    out.next_50[0], out.next_50[1] = (
        out.next + max(s.quantiles[1], s.quantiles[0]) * usual,
        out.next + min(s.quantiles[2], s.quantiles[3]) * usual,
    )
    out.hour = out.next
    out.hour_50[:], out.hour_90[:] = out.next_50, out.next_90
