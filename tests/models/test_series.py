"""The detector of many series: facts on small series, laws of the call, and that bad values cost nothing but themselves."""

import math
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.series import STATE, UNUSUAL, VERDICT, VIEWS, SeriesStateError, new_rows, pack_many, read_many, unpack_many
from models.series_point import LARGEST

STEP_US = 300_000_000


def verdicts(values: list[float], rows: np.ndarray | None = None) -> np.ndarray:
    """Of one series with a point every five minutes."""
    rows = new_rows(1) if rows is None else rows
    return read_many(rows, np.zeros(len(values), int), np.array(values), STEP_US * np.arange(len(values)))


def noisy(n: int, seed: int = 1, at: float = 50.0) -> list[float]:
    return (at + np.random.default_rng(seed).normal(0, 1, n)).tolist()


def mixture(n: int = 3000, n_series: int = 7, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of several series in one order: noise, days, jumps, late points, repeated times, extremes."""
    chance = np.random.default_rng(seed)
    slots = chance.integers(0, n_series, n)
    times = 60_000_000 * np.arange(n) * 10
    values = slots * 10 + np.sin(times / 86_400e6 * 2 * np.pi) * (slots % 3) + chance.normal(0, 1, n) * (slots % 2)
    late = chance.random(n) < 0.02
    times[late] -= 3_600_000_000
    values[chance.random(n) < 0.01] *= 1e6
    values[chance.random(n) < 0.002] = 1e308
    return slots, values, times


def test_spike_is_an_anomaly_at_its_own_point() -> None:
    values = noisy(600)
    values[500] = 90.0
    found = verdicts(values)
    assert found["score"][500] >= UNUSUAL
    assert (found["score"][400:500] >= UNUSUAL).sum() <= 2


def test_level_shift_is_reported_and_not_at_every_point_of_it() -> None:
    found = verdicts(noisy(500) + noisy(200, seed=2, at=70.0))
    alarms = np.flatnonzero(found["score"][500:] >= UNUSUAL)
    assert alarms[0] == 0
    assert len(alarms) <= 5


def test_ordinary_noise_alarms_less_than_once_in_a_hundred_points() -> None:
    found = verdicts(noisy(5000, seed=3))
    assert (found["score"] >= UNUSUAL).sum() < 50


def test_constant_series_is_silent_and_forecast_exactly() -> None:
    found = verdicts([7.0] * 1000)
    assert (found["score"] == 0.0).all()
    assert (found["next"][1:] == 7.0).all()
    assert (found["next_90"][-1] == 7.0).all()


def test_change_of_a_constant_series_is_an_anomaly() -> None:
    found = verdicts([7.0] * 500 + [8.0])
    assert found["score"][-1] >= UNUSUAL


@pytest.mark.parametrize("seed", range(5))
def test_a_missing_daily_peak_is_found_by_its_season(seed: int) -> None:
    day = np.array([100.0 if 96 <= n < 192 else 20.0 for n in range(288)] * 7)
    values = day + np.random.default_rng(seed).normal(0, 1, len(day))
    start = 6 * 288 + 96
    values[start : start + 96] -= 80.0
    found = verdicts(values.tolist())[start]
    assert found["score"] >= 0.99
    assert VIEWS[found["view"]] == "season"


@pytest.mark.parametrize("extreme", [1e308, -1e308, 5e-324, 0.0, LARGEST])
def test_extreme_values_keep_every_number_finite(extreme: float) -> None:
    rows = new_rows(1)
    found = verdicts([*noisy(100), extreme, -extreme, extreme, *noisy(100)], rows)
    for name in VERDICT.names or ():
        assert np.isfinite(found[name]).all(), name
    assert ((found["score"] >= 0) & (found["score"] <= 1)).all()
    for name in STATE.names or ():
        assert np.isfinite(rows[name]).all(), name


def test_points_far_apart_and_out_of_order_are_read() -> None:
    chance = random.Random(4)
    times = np.array([chance.randrange(-(10**15), 10**16) for _ in range(500)])
    found = read_many(new_rows(1), np.zeros(500, int), np.random.default_rng(4).random(500), times)
    assert all(np.isfinite(found[name]).all() for name in VERDICT.names or ())


@pytest.mark.parametrize("seed", range(3))
def test_any_batching_gives_the_same_bits_as_one_point_at_a_time(seed: int) -> None:
    slots, values, times = mixture()
    whole_rows, rows, chance = new_rows(7), new_rows(7), random.Random(seed)
    whole = read_many(whole_rows, slots, values, times)
    at, parts = 0, []
    while at < len(slots):
        size = 1 if seed == 0 else chance.randrange(1, 200)
        kept = unpack_many(pack_many(rows))
        parts.append(read_many(kept, slots[at : at + size], values[at : at + size], times[at : at + size]))
        rows, at = kept, at + size
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert pack_many(rows) == pack_many(whole_rows)


def test_a_series_is_not_touched_by_its_neighbours() -> None:
    slots, values, times = mixture()
    whole = read_many(new_rows(7), slots, values, times)
    for slot in range(7):
        mine = slots == slot
        alone = read_many(new_rows(1), np.zeros(mine.sum(), int), values[mine], times[mine])
        assert alone.tobytes() == whole[mine].tobytes()


PLAIN = """
import sys
import numpy as np
from models.series import VERDICT, new_rows, read_many
from models.series_point import read_point
from tests.models.test_series import mixture
assert not hasattr(read_point, "py_func"), "compiled"
slots, values, times = mixture(800)
rows, spare, found = (a.view(np.recarray) for a in (new_rows(7), new_rows(1), np.zeros(800, VERDICT)))
with np.errstate(all="raise", under="ignore"):
    for n in range(800):
        read_point(rows[slots[n]], spare, float(values[n]), int(times[n]), found[n])
sys.stdout.buffer.write(found.tobytes() + rows.tobytes())
"""


def test_compiled_points_are_plain_pythons_to_the_bit_and_nothing_overflows() -> None:
    slots, values, times = mixture(800)
    rows = new_rows(7)
    found = read_many(rows, slots, values, times)
    root = Path(__file__).resolve().parents[2]
    plain = subprocess.run(
        [sys.executable, "-c", PLAIN],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(root)},
        capture_output=True,
        check=False,
    )
    assert plain.returncode == 0, plain.stderr.decode()
    assert plain.stdout == found.tobytes() + rows.tobytes()


def test_forecast_interval_holds_nine_in_ten() -> None:
    values = noisy(4000, seed=7)
    found = verdicts(values)["next_90"][500:-1]
    inside = (found[:, 0] <= values[501:]) & (values[501:] <= found[:, 1])
    assert 0.87 < inside.mean() < 0.93


def test_state_is_small_and_a_young_series_smaller() -> None:
    rows = new_rows(1)
    verdicts(noisy(3), rows)
    young = len(pack_many(rows)[0])
    verdicts(noisy(3000), rows)
    assert young <= len(pack_many(rows)[0]) <= 4096


def test_bytes_of_another_layout_are_refused() -> None:
    with pytest.raises(SeriesStateError, match="layout 1"):
        unpack_many([b"\x01abc"])
    assert math.isclose(unpack_many([b""])["points"][0], 0)
