"""Incidents: unusual points that belong together are one, with a start, an end and a peak; ordinary series open few, whatever they are like."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.false_alarms import RISE, Alarm, Pace, after, alarmed, digits_of, needed, score_of
from models.incidents import moment as shown
from models.metric_model import MetricModel
from models.metric_settings import MetricSettings
from models.steps import Answer, Item, Work

STEP_US = 300_000_000
DAY = 288
"""Points."""


def answers(columns: dict[str, np.ndarray], per_day: float = 0.3, ends: bool = True) -> list[Answer]:
    """Of a session whose series have a point each at each time."""
    items, n = [], len(next(iter(columns.values())))
    for at in range(n):
        for name, values in columns.items():
            items.append(Item(len(items), "", at * STEP_US, name=name, value=float(values[at]), wants_label=True))
    if ends:
        items[-1] = Item(len(items) - 1, "", n * STEP_US, name=items[-1].name, value=items[-1].value, ends_session=True)
    (result,) = MetricModel(MetricSettings(per_day)).step([Work("metrics/a", None, items)])
    assert result.error is None
    return [f for item in result.items for f in item.findings if isinstance(f, Answer)]


def incidents(found: list[Answer], is_final: bool = True, since: int = 0) -> list[Answer]:
    """Those that begin at position `since` or later: before a fault, chance may have its few."""
    return [a for a in found if a.task == "incident" and a.is_final == is_final and a.span_start >= since]


def calm(n: int, seed: int = 0) -> np.ndarray:
    """It never repeats and never leaves its range: whatever is unusual in it was put there."""
    t = np.arange(n) + 1000 * seed
    return 50 + np.sin(0.7 * t) + np.sin(0.31 * t) / 2


def test_one_fault_is_one_incident_with_start_end_and_peak() -> None:
    values = calm(800)
    values[600:620] += np.linspace(15, 60, 20)
    (one,) = incidents(answers({"cpu": values}), since=590)
    assert one.span_start == 600
    assert 618 <= one.span_end <= 632
    assert one.label == "anomaly"
    assert one.output["start"] == "1970-01-03T02:00:00Z"
    assert one.output["end"] > one.output["start"]
    assert one.output["peak_series"] == "cpu"
    assert one.span_start <= one.output["peak_position"] < one.span_end
    assert one.output["series"]["cpu"]["contribution"] == 1.0
    assert one.value == one.output["series"]["cpu"]["score"]


def test_partial_answers_grow_into_the_final_one_and_points_keep_theirs() -> None:
    values = calm(800)
    values[600:620] += np.linspace(15, 60, 20)
    found = answers({"cpu": values})
    partial, (final,) = incidents(found, False, 590), incidents(found, True, 590)
    assert partial
    assert {p.span_start for p in partial} == {final.span_start}
    assert [p.span_end for p in partial] == sorted(p.span_end for p in partial)
    assert all(p.value <= final.value for p in partial)
    points = [a for a in found if a.task == "anomaly" and a.is_final and "level" not in a.output]
    assert [a.span_start for a in points] == list(range(800))


def test_series_are_named_in_the_order_in_which_they_moved() -> None:
    columns = {name: calm(800, seed) for seed, name in enumerate(("disk", "queue", "latency", "idle"))}
    columns["queue"][600:630] += 40
    columns["latency"][602:630] += 60
    columns["disk"][603:630] += 50
    found = answers(columns)
    (one,) = incidents(found, since=4 * 590)
    assert one.output["order"] == ["queue", "latency", "disk"]
    assert sum(s["contribution"] for s in one.output["series"].values()) == pytest.approx(1.0, abs=1e-3)
    whole = found[-1]
    assert (whole.task, whole.is_final, whole.span_start, whole.span_end, whole.label) == ("anomaly", True, 0, 3200, "anomaly")
    assert whole.output["incidents"] == len(incidents(found))
    assert set(list(whole.output["contributions"])[:3]) == {"queue", "latency", "disk"}


def test_the_sessions_answer_is_given_while_it_goes_on_when_it_changes() -> None:
    values = calm(800)
    values[600:620] += 50
    running = [a for a in answers({"cpu": values}) if a.output.get("level") == "session" and not a.is_final]
    assert [a.label for a in running][-1] == "anomaly"
    assert running[-1].span_end > 600
    assert len(running) < 20
    ends = [a.span_end for a in running]
    assert ends == sorted(ends)


def test_two_faults_far_apart_are_two_incidents_and_an_open_one_ends_with_its_session() -> None:
    values = calm(4000)
    values[1000:1010] += 60
    values[3995:] += 90
    found = answers({"cpu": values})
    assert [i.span_start for i in incidents(found, since=990)] == [1000, 3995]
    assert [a.task for a in found[-2:]] == ["incident", "anomaly"]


@pytest.mark.parametrize("moment", [10**18, -(10**17)])
def test_times_without_a_year_are_told_in_seconds(moment: int) -> None:
    assert shown(moment)


def normal_kinds(n: int, seed: int) -> dict[str, np.ndarray]:
    """Series in which nothing is wrong."""
    rng, t = np.random.default_rng(seed), np.arange(n)
    walk, noise_ = np.cumsum(rng.normal(size=n)), rng.normal(size=n)
    slow = np.zeros(n)
    for i in range(1, n):
        slow[i] = 0.95 * slow[i - 1] + noise_[i]
    day = 10 * np.sin(2 * np.pi * t / DAY)
    return {
        "gauss": noise_,
        "student": rng.standard_t(3, n),
        "cauchy": rng.standard_cauchy(n),
        "slow": slow,
        "walk": walk,
        "daily": day + rng.normal(size=n),
        "weekly": day + np.where((t // DAY) % 7 >= 5, -15.0, 0.0) + rng.normal(size=n),
        "counts": rng.poisson(0.2, n).astype(float),
        "lognormal": rng.lognormal(0, 1, n),
        "spiky": rng.normal(50, 1, n) + np.where(rng.random(n) < 0.01, rng.exponential(40, n), 0),
        "rare": (rng.random(n) < 0.02).astype(float),
        "constant": np.full(n, 7.0),
    }


@pytest.fixture(scope="module")
def false_alarms() -> dict[float, dict[str, float]]:
    """Allowed a day -> kind -> incidents a day, over 30 days of points five minutes apart and two seeds; each series alone."""
    n, found = 30 * DAY, {}
    for per_day in (1.0, 0.3):
        model, works = MetricModel(MetricSettings(per_day)), []
        for seed in range(2):
            for kind, values in normal_kinds(n, seed).items():
                works.append(Work(kind, None, [Item(i, "", i * STEP_US, name="x", value=float(v)) for i, v in enumerate(values)]))
        counts: dict[str, float] = {}
        for work, result in zip(works, model.step(works), strict=True):
            counts[work.session] = counts.get(work.session, 0.0) + result.state.incidents / 60
        found[per_day] = counts
    return found


@pytest.mark.parametrize("per_day", [1.0, 0.3])
def test_normal_series_of_any_kind_open_no_more_incidents_a_day_than_is_allowed(false_alarms, per_day) -> None:
    assert {kind: rate for kind, rate in false_alarms[per_day].items() if rate > per_day} == {}
    assert sum(false_alarms[per_day].values()) > 0  # it is a bound that is met, not silence


def test_real_faults_are_found_at_the_same_setting() -> None:
    """A dozen times the series' own noise, for 20 points; in a walk and in slow noise a step of that size is rare, not new: some are missed."""
    found: dict[str, int] = {}
    for seed in range(4):
        for kind, values in normal_kinds(14 * DAY, seed).items():
            if kind in ("student", "cauchy", "counts", "lognormal", "spiky"):
                continue  # they have as much of themselves
            size = 12 * (np.std(np.diff(values)) if kind in ("walk", "slow") else np.std(values) or 1.0)
            values[13 * DAY : 13 * DAY + 20] += size
            starts = [i.span_start for i in incidents(answers({"x": values}, 0.3))]
            found[kind] = found.get(kind, 0) + any(13 * DAY - 12 <= at < 13 * DAY + 20 for at in starts)
    assert min(found.values()) >= 2, found
    assert sum(found.values()) >= 24, found  # of 28


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.integers(0, 3)), min_size=20, max_size=400), st.floats(0.01, 100.0))
def test_no_points_however_strange_open_more_than_days_allow_and_some_few(points, per_day) -> None:
    alarm, pace, opened = Alarm(), Pace(), 0
    at_us = 0
    for score, hours in points:
        at_us += hours * 3_600_000_000
        pace = after(pace, at_us)
        if digits_of(score) >= needed(alarm, pace, per_day):
            alarm, opened = alarmed(alarm, pace, per_day), opened + 1
    assert opened <= per_day * at_us / 86_400e6 + 12.0 / RISE + 1


def test_digits_and_scores_are_each_other() -> None:
    assert [digits_of(s) for s in (0.0, 0.9, 0.999)] == pytest.approx([0.0, 1.0, 3.0])
    assert score_of(digits_of(0.9995)) == pytest.approx(0.9995)
    assert math.isfinite(digits_of(1.0))


def test_pace_is_the_usual_time_between_points_through_gaps_and_times_that_go_back() -> None:
    pace = Pace()
    for n in range(100):
        pace = after(pace, n * 60_000_000)
    pace = after(after(pace, 10**12), 5)
    assert 60_000_000 <= pace.every_us < 90_000_000
    assert pace.newest_us == 10**12
