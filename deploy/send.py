"""Records of the command line -> Kafka: in order, at a rate, the last of each session marked as its end.

Knows how lines arrive (a file at once, standard input as it comes) and how they leave; leaves what a line means to produce.py.
"""

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer

from deploy.produce import ToSend, bytes_of
from deploy.replay import trace_headers
from schemas.codec import CONTENT_TYPES
from schemas.topics import MAX_MESSAGE_BYTES

ENDLESS = ("labels", "requests")
"""Topics whose records do not end a session."""
SAMPLED_SHARE = 0.01
IN_FLIGHT = 5000


@dataclass(frozen=True)
class Destination:
    """Where to, and how."""

    kafka_bootstrap: str
    topic: str
    """As the contract names it."""
    topic_prefix: str = ""
    encoding: str = "avro"
    ends: bool = False
    rate: float | None = None


@dataclass
class Sent:
    """What went out so far."""

    records: int = 0
    bytes: int = 0
    sessions: dict[str, None] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    def summary(self, topic: str) -> str:
        names = list(self.sessions)
        which = f"session {names[0]}" if len(names) == 1 else f"{len(names):,} sessions"
        return f"{self.records:,} records ({self.bytes:,} bytes) sent to {topic}, {which}, in {time.monotonic() - self.begun:.1f} s"


async def send(items: Iterable[ToSend], to: Destination, sent: Sent) -> None:
    """Send all, wait until the broker has them. Raises KafkaError, and what `items` raises; what came before is sent then."""
    producer = AIOKafkaProducer(
        bootstrap_servers=to.kafka_bootstrap,
        acks="all",
        enable_idempotence=True,
        client_id="strata-produce",
        max_request_size=MAX_MESSAGE_BYTES,
    )
    try:
        await producer.start()
        await deliver(items, to, sent, producer)
    finally:
        await producer.stop()


async def deliver(items: Iterable[ToSend], to: Destination, sent: Sent, producer: Any) -> None:
    """The loop of `send`, on any producer."""
    held: dict[str, ToSend] = {}  # session -> its newest record, kept back while it may be its last
    pending: list[Any] = []

    async def out(item: ToSend, is_last: bool) -> None:
        now_us = time.time_ns() // 1000
        value = bytes_of(item, to.topic, to.encoding, is_last, now_us)
        content = CONTENT_TYPES["json" if item.as_json is not None else to.encoding]
        headers = [("content-type", content), *trace_headers(item.session_id, sent.records, now_us, SAMPLED_SHARE)]
        key = item.session_id.encode("utf-8", "replace")
        pending.append(await producer.send(to.topic_prefix + to.topic, value=value, key=key, headers=headers))
        sent.records, sent.bytes = sent.records + 1, sent.bytes + len(value)
        sent.sessions[item.session_id] = None
        if len(pending) >= IN_FLIGHT:
            await asyncio.gather(*pending)
            pending.clear()

    begun, number, complete = time.monotonic(), 0, False
    try:
        async for item in _arriving(items):
            if to.rate and (wait_s := begun + number / to.rate - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            number += 1
            if to.ends and to.topic not in ENDLESS:
                item_before, held[item.session_id] = held.get(item.session_id), item
                if item_before is not None:
                    await out(item_before, False)
            else:
                await out(item, False)
        complete = True
    except asyncio.CancelledError:  # Ctrl-C: that is the end of what is sent
        complete = True
        raise
    finally:
        for item in held.values():
            await out(item, complete)
        await asyncio.gather(*pending)


async def _arriving(items: Iterable[ToSend]) -> AsyncIterator[ToSend]:
    """A list at once; anything else from a thread, since reading it may block."""
    if isinstance(items, list):
        for item in items:
            yield item
        return
    loop, queue, room = asyncio.get_running_loop(), asyncio.Queue[Any](), threading.Semaphore(IN_FLIGHT)
    end = object()

    def read() -> None:
        last: Any = end
        try:
            for item in items:
                room.acquire()
                loop.call_soon_threadsafe(queue.put_nowait, item)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return
        except Exception as problem:
            last = problem
        loop.call_soon_threadsafe(queue.put_nowait, last)

    threading.Thread(target=read, daemon=True).start()
    while (item := await queue.get()) is not end:
        if isinstance(item, Exception):
            raise item
        room.release()
        yield item


def stdin_lines() -> Iterator[bytes]:
    """Standard input line by line, as it comes. Read below Python's buffer, whose lock a waiting thread would hold at exit."""
    try:
        source = sys.stdin.fileno()
    except (OSError, ValueError):
        yield from sys.stdin.buffer
        return
    rest = b""
    while block := os.read(source, 65536):
        *lines, rest = (rest + block).split(b"\n")
        yield from (line + b"\n" for line in lines)
    if rest:
        yield rest
