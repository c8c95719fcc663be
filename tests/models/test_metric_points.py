"""Counters and histograms as values: rates that survive resets, late points and two sources; quantiles of what came lately."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.metric_points import MAX_SOURCES, difference, look, quantile
from models.steps import Accumulated

S = 1_000_000


def seen(points, start_us=0, temporality="cumulative"):
    """(seconds, value) or (seconds, value, start in seconds) -> what each shows: a rate or a reason."""
    counters, found = (), []
    for at, value, *start in points:
        how = Accumulated(temporality, start[0] * S if start else start_us)
        shown, counters = look(counters, how, value, at * S)
        found.append(shown.reason or shown.value)
    return found


def test_a_cumulative_counter_is_its_rate_per_second() -> None:
    assert seen([(10, 100), (20, 150), (40, 150), (41, 151)]) == ["first point of a counter", 5.0, 0.0, 1.0]


def test_a_fallen_counter_began_anew_after_its_last_point() -> None:
    assert seen([(10, 100), (20, 30), (30, 60)]) == ["first point of a counter", 3.0, 3.0]


def test_a_later_start_is_a_reset_even_where_the_value_rose() -> None:
    assert seen([(10, 100, 1), (20, 200, 15), (30, 260, 15)]) == ["first point of a counter", 40.0, 6.0]


def test_two_sources_under_one_name_keep_their_own_rates() -> None:
    points = [(t, v, s) for t in range(10, 100, 10) for v, s in ((1000 + 3 * t, 1), (5 * t, 2))]
    found = seen(points)
    assert found[:2] == ["first point of a counter"] * 2
    assert found[2::2] == [3.0] * 8
    assert found[3::2] == [5.0] * 8


def test_late_and_repeated_points_show_nothing_and_change_nothing() -> None:
    assert seen([(10, 100), (20, 200), (20, 200), (15, 150), (30, 300)]) == [
        "first point of a counter",
        10.0,
        "not after the counter's last point",
        "not after the counter's last point",
        10.0,
    ]


def test_a_delta_is_a_rate_over_its_own_time_or_since_the_point_before() -> None:
    assert seen([(10, 50, 0), (20, 30, 0)], temporality="delta") == ["first point of a counter", 3.0]
    assert seen([(10, 50, 5), (20, 30, 10), (9, 8, 8)], temporality="delta") == [10.0, 3.0, 8.0]
    assert seen([(10, 50, 10)], temporality="delta") == ["not after the time it was counted from"]


@given(
    st.lists(st.tuples(st.integers(-100, 100), st.floats(-1e308, 1e308), st.integers(0, 20)), max_size=40),
    st.sampled_from(["delta", "cumulative"]),
)
def test_any_points_give_finite_values_and_few_counters(points, temporality) -> None:
    counters = ()
    for at, value, start in points:
        shown, counters = look(counters, Accumulated(temporality, start), value, at)
        assert math.isfinite(shown.value)
        assert len(counters) <= MAX_SOURCES


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 59))
def test_rates_of_a_counter_add_up_to_what_it_counted_whatever_resets(steps, reset_at) -> None:
    """Each point a second after the one before; at `reset_at` the process begins anew and says so."""
    points, total, start = [(1, 0, 0)], 0, 0
    for n, step in enumerate(steps):
        if n == reset_at:
            total, start = 0, n + 1
        total += step
        points.append((n + 2, total, start))
    assert sum(seen(points)[1:]) == pytest.approx(sum(steps))


def test_a_quantile_lies_where_so_many_are_below() -> None:
    edges, counts = (0.0, 10.0, 20.0, 40.0), (10.0, 20.0, 10.0)
    assert [quantile(edges, counts, q) for q in (0.0, 0.25, 0.5, 0.75, 1.0)] == [0.0, 10.0, 15.0, 20.0, 40.0]
    assert quantile(edges, (0.0, 0.0, 0.0), 0.5) is None


def test_a_cumulative_histogram_shows_only_what_came_since_the_point_before() -> None:
    edges = (0.0, 1.0, 2.0, 3.0)

    def at(t, *counts):
        return Accumulated("cumulative", 0, 0.5, edges, counts), 0.0, t * S

    shown, counters = look((), *at(10, 100.0, 0.0, 0.0))
    assert shown.reason == "first point of a counter"
    shown, counters = look(counters, *at(20, 100.0, 0.0, 50.0))
    assert shown.value == 2.5
    shown, counters = look(counters, *at(30, 100.0, 0.0, 50.0))
    assert shown.reason == "nothing observed since the point before"
    shown, _ = look(counters, *at(40, 0.0, 10.0, 0.0))  # begun anew
    assert shown.value == 1.5


def test_a_cumulative_mean_is_that_of_what_came_since() -> None:
    counters = ()
    found = []
    for t, mean, count in ((10, 2.0, 4.0), (20, 3.0, 8.0), (30, 3.0, 8.0)):
        shown, counters = look(counters, Accumulated("cumulative", 0, counts=(count,)), mean, t * S)
        found.append(shown.reason or shown.value)
    assert found == ["first point of a counter", 4.0, "nothing observed since the point before"]


@pytest.mark.parametrize("seed", range(5))
def test_buckets_made_coarser_meanwhile_subtract_exactly(seed) -> None:
    """An exponential histogram halves its resolution and widens as its range grows: each new edge was one, or lies outside."""
    chance = random.Random(seed)
    edges = tuple(2.0 ** (k / 2) for k in range(-6, 7))
    old = tuple(float(chance.randrange(20)) for _ in edges[1:])
    coarse_edges = (0.0625, *edges[::2], 16.0)
    grown = tuple(float(chance.randrange(20)) for _ in coarse_edges[1:])
    merged = (0.0, *(a + b for a, b in zip(old[::2], old[1::2], strict=True)), 0.0)
    new = tuple(a + b for a, b in zip(merged, grown, strict=True))
    assert difference(coarse_edges, new, edges, old) == pytest.approx(grown)
