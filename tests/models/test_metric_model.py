"""MetricModel: any split of a session gives the same answers and bytes; one session's trouble stays its own."""

import random
import time

import pytest

from models.metric_model import MAX_SERIES, MetricModel
from models.steps import Answer, Item, ItemResult, Work

MODEL = MetricModel()


def items(n: int, n_series: int = 3, seed: int = 1, ends: bool = True) -> list[Item]:
    chance = random.Random(seed)
    return [
        Item(
            k,
            "",
            k * 60_000_000,
            name=f"cpu{{core={chance.randrange(n_series)}}}",
            value=chance.gauss(10, 2),
            ends_session=ends and k == n - 1,
        )
        for k in range(n)
    ]


def run(parts, state=None, repack=False):
    results: list[ItemResult] = []
    for part in parts:
        result = MODEL.step([Work("metrics/a", state, part)])[0]
        assert result.error is None
        results += result.items
        state = MODEL.unpack(MODEL.pack(result.state)) if repack else result.state
    return results, state


def random_parts(all_items, seed):
    chance, parts, at = random.Random(seed), [], 0
    while at < len(all_items):
        size = chance.randrange(1, 40)
        parts.append(all_items[at : at + size])
        at += size
    return parts


@pytest.mark.parametrize("seed", range(4))
def test_any_split_gives_the_same_answers_and_bytes(seed):
    whole = items(700)
    once, state = run([whole])
    split, split_state = run(random_parts(whole, seed), repack=seed % 2 == 1)
    assert split == once
    assert MODEL.pack(split_state) == MODEL.pack(state)


def test_step_leaves_the_state_it_was_given():
    _, state = run([items(200, ends=False)])
    before = MODEL.pack(state)
    again = [MODEL.step([Work("metrics/a", state, items(50, seed=2))])[0] for _ in range(2)]
    assert MODEL.pack(state) == before
    assert again[0].items == again[1].items
    assert MODEL.pack(again[0].state) == MODEL.pack(again[1].state)


def test_every_point_has_one_final_anomaly_and_one_forecast():
    results, _ = run([items(100)])
    for n, result in enumerate(results[:-1]):
        assert [(a.task, a.span_start, a.span_end, a.is_final) for a in result.findings] == [
            ("anomaly", n, n + 1, True),
            ("forecast", n, n + 1, True),
        ]
        assert result.findings[1].label is None
        assert result.findings[1].output["low"] <= result.findings[1].value <= result.findings[1].output["high"]


def test_end_gives_one_answer_for_the_whole_session_and_close_no_second():
    results, state = run([items(100)])
    whole = results[-1].findings[-1]
    assert (whole.task, whole.span_start, whole.span_end, whole.is_final) == ("anomaly", 0, 100, True)
    assert MODEL.close(Work("metrics/a", state, ())).items == ()


def test_idle_session_is_closed_once():
    _, state = run([items(100, ends=False)])
    closed = MODEL.close(Work("metrics/a", state, ()))
    assert [(r.position, a.span_end) for r in closed.items for a in r.findings if isinstance(a, Answer)] == [(99, 100)]
    assert MODEL.close(Work("metrics/a", closed.state, ())).items == ()
    assert not state.is_closed


def test_one_bad_session_fails_alone_and_keeps_its_state():
    bad = [Item(0, "", 0, name="x", value="many")]  # type: ignore[arg-type]
    results = MODEL.step([Work("metrics/a", None, items(5)), Work("metrics/b", None, bad), Work("metrics/c", None, items(5))])
    assert [r.error is None for r in results] == [True, False, True]
    assert results[1].state is None
    assert results[0].items == results[2].items


def test_a_flood_of_series_stays_bounded():
    flood = [Item(n, "", n, name=f"series {n}", value=1.0) for n in range(5000)]
    _, state = run([flood])
    assert len(state.series) == MAX_SERIES
    assert len(MODEL.pack(state)) < MAX_SERIES * 2048


def test_speed_is_above_ten_thousand_points_a_second():
    some = items(5000)
    start = time.process_time()
    run([some])
    assert len(some) / (time.process_time() - start) > 10_000


def test_an_answer_on_demand_is_what_an_end_would_say_and_changes_nothing() -> None:
    _, state = run([items(120, ends=False)])
    before = MODEL.pack(state)
    (asked,) = MODEL.answer(Work("s/a", state, ()))
    (closed,) = MODEL.close(Work("s/a", state, ())).items[0].findings
    assert (asked.label, asked.value, asked.span_end, asked.is_final) == (closed.label, closed.value, closed.span_end, False)
    assert "level" not in asked.output
    assert MODEL.pack(state) == before
    assert MODEL.answer(Work("s/b", None, ())) == ()
