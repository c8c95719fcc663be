"""What a step is: how many batches it takes, when it may begin, and what is decoded while it is at work; needs no broker."""

import asyncio
import random
from typing import Any

import pytest
from faust.types import TP

from streams import batching, gathering
from streams.batching import Batch
from streams.gathering import LEAST_RECORDS, STEP_S, StepSize, decode_ahead, gather
from tests.streams.unconnected_worker import TOKENS, UnconnectedWorker


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


async def test_a_step_is_all_that_is_there_up_to_its_limit(worker: UnconnectedWorker) -> None:
    for p in range(3):
        worker.deliver(TOKENS[p], 0, 10)
    worker.deliver(TOKENS[0], 10, 10)
    steps = gather(worker.stream())
    steps.size = Fixed(25)
    assert [(b.partition, b.first_offset) for b in await anext(steps)] == [(0, 0), (1, 0)]
    assert [(b.partition, b.first_offset) for b in await anext(steps)] == [(2, 0), (0, 10)]
    worker.deliver(TOKENS[1], 10, 99)
    assert [len(b) for b in await anext(steps)] == [99]  # one that is larger than a step is a step


@pytest.mark.parametrize("record_s", [15e-6, 7e-4])
def test_a_step_is_what_is_worked_on_for_a_while(record_s: float) -> None:
    size, chance = StepSize(), random.Random(1)
    for _ in range(30):
        size.note(size.records, 0.003 + size.records * record_s * chance.uniform(0.9, 1.1))
    assert 0.7 * STEP_S < size.records * record_s < 1.3 * STEP_S


async def test_what_a_step_waits_for_makes_it_no_smaller(worker: UnconnectedWorker, clock: Clock) -> None:
    waited = 0.0
    steps = gather(worker.stream(), waited_s=lambda: waited)
    for n in range(6):
        worker.deliver(TOKENS[0], 10_000 * n, 10_000)
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


async def test_batches_are_half_of_what_a_step_can_take_and_changelogs_come_whole(worker: UnconnectedWorker, clock: Clock) -> None:
    consumer, changelog = worker.consumer, TP("app-table-changelog", 0)
    consumer._is_changelog_tp = lambda tp: tp == changelog  # type: ignore[method-assign]
    assert consumer.most_records(TOKENS[0]) == batching.FIRST_BATCH
    assert consumer.most_records(changelog) == 4000
    steps = gather(worker.stream())
    for n in range(12):  # each step is full, and quick
        worker.deliver(TOKENS[0], 10_000 * n, 10_000)
        await anext(steps)
        clock.now += 0.001
    assert consumer.most_records(TOKENS[0]) == 4000
    assert consumer.most_records(TP("another", 0)) == batching.FIRST_BATCH


async def test_stale_batches_are_not_handed_out(worker: UnconnectedWorker) -> None:
    worker.deliver(TOKENS[0], 0)
    worker.consumer.forget([TOKENS[0]])
    worker.deliver(TOKENS[1], 5)
    assert [b.partition for b in await anext(gather(worker.stream()))] == [1]
    steps = decode_ahead(gather(worker.stream()), lambda batch: batch.first_offset)
    worker.deliver(TOKENS[0], 0)
    worker.deliver(TOKENS[2], 7)
    worker.consumer.forget([TOKENS[0]])
    assert [at for _, at in await anext(steps)] == [7]
    await steps.aclose()


async def test_batches_are_decoded_while_the_step_before_is_at_work(worker: UnconnectedWorker) -> None:
    decoded = []

    def decode(batch: Batch) -> int:
        decoded.append(batch.first_offset)
        return batch.first_offset

    steps = decode_ahead(gather(worker.stream()), decode)
    worker.deliver(TOKENS[0], 0)
    assert [at for _, at in await anext(steps)] == [0]
    worker.deliver(TOKENS[0], 1)
    worker.deliver(TOKENS[1], 2)
    await asyncio.sleep(0.01)  # the body works
    assert decoded == [0, 1, 2]
    assert [at for _, at in await anext(steps)] == [1, 2]
    await steps.aclose()


async def test_what_decode_raises_reaches_the_agent(worker: UnconnectedWorker) -> None:
    steps = decode_ahead(gather(worker.stream()), lambda batch: 1 // 0)
    worker.deliver(TOKENS[0], 0)
    with pytest.raises(ZeroDivisionError):
        await anext(steps)


async def test_an_idle_agent_gets_an_empty_step(worker: UnconnectedWorker) -> None:
    assert await anext(gather(worker.stream(), idle_s=0.02)) == []
    steps = decode_ahead(gather(worker.stream(), idle_s=0.02), lambda batch: None)
    assert await anext(steps) == []
    assert await anext(steps) == []
    await steps.aclose()


async def test_no_step_begins_while_partitions_move(worker: UnconnectedWorker) -> None:
    worker.consumer.streaming = False
    worker.deliver(TOKENS[0], 0)
    waiting = asyncio.create_task(anext(gather(worker.stream(), idle_s=0.01)))  # type: ignore[arg-type]
    await asyncio.sleep(0.05)
    assert not waiting.done()
    waiting.cancel()


async def test_a_rebalance_waits_for_the_step_at_work_and_for_no_other(worker: UnconnectedWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = []

    async def commit(**_: Any) -> bool:
        commits.append(worker.committable())
        return True

    monkeypatch.setattr(worker.consumer, "commit", commit)
    steps = gather(worker.stream())
    steps.size = Fixed(1)
    worker.deliver(TOKENS[0], 0)
    worker.deliver(TOKENS[0], 1)
    step = await anext(steps)
    emptied = asyncio.create_task(worker.consumer.wait_empty())
    await asyncio.sleep(0.02)
    assert not emptied.done()
    step[0].ack()
    nothing = asyncio.create_task(anext(steps))  # type: ignore[arg-type]
    await asyncio.wait_for(emptied, 1)
    assert commits == [{TOKENS[0]: 1}]
    assert not nothing.done()
    nothing.cancel()


async def test_a_rebalance_does_not_wait_for_ever(worker: UnconnectedWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    async def commit(**_: Any) -> bool:
        return True

    monkeypatch.setattr(worker.consumer, "commit", commit)
    monkeypatch.setattr(batching, "BODY_GRACE_S", 0.05)
    worker.deliver(TOKENS[0], 0)
    await anext(gather(worker.stream()))
    await asyncio.wait_for(worker.consumer.wait_empty(), 1)
