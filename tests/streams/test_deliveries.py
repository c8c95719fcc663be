"""Deliveries follow each other, overlap with what comes next, hold up a rebalance, and their failure is not lost."""

import asyncio
from collections.abc import Awaitable, Callable

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


class Told:
    """Deliveries that say what they do, and wait where they are told to."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.held: dict[str, asyncio.Event] = {}

    def step(self, name: str) -> Callable[[], Awaitable[None]]:
        async def step() -> None:
            self.lines.append(f"begin {name}")
            if name in self.held:
                await self.held[name].wait()
            await asyncio.sleep(0.002)
            self.lines.append(f"end {name}")

        return step

    async def begin(self, deliveries: Deliveries, n: int) -> None:
        await deliveries.begin(self.step(f"publish {n}"), self.step(f"settle {n}"))

    def before(self, first: str, second: str) -> bool:
        return self.lines.index(first) < self.lines.index(second)


async def test_each_publishes_after_the_one_before_has_and_settles_after_that_has_settled() -> None:
    consumer, told = Consumer(), Told()
    deliveries = Deliveries(lambda: consumer)
    for n in range(5):
        await told.begin(deliveries, n)
        assert f"end settle {n}" not in told.lines, "it overlaps with what comes after"
        assert consumer.working, "a rebalance waits for it"
    await deliveries.finished()
    for n in range(4):
        assert told.before(f"end publish {n}", f"begin publish {n + 1}")
        assert told.before(f"end settle {n}", f"begin settle {n + 1}")
    assert sorted(told.lines) == sorted(
        f"{when} {what} {n}" for when in ("begin", "end") for what in ("publish", "settle") for n in range(5)
    )
    assert not consumer.working


async def test_one_publishes_while_the_one_before_settles_and_no_third_begins() -> None:
    consumer, told = Consumer(), Told()
    deliveries = Deliveries(lambda: consumer)
    told.held["settle 0"] = asyncio.Event()
    await told.begin(deliveries, 0)
    await told.begin(deliveries, 1)
    third = asyncio.create_task(told.begin(deliveries, 2))
    await asyncio.sleep(0.02)
    assert told.lines == ["begin publish 0", "end publish 0", "begin settle 0", "begin publish 1", "end publish 1"]
    assert not third.done()
    told.held["settle 0"].set()
    await third
    await deliveries.finished()
    assert told.lines[-1] == "end settle 2"


async def test_while_partitions_move_it_is_delivered_at_once() -> None:
    consumer, told = Consumer(), Told()
    deliveries = Deliveries(lambda: consumer)
    await told.begin(deliveries, 0)
    consumer.streaming = False
    await told.begin(deliveries, 1)
    assert told.lines[-4:] == ["begin publish 1", "end publish 1", "begin settle 1", "end settle 1"]
    assert told.before("end settle 0", "begin publish 1")


@pytest.mark.parametrize("failing", ["publish", "settle"])
async def test_a_failure_reaches_the_agent_and_nothing_later_is_settled(failing: str) -> None:
    consumer, told = Consumer(), Told()
    deliveries = Deliveries(lambda: consumer)

    async def fail() -> None:
        await asyncio.sleep(0.005)
        raise OSError("Kafka is away")

    steps = {"publish": told.step("publish 0"), "settle": told.step("settle 0")} | {failing: fail}
    await deliveries.begin(steps["publish"], steps["settle"])

    async def go_on() -> None:
        await told.begin(deliveries, 1)
        await deliveries.finished()

    with pytest.raises(OSError, match="away"):
        await go_on()
    await asyncio.sleep(0.02)
    assert not any("settle 1" in line for line in told.lines)
    assert not consumer.working
