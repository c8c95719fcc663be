"""Output topics -> board: read from their ends on while anybody looks, without a group, and never far behind.

Knows Kafka and when to jump ahead; leaves what a record means to board.py, who looks to attention.py. The console commits nothing: what
it missed while it was away is in the tables.
Next: sinks/console/board.py
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from schemas.codec import Codec
from schemas.errors import StrataError
from schemas.topics import INPUTS, OUTPUTS, SINK_GROUP, TRACES, app_id
from sinks.console.attention import Attention
from sinks.console.board import Board

log = logging.getLogger(__name__)
READ = {"input-stream": "input_stream", "boundaries": "boundaries", "predictions": "predictions", "failures": "failures"}
"""Topic -> record, in the order in which one poll's records are applied: an item before what is said of it."""
BATCH = 400
"""Records decoded before others get a turn: 400 take about 20 ms."""
TOO_FAR_BEHIND = 20_000
"""Records waiting; then the console jumps to the end and counts what it left out."""
LAG_EVERY_S, RETRY_S = 2.0, 2.0
LOOK_BACK_S = 300.0
"""Read again when somebody looks after nobody did: what came in the last minutes, as far as TOO_FAR_BEHIND lets it."""
CATCH_UP_S = 2.0
"""How long who looks waits for that."""


class Feed:
    """Reads until it is cancelled; a broker that is away is waited for."""

    def __init__(self, bootstrap: str, prefix: str, codec: Codec, board: Board, attention: Attention):
        self._bootstrap, self._prefix, self._codec, self._board, self._attention = bootstrap, prefix, codec, board, attention
        self._topics = {prefix + topic: record for topic, record in READ.items()}
        self._begun_s = time.time()
        self._reached: dict[TopicPartition, int] = {}
        """Where each partition is read on."""
        self._is_running = False
        self._current = asyncio.Event()
        """Set while what was read is all there is."""
        self.connected = False
        self.problem = ""
        """Why nothing is read, for the page."""

    async def look(self) -> None:
        """Somebody looks: read on, and wait a moment for what came while nobody did."""
        self._attention.look()
        if self._is_running and not self.problem and not self._current.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._current.wait(), CATCH_UP_S)

    async def run(self) -> None:
        self._is_running = True
        while True:
            if not self._attention.is_awake():
                self.problem = ""  # who comes next is told what is so then
                await self._attention.awake()
            try:
                await self._read()
                continue
            except (KafkaError, OSError, TimeoutError) as problem:
                self.problem = f"no Kafka answers at {self._bootstrap} ({type(problem).__name__}); `strata status` tells what runs"
                log.warning("%s; again in %g s", self.problem, RETRY_S)
            self.connected = False
            await asyncio.sleep(RETRY_S)

    async def _read(self) -> None:
        """Until nobody looks."""
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
            await self._go_back(consumer)
            self.connected, self.problem = True, ""
            log.info("reading %s", ", ".join(self._topics))
            looked = 0.0
            while self._attention.is_awake():
                polled = await consumer.getmany(timeout_ms=200, max_records=BATCH)
                now_s = time.time()
                for topic, record_name in self._topics.items():
                    for place, records in polled.items():
                        if place.topic == topic:
                            self._apply(record_name, records)
                self._reached |= {place: records[-1].offset + 1 for place, records in polled.items() if records}
                if sum(map(len, polled.values())) < BATCH:
                    self._current.set()
                if now_s - looked > 1.0:
                    looked = now_s
                    await self._keep_up(consumer)
                await asyncio.sleep(0)
        finally:
            self._current.clear()
            with contextlib.suppress(TimeoutError, KafkaError):
                await asyncio.wait_for(consumer.stop(), 5)

    async def _go_back(self, consumer: AIOKafkaConsumer) -> None:
        """Begin where reading stopped, or LOOK_BACK_S ago, or when the console was started; as near to the end as TOO_FAR_BEHIND asks."""
        places = list(consumer.assignment())
        ends = await consumer.end_offsets(places)
        since_ms = int(max(self._begun_s, time.time() - LOOK_BACK_S) * 1000)
        found = await consumer.offsets_for_times(dict.fromkeys(places, since_ms))
        begins = {}
        for place in places:
            first = found[place].offset if found[place] is not None else ends[place]
            begins[place] = min(max(first, self._reached.get(place, 0)), ends[place])
        missed = sum(ends[place] - begins[place] for place in places)
        share = min(1.0, TOO_FAR_BEHIND / max(missed, 1))
        for place in places:
            begins[place] = ends[place] - int((ends[place] - begins[place]) * share)
            consumer.seek(place, begins[place])
        self._board.skipped += missed - sum(ends[place] - begins[place] for place in places)

    def _apply(self, record_name: str, records: list) -> None:
        for record in records:
            try:
                self._board.apply(self._codec.decode(record_name, record.value), record.timestamp / 1000)
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
            self._reached |= {place: await consumer.position(place) for place, count in behind.items() if count}
            self._board.skipped += waiting
            log.warning("%d records behind: went on at the end", waiting)


class LagWatch:
    """How far worker and writer are behind, asked again and again while anybody looks."""

    def __init__(self, bootstrap: str, prefix: str, board: Board, attention: Attention):
        self._bootstrap, self._board, self._attention = bootstrap, board, attention
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
                if not self._attention.is_awake():
                    self._board.lag = dict.fromkeys(self._groups)
                    await self._attention.awake()
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
