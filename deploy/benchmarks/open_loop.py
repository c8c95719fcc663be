"""An open loop: records are sent when they are due whatever comes back, and latency counts from when they were due.

So a program that stalls is charged for all that waited meanwhile (no coordinated omission), and so is a load that was late. Knows schedules
and arrivals; leaves programs and curves to loaded.py. A session lives for LIFE records and is followed by another; lives end at different times.
Next: deploy/benchmarks/load.py
"""

import asyncio
import math
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from deploy.benchmarks.contest import BenchError
from deploy.benchmarks.load import PARTITIONS, Desk, partition_of
from deploy.replay import load_samples

SESSIONS = 50
LIFE = 200
"""Records of a session."""
SETTLE_S = 40.0
BEHIND_S = 0.25
"""How long the consumer still listens after all is committed."""


@dataclass(frozen=True)
class Spread:
    """Delays, milliseconds."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


@dataclass(frozen=True)
class Arrival:
    """One record of the target as a consumer saw it."""

    at: float
    """Seconds since the epoch."""
    key: bytes
    value: bytes


@dataclass
class Played:
    """What was sent and what came."""

    due: dict[tuple[int, int], float] = field(default_factory=dict)
    """Partition and offset of a record -> when it was due, seconds since the epoch."""
    order: dict[bytes, list[float]] = field(default_factory=dict)
    """Key -> when its records were due, in order."""
    arrivals: list[Arrival] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    """How late each record was handed to the producer, milliseconds."""
    took_s: float = 0.0
    """From the first record's due time until the last one was committed."""

    @property
    def sent(self) -> int:
        return len(self.late)


def spread(delays: Sequence[float]) -> Spread:
    """Percentiles by nearest rank: the smallest delay that so many are not above."""
    ordered = sorted(delays)
    if not ordered:
        raise BenchError("nothing arrived; look at the log of the program that was measured")

    def at(share: float) -> float:
        return ordered[max(0, math.ceil(len(ordered) * share) - 1)]

    return Spread(len(ordered), at(0.5), at(0.95), at(0.99), at(0.999), ordered[-1])


def session_of(number: int, run: str) -> tuple[bytes, int, bool]:
    """Key of record `number`, its index in its session, and whether it ends it."""
    seat, turn = number % SESSIONS, number // SESSIONS
    shifted = turn + seat * LIFE // SESSIONS
    first = seat * LIFE // SESSIONS if shifted < LIFE else 0
    index = shifted % LIFE - first
    return f"{run}-{seat:02d}-{shifted // LIFE}".encode(), index, shifted % LIFE == LIFE - 1


async def play(bootstrap: str, source: str, target: str, group: str, rate: float, seconds: float, topic: str = "tokens") -> Played:
    """Send at `rate` records a second over SESSIONS sessions and listen to `target`, until all is committed by `group`."""
    texts = [item for sample in load_samples(modalities=(topic,)) for item in sample.items]
    played, run, n = Played(), f"open-{uuid.uuid4().hex[:6]}", round(rate * seconds)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=0)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, max_poll_records=5000)
    places = [TopicPartition(target, p) for p in range(PARTITIONS)]
    await producer.start()
    await consumer.start()
    consumer.assign(places)
    await consumer.seek_to_end(*places)
    for place in places:
        await consumer.position(place)  # only then is it really at the end
    listening = asyncio.create_task(_listen(consumer, played.arrivals))
    try:
        sent = list[tuple[float, asyncio.Future[Any]]]()
        begun, begun_wall = time.monotonic() + 0.1, time.time() + 0.1
        for number in range(n):
            due = number / rate
            if (left := begun + due - time.monotonic()) > 0:
                await asyncio.sleep(left)
            played.late.append(max(0.0, time.monotonic() - begun - due) * 1000)
            key, index, ends = session_of(number, run)
            value = {
                "session_id": key.decode(),
                "timestamp": round(begun_wall + due, 6),
                **texts[(number % SESSIONS * 37 + index) % len(texts)],
            }
            if ends:
                value["end_of_session"] = True
            future = await producer.send(source, orjson.dumps(value), key=key, partition=partition_of(key.decode()))
            sent.append((begun_wall + due, future))
            played.order.setdefault(key, []).append(begun_wall + due)
        for at, future in sent:
            placed = await future
            played.due[placed.partition, placed.offset] = at
        async with Desk(bootstrap) as desk:
            await _committed(desk, group, source)
        played.took_s = time.monotonic() - begun
        await asyncio.sleep(BEHIND_S)
    finally:
        listening.cancel()
        await producer.stop()
        await consumer.stop()
    return played


async def _listen(consumer: AIOKafkaConsumer, arrivals: list[Arrival]) -> None:
    while True:
        for records in (await consumer.getmany(timeout_ms=1000)).values():
            now = time.time()
            arrivals += [Arrival(now, r.key, r.value) for r in records]


async def _committed(desk: Desk, group: str, source: str) -> None:
    deadline = time.monotonic() + SETTLE_S
    while (done := await desk.committed(group, source)) < (end := await desk.end(source)):
        if time.monotonic() > deadline:
            raise BenchError(f"group {group} has committed {done} of {end} records {SETTLE_S:.0f} s after the last; look at its log")
        await asyncio.sleep(0.1)


def delays_by_place(played: Played, place_of: Callable[[bytes], tuple[int, int]]) -> list[float]:
    """Milliseconds from when a record was due to when what it decided arrived; `place_of` reads the record's place from what arrived."""
    found = []
    for arrival in played.arrivals:
        at = played.due.get(place_of(arrival.value))
        if at is not None:
            found.append((arrival.at - at) * 1000)
    return found


def delays_by_order(played: Played) -> list[float]:
    """The same for a program that hands each record through: the n-th that arrives of a key is the n-th that was sent."""
    seen: dict[bytes, int] = {}
    found = []
    for arrival in played.arrivals:
        due = played.order.get(arrival.key)
        if due is None:
            continue
        number = seen.get(arrival.key, 0)
        seen[arrival.key] = number + 1
        if number < len(due):
            found.append((arrival.at - due[number]) * 1000)
    return found
