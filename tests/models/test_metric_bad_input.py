"""Whatever points say, a session goes on: every answer is finite, its state stays small, and what was wrong costs itself alone."""

import json
import math
import random
from typing import Any

import pytest

from models.metric_model import MetricModel
from models.metric_settings import MetricSettings
from models.steps import Accumulated, Answer, Item, Notice, Work

MINUTE_US = 60_000_000
START_US = 1_767_225_600_000_000
MODEL = MetricModel(MetricSettings(max_series=100))


def run(points: list[tuple[str, float, int]], how: Accumulated | None = None, chunk: int = 500) -> tuple[list[Any], Any]:
    """(series, value, time) of one session -> findings and state; every answer is checked on the way."""
    state, found = None, []
    for at in range(0, len(points), chunk):
        part = [
            Item(at + n, "", at_us, name=name, value=value, accumulated=how, wants_label=True)
            for n, (name, value, at_us) in enumerate(points[at : at + chunk])
        ]
        (result,) = MODEL.step([Work("metrics/a", state, part)])
        assert result.error is None, result.error
        state = result.state
        found += [f for item in result.items for f in item.findings]
    for answer in found:
        if isinstance(answer, Answer):
            json.dumps(answer.output, allow_nan=False)
            assert answer.value is not None
            assert math.isfinite(answer.value)
            assert answer.task == "forecast" or 0.0 <= answer.value <= 1.0
    finals = [a for a in found if isinstance(a, Answer) and a.task == "anomaly" and a.is_final]
    assert len(finals) == len(points)
    return found, state


def noise(n: int, seed: int = 1) -> list[float]:
    chance = random.Random(seed)
    return [chance.gauss(50, 1) for _ in range(n)]


@pytest.mark.parametrize("extreme", [1e308, -1e308, 5e-324, 0.0])
@pytest.mark.parametrize("how", [None, Accumulated("cumulative", 5), Accumulated("delta", 5)], ids=["gauge", "cumulative", "delta"])
def test_extreme_values_keep_every_answer_finite(extreme: float, how: Accumulated | None) -> None:
    values = [*noise(100), extreme, -extreme, extreme, *noise(300)]
    run([("x", v, START_US + n * MINUTE_US) for n, v in enumerate(values)], how)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_fails_by_name_and_leaves_the_state(bad: float) -> None:
    _, state = run([("x", v, START_US + n * MINUTE_US) for n, v in enumerate(noise(50))])
    before = MODEL.pack(state)
    (result,) = MODEL.step([Work("metrics/a", state, [Item(50, "", START_US, name="x", value=bad)])])
    assert "wanted a finite number" in str(result.error)
    assert result.state is state
    assert MODEL.pack(state) == before


def test_a_constant_series_is_never_an_anomaly_until_it_moves() -> None:
    found, state = run([("x", 7.0, START_US + n * MINUTE_US) for n in range(2000)])
    assert not [a for a in found if a.task in ("anomaly", "incident") and a.label == "anomaly"]
    (result,) = MODEL.step([Work("metrics/a", state, [Item(2000, "", START_US + 2000 * MINUTE_US, name="x", value=8.0)])])
    assert result.items[0].findings[0].value > 0.9  # type: ignore[union-attr]


def test_a_point_an_hour_late_is_answered_and_moves_no_forecast() -> None:
    points = [("x", v, START_US + n * MINUTE_US) for n, v in enumerate(noise(600))]
    found, _ = run(points)
    late = [*points[:500], ("x", 50.0, START_US + 440 * MINUTE_US), *points[500:]]
    other, _ = run(late)
    said = next(a for a in other if a.span_start == 500 and a.task == "anomaly")
    assert "late" in said.output["reason"]
    forecasts = [[a.value for a in some if a.task == "forecast"] for some in (found, other)]
    assert forecasts[0][500:] == forecasts[1][501:]


def test_two_sources_with_clocks_an_hour_apart_are_read_to_the_end() -> None:
    points = []
    for n, v in enumerate(noise(600)):
        points += [("x", v, START_US + n * MINUTE_US), ("x", v + 1, START_US + (n - 60) * MINUTE_US)]
    found, _ = run(points)
    reasons = [a.output["reason"] for a in found if a.task == "anomaly" and a.span_start > 0 and "level" not in a.output]
    assert sum("late" in reason for reason in reasons) >= 599
    found, _ = run(points, Accumulated("cumulative", 5))
    reasons = [a.output["reason"] for a in found if a.task == "anomaly" and "level" not in a.output]
    assert reasons.count("not after the counter's last point") == 600


def test_times_at_the_ends_of_the_calendar_are_read() -> None:
    chance = random.Random(2)
    ends = (0, 1, START_US, 2**62, 2**62 + 1)
    run([("x", v, chance.choice(ends)) for v in noise(500)])
    run([("x", v, chance.choice(ends)) for v in noise(500)], Accumulated("cumulative", 0))


def test_a_flood_of_names_costs_bounded_memory_and_few_notices() -> None:
    flood = [(f"n{n}" if n % 2 else "known", float(n % 5), START_US + n * 1000) for n in range(40_000)]
    found, state = run(flood, chunk=4000)
    assert len(state.series) == 100
    assert len(MODEL.pack(state)) < 100 * 1000
    assert len(MODEL.pack_head(state)) < 20_000
    assert len([f for f in found if isinstance(f, Notice)]) < 20
    assert state.series["known"].reads == 20_000  # the flood never pushed it out


def test_a_histogram_of_any_shape_is_read() -> None:
    chance, state = random.Random(3), None
    for n in range(300):
        size = chance.randrange(0, 6)
        edges = tuple(sorted(chance.choice((-1e300, -1.0, 0.0, 0.0, 1.0, 1e300)) for _ in range(size + 1))) if size else ()
        counts = tuple(chance.choice((0.0, 1.0, 2.0**63)) for _ in range(size))
        how = Accumulated("cumulative", chance.choice((0, 5)), chance.choice((0.5, 0.99)) if size else None, edges, counts)
        (result,) = MODEL.step([Work("metrics/a", state, [Item(n, "", START_US + n * MINUTE_US, name="h", value=0.0, accumulated=how)])])
        assert result.error is None
        state = result.state
        assert all(math.isfinite(f.value) for f in result.items[0].findings)  # type: ignore[union-attr, arg-type]
