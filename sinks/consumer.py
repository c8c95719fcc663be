"""Poll, rows, insert, commit: the writer's loop.

Knows Kafka and the order that loses nothing: an offset is committed after every row of it is inserted, every dead letter acknowledged. A
crash in between repeats records, and clickhouse.py drops their rows. Leaves rows to batch.py and inserting to clickhouse.py.
Next: sinks/batch.py, then sinks/clickhouse.py
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from schemas import trace
from schemas.codec import Codec
from schemas.errors import StrataError
from schemas.topics import DEAD_LETTER, MAX_MESSAGE_BYTES
from sinks import batch, dead_letters
from sinks.clickhouse import ClickHouse
from sinks.config import SinkConfig
from sinks.deduplication import Table, Written
from sinks.errors import RowsRefusedError
from sinks.rows import COLUMNS, EVENT_TABLES, Values
from sinks.spans import insert_span

log = logging.getLogger(__name__)
T = TypeVar("T")
BUSY_RECORDS = 1000
"""A poll with so many is a backlog: nothing is waited for."""
DUTY = 4
"""Waiting is at least so many times as long as the last insert took, up to LONGEST_WAIT_S: many small inserts would cost a core."""
LONGEST_WAIT_S = 1.0
PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0)
REPORT_S = 10.0


@dataclass
class Counts:
    """What was done since the last report."""

    records: int = 0
    inserted: int = 0
    duplicates: int = 0
    dead: int = 0
    busy_s: float = 0.0
    since: float = field(default_factory=time.monotonic)


class Stopped(Exception):
    """The writer was told to stop while it was trying again."""


class Consumer:
    """One member of the group; `run` ends when `stop` is set."""

    def __init__(self, config: SinkConfig, clickhouse: ClickHouse, codec: Codec, export: Callable[[Values], None] | None = None):
        """`export` takes the writer's own spans, when they are also sent by OTLP."""
        self._config, self._codec, self._export = config, codec, export
        self._prefix = config.topic_prefix
        self._group = config.topic_prefix + config.sink_group
        self._topics = [config.topic_prefix + name for name in batch.TABLES]
        self._tables = {name: Table(clickhouse, name) for name in COLUMNS}
        self._threads = ThreadPoolExecutor(max(1, config.sink_threads), thread_name_prefix="insert")
        self._done: dict[TopicPartition, int] = {}
        """Offsets that may be committed."""
        self._read: dict[TopicPartition, int] = {}
        """Offsets reached, to tell the lag."""
        self._counts = Counts()
        self._last_write_s = 0.0
        self._in_batch = asyncio.Lock()

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Consume until `stop`. Raises KafkaError for what no other try can cure."""
        consumer, producer = self._clients()
        try:
            await self._start(consumer, producer, stop)
            ready()
            while not stop.is_set():
                # 1. poll
                records = await self._poll(consumer, stop)
                if records:
                    async with self._in_batch:
                        # 2. rows, 3. insert, 4. what cannot be stored
                        await self._write(records, producer, stop)
                        # 5. commit
                        self._done |= ends(records)
                        self._read |= self._done
                        await self._commit(consumer)
                self._report(consumer)
        except Stopped:
            log.info("stopped before ClickHouse took the last batch; it is read again at the next start")
        finally:
            await self._stop(consumer, producer)

    def _clients(self) -> tuple[AIOKafkaConsumer, AIOKafkaProducer]:
        config = self._config
        consumer = AIOKafkaConsumer(
            bootstrap_servers=config.kafka_bootstrap,
            group_id=self._group,
            group_instance_id=f"{self._group}-{config.sink_index}",
            client_id=f"{self._group}-{config.sink_index}",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=config.sink_session_timeout_ms,
            heartbeat_interval_ms=config.sink_session_timeout_ms // 5,
            max_poll_interval_ms=600_000,
            max_partition_fetch_bytes=1024 * 1024,
            fetch_max_bytes=config.sink_batch_bytes,
            metadata_max_age_ms=30_000,
        )
        producer = AIOKafkaProducer(
            bootstrap_servers=config.kafka_bootstrap,
            enable_idempotence=True,
            max_request_size=MAX_MESSAGE_BYTES + 1024 * 1024,
            client_id=f"{self._group}-{config.sink_index}-dead-letters",
        )
        return consumer, producer

    async def _start(self, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, stop: asyncio.Event) -> None:
        async def missing() -> None:
            admin = AIOKafkaAdminClient(bootstrap_servers=self._config.kafka_bootstrap)
            try:
                await admin.start()
                there = set(await admin.list_topics())
            finally:
                await admin.close()
            if absent := sorted({*self._topics, self._prefix + DEAD_LETTER.name} - there):
                raise TopicsMissingError(
                    f"topics {', '.join(absent)} do not exist yet; `strata up`, `strata worker` and `strata sink` create them"
                )

        await self._until_done(missing, "Kafka", stop)
        consumer.subscribe(self._topics, listener=Listener(self._in_batch, self._tables, self._done))
        await self._until_done(consumer.start, "Kafka", stop)
        await self._until_done(producer.start, "Kafka", stop)
        log.info("reading %d topics of %s as %s", len(self._topics), self._config.kafka_bootstrap, self._group)

    async def _poll(self, consumer: AIOKafkaConsumer, stop: asyncio.Event) -> list[ConsumerRecord]:
        """The records of the next batch: a backlog at once; else what comes within the wait."""
        config = self._config
        records = flat(await self._getmany(consumer, 500, config.sink_batch_rows))
        n_bytes = sum(map(size, records))
        if not records or stop.is_set():
            return records
        if len(records) < BUSY_RECORDS:
            wait = min(max(config.sink_batch_ms / 1000, DUTY * self._last_write_s), LONGEST_WAIT_S)
            await pause(stop, wait)
        while len(records) < config.sink_batch_rows and n_bytes < config.sink_batch_bytes:
            more = flat(await self._getmany(consumer, 0, config.sink_batch_rows - len(records)))
            records += more
            n_bytes += sum(map(size, more))
            if not more:
                break
        return records

    async def _getmany(self, consumer: AIOKafkaConsumer, timeout_ms: int, rows: int) -> Mapping[TopicPartition, Sequence[ConsumerRecord]]:
        try:
            return await consumer.getmany(timeout_ms=timeout_ms, max_records=rows)
        except KafkaError as problem:
            if not problem.retriable:
                raise
            log.warning("Kafka: %s; polling again", problem)
            await asyncio.sleep(0.5)
            return {}

    async def _write(self, records: list[ConsumerRecord], producer: AIOKafkaProducer, stop: asyncio.Event) -> None:
        started, loop = time.monotonic(), asyncio.get_running_loop()

        async def on_thread(function: Callable[..., T], *arguments: Any) -> T:
            return await loop.run_in_executor(self._threads, function, *arguments)

        # 2. rows
        read = await self._until_done(lambda: on_thread(batch.read, self._codec, self._prefix, records), "schema registry", stop)

        # 3. insert: the tables side by side, then the spans, as the last of them tell of these inserts
        async def insert(table: str, rows: batch.Rows) -> Written:
            return await self._until_done(lambda: on_thread(self._tables[table].write, rows.values), f"table {table}", stop)

        async def insert_events(table: str, rows: batch.Rows) -> None:
            written = await insert(table, rows)
            self._count(table, rows, written, read)
            own = self._own_spans(table, rows, written)
            if own.values:
                spans.values += own.values
                spans.records += own.records

        spans = read.tables.pop("otel_traces", batch.Rows())
        await asyncio.gather(*(insert_events(table, rows) for table, rows in read.tables.items()))
        if spans.values:
            self._count("otel_traces", spans, await insert("otel_traces", spans), read)

        # 4. what cannot be stored
        for record, problem in read.unreadable:
            log.warning("%s/%d offset %d goes to dead-letter: %s", record.topic, record.partition, record.offset, problem)
            bury = partial(dead_letters.bury, producer, self._prefix, self._config.output_encoding, record, problem)
            await self._until_done(bury, "Kafka", stop)
            self._counts.dead += 1
        self._counts.records += len(records)
        self._last_write_s = time.monotonic() - started
        self._counts.busy_s += self._last_write_s

    def _count(self, table: str, rows: batch.Rows, written: Written, read: batch.Batch) -> None:
        self._counts.inserted += written.inserted
        self._counts.duplicates += written.duplicates
        for index, why in written.refused:
            read.unreadable.append(
                (rows.records[index], RowsRefusedError(f"table {table}: {why}; the other rows of the batch were stored"))
            )

    def _own_spans(self, table: str, rows: batch.Rows, written: Written) -> batch.Rows:
        """A span for each event of a sampled trace, repeats too: a crash may have come between the insert and its span."""
        own, end_ns = batch.Rows(), time.time_ns()
        if table not in EVENT_TABLES:
            return own
        refused = {index for index, _ in written.refused}
        for index, (values, record) in enumerate(zip(rows.values, rows.records)):
            if not trace.may_be_sampled(record.headers):
                continue
            context = trace.read(record.headers)
            if context and context.sampled and index not in refused:
                span = insert_span(record, table, values, context, self._group, len(rows.values), end_ns)
                own.values.append(span)
                own.records.append(record)
                if self._export:
                    self._export(span)
        return own

    async def _until_done(self, attempt: Callable[[], Awaitable[T]], what: str, stop: asyncio.Event) -> T:
        """Try until it works; errors that no other try can cure are raised. Raises Stopped when told to stop meanwhile."""
        tries = 0
        while True:
            try:
                return await attempt()
            except (StrataError, KafkaError) as problem:
                if not problem.retriable:
                    raise
                wait = PAUSES_S[min(tries, len(PAUSES_S) - 1)]
                tries += 1
                log.warning("%s (try %d): %s; again in %.1f s", what, tries, problem, wait)
            if await pause(stop, wait):
                raise Stopped

    async def _commit(self, consumer: AIOKafkaConsumer) -> None:
        """Commit what is done. What cannot be now goes with the next commit, or is read again: its rows are there and are dropped."""
        mine = {place: offset for place, offset in self._done.items() if place in consumer.assignment()}
        if not mine:
            return
        try:
            await consumer.commit(mine)
            self._done.clear()
        except (CommitFailedError, IllegalStateError) as problem:
            log.info("the group is being rebalanced, nothing committed: %s", problem)
            self._done.clear()
        except KafkaError as problem:
            log.warning("commit: %s; tried again with the next batch", problem)

    def _report(self, consumer: AIOKafkaConsumer, last: bool = False) -> None:
        counts, now = self._counts, time.monotonic()
        if now - counts.since < REPORT_S and not last:
            return
        if counts.records or last:
            spent = max(now - counts.since, 1e-9)
            lag = sum(max(0, (consumer.highwater(p) or 0) - self._read.get(p, consumer.highwater(p) or 0)) for p in consumer.assignment())
            log.info(
                "%.0f records/s: %d rows inserted, %d duplicates dropped, %d dead letters, lag %d, busy %.0f %%",
                counts.records / spent,
                counts.inserted,
                counts.duplicates,
                counts.dead,
                lag,
                100 * counts.busy_s / spent,
            )
        self._counts = Counts()

    async def _stop(self, consumer: AIOKafkaConsumer, producer: AIOKafkaProducer) -> None:
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # with a broker down it writes tracebacks of its own cancelled tasks
        try:
            async with asyncio.timeout(1.5):
                await self._commit(consumer)
                await producer.stop()
                await consumer.stop()
        except (TimeoutError, KafkaError, RuntimeError) as problem:
            log.warning("Kafka did not answer at the end (%s); what was not committed is read again and dropped", type(problem).__name__)
        self._threads.shutdown(wait=False, cancel_futures=True)


class TopicsMissingError(StrataError):
    """Until they are there, there is nothing to read."""

    retriable = True


class Listener(ConsumerRebalanceListener):
    """A partition leaves after the batch in hand; one that comes may have been written to by another."""

    def __init__(self, in_batch: asyncio.Lock, tables: Mapping[str, Table], done: dict[TopicPartition, int]):
        self._in_batch, self._tables, self._done = in_batch, tables, done

    async def on_partitions_revoked(self, revoked: Any) -> None:
        try:
            async with asyncio.timeout(5.0):
                async with self._in_batch:
                    self._done.clear()
        except TimeoutError:
            log.warning("partitions are taken away while ClickHouse does not take rows; their records are read again")

    async def on_partitions_assigned(self, assigned: Any) -> None:
        async with self._in_batch:
            for table in self._tables.values():
                table.forget()
        log.info("assigned %d partitions", len(assigned))


def flat(polled: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> list[ConsumerRecord]:
    return [record for records in polled.values() for record in records]


def ends(records: Sequence[ConsumerRecord]) -> dict[TopicPartition, int]:
    """The offset after the last record of each partition."""
    last = {(record.topic, record.partition): record.offset + 1 for record in records}
    return {TopicPartition(*place): offset for place, offset in last.items()}


def size(record: ConsumerRecord) -> int:
    return len(record.value or b"") + len(record.key or b"")


async def pause(stop: asyncio.Event, seconds: float) -> bool:
    """Wait; True when `stop` was set meanwhile."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
        return True
    except TimeoutError:
        return stop.is_set()
