"""Laws of the detector: batches, neighbours, plain Python, units, bytes, speed."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models import machine_code
from models.series import STATE, SeriesStateError, new_rows, pack_many, read_many, unpack_many

STEP_US = 300_000_000


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


@pytest.mark.parametrize("seed", range(3))
def test_any_batching_gives_the_same_bits_as_one_point_at_a_time(seed: int) -> None:
    slots, values, times = mixture()
    whole_rows, rows, chance = new_rows(7), new_rows(7), random.Random(seed)
    whole = read_many(whole_rows, slots, values, times)
    at, parts = 0, []
    while at < len(slots):
        size = 1 if seed == 0 else chance.randrange(1, 200)
        rows = unpack_many(pack_many(rows))
        parts.append(read_many(rows, slots[at : at + size], values[at : at + size], times[at : at + size]))
        at += size
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
from models.series import VERDICT, new_rows
from models.series_point import read_point
from tests.models.test_series_laws import mixture
assert type(read_point).__name__ == "function", "compiled"
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


@pytest.mark.parametrize("factor", [2.0**-20, 2.0**30])
def test_the_unit_of_the_values_changes_no_bit_of_a_score(factor: float) -> None:
    slots, values, times = mixture()
    values = np.where(np.abs(values) > 1e9, 1.0, values)  # the largest readable value is in no unit
    plain, scaled = (read_many(new_rows(7), slots, v, times) for v in (values, values * factor))
    assert scaled["score"].tobytes() == plain["score"].tobytes()
    assert (scaled["next"] == plain["next"] * factor).all()
    assert (scaled["hour_90"] == plain["hour_90"] * factor).all()


def test_a_mirrored_series_has_the_same_scores() -> None:
    slots, values, times = mixture()
    plain, mirrored = (read_many(new_rows(7), slots, v, times) for v in (values, -values))
    assert (mirrored["score"] == plain["score"]).mean() > 0.999  # a quantile moves down, not up, on a tie
    assert np.allclose(mirrored["next"], -plain["next"], rtol=1e-6)


def test_state_is_bounded_and_a_young_series_is_small() -> None:
    rows, chance = new_rows(1), np.random.default_rng(1)
    read_many(rows, np.zeros(1, int), np.ones(1), np.ones(1, int))
    assert len(pack_many(rows)[0]) < 600
    for part in range(5):
        read_many(rows, np.zeros(20_000, int), chance.normal(0, 1, 20_000).cumsum(), STEP_US * (np.arange(20_000) + 20_000 * part))
        assert len(pack_many(rows)[0]) <= STATE.itemsize + 65 <= 4200
    assert unpack_many(pack_many(rows)).tobytes() == rows.tobytes()


@pytest.mark.parametrize("data", [b"\x01abc", b"\x02", b"\x02" + b"\xff" * 70, b"\x02" + b"\xff" * 5000])
def test_bytes_that_are_no_state_are_refused(data: bytes) -> None:
    with pytest.raises(SeriesStateError, match="this version reads layout 2"):
        unpack_many([b"", data])


def test_no_bytes_are_a_new_series() -> None:
    assert unpack_many([b"", b""]).tobytes() == new_rows(2).tobytes()


def test_code_is_kept_under_a_name_of_its_sources_and_compiled_anew_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = machine_code._code_folder("series")
    assert folder is not None
    assert folder.name.startswith("series-")
    monkeypatch.setattr(Path, "read_bytes", lambda self: b"other sources")
    other = machine_code._code_folder("series")
    assert other is not None
    assert other.name != folder.name
    other.rmdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert machine_code._code_folder("series") is None
    assert machine_code.compiler("series")(abs_plus_one)(-2.0) == 3.0


def abs_plus_one(x):  # type: ignore[no-untyped-def]
    return abs(x) + 1.0
