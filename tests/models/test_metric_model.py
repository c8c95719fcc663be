"""MetricModel: any split of a session gives the same answers, bytes and rows; one session's trouble stays its own."""

import random

import pytest

from models.config import ModelConfigError
from models.metric_model import MetricModel
from models.metric_series import SETTLED, TAIL_POINTS
from models.metric_settings import MetricSettings
from models.steps import Accumulated, Answer, Item, ItemResult, Notice, Work

MODEL = MetricModel(MetricSettings(max_false_alarms_per_day=1000.0, max_series=64))


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


def eventful(n: int, seed: int) -> list[Item]:
    """Gauges and counters that come and go, with moves large enough for incidents, an end in the middle, ticks, times that go back."""
    chance, found = random.Random(seed), []
    for k in range(n):
        name = "s0" if chance.random() < 0.5 else f"s{min(int(chance.expovariate(0.1) ** 1.7), 400)}"
        value = chance.gauss(10, 2) + (100_000 if k % 1200 > 1180 else 0)
        how = Accumulated("cumulative", chance.choice((0, 5)), None) if name[-1] in "37" else None
        at_us = k * 10_000_000 - (3_600_000_000 if chance.random() < 0.05 else 0)
        found.append(
            Item(
                k,
                "",
                at_us,
                name=name,
                value=value * (k if how else 1),
                accumulated=how,
                wants_label=k % 3 == 0,
                ends_session=k in (400, n - 1),
            )
        )
    return found


class Table:
    """What streams/sessions.py keeps of one session: a head, and rows of which it writes those that changed."""

    def __init__(self) -> None:
        self.head = b""
        self.rows: dict[bytes, bytes] = {}
        self.stored = None

    def store(self, state) -> int:
        changed = MODEL.pack_rows(state, self.stored)
        self.rows |= changed
        self.head, self.stored = MODEL.pack_head(state), state
        return len(self.head) + sum(len(k) + len(v) for k, v in changed.items())

    def load(self):
        self.stored = MODEL.unpack_rows(self.head, self.rows)
        return self.stored


def run(parts, state=None, repack=False):
    results: list[ItemResult] = []
    for part in parts:
        result = MODEL.step([Work("metrics/a", state, part)])[0]
        assert result.error is None, result.error
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


@pytest.mark.parametrize("seed", range(4))
def test_any_split_of_an_eventful_session_gives_the_same_answers_and_bytes(seed):
    whole = eventful(2500, seed)
    once, state = run([whole])
    split, split_state = run(random_parts(whole, seed), repack=seed % 2 == 1)
    assert split == once
    assert MODEL.pack(split_state) == MODEL.pack(state)
    tasks = {(f.task, f.is_final) for r in once for f in r.findings if isinstance(f, Answer)}
    assert tasks == {("anomaly", True), ("anomaly", False), ("forecast", True), ("incident", False), ("incident", True)}
    assert state.evicted > 50


@pytest.mark.parametrize("seed", range(4))
def test_rows_bring_back_the_state_to_the_bit_wherever_a_worker_stopped(seed):
    whole, chance, table, state = eventful(2500, seed), random.Random(seed), Table(), None
    once, final = run([whole])
    results: list[ItemResult] = []
    for part in random_parts(whole, seed + 10):
        given = state
        for some in (part[: len(part) // 2], part[len(part) // 2 :]):  # a step that is stored only once it is through
            found, given = run([some], given)
            results += found
        state = given
        table.store(state)
        if chance.random() < 0.3:
            state = table.load()
            assert MODEL.pack(state) == MODEL.pack(given)
    assert results == once
    assert MODEL.pack(state) == MODEL.pack(final)


def test_only_series_that_changed_are_written_and_a_point_costs_little():
    table, state = Table(), None
    _, state = run([[Item(n, "", n, name=f"s{n % 60}", value=float(n)) for n in range(60 * 40)]])
    table.store(state)
    size = 0
    for n in range(TAIL_POINTS * 4):
        _, state = run([[Item(2400 + n, "", n, name="s7", value=1.0)]], state)
        before = dict(table.rows)
        size += table.store(state)
        assert {key[:4] for key in table.rows if table.rows[key] is not before.get(key)} == {state.series["s7"].slot.to_bytes(4, "big")}
    assert size / (TAIL_POINTS * 4) < 700
    table.store(state)
    assert MODEL.pack_rows(state, state) == {}


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


def test_a_flood_of_names_stays_bounded_says_so_and_leaves_what_was_learnt():
    known = [Item(n, "", n, name=f"known {n % 40}", value=float(n % 7)) for n in range(40 * (SETTLED + 5))]
    _, before = run([known])
    flood = [Item(len(known) + n, "", n, name=f"series {n}", value=1.0) for n in range(5000)]
    results, state = run([flood], before)
    assert len(state.series) == 64
    assert len(MODEL.pack(state)) < 64 * 4096
    assert all(state.series[f"known {n}"] is before.series[f"known {n}"] for n in range(40))
    notices = [f for r in results for f in r.findings if isinstance(f, Notice)]
    assert [n.kind for n in notices] == ["SeriesLetGo"] * 13  # the 1st, 2nd, 4th, ... 4096th
    assert "max_series" in notices[0].text
    assert len(MODEL.pack_head(state)) < 4096


def test_series_that_are_gone_make_room_for_new_ones_that_stay():
    old = [Item(n, "", n, name=f"old {n % 64}", value=1.0) for n in range(64 * SETTLED)]
    new = [Item(len(old) + n, "", n, name=f"new {n % 60}", value=1.0) for n in range(60 * SETTLED * 20)]
    _, state = run([old, new])
    assert sum(name.startswith("new") for name in state.series) > 32


def test_a_counter_is_judged_by_its_rate_and_a_reset_is_no_anomaly():
    total, found = 0.0, []
    chance = random.Random(1)
    for n in range(400):
        total = 0.0 if n == 300 else total + 600 + chance.gauss(0, 10)
        found.append(Item(n, "", n * 60_000_000, name="requests", value=total, accumulated=Accumulated("cumulative")))
    results, _ = run([found])
    first = results[0].findings
    assert [(f.task, f.value, f.output["reason"]) for f in first] == [("anomaly", 0.0, "first point of a counter")]
    forecasts = [f.value for r in results[100:300] for f in r.findings if f.task == "forecast"]
    assert all(9.0 < value < 11.0 for value in forecasts)
    _, falls = run([[Item(n, "", n * 60_000_000, name="requests", value=i.value) for n, i in enumerate(found)]])
    assert falls.peaks[0].position == 300  # as a gauge the reset is the worst point


@pytest.mark.parametrize("settings", [MetricSettings(0.0), MetricSettings(float("nan")), MetricSettings(max_series=1)])
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(ModelConfigError, match="metrics"):
        MetricModel(settings)


def test_an_answer_on_demand_is_what_an_end_would_say_and_changes_nothing() -> None:
    _, state = run([items(120, ends=False)])
    before = MODEL.pack(state)
    (asked,) = MODEL.answer(Work("s/a", state, ()))
    (closed,) = MODEL.close(Work("s/a", state, ())).items[0].findings
    assert (asked.label, asked.value, asked.span_end, asked.is_final) == (closed.label, closed.value, closed.span_end, False)
    assert "level" not in asked.output
    assert MODEL.pack(state) == before
    assert MODEL.answer(Work("s/b", None, ())) == ()
