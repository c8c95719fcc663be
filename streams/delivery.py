"""Delivery: records come in batches, outputs and state are durable before the offset is committed, and a failure stops the worker.

    app = make_app("strata", "127.0.0.1:9092", Path(".strata/worker-0"), instance="worker-0")
    sessions = add_table(app, "sessions-tokens")

    @batch_agent(app, "tokens")
    async def tokens(stream):
        async for step in decode_ahead(gather(stream, idle_s=5.0), decode):  # decode(batch) runs while the body works
            for batch, events in step: ...                # all that is there, of all partitions; a partition's batches in order
            rows = load(sessions, batch.partition, keys)  # key -> bytes
            await publish(app, outputs)                   # Outgoing(topic, partition, key, value, headers), all acknowledged
            await store(sessions, batch.partition, new)   # changelog, then RocksDB; None deletes
            batch.ack()                                   # for each batch, last

    run(app)

One step at a time per agent. `step` is [] when nothing came for idle_s: the moment to close idle sessions (`rows`).
A batch has `records` (offset, timestamp in ms, timestamp_type, key, value, headers), `topic`, `partition`.
An exception that leaves an agent stops the worker with a non-zero status; what it did not ack is replayed.
Before partitions are revoked the step at work may end (BODY_GRACE_S); if it does not, its `store` raises NotOursError.
`on_revoked(app, f)` and `on_assigned(app, f)`: f(set of (topic, partition)), to drop caches.
`app.watchdog.ready`, `app.watchdog.reason`: readiness.

Knows how Faust is set up; leaves fetching to batching.py, rebalances to rebalance.py, state to changelog.py, sending to publisher.py.
Next: streams/batching.py
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

import faust
import uvloop
from faust.app.base import BootStrategy
from faust.types import TP
from mode import Service, ServiceT

from schemas.errors import StrataError
from streams.batching import Batch, BatchConsumer, BatchTransport, Record
from streams.changelog import ROCKSDB_OPTIONS, NotOursError, load, rows, store
from streams.publisher import Outgoing, Publisher, PublishError
from streams.rebalance import BatchTableManager
from streams.watchdog import StuckError, Watchdog

__all__ = [
    "App", "Batch", "Gather", "NotOursError", "Outgoing", "PublishError", "Record", "StuckError", "TopicsDifferError",
    "add_table", "batch_agent", "decode_ahead", "gather", "load", "make_app", "on_assigned", "on_revoked", "publish", "rows", "run", "store",
]  # fmt: skip

log = logging.getLogger(__name__)
T = TypeVar("T")
LOG_EVERY_S = 5.0
MAX_STEP_RECORDS = 16_000

_step_epoch: ContextVar[int | None] = ContextVar("_step_epoch", default=None)


class TopicsDifferError(StrataError):
    """A topic is missing, or a table's changelog has another number of partitions than its source: events would be eaten."""


class _Boot(BootStrategy):
    """Faust's services and ours; no web server."""

    enable_web = False

    def kafka_producer(self) -> Iterable[ServiceT]:
        app = cast(App, self.app)
        return [*super().kafka_producer(), app.publisher, _TopicCheck(app)]

    def tables(self) -> Iterable[ServiceT]:
        return [*super().tables(), cast(App, self.app).watchdog]


class App(faust.App):
    """A Faust app whose events are batches."""

    BootStrategy = _Boot
    publisher: Publisher
    watchdog: Watchdog
    changelog_locks: dict[tuple[str, int], asyncio.Lock]

    def may_write(self, changelog: TP) -> bool:
        """Whether this worker owns the changelog partition, and has since the current step began."""
        consumer = cast(BatchConsumer, self.consumer)
        epoch = _step_epoch.get()
        return (epoch is None or epoch == consumer.epoch) and changelog in consumer.assignment() and not self.in_recovery

    def _create_directories(self) -> None:
        self.conf.datadir.mkdir(parents=True, exist_ok=True)
        super()._create_directories()


def make_app(
    app_id: str,
    bootstrap: str,
    data_dir: Path,
    *,
    instance: str | None = None,
    partitions: int = 8,
    max_poll_records: int = 4000,
    max_record_bytes: int = 16 << 20,
    session_timeout_s: float = 10.0,
    watchdog_s: float = 60.0,
    ready_file: Path | None = None,
    compression: str | None = None,
) -> App:
    """An app with all settings of FAUST.md. Starts nothing.

    app_id: consumer group and prefix of the changelogs. data_dir: this worker's own folder. instance: its name in the group,
    unique and lasting (static membership: a restart within the session timeout moves no partition).
    max_poll_records: of one batch. session_timeout_s: after it a dead worker's partitions move. watchdog_s: the worker stops when commits are frozen for so long while records wait.
    """
    servers = [server.strip() for server in bootstrap.split(",")]
    app = App(
        app_id,
        broker=[f"kafka://{server}" for server in servers],
        datadir=str(data_dir),
        store="rocksdb://",
        TableManager=BatchTableManager,
        web_enabled=False,
        autodiscover=False,
        worker_redirect_stdouts=False,
        topic_partitions=partitions,
        topic_allow_declare=False,  # deploy makes all topics: one with another number of partitions would eat events
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=instance,
        consumer_max_fetch_size=1 << 20,  # of a partition and fetch; Kafka sends a larger first record all the same
        producer_max_request_size=max_record_bytes,
        broker_session_timeout=session_timeout_s,
        broker_heartbeat_interval=session_timeout_s / 5,
        broker_rebalance_timeout=15,
        broker_commit_interval=1.0,
        broker_max_poll_records=max_poll_records,
        stream_buffer_maxsize=16,
        stream_wait_empty=True,  # BatchConsumer.wait_empty: the step at work, not all that is queued
    )
    app.transport = BatchTransport(app.conf.broker_consumer, app)
    app.publisher = Publisher(",".join(servers), max_record_bytes, compression, app_id)
    app.watchdog = Watchdog(app, watchdog_s, ready_file)
    app.changelog_locks = {}
    return app


def add_table(app: App, name: str) -> faust.Table:
    """A table of bytes: RocksDB with one file set per partition, changelog `<app id>-<name>-changelog`."""
    return cast(
        faust.Table, app.Table(name, partitions=app.conf.topic_partitions, options=dict(ROCKSDB_OPTIONS), key_type=bytes, value_type=bytes)
    )


def batch_agent(app: App, topic: str) -> Callable[[Callable[[Any], Awaitable[None]]], Callable[[Any], Awaitable[None]]]:
    """Make an agent of a topic; an exception that leaves it stops the worker. (Faust's own acks the event and goes on.)"""

    def register(fun: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        async def agent(stream: Any) -> None:
            try:
                await fun(stream)
                if not app.should_stop:
                    raise StrataError(f"agent {topic} returned; its loop must not end")
            except Exception as problem:
                log.exception("agent %s failed: the worker stops, what is not acked will be replayed", topic)
                # hand out nothing more: a later batch of the same session would make the replay look done already
                cast(BatchConsumer, app.consumer).halt()
                await app.crash(problem)
                await asyncio.Event().wait()  # until cancelled; returning would make Faust start the agent again

        app.agent(app.topic(topic, key_type=bytes, value_type=bytes), name=topic)(agent)
        return fun

    return register


class Gather:
    """Steps of batches; see `gather`."""

    def __init__(self, stream: Any, idle_s: float | None, max_records: int):
        self.queue: asyncio.Queue[Any] = stream.channel.queue
        self.consumer = cast(BatchConsumer, stream.app.consumer)
        self._idle_s = idle_s
        self._max_records = max_records
        if idle_s is not None:
            asyncio.get_running_loop().call_later(idle_s, self._tick)

    def _tick(self) -> None:
        assert self._idle_s is not None
        if self.queue.empty():
            cast(Any, self.queue).force_put_nowait(None)
        asyncio.get_running_loop().call_later(self._idle_s, self._tick)

    async def take(self) -> list[Batch]:
        """Wait for one batch, and take all others that are there, up to the limit. [] is a tick of idle_s.

        Raises StopAsyncIteration when the app stops: Faust throws it into the queue.
        """
        events = [await self.queue.get()]
        count = 0
        while not self.queue.empty() and count < self._max_records:
            count += len(events[-1].value) if events[-1] is not None else 0
            events.append(self.queue.get_nowait())
        return [event.value for event in events if event is not None]

    def begin_step(self) -> bool:
        """Whether a step may begin now. Ends the one before."""
        _step_epoch.set(self.consumer.epoch)
        return self.consumer.begin_step(self)

    def end_step(self) -> None:
        self.consumer.end_step(self)

    def __aiter__(self) -> "Gather":
        return self

    async def __anext__(self) -> list[Batch]:
        self.end_step()
        while True:
            taken = await self.take()
            fresh = [batch for batch in taken if not batch.stale]
            if (fresh or not taken) and self.begin_step():
                return fresh


def gather(stream: Any, idle_s: float | None = None, max_records: int = MAX_STEP_RECORDS) -> Gather:
    """Steps: wait for one batch, take all others that are already there, so that one model step serves all partitions.

    idle_s: give [] when nothing came for so long. max_records: a step takes no further batch once it has so many.
    """
    return Gather(stream, idle_s, max_records)


async def decode_ahead(gathered: Gather, decode: Callable[[Batch], T]) -> AsyncIterator[list[tuple[Batch, T]]]:
    """The same steps with `decode` of each batch, which runs as batches arrive, while the body works on those before."""
    ready: deque[tuple[Batch, T]] = deque()
    arrived = asyncio.Event()
    idle = False

    async def read() -> None:  # ends with StopAsyncIteration, or with what `decode` raised
        nonlocal idle
        try:
            while True:
                taken = await gathered.take()
                idle = not taken
                for batch in taken:
                    ready.append((batch, decode(batch)))
                    arrived.set()
                    await asyncio.sleep(0)
                arrived.set()
        finally:
            arrived.set()

    reader = asyncio.get_running_loop().create_task(read())
    try:
        while True:
            await arrived.wait()
            arrived.clear()
            if reader.done():
                if isinstance(problem := reader.exception(), StopAsyncIteration):
                    return
                raise problem or RuntimeError("the reader ended")
            fresh = [pair for pair in ready if not pair[0].stale]
            only_tick = idle and not ready
            ready.clear()
            if (fresh or only_tick) and gathered.begin_step():
                idle = False
                yield fresh
                gathered.end_step()
    finally:
        reader.cancel()


async def publish(app: App, outputs: Iterable[Outgoing]) -> None:
    """Publish all, in order per partition; returns when Kafka has acknowledged all. Raises PublishError."""
    await app.publisher.publish(outputs)


def on_revoked(app: App, f: Callable[[set[tuple[str, int]]], None]) -> None:
    """Call f with the partitions taken away, once no step is at work on them."""

    async def revoked(sender: Any, *args: Any, **_: Any) -> None:
        f({(tp.topic, tp.partition) for tp in args[0]})

    app.on_partitions_revoked.connect(revoked, weak=False)


def on_assigned(app: App, f: Callable[[set[tuple[str, int]]], None]) -> None:
    """Call f with all partitions of the new assignment, before tables are recovered and records come."""

    async def assigned(sender: Any, *args: Any, **_: Any) -> None:
        f({(tp.topic, tp.partition) for tp in args[0]})

    app.on_partitions_assigned.connect(assigned, weak=False)


class _TopicCheck(Service):
    """Does not start when a topic is missing or counts of partitions differ."""

    def __init__(self, app: App):
        super().__init__()
        self.app = app

    async def on_start(self) -> None:
        sources = {topic for agent in self.app.agents.values() for topic in agent.get_topic_names()}
        counts = {topic: await self.app.publisher.partition_count(topic) for topic in sorted(sources | self.app.tables.changelog_topics)}
        if len(set(counts.values())) > 1 or 0 in counts.values():
            seen = ", ".join(f"{topic} {count}" for topic, count in counts.items())
            raise TopicsDifferError(
                f"sources and changelogs must exist with the same number of partitions, but have: {seen}; create them anew (`strata up` does) "
                "or use another STRATA_TOPIC_PREFIX"
            )


class _Worker(faust.Worker):
    """Faust's worker without its banner, spinner, log setup and last second of sleep."""

    def __init__(self, app: App, **kwargs: Any):
        super().__init__(app, quiet=True, override_logging=False, redirect_stdouts=False, **kwargs)
        self.spinner = None

    def _setproctitle(self, info: str, *, ident: str = "") -> None:
        pass

    async def _sentinel_task(self) -> None:
        pass


def run(app: App) -> NoReturn:
    """Run the worker until TERM or INT (status 0) or a failure (status 1). Logging is the caller's to set up."""
    quieten_aiokafka()
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    _Worker(app, loop=loop).execute_from_commandline()


class _SometimesFilter(logging.Filter):
    """Lets one record of a kind through every LOG_EVERY_S; aiokafka logs 100,000 lines a minute when the broker is away."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind, now = (record.name, str(record.msg)), time.monotonic()
        last, hidden = self._last.get(kind, (-LOG_EVERY_S, 0))
        if now - last < LOG_EVERY_S:
            self._last[kind] = (last, hidden + 1)
            return False
        self._last[kind] = (now, 0)
        if hidden:
            record.msg = f"{record.msg} (and {hidden} more of these)"
        return True


def quieten_aiokafka() -> None:
    """Rate-limit aiokafka's and Faust's logs. A filter does not reach child loggers, so each module's gets its own."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(("aiokafka", "faust")):
            logging.getLogger(name).addFilter(_SometimesFilter())
