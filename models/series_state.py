"""What is remembered of one metric series: one row of STATE, a few KB whatever its length, and its bytes.

Knows names and sizes; leaves how a point changes them to the files named beside the fields. A row of zeros is a series of which
nothing was seen. Next: models/series_point.py
"""

from collections.abc import Sequence

import numpy as np

LAYOUT = 2
"""First byte of a packed row; another layout is refused, not guessed."""
N_VIEWS = 6
RECENT = 10
BINS = 48

STATE = np.dtype(
    [
        ("points", "i8"),
        ("first_us", "i8"),
        ("last_us", "i8"),
        ("late", "i8"),
        ("last", "f8"),
        ("fast", "f8"),
        ("jump", "f8"),
        ("level", "f8"),
        ("variance", "f8"),
        ("high", "f8"),
        ("low", "f8"),
        ("season_error", "f8"),
        ("incident", "f8"),
        ("chosen", "i8"),
        ("n_season_recent", "i8"),
        ("errors", "f8", (3,)),
        ("forecasts", "f8", (3,)),
        ("quantiles", "f8", (4,)),
        ("thresholds", "f8", (N_VIEWS,)),
        ("excesses", "f8", (N_VIEWS,)),
        ("recent", "f8", (RECENT,)),
        ("season_recent", "f8", (RECENT,)),
        ("season", "f8", (BINS,)),
        ("season_points", "i8", (BINS,)),
    ],
    align=True,
)


class SeriesStateError(ValueError):
    """Bytes that are no state of this version."""

    retriable = False


def new_rows(n: int) -> np.ndarray:
    """STATE (n,), of series that have seen nothing."""
    return np.zeros(n, STATE)


def pack_many(rows: np.ndarray) -> list[bytes]:
    """Each row as bytes, at most STATE.itemsize + 1; zeros at the end of a young row are left out."""
    return [bytes((LAYOUT,)) + row.tobytes().rstrip(b"\0") for row in rows]


def unpack_many(packed: Sequence[bytes]) -> np.ndarray:
    """STATE (n,), to change; empty bytes are a new series. Raises SeriesStateError."""
    size = STATE.itemsize
    for data in packed:
        if data and (data[0] != LAYOUT or len(data) > size + 1):
            raise SeriesStateError(
                f"series state of layout {data[0]} and {len(data)} bytes; this version reads layout {LAYOUT} of at most {size + 1}: "
                "run the version that wrote it or reset the session"
            )
    return np.frombuffer(bytearray(b"".join([data[1:].ljust(size, b"\0") for data in packed])), STATE)
