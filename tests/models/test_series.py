"""The detector of metric series: what it finds, what it leaves alone, and what it says comes next."""

import numpy as np
import pytest

from models.series import STATE, UNUSUAL, VERDICT, VIEWS, new_rows, read_many
from models.series_clock import PATIENCE
from models.series_point import LARGEST
from models.training.series_data import ORDINARY

STEP_US = 300_000_000
HOUR_US = 3_600_000_000
DAY = 288
"""Points a day."""


def verdicts(values, rows=None, times_us=None) -> np.ndarray:
    """Of one series, by default with a point every five minutes."""
    rows = new_rows(1) if rows is None else rows
    times_us = STEP_US * np.arange(len(values)) if times_us is None else times_us
    return read_many(rows, np.zeros(len(values), int), np.array(values, float), times_us)


def noisy(n: int, seed: int = 1, at: float = 50.0) -> list[float]:
    return (at + np.random.default_rng(seed).normal(0, 1, n)).tolist()


def test_spike_is_an_anomaly_at_its_own_point() -> None:
    values = noisy(600)
    values[500] = 90.0
    found = verdicts(values)
    assert found["score"][500] >= UNUSUAL
    assert VIEWS[found["view"][500]] == "level"
    assert (found["score"][400:500] < UNUSUAL).all()


def test_a_spike_that_comes_again_is_less_news_each_time() -> None:
    values = noisy(3000)
    spikes = [500, 1000, 1500, 2000, 2500]
    for at in spikes:
        values[at] = 90.0
    found = verdicts(values)["views"][spikes, 0]
    assert found[0] > 1
    assert (found[1:] == 0).all()


def test_a_glitch_does_not_make_all_that_follows_look_alike() -> None:
    values = noisy(3000)
    values[1000], values[2500] = 1e9, 90.0
    found = verdicts(values)
    assert (found["score"][[1000, 2500]] >= UNUSUAL).all()


def test_level_shift_is_reported_and_not_at_every_point_of_it() -> None:
    found = verdicts(noisy(500) + noisy(200, seed=2, at=70.0))
    alarms = np.flatnonzero(found["score"][500:] >= UNUSUAL)
    assert alarms[0] == 0
    assert len(alarms) <= 3
    assert abs(found["next"][-1] - 70.0) < 1.0


def test_constant_series_is_silent_and_forecast_exactly() -> None:
    found = verdicts([7.0] * 1000)
    assert (found["score"] == 0.0).all()
    for name in ("next", "hour"):
        assert np.allclose(found[name][1:], 7.0, rtol=1e-12)
        assert np.allclose(found[f"{name}_90"][-1], 7.0, rtol=1e-9)


def test_change_of_a_constant_series_is_an_anomaly() -> None:
    assert verdicts([7.0] * 500 + [8.0])["score"][-1] >= UNUSUAL


def test_a_series_that_stands_still_for_the_first_time_is_unusual() -> None:
    found = verdicts(noisy(2000) + [50.0] * 150)
    still = found[2000:]
    assert still["score"].max() >= UNUSUAL
    assert VIEWS[still["view"][still["score"].argmax()]] in ("quiet", "spread")


@pytest.mark.parametrize("seed", range(5))
def test_a_missing_daily_peak_is_found_by_its_season(seed: int) -> None:
    day = np.array([100.0 if 96 <= n < 192 else 20.0 for n in range(DAY)] * 7)
    values = day + np.random.default_rng(seed).normal(0, 1, len(day))
    start = 6 * DAY + 96
    values[start : start + 96] -= 80.0
    found = verdicts(values)[start]
    assert found["score"] >= 0.99
    assert VIEWS[found["view"]] == "season"


def test_a_busy_sunday_is_found_where_sundays_are_quiet() -> None:
    day = np.arange(DAY * 35) // DAY
    values = np.where(day % 7 < 5, 100.0, 20.0) + np.random.default_rng(3).normal(0, 2, len(day))
    odd = slice(33 * DAY + 60, 33 * DAY + 72)  # the second day of the fifth week's end
    values[odd] = 100.0
    found = verdicts(values)
    assert found["views"][odd, VIEWS.index("season") - 1].max() > 2
    usual = found["views"][14 * DAY : 32 * DAY, VIEWS.index("season") - 1]
    assert (usual > 2).mean() < 0.02


def test_missing_points_and_uneven_intervals_hide_nothing() -> None:
    chance = np.random.default_rng(6)
    kept = np.sort(chance.choice(4000, 2600, replace=False))
    times = STEP_US * kept + chance.integers(0, STEP_US // 2, len(kept))
    values = 50 + 20 * np.sin(2 * np.pi * kept / DAY) + chance.normal(0, 1, len(kept))
    values[2000] += 60.0
    found = verdicts(values, times_us=times)
    assert found["score"][2000] >= UNUSUAL
    assert (found["score"][600:2000] >= UNUSUAL).sum() <= 3


@pytest.mark.parametrize("kind", ORDINARY)
def test_a_score_of_ordinary_points_is_a_probability(kind: str) -> None:
    scores = np.concatenate([verdicts(ORDINARY[kind](np.random.default_rng(seed), 8000))["score"][500:] for seed in range(4)])
    assert 0.005 < (scores >= 0.99).mean() < 0.018
    assert (scores >= 0.999).mean() < 0.003


@pytest.mark.parametrize("extreme", [1e308, -1e308, 5e-324, 0.0, LARGEST])
def test_extreme_values_keep_every_number_finite(extreme: float) -> None:
    rows = new_rows(1)
    found = verdicts([*noisy(100), extreme, -extreme, extreme, *noisy(100)], rows)
    for name in VERDICT.names or ():
        assert np.isfinite(found[name]).all(), name
    assert ((found["score"] >= 0) & (found["score"] <= 1)).all()
    for name in STATE.names or ():
        assert np.isfinite(rows[name]).all(), name


def test_a_point_late_by_an_hour_is_scored_and_not_learned() -> None:
    rows = new_rows(1)
    verdicts(noisy(600), rows)
    before = rows.copy()
    late = read_many(rows, np.zeros(2, int), np.array([90.0, 50.0]), np.full(2, STEP_US * 599 - HOUR_US))
    assert late["late"].tolist() == [1, 1]
    assert late["score"][0] >= UNUSUAL > late["score"][1]
    rows["n_late"] = 0
    assert rows.tobytes() == before.tobytes()


def test_a_repeated_point_is_not_learned_and_another_value_at_its_time_is() -> None:
    rows = new_rows(1)
    values = noisy(600)
    verdicts(values, rows)
    before = rows.copy()
    assert read_many(rows, np.zeros(1, int), np.array(values[-1:]), np.array([STEP_US * 599]))["late"][0] == 1
    assert rows.tobytes() == before.tobytes()
    assert read_many(rows, np.zeros(1, int), np.array([50.5]), np.array([STEP_US * 599]))["late"][0] == 0
    assert rows["points"][0] == 601


def test_of_two_clocks_the_one_ahead_is_learned() -> None:
    values, rows = noisy(1200), new_rows(1)
    times = STEP_US * np.arange(1200) - np.where(np.arange(1200) % 2, HOUR_US, 0)
    found = verdicts(values, rows, times)
    assert rows["points"][0] == 600
    assert (found["late"] == np.arange(1200) % 2).all()
    assert (found["score"] >= UNUSUAL).mean() < 0.01


def test_a_clock_that_was_set_back_is_believed_after_a_while() -> None:
    rows = new_rows(1)
    verdicts(noisy(200), rows)
    read_many(rows, np.zeros(1, int), np.array([50.0]), np.array([10**18]))
    back = verdicts(noisy(200, seed=2), rows, STEP_US * np.arange(200, 400))
    assert back["late"].sum() == PATIENCE - 1
    assert rows["last_us"][0] == STEP_US * 399


def test_times_far_apart_and_out_of_order_are_read() -> None:
    times = np.random.default_rng(4).integers(-(2**63), 2**63 - 1, 500)
    found = verdicts(np.random.default_rng(5).random(500), times_us=times)
    assert all(np.isfinite(found[name]).all() for name in VERDICT.names or ())


@pytest.mark.parametrize("kind", ORDINARY)
def test_intervals_hold_what_they_say(kind: str) -> None:
    values = ORDINARY[kind](np.random.default_rng(7), 6000)
    found = verdicts(values)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    hours = (sums[13:] - sums[1:-12]) / 12  # of the 12 points after each
    for name, truth in (("next", values[1:]), ("hour", hours)):
        for share, interval in ((0.5, found[f"{name}_50"]), (0.9, found[f"{name}_90"])):
            low, high = interval[1000 : len(truth)].T
            inside = ((low <= truth[1000:]) & (truth[1000:] <= high)).mean()
            assert abs(inside - share) < (0.02 if name == "next" and kind not in ("counts", "weekly counts") else 0.06), (
                name,
                share,
                inside,
            )


def test_forecast_of_a_daily_series_is_better_than_yesterday_and_than_the_last_value() -> None:
    values = ORDINARY["daily"](np.random.default_rng(8), 8 * DAY)
    found, truth = verdicts(values), values[1:]
    ours = np.abs(truth - found["next"][:-1])[4 * DAY :].mean()
    assert ours < 0.8 * np.abs(values[DAY:] - values[:-DAY])[3 * DAY :].mean()
    assert ours < 0.8 * np.abs(np.diff(values))[4 * DAY :].mean()
