"""Metric series, many at once: points of a micro-batch -> how unusual each is, and what comes next. Online, without settings.

    rows = unpack_many(list of bytes)  or  new_rows(n)      STATE (n,), one row a series; a row of zeros is a new series
    found = read_many(rows, slots, values, times_us)        VERDICT (m,), one a point; changes the rows
    pack_many(rows) -> list of bytes                        a few KB each

`slots` (m,) says whose row each point belongs to, in order of arrival; a series may come any number of times in one call, and how points
fall into calls changes no bit of any answer. A row is copied by rows[slots].copy(). VIEWS[found["view"]] names what found a point unusual.

Knows the call and its arrays; leaves one point to models/series_point.py, sessions and answers to models/metric_model.py.
Next: models/series_state.py
"""

import numpy as np

from models.series_compile import compiled
from models.series_point import read_point
from models.series_score import UNUSUAL_EVIDENCE, probability
from models.series_state import STATE, SeriesStateError, new_rows, pack_many, unpack_many
from models.series_state import VIEWS as STATE_VIEWS

__all__ = ("STATE", "UNUSUAL", "VERDICT", "VIEWS", "SeriesStateError", "new_rows", "pack_many", "prepare", "read_many", "unpack_many")

VIEWS = ("", *STATE_VIEWS)
"""By number; 0 is none."""
UNUSUAL = probability(UNUSUAL_EVIDENCE)
"""Score from which a point is labelled an anomaly."""
VERDICT = np.dtype(
    [
        ("score", "f8"),  # 0..1: one minus how often so unusual a point comes in an ordinary series, once per incident
        ("view", "i8"),  # number in VIEWS of the one that says most
        ("late", "i8"),  # 1: at or before the newest point, scored and not learned
        ("views", "f8", (len(STATE_VIEWS),)),  # digits of each view, 2 = one in a hundred; what the score is made of
        ("next", "f8"), ("next_50", "f8", (2,)), ("next_90", "f8", (2,)),  # the next value; where it lies in 1 of 2, in 9 of 10
        ("hour", "f8"), ("hour_50", "f8", (2,)), ("hour_90", "f8", (2,)),  # mean of the coming hour, likewise
    ],
    align=True,
)  # fmt: skip


def read_many(rows: np.ndarray, slots: np.ndarray, values: np.ndarray, times_us: np.ndarray) -> np.ndarray:
    """Verdicts on points in order of arrival, VERDICT (m,). Changes `rows` (STATE).

    slots: int (m,), row of each point; values: finite float64 (m,); times_us: int (m,), microseconds since 1970.
    """
    found = np.zeros(len(slots), VERDICT)
    _read_many(
        rows,
        np.ascontiguousarray(slots, np.int64),
        np.ascontiguousarray(values, np.float64),
        np.ascontiguousarray(times_us, np.int64),
        found,
        new_rows(1),
    )
    return found


def prepare() -> None:
    """Compiles the detector, or takes the code that is kept: some 10 s of CPU once for each version, later 0.02 s. Before a worker joins."""
    rows = new_rows(1)
    read_many(rows, np.zeros(1, np.int64), np.zeros(1), np.zeros(1, np.int64))
    unpack_many(pack_many(rows))


@compiled
def _read_many(rows, slots, values, times_us, found, spare):  # type: ignore[no-untyped-def]
    for n in range(len(slots)):
        read_point(rows[slots[n]], spare, values[n], times_us[n], found[n])
