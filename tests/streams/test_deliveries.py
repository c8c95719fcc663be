"""Deliveries follow each other, overlap with what comes next, hold up a rebalance, and their failure is not lost."""

import asyncio

import pytest

from streams.deliveries import Deliveries


class Consumer:
    """Counts the steps at work, as BatchConsumer does."""

    def __init__(self) -> None:
        self.streaming = True
        self.working: set[object] = set()

    def begin_step(self, who: object) -> bool:
        if self.streaming:
            self.working.add(who)
        return self.streaming

    def end_step(self, who: object) -> None:
        self.working.discard(who)


async def test_the_next_begins_only_when_the_one_before_has_ended() -> None:
    consumer, told = Consumer(), []
    deliveries = Deliveries(lambda: consumer)
    for n in range(3):

        async def deliver(n: int = n) -> None:
            told.append(f"begin {n}")
            await asyncio.sleep(0.01)
            told.append(f"end {n}")

        await deliveries.begin(deliver)
        assert f"end {n}" not in told, "it overlaps with what comes after"
        assert consumer.working, "a rebalance waits for it"
    await deliveries.finished()
    assert told == ["begin 0", "end 0", "begin 1", "end 1", "begin 2", "end 2"]
    assert not consumer.working


async def test_while_partitions_move_it_is_delivered_at_once() -> None:
    consumer, done = Consumer(), []
    consumer.streaming = False

    async def deliver() -> None:
        await asyncio.sleep(0.01)
        done.append(True)

    await Deliveries(lambda: consumer).begin(deliver)
    assert done == [True]


async def test_a_failure_reaches_the_agent_with_its_next_step() -> None:
    consumer = Consumer()
    deliveries = Deliveries(lambda: consumer)

    async def deliver() -> None:
        raise OSError("Kafka is away")

    await deliveries.begin(deliver)
    with pytest.raises(OSError, match="away"):
        await deliveries.finished()
    assert not consumer.working
