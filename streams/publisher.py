"""Publish many records at once, in order per partition, and wait for all acknowledgements.

Knows aiokafka's producer and its batches; leaves what is published to emit.py and the changelogs to changelog.py.
Next: streams/changelog.py
"""

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from mode import Service

from schemas.errors import StrataError

MAX_BATCH_BYTES = 900_000
"""Below the broker's default message.max.bytes of 1,048,588, so that only a single large record can be refused."""
PATIENCE_S = 90.0
"""How long a batch may wait for a broker that is away."""

MAX_TOGETHER_BYTES = 15 << 20
"""Of rows that must arrive together; below the changelogs' max.message.bytes. No session has so many, but a broker that refuses stops us."""
RECORD_BYTES = 40
"""Of a record in a batch beside key and value, at most."""

METADATA_S = 5.0
"""How long to wait for a topic to be known."""

Row = tuple[bytes, bytes | None]
NO_HEADERS: list[tuple[str, bytes]] = []


class Outgoing(NamedTuple):
    """One record to publish; its bytes are ready."""

    topic: str
    partition: int | None
    """None: where murmur2 of the key says, as Java's producer."""
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp_ms: int | None = None
    """None: now."""


class PublishError(StrataError):
    """Kafka did not take a record; the worker stops, and its input is replayed."""

    retriable = True


class Publisher(Service):
    """One idempotent producer (acks=all) for outputs and changelogs, started and stopped with the app."""

    def __init__(self, bootstrap: str, max_request_bytes: int, compression: str | None = None, client_id: str = "strata"):
        super().__init__()
        self._settings = {
            "bootstrap_servers": bootstrap,
            "client_id": client_id,
            "acks": "all",
            "enable_idempotence": True,
            "linger_ms": 0,
            "max_batch_size": MAX_BATCH_BYTES,
            "max_request_size": max_request_bytes,
            "compression_type": compression,
            "request_timeout_ms": int(PATIENCE_S * 1000),
        }
        self._producer: AIOKafkaProducer | None = None
        self._partitioner = DefaultPartitioner()

    async def on_start(self) -> None:
        self._producer = AIOKafkaProducer(**self._settings)
        await self._producer.start()

    async def on_stop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def publish(self, outputs: Iterable[Outgoing]) -> None:
        """Publish all and return when Kafka has acknowledged all. Raises PublishError."""
        batches = _Batches(self._running())
        for topic, partition, key, value, headers, timestamp_ms in outputs:
            if partition is None:
                partition = await self.partition_of(topic, key)
            batches.add(topic, partition, key, value, headers, timestamp_ms)
        await batches.send()

    async def write_changelog(self, topic: str, partition: int, rows: Iterable[Row]) -> int:
        """Publish rows of one partition; None is a tombstone. Returns the offset of the last one. Raises PublishError.

        Neighbours whose keys are the same up to a NUL are one session's: they go into one batch, which Kafka takes whole or not at all.
        """
        batches = _Batches(self._running())
        for _, together in itertools.groupby(rows, key=lambda row: row[0].partition(b"\0")[0]):
            batches.add_together(topic, partition, list(together))
        return await batches.send()

    async def partition_of(self, topic: str, key: bytes | None) -> int:
        """The partition a key belongs to: murmur2, as Java's and aiokafka's producers have it."""
        partitions = sorted(await self._running().partitions_for(topic))
        return self._partitioner(key, partitions, partitions)

    async def partition_count(self, topic: str) -> int:
        """Number of partitions of a topic, 0 when it does not exist."""
        try:
            return len(await asyncio.wait_for(self._running().partitions_for(topic), METADATA_S))
        except TimeoutError:
            return 0

    def _running(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise PublishError("the producer is not running; publish only between the app's start and stop")
        return self._producer


class _Batches:
    """Record batches under construction, in order per partition."""

    def __init__(self, producer: AIOKafkaProducer):
        self._producer = producer
        self._open: dict[tuple[str, int], BatchBuilder] = {}
        self._full: list[tuple[tuple[str, int], BatchBuilder]] = []

    def add(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        timestamp_ms: int | None,
    ) -> None:
        place = (topic, partition)
        if not isinstance(headers, list):
            headers = list(headers)
        builder = self._open.get(place)
        if builder is None:
            builder = self._open[place] = self._producer.create_batch()
        if builder.append(key=key, value=value, timestamp=timestamp_ms, headers=headers) is None:
            self._full.append((place, builder))
            builder = self._open[place] = self._producer.create_batch()
            builder.append(key=key, value=value, timestamp=timestamp_ms, headers=headers)

    def add_together(self, topic: str, partition: int, rows: list[Row]) -> None:
        """Rows that must arrive together: what recovers a session may not find half of them."""
        if len(rows) > 1:
            size, place = sum(len(key) + len(value or b"") + RECORD_BYTES for key, value in rows), (topic, partition)
            builder = self._open.get(place)
            if builder is not None and builder.size() + size > MAX_BATCH_BYTES:
                self._full.append((place, builder))
                del self._open[place]
            if MAX_BATCH_BYTES < size <= MAX_TOGETHER_BYTES:
                self._open[place] = BatchBuilder(size, 0)
        for key, value in rows:
            self.add(topic, partition, key, value, [], None)

    async def send(self) -> int:
        """Hand all to the producer, then wait. Returns the last offset of the last batch, -1 when there was nothing."""
        sent = []
        try:
            for (topic, partition), builder in [*self._full, *self._open.items()]:
                builder.close()
                sent.append((topic, builder.record_count(), await self._producer.send_batch(builder, topic, partition=partition)))
            done = await asyncio.gather(*[future for _, _, future in sent])
        except KafkaError as problem:
            topics = ", ".join(sorted({topic for topic, _ in [*self._open]}))
            raise PublishError(f"Kafka did not take records for {topics}: {problem!r}; their input will be replayed") from problem
        return done[-1].offset + sent[-1][1] - 1 if done else -1
