"""Output topics -> board: read from their ends on, without a group, and never far behind.

Knows Kafka and when to jump ahead; leaves what a record means to board.py. The console commits nothing: what it missed while it was away
is in the tables.
Next: sinks/console/board.py
"""

import asyncio
import logging
import time
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from schemas.codec import Codec
from schemas.errors import StrataError
from schemas.topics import INPUTS, OUTPUTS, SINK_GROUP, TRACES, app_id
from sinks.console.board import Board

log = logging.getLogger(__name__)
READ = {"input-stream": "input_stream", "boundaries": "boundaries", "predictions": "predictions", "failures": "failures"}
"""Topic -> record, in the order in which one poll's records are applied: an item before what is said of it."""
BATCH = 400
"""Records decoded before others get a turn: 400 take about 20 ms."""
TOO_FAR_BEHIND = 20_000
"""Records waiting; then the console jumps to the end and counts what it left out."""
LAG_EVERY_S, RETRY_S = 2.0, 2.0


class Feed:
    """Reads until it is cancelled; a broker that is away is waited for."""

    def __init__(self, bootstrap: str, prefix: str, codec: Codec, board: Board):
        self._bootstrap, self._prefix, self._codec, self._board = bootstrap, prefix, codec, board
        self._topics = {prefix + topic: record for topic, record in READ.items()}
        self.connected = False
        self.problem = "connecting to Kafka"
        """Why nothing is read, for the page."""

    async def run(self) -> None:
        while True:
            try:
                await self._read()
            except (KafkaError, OSError, TimeoutError) as problem:
                self.problem = f"no Kafka answers at {self._bootstrap} ({type(problem).__name__}); `strata status` tells what runs"
                log.warning("%s; again in %g s", self.problem, RETRY_S)
            self.connected = False
            await asyncio.sleep(RETRY_S)

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(
            *self._topics,
            bootstrap_servers=self._bootstrap,
            group_id=None,
            client_id="strata-console",
            enable_auto_commit=False,
            auto_offset_reset="latest",
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        try:
            await asyncio.wait_for(consumer.start(), 15)
            self.connected, self.problem = True, ""
            log.info("reading %s", ", ".join(self._topics))
            looked = 0.0
            while True:
                polled = await consumer.getmany(timeout_ms=200, max_records=BATCH)
                now_s = time.time()
                for topic, record_name in self._topics.items():
                    for place, records in polled.items():
                        if place.topic == topic:
                            self._apply(record_name, records, now_s)
                if now_s - looked > 1.0:
                    looked = now_s
                    await self._keep_up(consumer)
                await asyncio.sleep(0)
        finally:
            await asyncio.wait_for(consumer.stop(), 5)

    def _apply(self, record_name: str, records: list, now_s: float) -> None:
        for record in records:
            try:
                self._board.apply(self._codec.decode(record_name, record.value), now_s)
            except StrataError as problem:  # the writer makes a dead letter of it; the page goes on
                log.warning("%s %d/%d: %s", record.topic, record.partition, record.offset, problem)

    async def _keep_up(self, consumer: AIOKafkaConsumer) -> None:
        """Jump to the end when far behind: a page shows now or nothing."""
        behind: dict[TopicPartition, int] = {}
        for place in consumer.assignment():
            end = consumer.highwater(place)
            if end is not None:
                behind[place] = max(end - await consumer.position(place), 0)
        waiting = sum(behind.values())
        if waiting > TOO_FAR_BEHIND:
            await consumer.seek_to_end(*[place for place, count in behind.items() if count])
            self._board.skipped += waiting
            log.warning("%d records behind: went on at the end", waiting)


class LagWatch:
    """How far worker and writer are behind, asked again and again."""

    def __init__(self, bootstrap: str, prefix: str, board: Board):
        self._bootstrap, self._board = bootstrap, board
        stored = [prefix + t.name for t in (*OUTPUTS, TRACES)] + [prefix + "labels"]
        self._groups = {"worker": (app_id(prefix), [prefix + t.name for t in INPUTS]), "writer": (prefix + SINK_GROUP, stored)}

    async def run(self) -> None:
        while True:
            try:
                await self._watch()
            except (KafkaError, OSError, TimeoutError):
                self._board.lag = dict.fromkeys(self._groups)
            await asyncio.sleep(RETRY_S)

    async def _watch(self) -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, client_id="strata-console-lag")
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap, client_id="strata-console-lag")
        try:
            await asyncio.wait_for(consumer.start(), 15)
            await asyncio.wait_for(admin.start(), 15)
            names = [name for _, topics in self._groups.values() for name in topics]
            described = {d["topic"]: d for d in await admin.describe_topics(names)}
            places = {n: [TopicPartition(n, p["partition"]) for p in d["partitions"]] for n, d in described.items() if not d["error_code"]}
            every = [place for some in places.values() for place in some]
            while every:
                begin, end = await consumer.beginning_offsets(every), await consumer.end_offsets(every)
                for name, (group, topics) in self._groups.items():
                    committed = await _committed(admin, group)
                    mine = [place for topic in topics for place in places.get(topic, [])]
                    self._board.lag[name] = sum(max(end[p] - committed.get(p, begin[p]), 0) for p in mine)
                await asyncio.sleep(LAG_EVERY_S)
        finally:
            await admin.close()
            await asyncio.wait_for(consumer.stop(), 5)


async def _committed(admin: AIOKafkaAdminClient, group: str) -> Mapping[TopicPartition, int]:
    answer = await admin.list_consumer_group_offsets(group)
    return {place: found.offset for place, found in answer.items() if found.offset >= 0}
