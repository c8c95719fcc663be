"""The detector of one series: facts on small series, and that bad values cost nothing but themselves."""

import math
import random

import pytest

from models.series import LARGEST, UNUSUAL, Series, pack, read, unpack

STEP_US = 300_000_000


def verdicts(values):
    series = Series()
    return [read(series, value, n * STEP_US) for n, value in enumerate(values)], series


def noisy(n: int, seed: int = 1, at: float = 50.0) -> list[float]:
    chance = random.Random(seed)
    return [at + chance.gauss(0, 1) for _ in range(n)]


def test_spike_is_an_anomaly_at_its_own_point():
    values = noisy(600)
    values[500] = 90.0
    found, _ = verdicts(values)
    assert found[500].value >= UNUSUAL
    assert all(v.value < UNUSUAL for v in found[400:500])


def test_level_shift_is_reported_and_not_at_every_point_of_it():
    found, _ = verdicts(noisy(500) + noisy(200, seed=2, at=70.0))
    alarms = [n for n, v in enumerate(found) if v.value >= UNUSUAL and n >= 500]
    assert alarms[0] == 500
    assert len(alarms) <= 5


def test_ordinary_noise_alarms_less_than_once_in_a_hundred_points():
    found, _ = verdicts(noisy(5000, seed=3))
    assert sum(v.value >= UNUSUAL for v in found) < 50


def test_constant_series_is_silent_and_forecast_exactly():
    found, _ = verdicts([7.0] * 1000)
    assert {v.value for v in found} == {0.0}
    assert found[-1].forecast == found[-1].low == found[-1].high == 7.0


def test_change_of_a_constant_series_is_an_anomaly():
    found, _ = verdicts([7.0] * 500 + [8.0])
    assert found[-1].value >= UNUSUAL


def test_missing_daily_peak_is_found():
    day = [100.0 if 96 <= n < 192 else 20.0 for n in range(288)]
    chance = random.Random(5)
    values = [v + chance.gauss(0, 1) for v in day * 7]
    start = 6 * 288 + 96
    values[start : start + 96] = [20.0 + chance.gauss(0, 1) for _ in range(96)]
    found, _ = verdicts(values)
    assert any(v.value >= UNUSUAL for v in found[start : start + 10])


@pytest.mark.parametrize("extreme", [1e308, -1e308, 5e-324, 0.0, LARGEST])
def test_extreme_values_keep_every_number_finite(extreme):
    values = [*noisy(100), extreme, -extreme, extreme, *noisy(100)]
    found, series = verdicts(values)
    assert all(math.isfinite(x) for v in found for x in (v.value, v.forecast, v.low, v.high))
    assert all(0.0 <= v.value <= 1.0 for v in found)
    assert unpack(pack(series)) == series


def test_points_out_of_order_and_far_apart_are_read():
    chance, series = random.Random(4), Series()
    for _ in range(500):
        verdict = read(series, chance.random(), chance.randrange(-(10**15), 10**16))
        assert math.isfinite(verdict.forecast)


def test_forecast_interval_holds_nine_in_ten():
    values = noisy(4000, seed=7)
    found, _ = verdicts(values)
    inside = [v.low <= x <= v.high for v, x in zip(found[500:], values[501:])]
    assert 0.87 < sum(inside) / len(inside) < 0.93


def test_state_is_small_and_its_bytes_go_on_as_it_would():
    values = noisy(1000, seed=8)
    series, other = Series(), Series()
    for n, value in enumerate(values):
        other = unpack(pack(other))
        assert read(series, value, n * STEP_US) == read(other, value, n * STEP_US)
    assert pack(series) == pack(other)
    assert len(pack(series)) < 2048
