"""Delivery: records come in batches, outputs and state are durable before the offset is committed, and a failure stops the worker.

    app = make_app("strata", "127.0.0.1:9092", Path(".strata/worker-0"), instance="worker-0")
    sessions = add_table(app, "sessions-tokens")

    @batch_agent(app, "tokens")
    async def tokens(stream):
        async for step in decode_ahead(gather(stream, idle_s=5.0), decode):  # decode(batch) runs while the body works
            for batch, events in step: ...                # all that is there, of all partitions; a partition's batches in order
            rows = load(sessions, batch.partition, keys)  # key -> bytes
            await publish(app, outputs)                   # Outgoing(topic, partition, key, value, headers), all acknowledged
            await store(sessions, batch.partition, new)   # changelog, then RocksDB; None deletes. asyncio.gather several: one request
            batch.ack()                                   # for each batch, last

    run(app)

One step at a time per agent. `step` is [] when nothing came for idle_s: the moment to close idle sessions (`rows`).
A batch has `records` (offset, timestamp in ms, timestamp_type, key, value, headers), `topic`, `partition`.
An exception that leaves an agent stops the worker with a non-zero status; what it did not ack is replayed.
Before partitions are revoked the step at work may end (BODY_GRACE_S); if it does not, its `store` raises NotOursError.
`on_revoked(app, f)` and `on_assigned(app, f)`: f(set of (topic, partition)), to drop caches.
`app.watchdog.ready`, `app.watchdog.reason`: readiness.

Knows how Faust is set up; leaves fetching to polling.py, what is in flight to batching.py, rebalances to rebalance.py, state to changelog.py, sending to publisher.py.
Next: streams/polling.py
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, cast

import faust
from faust.app.base import BootStrategy
from faust.types import TP
from mode import Service, ServiceT

from schemas.errors import StrataError
from streams.batching import Batch, BatchConsumer, BatchTransport
from streams.changelog import ROCKSDB_OPTIONS, NotOursError, load, rows, store
from streams.gathering import Gather, decode_ahead, gather, step_epoch
from streams.polling import Record
from streams.publisher import Outgoing, Publisher, PublishError
from streams.rebalance import BatchTableManager
from streams.running import run
from streams.watchdog import StuckError, Watchdog

__all__ = [
    "App", "Batch", "Gather", "NotOursError", "Outgoing", "PublishError", "Record", "StuckError", "TopicsDifferError",
    "add_table", "batch_agent", "decode_ahead", "gather", "load", "make_app", "on_assigned", "on_revoked", "on_stop", "publish", "rows", "run", "store",
]  # fmt: skip

log = logging.getLogger(__name__)


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
        epoch, tables = step_epoch.get(), cast(Any, self.tables)
        return (epoch is None or epoch == consumer.epoch) and not self.in_recovery and not tables.should_stop and consumer.owns(changelog)

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
    max_record_bytes: int = 16 << 20,
    session_timeout_s: float = 10.0,
    watchdog_s: float = 60.0,
    ready_file: Path | None = None,
    compression: str | None = None,
) -> App:
    """An app with all settings of FAUST.md. Starts nothing.

    app_id: consumer group and prefix of the changelogs. data_dir: this worker's own folder. instance: its name in the group,
    unique and lasting (static membership: a restart within the session timeout moves no partition).
    session_timeout_s: after it a dead worker's partitions move. watchdog_s: the worker stops when commits are frozen for so long while records wait.
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

        agent.__module__, agent.__qualname__ = fun.__module__, fun.__qualname__  # for Faust's logs
        app.agent(app.topic(topic, key_type=bytes, value_type=bytes), name=topic)(agent)
        return fun

    return register


async def publish(app: App, outputs: Iterable[Outgoing]) -> None:
    """Publish all, in order per partition; returns when Kafka has acknowledged all. Raises PublishError."""
    await app.publisher.publish(outputs)


def on_revoked(app: App, f: Callable[[set[tuple[str, int]]], None]) -> None:
    """Call f with the partitions taken away, once no step is at work on them."""

    async def revoked(sender: Any, *args: Any, **_: Any) -> None:
        f({(tp.topic, tp.partition) for tp in args[0]})

    app.on_partitions_revoked.connect(cast(Any, revoked), weak=False)


def on_assigned(app: App, f: Callable[[set[tuple[str, int]]], None]) -> None:
    """Call f with all partitions of the new assignment, before tables are recovered and records come."""

    async def assigned(sender: Any, *args: Any, **_: Any) -> None:
        f({(tp.topic, tp.partition) for tp in args[0]})

    app.on_partitions_assigned.connect(cast(Any, assigned), weak=False)


def on_stop(app: App, f: Callable[[], Awaitable[None]]) -> None:
    """Call f when the app begins to stop."""

    async def stopping(sender: Any, *args: Any, **_: Any) -> None:
        await f()

    app.on_before_shutdown.connect(cast(Any, stopping), weak=False)


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
