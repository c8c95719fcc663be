"""What is remembered of one metric series: one row of STATE, a few KB whatever its length, and its bytes.

Knows names and sizes; leaves how a point changes them to the file named above each group. A row of zeros is a series of which
nothing was seen. Next: models/series_point.py
"""

from collections.abc import Sequence

import numpy as np

from models.series_compile import compiled

LAYOUT = 2
"""First byte of a packed row; another layout is refused, not guessed."""
VIEWS = ("level", "spread", "drift", "season", "quiet")
"""Ways to look at a point, in the order of VERDICT's `views`."""
N_TAILS = 3
"""Views measured by their tail: drift, season, quiet."""
LEVELS, SPREADS = 64, 32
"""Values and spreads that are remembered as seen."""
LEVEL_SCALES, SPREAD_SCALES = 5, 2
LAGS = 6
"""Past values that the autoregression sees; with a constant it has LAGS + 1 weights."""
N_EXPERTS, N_HOUR_EXPERTS = 10, 8
N_PENDING = 4
"""Forecasts of the coming hour that wait for its end, a quarter of an hour apart."""
N_QUANTILES = 4
"""5, 25, 75, 95 %."""
DAY_BINS, WEEK_BINS, HOUR_BINS = 48, 168, 12

STATE = np.dtype(
    [
        # series_clock.py
        ("points", "i8"), ("first_us", "i8"), ("last_us", "i8"), ("n_late", "i8"), ("step_us", "f8"), ("last", "f8"),
        # series_novelty.py: range, and what was seen in it
        ("high", "f8"), ("low", "f8"), ("unit", "f8"), ("mean_change", "f8"), ("change", "f8"), ("most_spread", "f8"), ("least_spread", "f8"),
        ("n_levels", "i8"), ("n_spreads", "i8"), ("level_news", "f8", (LEVEL_SCALES,)), ("spread_news", "f8", (SPREAD_SCALES,)),
        # series_tails.py: errors of the forecast as views, their tails
        ("error", "f8"), ("drift", "f8"), ("short_error", "f8"), ("off_season", "f8"), ("season_error", "f8"), ("day_error", "f8"),
        ("week_error", "f8"), ("thresholds", "f8", (N_TAILS,)), ("excesses", "f8", (N_TAILS,)),
        # series_score.py
        ("worst", "f8"), ("worst_at", "i8"),
        # series_experts.py
        ("quick", "f8"), ("smooth", "f8"), ("holt", "f8"), ("trend", "f8"), ("level", "f8"), ("scale", "f8"), ("usual", "f8"),
        ("day_offset", "f8"), ("week_offset", "f8"), ("hour_offset", "f8"), ("lags", "f8", (LAGS + 1,)), ("weights", "f8", (LAGS + 1,)),
        ("experts", "f8", (N_EXPERTS,)), ("merits", "f8", (N_EXPERTS,)), ("next", "f8"),
        # series_intervals.py
        ("quantiles", "f8", (N_QUANTILES,)), ("spread_slow", "f8"), ("spread_fast", "f8"),
        ("hour_quantiles", "f8", (N_QUANTILES,)), ("hour_spread", "f8"),
        # series_hours.py
        ("hourly", "f8"), ("n_hours", "i8"), ("opened_us", "i8"), ("pending_us", "i8", (N_PENDING,)), ("pending_points", "i8", (N_PENDING,)),
        ("pending_sums", "f8", (N_PENDING,)), ("pending_next", "f8", (N_PENDING,)),
        ("pending", "f8", (N_PENDING, N_HOUR_EXPERTS)), ("hour_merits", "f8", (N_HOUR_EXPERTS,)),
        # what grows with the series: at the end, so that a young row has few bytes
        ("inverse", "f8", (LAGS + 1, LAGS + 1)), ("hour", "f8", (HOUR_BINS,)), ("hour_points", "i2", (HOUR_BINS,)),
        ("levels", "f8", (LEVELS,)), ("spreads", "f8", (SPREADS,)), ("day_points", "i2", (DAY_BINS,)), ("day", "f8", (DAY_BINS,)),
        ("week_points", "i2", (WEEK_BINS,)), ("week", "f4", (WEEK_BINS,)),
    ],
    align=True,
)  # fmt: skip


class SeriesStateError(ValueError):
    """Bytes that are no state of this version."""

    retriable = False


def new_rows(n: int) -> np.ndarray:
    """STATE (n,), of series that have seen nothing."""
    return np.zeros(n, STATE)


_WORDS = STATE.itemsize // 8
_MASKS = -(-_WORDS // 64)


def pack_many(rows: np.ndarray) -> list[bytes]:
    """Each row as bytes: which of its 8-byte words are not zero, and these; a young series takes a tenth of an old one."""
    words = np.ascontiguousarray(rows).view(np.uint64).reshape(len(rows), _WORDS)
    packed, sizes = np.zeros((len(rows), _MASKS + _WORDS), np.uint64), np.zeros(len(rows), np.int64)
    _pack(words, packed, sizes)
    first = bytes((LAYOUT,))
    return [first + packed[n, :size].tobytes() for n, size in enumerate(sizes.tolist())]


def unpack_many(packed: Sequence[bytes]) -> np.ndarray:
    """STATE (n,), to change; empty bytes are a new series. Raises SeriesStateError."""
    rows = new_rows(len(packed))
    words, kept = rows.view(np.uint64).reshape(len(packed), _WORDS), np.zeros(_MASKS + _WORDS, np.uint64)
    for n, data in enumerate(packed):
        if not data:
            continue
        size, fits = (len(data) - 1) // 8, data[0] == LAYOUT and len(data) % 8 == 1 and _MASKS <= len(data) // 8 <= _MASKS + _WORDS
        if fits:
            kept[:size] = np.frombuffer(data, np.uint64, size, 1)
        if not fits or _unpack(kept, size, words[n]) != size:
            raise SeriesStateError(
                f"series state of layout {data[0]} and {len(data)} bytes; this version reads layout {LAYOUT} of at most "
                f"{1 + 8 * (_MASKS + _WORDS)}: run the version that wrote it or reset the session"
            )
    return rows


@compiled
def _pack(words, packed, sizes):
    for n in range(len(words)):
        size = _MASKS
        for k in range(_WORDS):
            if words[n, k] != 0:
                packed[n, k // 64] |= np.uint64(1) << np.uint64(k % 64)
                packed[n, size] = words[n, k]
                size += 1
        sizes[n] = size


@compiled
def _unpack(packed, size, words):
    """Returns how many words it read, or would have."""
    at = _MASKS
    for k in range(_WORDS):
        if packed[k // 64] >> np.uint64(k % 64) & np.uint64(1):
            if at < size:
                words[k] = packed[at]
            at += 1
    return at
