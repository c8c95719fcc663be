"""The feed reads while anybody looks, and who comes after a pause sees what came meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.codec import Codec, encoder
from sinks.console import feed as feeds
from sinks.console.attention import Attention
from sinks.console.board import Board
from sinks.console.feed import READ, Feed
from tests.console.events import item

AWAKE_S = 0.5


class Reading:
    """A feed at work, and a producer of what it reads."""

    def __init__(self, feed: Feed, board: Board, producer: AIOKafkaProducer, topic: str):
        self.feed, self.board, self._producer, self._topic = feed, board, producer, topic
        self.watched = False

    async def send(self, session: str, count: int = 1) -> None:
        for n in range(count):
            await self._producer.send(self._topic, encoder("input_stream")(item(n, session=session)), key=session.encode())
        await self._producer.flush()


@pytest.fixture
async def reading(broker: str, topic_prefix: str) -> AsyncIterator[Reading]:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    await admin.create_topics([NewTopic(topic_prefix + name, 2, 1) for name in READ])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()
    board = Board()
    feed = Feed(broker, topic_prefix, Codec(), board, Attention(lambda: one.watched, AWAKE_S))
    one = Reading(feed, board, producer, topic_prefix + "input-stream")
    task = asyncio.create_task(feed.run())
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=10)
        await producer.stop()


async def until(fact: Callable[[], Any], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0.02)


@pytest.mark.broker
async def test_what_came_while_nobody_looked_is_there_when_somebody_does(reading: Reading) -> None:
    await asyncio.sleep(0.5)
    assert not reading.feed.connected, "it reads though nobody ever looked"
    await reading.send("early")
    await reading.feed.look()
    await until(lambda: reading.board.snapshot_of("early"))
    await asyncio.sleep(3 * AWAKE_S)
    await reading.send("meanwhile", 3)
    await asyncio.sleep(0.5)
    assert not reading.board.snapshot_of("meanwhile"), "it reads though nobody looks"
    began = time.monotonic()
    await reading.feed.look()
    assert time.monotonic() - began < feeds.CATCH_UP_S
    (shown,) = reading.board.snapshot_of("meanwhile")
    assert shown["items"] == 3
    assert reading.board.items == 4, "nothing is read twice"


@pytest.mark.broker
async def test_an_open_view_keeps_it_awake(reading: Reading) -> None:
    reading.watched = True
    await reading.feed.look()
    await asyncio.sleep(3 * AWAKE_S)
    await reading.send("seen")
    await until(lambda: reading.board.snapshot_of("seen"), 2.0)


@pytest.mark.broker
async def test_a_long_pause_is_not_read_whole(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "TOO_FAR_BEHIND", 20)
    for n in range(10):
        await reading.send(f"session-{n}", 10)
    await reading.feed.look()
    assert 15 <= reading.board.items <= 20
    assert reading.board.items + reading.board.skipped == 100


@pytest.mark.broker
async def test_a_feed_that_fails_reads_nothing_twice(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "RETRY_S", 0.1)
    reading.watched = True
    await reading.feed.look()
    await reading.send("one", 5)
    await until(lambda: reading.board.items == 5)

    async def broken(self: Feed, consumer: Any) -> None:
        monkeypatch.undo()
        raise TimeoutError("gone for a moment")

    monkeypatch.setattr(Feed, "_keep_up", broken)
    await until(lambda: not reading.feed.connected)
    await reading.send("two", 3)
    await until(lambda: reading.board.snapshot_of("two"))
    assert reading.board.items == 8
    assert sum(second.outputs for second in reading.board.seconds) == 8


async def test_a_console_that_reads_nothing_lets_nobody_wait() -> None:
    feed = Feed("127.0.0.1:1", "", Codec(), Board(), Attention(lambda: False))
    began = time.monotonic()
    await feed.look()
    assert time.monotonic() - began < 0.5


async def test_attention_lasts_a_while_after_a_look_and_wakes_who_waits() -> None:
    watched = False
    attention = Attention(lambda: watched, 0.1)
    assert not attention.is_awake()
    waiting = asyncio.create_task(attention.awake())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    attention.look()
    await asyncio.wait_for(waiting, 1)
    assert attention.is_awake()
    await asyncio.sleep(0.15)
    assert not attention.is_awake()
    watched = True
    assert attention.is_awake()


async def test_who_looks_again_does_not_wait_for_a_kafka_that_is_away() -> None:
    feed = Feed("127.0.0.1:1", "", Codec(), Board(), Attention(lambda: True))
    task = asyncio.create_task(feed.run())
    await until(lambda: "no Kafka answers" in feed.problem)
    began = time.monotonic()
    await feed.look()
    assert time.monotonic() - began < 0.5
    task.cancel()
    await asyncio.wait([task], timeout=10)
