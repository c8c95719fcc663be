"""Rows of one session are one batch of Kafka's, whatever their size and their neighbours: a recovering worker never finds half of them."""

import asyncio
from typing import Any

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder

from streams.publisher import MAX_BATCH_BYTES, Publisher


class Producer:
    """What aiokafka's producer does with batches, kept."""

    def __init__(self) -> None:
        self.sent: list[BatchBuilder] = []

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(MAX_BATCH_BYTES, 0)

    async def send_batch(self, builder: BatchBuilder, topic: str, *, partition: int) -> Any:
        self.sent.append(builder)
        done = asyncio.get_running_loop().create_future()
        done.set_result(type("Meta", (), {"offset": 100}))
        return done


async def sent(monkeypatch: pytest.MonkeyPatch, rows: list[tuple[bytes, bytes | None]]) -> list[int]:
    """Records of each batch, in order."""
    producer = Producer()
    monkeypatch.setattr(Publisher, "_running", lambda self: producer)
    last = await Publisher("127.0.0.1:1", 16 << 20).write_changelog("t", 0, rows)
    counts = [builder.record_count() for builder in producer.sent]
    assert last == 100 + counts[-1] - 1
    assert sum(counts) == len(rows)
    return counts


def session(name: str, n_rows: int, size: int) -> list[tuple[bytes, bytes | None]]:
    return [*((name.encode() + b"\0%d" % n, b"x" * size) for n in range(n_rows)), (name.encode(), b"head")]


async def test_a_session_that_does_not_fit_any_more_begins_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row for n in range(10) for row in session(f"s{n}", 30, 10_000)]  # 300 KB each: two fit beside each other
    assert await sent(monkeypatch, rows) == [62, 62, 62, 62, 62]


async def test_a_session_larger_than_a_batch_has_one_of_its_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*session("a", 3, 100), *session("large", 400, 10_000), *session("b", 3, 100)]
    assert await sent(monkeypatch, rows) == [4, 401, 4]


async def test_rows_of_their_own_fill_batches_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = await sent(monkeypatch, [(b"k%d" % n, b"x" * 10_000) for n in range(200)])
    assert len(counts) == 3
    assert counts[0] > 85
