"""When a worker is ready, and when it is stopped: only where records really wait and nothing moves."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from streams.inference import LONG_STEP_S, STILL_S, Inference
from streams.watchdog import StuckError, Watchdog, _waits

PLACE = TP("labels", 2)


def consumer(position: int | None, committable: dict, committed: int | None, in_flight: dict | None = None) -> SimpleNamespace:
    """What the watchdog asks of a consumer; Faust calls an offset worth committing when none is committed at all."""
    assignment = SimpleNamespace(tps={PLACE}, state_value=lambda tp: SimpleNamespace(_position=position))
    real = SimpleNamespace(_subscription=SimpleNamespace(subscription=SimpleNamespace(assignment=assignment)))
    return SimpleNamespace(
        _thread=SimpleNamespace(_ensure_consumer=lambda: real),
        in_flight=in_flight or {},
        committable=committable,
        _should_commit=lambda tp, offset: committed is None or offset > committed,
    )


@pytest.mark.parametrize(
    ("one", "end", "expected"),
    [
        (consumer(0, {}, None), 0, False),  # never a record
        (consumer(None, {}, None), 0, False),
        (consumer(0, {}, None), 3, True),  # unread
        (consumer(3, {}, None, {PLACE: ["batch"]}), 3, True),  # at work
        (consumer(3, {PLACE: 3}, None), 3, True),  # acked, not committed
        (consumer(3, {PLACE: 3}, 3), 3, False),
    ],
)
def test_only_uncommitted_records_wait(one: SimpleNamespace, end: int, expected: bool) -> None:
    assert _waits(one, PLACE, {PLACE: end}) is expected  # type: ignore[arg-type]


def a_watchdog_since(then: float) -> Watchdog:
    watchdog = Watchdog(SimpleNamespace(consumer=SimpleNamespace(streaming=True)), stop_after_s=60)
    watchdog._progress = {PLACE: (7, then)}
    return watchdog


def test_a_long_step_that_goes_on_is_no_reason_to_stop_and_one_that_stands_still_is(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[Exception] = []
    monkeypatch.setattr(Watchdog, "_stop_worker", lambda self, problem: stopped.append(problem))
    for goes_on in (True, False):
        watchdog = a_watchdog_since(0.0)
        watchdog.step_goes_on = lambda now, goes_on=goes_on: goes_on  # type: ignore[misc]
        watchdog._judge(100.0)
        assert bool(stopped) is not goes_on
    watchdog = a_watchdog_since(0.0)
    watchdog.step_goes_on = lambda now: now < 101
    watchdog._judge(100.0)
    watchdog._judge(159.0)
    assert len(stopped) == 1, "counted from when it last went on"
    watchdog._judge(160.0)
    assert len(stopped) == 2


def test_a_step_goes_on_while_its_model_advances() -> None:
    model = SimpleNamespace(advanced_at=0.0)
    seen: list[bool] = []
    inference = Inference({"tokens": model}, None)  # type: ignore[dict-item, arg-type]

    def call() -> None:
        began = inference._began
        assert began is not None
        model.advanced_at = began + 50
        seen.extend(inference.goes_on(began + t) for t in (LONG_STEP_S - 1, 51, 50 + STILL_S - 1, 50 + STILL_S + 1))

    assert not inference.goes_on(1000.0), "no step"
    inference._timed_call(call)
    assert seen == [False, True, True, False]
    assert not inference.goes_on(model.advanced_at + 1), "the step is over"


class FakeConsumer:
    """A consumer of one partition whose offsets a test moves."""

    def __init__(self) -> None:
        self.streaming = True
        self.ends = {PLACE: 0}
        self.position = 0
        self._committed_offset: dict[TP, int] = {PLACE: 0}
        self.in_flight: dict[TP, Any] = {}
        self.committable: dict[TP, int] = {}
        self.halted = False
        states = SimpleNamespace(tps={PLACE}, state_value=lambda tp: SimpleNamespace(_position=self.position))
        subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=states))
        self._thread = SimpleNamespace(_ensure_consumer=lambda: SimpleNamespace(_subscription=subscription))

    def assignment(self) -> set[TP]:
        return {PLACE}

    def _is_changelog_tp(self, tp: TP) -> bool:
        return False

    async def highwaters(self, *tps: TP) -> dict[TP, int]:
        return self.ends

    def _should_commit(self, tp: TP, offset: int) -> bool:
        return offset > self._committed_offset[tp]

    def halt(self) -> None:
        self.halted = True


class FakeApp:
    """A worker that keeps what it would have died of."""

    def __init__(self) -> None:
        self.consumer = FakeConsumer()
        self.tables = SimpleNamespace(recovery=SimpleNamespace(active_offsets={PLACE: 5}))
        self.crashes: list[Exception] = []

    async def crash(self, problem: Exception) -> None:
        self.crashes.append(problem)

    def add_future(self, coro: Any) -> None:
        self.futures = [asyncio.ensure_future(coro)]


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Watchdog, FakeApp]:
    monkeypatch.setattr("streams.watchdog.exit_at_last", lambda seconds: None)
    app = FakeApp()
    return Watchdog(app, 60.0, tmp_path / "ready"), app


async def test_a_worker_with_nothing_to_do_stays_ready(watched: tuple[Watchdog, FakeApp], tmp_path: Path) -> None:
    dog, app = watched
    for now in range(0, 600, 5):
        await dog.check(float(now))
    assert dog.ready
    assert (tmp_path / "ready").exists()
    assert not app.crashes


async def test_a_worker_whose_commits_move_stays_ready(watched: tuple[Watchdog, FakeApp]) -> None:
    dog, app = watched
    for now in range(0, 600, 5):
        app.consumer.ends[PLACE] = now * 100 + 50
        app.consumer.position = app.consumer._committed_offset[PLACE] = now * 100
        await dog.check(float(now))
        assert dog.ready


async def test_a_frozen_commit_makes_not_ready_and_then_stops_the_worker(watched: tuple[Watchdog, FakeApp], tmp_path: Path) -> None:
    dog, app = watched
    app.consumer.ends[PLACE], app.consumer.position, app.consumer._committed_offset[PLACE] = 100, 40, 30
    states = []
    for now in range(0, 65, 5):
        app.consumer.ends[PLACE] += 10
        await dog.check(float(now))
        states.append((now, dog.ready, bool(app.consumer.halted)))
    assert [now for now, ready, _ in states if ready] == [0, 5, 10, 15, 20, 25]
    assert [now for now, _, halted in states if halted] == [60]
    await asyncio.sleep(0)
    assert isinstance(app.crashes[0], StuckError)
    assert "labels-2 (30) has not moved for 60 s" in str(app.crashes[0])
    assert not (tmp_path / "ready").exists()


async def test_a_batch_nobody_acks_is_a_frozen_commit_too(watched: tuple[Watchdog, FakeApp]) -> None:
    dog, app = watched
    app.consumer.in_flight[PLACE] = [object()]
    await dog.check(0.0)
    await dog.check(31.0)
    assert not dog.ready


async def test_a_recovery_that_goes_on_is_no_reason_to_stop_and_one_that_hangs_is(watched: tuple[Watchdog, FakeApp]) -> None:
    dog, app = watched
    app.consumer.streaming = False
    for now in range(0, 300, 5):
        app.tables.recovery.active_offsets[PLACE] += 1
        await dog.check(float(now))
        assert not dog.ready
    await asyncio.sleep(0)
    assert not app.crashes
    for now in range(300, 365, 5):
        await dog.check(float(now))
    await asyncio.sleep(0)
    assert "recovery of tables" in str(app.crashes[0])


async def test_a_broker_that_is_away_makes_not_ready_but_stops_nothing(watched: tuple[Watchdog, FakeApp]) -> None:
    dog, app = watched

    async def away(*_: Any) -> dict[TP, int]:
        raise ConnectionError("refused")

    app.consumer.ends[PLACE] = 100
    await dog.check(0.0)
    answers, app.consumer.highwaters = app.consumer.highwaters, away  # type: ignore[method-assign]
    for now in range(5, 300, 5):
        await dog.check(float(now))
        assert not dog.ready
        assert "refused" in dog.reason
    app.consumer.highwaters = answers  # type: ignore[method-assign]
    await dog.check(300.0)
    assert dog.ready
    assert not app.crashes
