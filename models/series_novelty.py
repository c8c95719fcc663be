"""Novelty: is this value, or this much change, like anything the series has shown before?

What was seen is kept as up to LEVELS values so far apart that none tells what another does. A value's gap is its distance to the nearest of
them in parts of the range so far; at each of a few scales it is news or not. How surprising news is, news itself tells: if there were k
in n points, the next is one with probability about (k + 1) / n (Good 1953), which makes -log10 of that the digits. A spike seen twice is
no news the third time, and the longer a series shows nothing new, the more the next new thing counts.

The same for the spread: the mean change from point to point on a logarithmic scale, from standing still to wild.
Knows values; leaves forecasts to models/series_tails.py. Next: models/series_tails.py
"""

import math

import numpy as np

from models.series_compile import compiled

SCALES = np.array([24.0, 28.0, 32.0, 36.0, 40.0])
"""Parts of the range: news is a value that lies farther than one of them from all that was seen."""
FINEST = 96.0
"""Values closer than this part of the range are the same one."""
SPREAD_SCALES = np.array([8.0, 16.0])
SPREAD_FINEST = 16.0
WARM_UP = 50
"""Points before anything can be news."""
WIDENING, FADING = 3.0, 1e-5
"""One point widens the range by at most so many times its width: a glitch of a million must not make all that follows look alike.
An end that is not touched comes in by this part of the width a point, half in 70,000."""
STILL = 1e-8
"""Mean change, in units of the first WARM_UP points', that counts as none."""


@compiled
def look_at_levels(s, x):
    """Digits of the value's news, mean over the scales. Changes the range and what was seen."""
    n = s.points
    if n == 0:
        s.high, s.low, s.n_levels, s.levels[0] = x, x, 1, x
        for k in range(len(SCALES)):
            s.level_news[k] = 1.0
        return 0.0
    widen(s, x)
    width = s.high - s.low
    if width <= 0.0:
        return 0.0
    gap = nearest(s.levels, s.n_levels, x)
    digits = news(s.level_news, SCALES, gap, width, n + 1.0)
    if gap > width / FINEST:
        s.n_levels = remember(s.levels, s.n_levels, x)
    return digits


@compiled
def widen(s, x):
    high, low, width = x, x, s.high - s.low
    fading = 0.0
    if s.points > WARM_UP and width > 0.0:
        high, low = min(x, s.high + WIDENING * width), max(x, s.low - WIDENING * width)
        fading = width * FADING
    s.high, s.low = max(s.high - fading, high), min(s.low + fading, low)


@compiled
def look_at_spread(s, x):
    """Digits of the spread's news, mean over the scales."""
    n = s.points
    if n == 0:
        s.change, s.n_spreads = 0.0, 0
        for k in range(len(SPREAD_SCALES)):
            s.spread_news[k] = 1.0
    change = abs(x - s.last) if n > 0 else 0.0
    s.change += (change - s.change) * 0.1
    if n < WARM_UP or s.unit == 0.0:
        s.mean_change += (change - s.mean_change) / (n + 1.0)
        s.unit = s.mean_change
    spread = math.log(min(s.change / s.unit, 1e12) + STILL) if s.unit > 0.0 else math.log(STILL)
    if s.n_spreads == 0:
        s.most_spread, s.least_spread, s.n_spreads, s.spreads[0] = spread, spread, 1, spread
        return 0.0
    s.most_spread, s.least_spread = max(s.most_spread, spread), min(s.least_spread, spread)
    width = s.most_spread - s.least_spread
    if width <= 0.0:
        return 0.0
    gap = nearest(s.spreads, s.n_spreads, spread)
    digits = news(s.spread_news, SPREAD_SCALES, gap, width, n + 1.0)
    if gap > width / SPREAD_FINEST:
        s.n_spreads = remember(s.spreads, s.n_spreads, spread)
    return digits


@compiled
def nearest(seen, n_seen, x):
    """Distance to the nearest of the first `n_seen`."""
    gap = abs(x - seen[0])
    for k in range(1, n_seen):
        gap = min(gap, abs(x - seen[k]))
    return gap


@compiled
def news(counts, scales, gap, width, n):
    """Mean over the scales of the digits; the counts go up where it is news."""
    digits = 0.0
    for k in range(len(scales)):
        if gap > width / scales[k]:
            if n >= WARM_UP:
                digits += math.log10(n / counts[k])
            counts[k] += 1.0
    return digits / len(scales)


@compiled
def remember(seen, n_seen, x):
    """Keep the value; when full, in place of the one that another lies closest to. Returns how many there are."""
    if n_seen < len(seen):
        seen[n_seen] = x
        return n_seen + 1
    spare, least = 0, math.inf
    for k in range(n_seen):
        gap = math.inf
        for other in range(n_seen):
            if other != k:
                gap = min(gap, abs(seen[k] - seen[other]))
        if gap < least:
            spare, least = k, gap
    seen[spare] = x
    return n_seen
