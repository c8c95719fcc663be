"""The benchmark's input, and what the broker knows of a run: filled topics, commits, ends, times of the last records.

Knows records and Kafka clients; leaves programs and clocks to contest.py.
Next: deploy/benchmarks/contest.py
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from deploy.replay import load_samples
from schemas.topics import MAX_MESSAGE_BYTES

SESSIONS = 1000
PARTITIONS = 8
EVERY = 10
"""Records of a session to one output."""
EPOCH_S = 1_767_225_600
STEP_US = 50
"""Event time between two records: 20 a second for each session."""
CHUNK = 40_000
"""Records filled at a time."""


@dataclass(frozen=True)
class Places:
    """Topics of one run."""

    source: str
    target: str
    changelog: str
    group: str


def partition_of(session_id: str) -> int:
    """Where Kafka's default partitioner puts the session."""
    return (murmur2(session_id.encode()) & 0x7FFFFFFF) % PARTITIONS


def expected_outputs(records: int) -> int:
    """Predictions that `records` records make: sessions take turns, one for each ten of a session."""
    full, rest = divmod(records, SESSIONS)
    return (SESSIONS - rest) * (full // EVERY) + rest * ((full + 1) // EVERY)


def records(count: int) -> Iterable[tuple[int, bytes, bytes]]:
    """(partition, key, value): pieces of real text as JSON, of sessions that take turns."""
    pieces = [orjson.dumps(item["text"]) for sample in load_samples(modalities=("tokens",)) for item in sample.items]
    homes = [(f"session-{i:04d}", partition_of(f"session-{i:04d}")) for i in range(SESSIONS)]
    named = [(partition, name.encode(), b'{"session_id":"%s","text":' % name.encode()) for name, partition in homes]
    for i in range(count):
        partition, key, begin = named[i % SESSIONS]
        moment_s, moment_us = divmod(i * STEP_US, 1_000_000)
        yield partition, key, b'%s%s,"timestamp":%d.%06d}' % (begin, pieces[i % len(pieces)], EPOCH_S + moment_s, moment_us)


def warm_up() -> Iterable[tuple[int, bytes, bytes]]:
    """Some records for each partition, too few for an output."""
    found: dict[int, str] = {}
    for i in range(200):
        found.setdefault(partition_of(f"warm-{i}"), f"warm-{i}")
    for partition, name in sorted(found.items()):
        for _ in range(EVERY - 1):
            yield partition, name.encode(), b'{"session_id":"%s","text":"warm ","timestamp":%d}' % (name.encode(), EPOCH_S)


class Desk:
    """Clients of one benchmark; `async with` starts and stops them."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    async def __aenter__(self) -> "Desk":
        self._producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, max_batch_size=900_000, max_request_size=MAX_MESSAGE_BYTES)
        self._admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        self._consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, enable_auto_commit=False, max_poll_records=5000)
        for client in (self._producer, self._admin, self._consumer):
            await client.start()
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self._producer.stop()
        await self._consumer.stop()
        await self._admin.close()

    async def create(self, places: Places) -> None:
        """The topics of a rival."""
        plain = [NewTopic(t, PARTITIONS, -1, replica_assignments={}) for t in (places.source, places.target)]
        compact = {"cleanup.policy": "compact"}
        await self._admin.create_topics(
            [*plain, NewTopic(places.changelog, PARTITIONS, -1, replica_assignments={}, topic_configs=compact)], timeout_ms=30_000
        )
        await asyncio.sleep(1.0)  # until all have leaders

    async def remove(self, prefix: str) -> None:
        """All topics of a run."""
        names = [name for name in await self._admin.list_topics() if prefix in name]  # a peer puts words of its own in front
        if names:
            await self._admin.delete_topics(names, timeout_ms=30_000)

    async def fill(self, topic: str, rows: Iterable[tuple[int, bytes, bytes]]) -> int:
        """Append all, in large batches. Returns how many."""
        count, open_batches, sent = 0, dict[int, Any](), list[Any]()
        for partition, key, value in rows:
            batch = open_batches.get(partition) or open_batches.setdefault(partition, self._producer.create_batch())
            if batch.append(key=key, value=value, timestamp=None) is None:
                sent.append(await self._hand_over(topic, partition, batch))
                batch = open_batches[partition] = self._producer.create_batch()
                batch.append(key=key, value=value, timestamp=None)
            count += 1
        for partition, batch in open_batches.items():
            sent.append(await self._hand_over(topic, partition, batch))
        await asyncio.gather(*sent)
        return count

    async def _hand_over(self, topic: str, partition: int, batch: Any) -> Any:
        batch.close()
        return await self._producer.send_batch(batch, topic, partition=partition)

    async def committed(self, group: str, topic: str) -> int:
        """Records of the topic that the group has committed."""
        try:
            answer = await self._admin.list_consumer_group_offsets(group)
        except KafkaError:
            return 0
        return sum(found.offset for place, found in answer.items() if place.topic == topic and found.offset > 0)

    async def end(self, topic: str) -> int:
        """Records of the topic."""
        return sum((await self._consumer.end_offsets(_places(topic))).values())

    async def last_append_ms(self, topics: Sequence[str]) -> int:
        """Kafka's time of the newest record of these topics, milliseconds."""
        ends = await self._consumer.end_offsets([place for topic in topics for place in _places(topic)])
        wanted = {place: end - 1 for place, end in ends.items() if end}
        self._consumer.assign(list(wanted))
        for place, offset in wanted.items():
            self._consumer.seek(place, offset)
        newest = 0
        while wanted:
            for place, found in (await self._consumer.getmany(timeout_ms=500)).items():
                newest = max(newest, found[-1].timestamp)
                wanted.pop(place, None)
        return newest

    async def read(self, topic: str, starts: dict[int, int] | None = None) -> list[Any]:
        """All records of a topic as it is now, from `starts` (partition -> offset) on."""
        ends = await self._consumer.end_offsets(_places(topic))
        left = {place: end for place, end in ends.items() if end > (starts or {}).get(place.partition, 0)}
        self._consumer.assign(list(left))
        for place in left:
            self._consumer.seek(place, (starts or {}).get(place.partition, 0))
        found: list[Any] = []
        while left:
            for place, records_ in (await self._consumer.getmany(timeout_ms=500)).items():
                found += [r for r in records_ if place in left and r.offset < left[place]]
                if place in left and records_[-1].offset + 1 >= left[place]:
                    del left[place]
        return found

    async def ends(self, topic: str) -> dict[int, int]:
        """Partition -> next offset."""
        return {place.partition: end for place, end in (await self._consumer.end_offsets(_places(topic))).items()}


def _places(topic: str) -> list[TopicPartition]:
    return [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
