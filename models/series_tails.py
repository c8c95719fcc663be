"""Views that have a size on every point: drift of the forecast's errors, distance from the season, unusual quiet.

Each is the logarithm of a ratio to its usual size, and is put on one scale by its own tail: how often was it so large before. Beyond the
largest 5 % the tail is extrapolated as exponential, which is a power law of the ratio (Hill 1975, streamed): heavy-tailed series do not
alarm all day. Knows the forecast made before the point; leaves news to models/series_novelty.py. Next: models/series_score.py
"""

import math

from models.series_clock import DAY_US, HOUR_US
from models.series_compile import compiled
from models.series_state import DAY_BINS, N_TAILS, WEEK_BINS

WARM_UP = 30
"""Points before a tail is known."""
TAIL = 0.05
MOST_DIGITS = 4.0
ROBUST = 8.0
"""An error counts as at most so many usual ones where a usual one is learned."""
SEEN = 4
"""Points of a bin before its mean is a profile."""


@compiled
def look_at_errors(s, x, found):
    """Drift (the mean of the last errors is far from zero) and quiet (errors are far smaller than usual), into found[0] and found[2]."""
    n = s.points
    error = x - s.next if n > 0 else 0.0
    size = abs(error)
    s.drift += (error - s.drift) * 0.2
    found[0] = ratio(abs(s.drift), s.error)
    clipped = min(size, ROBUST * s.error) if s.error > 0.0 and n > 10 else size
    s.short_error += (clipped - s.short_error) * 0.1
    if n > 50 and s.error > 0.0:
        found[2] = ratio(s.error, s.short_error)
    s.error += (clipped - s.error) * max(1.0 / (n + 1.0), 0.005)


@compiled
def look_at_season(s, x, at_us, found):
    """Distance from the daily or weekly profile, whichever was closer so far, into found[1]. Learns both."""
    b, w = day_bin(at_us), week_bin(at_us)
    age_us, error, has_profile = at_us - s.first_us, 0.0, False
    day, week = s.day[b], float(s.week[w])
    if s.day_points[b] >= SEEN and age_us > 1.5 * DAY_US:
        error, has_profile = x - day, True
        s.day_error = learn_size(s.day_error, abs(error))
    if s.week_points[w] >= SEEN and age_us > 7.5 * DAY_US:
        s.week_error = learn_size(s.week_error, abs(x - week))
        if not has_profile or s.week_error < s.day_error:
            error, has_profile = x - week, True
    if has_profile:
        s.off_season += (error - s.off_season) * 0.5
        usual = s.season_error if s.season_error > 0.0 else abs(error)
        found[1] = ratio(abs(s.off_season), usual)
        s.season_error = learn_size(s.season_error, abs(error))
    s.day_points[b] = min(s.day_points[b] + 1, 1000)
    s.day[b] = day + (x - day) * max(1.0 / s.day_points[b], 0.05)
    s.week_points[w] = min(s.week_points[w] + 1, 1000)
    s.week[w] = min(max(week + (x - week) * max(1.0 / s.week_points[w], 0.02), -1e38), 1e38)


@compiled
def day_bin(at_us):
    return at_us % DAY_US * DAY_BINS // DAY_US


@compiled
def week_bin(at_us):
    return at_us // HOUR_US % WEEK_BINS


@compiled
def learn_size(usual, size):
    if usual <= 0.0:
        return size
    return usual + (min(size, ROBUST * usual) - usual) * 0.005


@compiled
def ratio(size, usual):
    """Logarithm of one plus the ratio; 5 where anything is too much."""
    if usual > 0.0:
        return math.log1p(min(size / usual, 1e9))
    return 5.0 if size > 0.0 else 0.0


@compiled
def tail_digits(s, found, digits):
    """Digits (2 = one in a hundred) of each statistic in `found` by its own tail; then the tails have seen the point."""
    n = s.points
    step, share = max(1.0 / math.sqrt(n + 1.0), 0.05), max(1.0 / (1.0 + n * TAIL), 0.01)
    for k in range(N_TAILS):
        if n == 0:
            s.thresholds[k], s.excesses[k] = found[k], 0.3
            continue
        threshold, excess = s.thresholds[k], s.excesses[k]
        move = max(excess, 0.02) * step
        if found[k] > threshold:
            over = found[k] - threshold
            if n >= WARM_UP:
                digits[k] = min(-math.log10(TAIL) + over / max(excess, 1e-3) / math.log(10.0), MOST_DIGITS)
            s.excesses[k] = excess + (min(over, 5.0 * excess + 0.5) - excess) * share
            s.thresholds[k] = threshold + move * (1.0 - TAIL)
        else:
            s.thresholds[k] = max(threshold - move * TAIL, 0.0)
