"""Laws of delivery that need no broker: what may be committed, what a step is, when a worker is ready."""

import asyncio
import logging
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import batching, gathering, polling
from streams.batching import MAX_IN_FLIGHT, Batch, BatchConsumer
from streams.delivery import App, decode_ahead, gather, make_app
from streams.gathering import LEAST_RECORDS, STEP_S, StepSize
from streams.running import SometimesFilter
from streams.watchdog import StuckError, Watchdog

TOKENS = [TP("tokens", p) for p in range(3)]


class Rec(SimpleNamespace):
    """A raw record."""


def records(first: int, count: int) -> list[Any]:
    return [Rec(offset=first + i, timestamp=1000, timestamp_type=0, key=b"k", value=b"v", headers=[]) for i in range(count)]


class Channel:
    """What the conductor knows of an agent's stream."""

    def __init__(self, app: App):
        self.queue = app.FlowControlQueue(maxsize=16)


class Harness:
    """A consumer that is not connected, with one agent's channel."""

    def __init__(self, app: App):
        self.app = app
        self.consumer: BatchConsumer = app.consumer  # type: ignore[assignment]
        self.channel = Channel(app)
        self.wakes = 0
        self.consumer._thread.wake = self._wake  # type: ignore[method-assign]
        app.topics._acking_topics.add("tokens")  # type: ignore[attr-defined]
        for tp in TOKENS:
            app.topics._tp_index[tp].add(self.channel)  # type: ignore[attr-defined]
        self.consumer._active_partitions.update(TOKENS)
        self.consumer.streaming = True

    def _wake(self) -> None:
        self.wakes += 1

    def deliver(self, tp: TP, first: int, count: int = 1) -> Batch:
        self.consumer._deliver(tp, records(first, count), first + count)
        return self.consumer.in_flight[tp][-1]

    def committable(self) -> dict[TP, int]:
        return self.consumer._filter_committable_offsets(self.consumer._filter_tps_with_pending_acks())

    def stream(self) -> Any:
        return SimpleNamespace(channel=self.channel, app=self.app)


@pytest.fixture
async def harness(tmp_path: Path) -> Harness:
    return Harness(make_app("unit", "127.0.0.1:1", tmp_path))


# -- what may be committed


async def test_only_offsets_below_every_unacked_batch_may_be_committed(harness: Harness) -> None:
    for seed in range(200):
        draw = random.Random(seed)
        harness.consumer.forget(TOKENS)
        sizes = [draw.randint(1, 5) for _ in range(draw.randint(1, 12))]
        starts = [sum(sizes[:i]) * 2 for i in range(len(sizes))]  # offsets with gaps, as compaction leaves them
        batches = [harness.deliver(TOKENS[0], start, size) for start, size in zip(starts, sizes, strict=True)]
        waiting = list(batches)
        while waiting:
            waiting.pop(draw.randrange(len(waiting))).ack()
            done = next((i for i, b in enumerate(batches) if b in waiting), len(batches))
            expected = {TOKENS[0]: batches[done - 1].last_offset + 1} if done else {}
            assert harness.committable() == expected


async def test_an_ack_counts_once(harness: Harness) -> None:
    first, second = harness.deliver(TOKENS[0], 0), harness.deliver(TOKENS[0], 1)
    first.ack()
    first.ack()
    assert harness.committable() == {TOKENS[0]: 1}
    second.ack()
    assert harness.committable() == {TOKENS[0]: 2}


async def test_a_batch_from_before_a_seek_changes_nothing(harness: Harness) -> None:
    old = harness.deliver(TOKENS[0], 10)
    harness.consumer.forget([TOKENS[0]])
    again = harness.deliver(TOKENS[0], 10)
    old.ack()
    assert old.stale
    assert harness.committable() == {}
    again.ack()
    assert harness.committable() == {TOKENS[0]: 11}


async def test_a_commit_that_failed_is_tried_again(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(self: Any, offsets: Any, start: bool = True) -> bool:
        self._committed_offset.update(offsets)  # as Faust does, refused or not
        return False

    monkeypatch.setattr(batching.Consumer, "_commit_offsets", refused)
    harness.deliver(TOKENS[0], 0).ack()
    await harness.consumer._commit_offsets(harness.committable())
    assert harness.committable() == {TOKENS[0]: 1}


async def test_a_partition_is_not_polled_while_its_batches_pile_up(harness: Harness) -> None:
    held = [harness.deliver(TOKENS[0], i) for i in range(MAX_IN_FLIGHT)]
    assert not harness.consumer.has_room(TOKENS[0])
    assert harness.consumer.has_room(TOKENS[1])
    held[1].ack()  # not the oldest: nothing is freed
    assert not harness.consumer.has_room(TOKENS[0])
    held[0].ack()
    assert harness.consumer.has_room(TOKENS[0])
    assert harness.wakes == 2  # the poll looks again


# -- steps


async def test_a_step_is_all_that_is_there_up_to_its_limit(harness: Harness) -> None:
    for p in range(3):
        harness.deliver(TOKENS[p], 0, 10)
    harness.deliver(TOKENS[0], 10, 10)
    steps = gather(harness.stream())
    steps.size = Fixed(25)
    assert [(b.partition, b.first_offset) for b in await anext(steps)] == [(0, 0), (1, 0)]
    assert [(b.partition, b.first_offset) for b in await anext(steps)] == [(2, 0), (0, 10)]
    harness.deliver(TOKENS[1], 10, 99)
    assert [len(b) for b in await anext(steps)] == [99]  # one that is larger than a step is a step


class Clock:
    """Seconds that pass as a test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock steps are timed by: what they took must not depend on how busy the machine is."""
    clock = Clock()
    monkeypatch.setattr(gathering, "time", clock)
    return clock


class Fixed(StepSize):
    """A step's size that learns nothing."""

    def __init__(self, records: int):
        super().__init__()
        self.records = records

    def note(self, n_records: int, took_s: float) -> None:
        pass


@pytest.mark.parametrize("record_s", [15e-6, 7e-4])
def test_a_step_is_what_is_worked_on_for_a_while(record_s: float) -> None:
    size, chance = StepSize(), random.Random(1)
    for _ in range(30):
        size.note(size.records, 0.003 + size.records * record_s * chance.uniform(0.9, 1.1))
    assert 0.7 * STEP_S < size.records * record_s < 1.3 * STEP_S


async def test_what_a_step_waits_for_makes_it_no_smaller(harness: Harness, clock: Clock) -> None:
    waited = 0.0
    steps = gather(harness.stream(), waited_s=lambda: waited)
    for n in range(6):
        harness.deliver(TOKENS[0], 10_000 * n, 10_000)
        await anext(steps)
        clock.now += 0.201
        waited += 0.2
    assert steps.size.records > 4000


def test_a_slow_step_makes_the_next_one_small_and_few_records_make_it_no_larger() -> None:
    size = StepSize()
    for _ in range(20):
        size.note(size.records, size.records * 15e-6)
    grown = size.records
    size.note(3, 0.0001)
    assert size.records <= grown
    size.note(grown, 0.05 * grown)
    assert size.records == LEAST_RECORDS


async def test_batches_are_half_of_what_a_step_can_take_and_changelogs_come_whole(harness: Harness, clock: Clock) -> None:
    consumer, changelog = harness.consumer, TP("app-table-changelog", 0)
    consumer._is_changelog_tp = lambda tp: tp == changelog  # type: ignore[method-assign]
    assert consumer.most_records(TOKENS[0]) == batching.FIRST_BATCH
    assert consumer.most_records(changelog) == 4000
    steps = gather(harness.stream())
    for n in range(12):  # each step is full, and quick
        harness.deliver(TOKENS[0], 10_000 * n, 10_000)
        await anext(steps)
        clock.now += 0.001
    assert consumer.most_records(TOKENS[0]) == 4000
    assert consumer.most_records(TP("another", 0)) == batching.FIRST_BATCH


async def test_stale_batches_are_not_handed_out(harness: Harness) -> None:
    harness.deliver(TOKENS[0], 0)
    harness.consumer.forget([TOKENS[0]])
    harness.deliver(TOKENS[1], 5)
    assert [b.partition for b in await anext(gather(harness.stream()))] == [1]
    steps = decode_ahead(gather(harness.stream()), lambda batch: batch.first_offset)
    harness.deliver(TOKENS[0], 0)
    harness.deliver(TOKENS[2], 7)
    harness.consumer.forget([TOKENS[0]])
    assert [at for _, at in await anext(steps)] == [7]
    await steps.aclose()


async def test_batches_are_decoded_while_the_step_before_is_at_work(harness: Harness) -> None:
    decoded = []

    def decode(batch: Batch) -> int:
        decoded.append(batch.first_offset)
        return batch.first_offset

    steps = decode_ahead(gather(harness.stream()), decode)
    harness.deliver(TOKENS[0], 0)
    assert [at for _, at in await anext(steps)] == [0]
    harness.deliver(TOKENS[0], 1)
    harness.deliver(TOKENS[1], 2)
    await asyncio.sleep(0.01)  # the body works
    assert decoded == [0, 1, 2]
    assert [at for _, at in await anext(steps)] == [1, 2]
    await steps.aclose()


async def test_what_decode_raises_reaches_the_agent(harness: Harness) -> None:
    steps = decode_ahead(gather(harness.stream()), lambda batch: 1 // 0)
    harness.deliver(TOKENS[0], 0)
    with pytest.raises(ZeroDivisionError):
        await anext(steps)


async def test_an_idle_agent_gets_an_empty_step(harness: Harness) -> None:
    assert await anext(gather(harness.stream(), idle_s=0.02)) == []
    steps = decode_ahead(gather(harness.stream(), idle_s=0.02), lambda batch: None)
    assert await anext(steps) == []
    assert await anext(steps) == []
    await steps.aclose()


async def test_no_step_begins_while_partitions_move(harness: Harness) -> None:
    harness.consumer.streaming = False
    harness.deliver(TOKENS[0], 0)
    waiting = asyncio.create_task(anext(gather(harness.stream(), idle_s=0.01)))  # type: ignore[arg-type]
    await asyncio.sleep(0.05)
    assert not waiting.done()
    waiting.cancel()


async def test_a_rebalance_waits_for_the_step_at_work_and_for_no_other(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = []

    async def commit(**_: Any) -> bool:
        commits.append(harness.committable())
        return True

    monkeypatch.setattr(harness.consumer, "commit", commit)
    steps = gather(harness.stream())
    steps.size = Fixed(1)
    harness.deliver(TOKENS[0], 0)
    harness.deliver(TOKENS[0], 1)
    step = await anext(steps)
    emptied = asyncio.create_task(harness.consumer.wait_empty())
    await asyncio.sleep(0.02)
    assert not emptied.done()
    step[0].ack()
    nothing = asyncio.create_task(anext(steps))  # type: ignore[arg-type]
    await asyncio.wait_for(emptied, 1)
    assert commits == [{TOKENS[0]: 1}]
    assert not nothing.done()
    nothing.cancel()


async def test_a_rebalance_does_not_wait_for_ever(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    async def commit(**_: Any) -> bool:
        return True

    monkeypatch.setattr(harness.consumer, "commit", commit)
    monkeypatch.setattr(batching, "BODY_GRACE_S", 0.05)
    harness.deliver(TOKENS[0], 0)
    await anext(gather(harness.stream()))
    await asyncio.wait_for(harness.consumer.wait_empty(), 1)


# -- polls


class Polled:
    """One partition as the consumer's thread sees it: what aiokafka holds after fetches, what is collected, what is taken."""

    def __init__(self, first: int = 0, most: int = 1000) -> None:
        state = SimpleNamespace(paused=False, position=first, _position=first)
        state.consumed_to = self.move
        self.state = state
        self.assignment = SimpleNamespace(active=True, state_value=lambda tp: state)
        self.fetcher = SimpleNamespace(_records={}, _notify=lambda future: None, _wait_consume_future=None)
        self.has_room = True
        self.thread = polling.BatchThread.__new__(polling.BatchThread)
        self.thread.consumer = SimpleNamespace(has_room=lambda tp: self.has_room, most_records=lambda tp: most)
        self.thread._collected, self.thread._on_the_way, self.thread._taken = {}, set(), asyncio.Event()
        self.first = first

    def move(self, position: int) -> None:
        self.state.position = self.state._position = position

    def fetch(self, sizes: list[int], key: bytes = b"k") -> None:
        """A fetch from where the partition stands brings one record per size; only when the fetcher holds none, as aiokafka has it."""
        assert TOKENS[0] not in self.fetcher._records
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 64 << 20)
        for i, size in enumerate(sizes):
            builder.append(i, 1000 + i, key, b"x" * size, [("h", b"1")])
        raw = bytearray(builder.build())
        raw[0:8] = self.state.position.to_bytes(8, "big")  # the base offset is the broker's to set
        source = PartitionRecords(TOKENS[0], MemoryRecords(bytes(raw)), [], self.state.position, None, None, False, 0)
        self.fetcher._records[TOKENS[0]] = FetchResult(TOKENS[0], assignment=self.assignment, partition_records=source, backoff=0)

    def collect(self) -> None:
        self.thread._collect(self.fetcher)

    def take(self) -> list[Any]:
        return next((records for records, _ in self.thread._take().values()), [])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 400_000), min_size=1, max_size=12), st.booleans()), min_size=1, max_size=8),
    st.integers(1, 12),
)
def test_polls_give_every_record_once_within_the_limits(fetches: list[tuple[list[int], bool]], most: int) -> None:
    one, seen, taken = Polled(70, most), list[int](), list[list[Any]]()
    for sizes, polls in [*fetches, *[([], True)] * 60]:
        if sizes:
            while TOKENS[0] in one.fetcher._records:  # full: aiokafka fetches no more of the partition until it is taken
                taken.append(one.take())
                one.collect()
            one.fetch(sizes)
        one.collect()
        if polls:
            taken.append(one.take())
    for batch in taken:
        assert len(batch) <= most
        assert sum(len(r.value or b"") for r in batch[:-1]) < polling.MAX_BATCH_BYTES
        seen += [r.offset for r in batch]
    assert seen == list(range(70, 70 + sum(len(sizes) for sizes, _ in fetches)))
    assert one.state.position == 70 + len(seen)
    assert not one.thread._collected


def test_what_comes_while_the_main_loop_is_busy_leaves_the_fetcher_empty() -> None:
    """A partition whose records lie with aiokafka is left out of the next fetch, which then waits for the others (FETCH_WAIT_MS)."""
    one = Polled()
    one.has_room = False
    for _ in range(3):
        one.fetch([3, 3])
        one.collect()
        assert not one.fetcher._records
        assert one.take() == []
    assert one.thread.holds(TOKENS[0])
    one.has_room = True
    assert [r.offset for r in one.take()] == [0, 1, 2, 3, 4, 5]


def test_a_record_keeps_key_value_headers_and_time() -> None:
    one = Polled()
    one.fetch([3], b"k0")
    one.collect()
    (record,) = one.take()
    assert (record.offset, record.timestamp, record.key, record.value, list(record.headers)) == (0, 1000, b"k0", b"xxx", [("h", b"1")])


def test_records_that_were_taken_are_held_until_the_main_loop_asks_for_more() -> None:
    """Until then a session they belong to is not silent."""
    one = Polled()
    one.fetch([3])
    one.collect()
    one.take()
    assert one.thread.holds(TOKENS[0])
    one.thread._on_the_way.clear()  # what the next poll begins with
    assert not one.thread.holds(TOKENS[0])


@pytest.mark.parametrize("collected", [False, True])
def test_nothing_is_taken_of_a_partition_that_was_sought_meanwhile(collected: bool) -> None:
    one = Polled()
    one.fetch([3, 3])
    if collected:
        one.collect()
    one.move(99)
    one.collect()
    assert one.take() == []
    assert one.state.position == 99


def test_nothing_is_taken_of_a_partition_that_left_meanwhile() -> None:
    one = Polled()
    one.fetch([3, 3])
    one.collect()
    one.assignment.active = False
    assert one.take() == []
    assert not one.thread.holds(TOKENS[0])


# -- readiness


class FakeConsumer:
    """What the watchdog asks."""

    def __init__(self) -> None:
        self.streaming = True
        self.ends = {TOKENS[0]: 0}
        self.position = 0
        self._committed_offset: dict[TP, int] = {TOKENS[0]: 0}
        self.in_flight: dict[TP, Any] = {}
        self.committable: dict[TP, int] = {}
        self.halted = False
        states = SimpleNamespace(tps={TOKENS[0]}, state_value=lambda tp: SimpleNamespace(_position=self.position))
        subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=states))
        self._thread = SimpleNamespace(_ensure_consumer=lambda: SimpleNamespace(_subscription=subscription))

    def assignment(self) -> set[TP]:
        return {TOKENS[0]}

    def _is_changelog_tp(self, tp: TP) -> bool:
        return False

    async def highwaters(self, *tps: TP) -> dict[TP, int]:
        return self.ends

    def _should_commit(self, tp: TP, offset: int) -> bool:
        return offset > self._committed_offset[tp]

    def halt(self) -> None:
        self.halted = True


class FakeApp:
    def __init__(self) -> None:
        self.consumer = FakeConsumer()
        self.tables = SimpleNamespace(recovery=SimpleNamespace(active_offsets={TOKENS[0]: 5}))
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
        app.consumer.ends[TOKENS[0]] = now * 100 + 50
        app.consumer.position = app.consumer._committed_offset[TOKENS[0]] = now * 100
        await dog.check(float(now))
        assert dog.ready


async def test_a_frozen_commit_makes_not_ready_and_then_stops_the_worker(watched: tuple[Watchdog, FakeApp], tmp_path: Path) -> None:
    dog, app = watched
    app.consumer.ends[TOKENS[0]], app.consumer.position, app.consumer._committed_offset[TOKENS[0]] = 100, 40, 30
    states = []
    for now in range(0, 65, 5):
        app.consumer.ends[TOKENS[0]] += 10
        await dog.check(float(now))
        states.append((now, dog.ready, bool(app.consumer.halted)))
    assert [now for now, ready, _ in states if ready] == [0, 5, 10, 15, 20, 25]
    assert [now for now, _, halted in states if halted] == [60]
    await asyncio.sleep(0)
    assert isinstance(app.crashes[0], StuckError)
    assert "tokens-0 (30) has not moved for 60 s" in str(app.crashes[0])
    assert not (tmp_path / "ready").exists()


async def test_a_batch_nobody_acks_is_a_frozen_commit_too(watched: tuple[Watchdog, FakeApp]) -> None:
    dog, app = watched
    app.consumer.in_flight[TOKENS[0]] = [object()]
    await dog.check(0.0)
    await dog.check(31.0)
    assert not dog.ready


async def test_a_recovery_that_goes_on_is_no_reason_to_stop_and_one_that_hangs_is(watched: tuple[Watchdog, FakeApp]) -> None:
    dog, app = watched
    app.consumer.streaming = False
    for now in range(0, 300, 5):
        app.tables.recovery.active_offsets[TOKENS[0]] += 1
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

    app.consumer.ends[TOKENS[0]] = 100
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


def test_logs_of_one_kind_are_let_through_now_and_then() -> None:
    sometimes = SometimesFilter()

    def record(text: str) -> logging.LogRecord:
        return logging.LogRecord("aiokafka.conn", logging.ERROR, "", 0, text, None, None)

    assert sometimes.filter(record("away"))
    assert not any(sometimes.filter(record("away")) for _ in range(1000))
    assert sometimes.filter(record("other"))
