"""Delivery against a real broker: durability, sizes, recovery, and how a worker ends."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiokafka import AIOKafkaProducer

from streams.delivery import App, NotOursError, Outgoing, PublishError, add_table, batch_agent, gather, load, make_app, rows, store
from tests.streams.delivery_processes import PARTITIONS, Workers, all_committed, committed, create_topics, last_rows, produce, read_topic
from tests.streams.delivery_worker import CRASH

pytestmark = pytest.mark.broker


@pytest.fixture
def workers(broker: str, topic_prefix: str, tmp_path: Path) -> Iterator[Workers]:
    them = Workers(broker, topic_prefix + "app", tmp_path)
    yield them
    them.kill_all()


def numbered(count: int) -> list[tuple[int, bytes, bytes]]:
    """Records of 16 keys, each key on one partition."""
    return [(n % PARTITIONS, b"key-%d" % (n % 16), b'{"n": %d}' % n) for n in range(count)]


def sums(count: int) -> dict[bytes, tuple[int, int]]:
    """The row that each key of `numbered` must have."""
    found: dict[bytes, tuple[int, int]] = {}
    for n in range(count):
        times, total = found.get(b"key-%d" % (n % 16), (0, 0))
        found[b"key-%d" % (n % 16)] = times + 1, total + n
    return found


async def sums_of(workers: Workers) -> dict[bytes, tuple[int, ...]]:
    found = await last_rows(workers.bootstrap, f"{workers.app}-sums-events-changelog")
    return {key: tuple(map(int, value.split()[:2])) for key, value in found.items()}


async def create_for(workers: Workers, topic: str) -> None:
    await create_topics(workers.bootstrap, topic, f"{topic}-out", f"{workers.app}-sums-events-changelog")


# -- the process


async def test_kill_9_in_mid_stream_loses_nothing_and_counts_exactly(workers: Workers, topic_prefix: str) -> None:
    topic, count = topic_prefix + "events", 60_000
    await create_for(workers, topic)
    await produce(workers.bootstrap, topic, numbered(count))
    for part in (0.2, 0.5):
        await workers.start_ready("a", topic, "--instance", "a", "--step-s", "0.1", "--every", "1")
        assert await all_committed(workers, topic, int(count * part), 30)
        workers.kill("a")
    await workers.start_ready("a", topic, "--instance", "a", "--every", "1")
    assert await all_committed(workers, topic, count, 30)
    assert await sums_of(workers) == sums(count)
    assert len({(r.partition, r.value) for r in await read_topic(workers.bootstrap, f"{topic}-out")}) == count


async def test_a_failing_agent_stops_the_worker_and_the_replay_is_exact(workers: Workers, topic_prefix: str) -> None:
    topic, count = topic_prefix + "events", 800
    await create_for(workers, topic)
    process = await workers.start_ready("a", topic, "--instance", "a")
    await produce(workers.bootstrap, topic, numbered(count))
    assert await all_committed(workers, topic, count, 20)
    # the bad record is followed by good ones of its own key: none of them may be counted before it
    bad = [(3, b"key-3", CRASH), *[(3, b"key-3", b'{"n": 1000000}')] * 50]
    await produce(workers.bootstrap, topic, bad)
    assert await workers.ended("a", 15) == 1
    assert process.returncode == 1
    assert "a record that crashes" in workers.logs()
    assert await committed(workers.bootstrap, topic, workers.app) == count
    expected = sums(count)
    assert await sums_of(workers) == expected
    await workers.start_ready("a", topic, "--instance", "a", "--tolerant")
    assert await all_committed(workers, topic, count + 51, 20)
    times, total = expected[b"key-3"]
    assert (await sums_of(workers))[b"key-3"] == (times + 51, total - 1 + 50 * 1_000_000)


async def test_term_ends_within_two_seconds_with_all_committed_and_no_port_was_open(workers: Workers, topic_prefix: str) -> None:
    topic, count = topic_prefix + "events", 4000
    await create_for(workers, topic)
    process = await workers.start_ready("a", topic, "--instance", "a", "--step-s", "0.3")
    listening = [c for c in psutil.Process(process.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert not listening
    await produce(workers.bootstrap, topic, numbered(count))
    await asyncio.sleep(0.2)  # a step is at work
    process.terminate()
    started = asyncio.get_running_loop().time()
    assert await workers.ended("a", 10) == 0
    assert asyncio.get_running_loop().time() - started < 2 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    # what the step at work stored it also committed: nothing stored is repeated
    done = await committed(workers.bootstrap, topic, workers.app)
    assert done == sum(times for times, _ in (await sums_of(workers)).values())
    assert 0 < done <= count


async def test_a_worker_does_not_start_when_partition_counts_differ(workers: Workers, topic_prefix: str) -> None:
    topic = topic_prefix + "events"
    await create_topics(workers.bootstrap, topic, f"{topic}-out")
    await create_topics(workers.bootstrap, f"{workers.app}-sums-events-changelog", partitions=3)
    workers.start("ours", "a", topic)
    assert await workers.ended("a", 20) == 1
    assert "same number of partitions" in workers.logs()


async def test_a_step_that_hangs_stops_the_worker(workers: Workers, topic_prefix: str) -> None:
    topic = topic_prefix + "events"
    await create_for(workers, topic)
    await workers.start_ready("a", topic, "--step-s", "1000", "--watchdog-s", "3")
    await produce(workers.bootstrap, topic, numbered(10))
    assert await workers.ended("a", 25) == 1
    assert "while records wait" in workers.logs()
    assert not (workers.folder / "a" / "ready").exists()


# -- the parts, in this process


@asynccontextmanager
async def running(app: App) -> AsyncIterator[App]:
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


def small_app(broker: str, prefix: str, folder: Path) -> tuple[App, Any]:
    app = make_app(prefix + "app", broker, folder)
    return app, add_table(app, "t")


@pytest.fixture
async def topics(broker: str, topic_prefix: str) -> str:
    await create_topics(broker, f"{topic_prefix}in", f"{topic_prefix}out", f"{topic_prefix}app-t-changelog")
    return topic_prefix


async def test_outputs_are_published_in_order_with_their_headers_and_split_where_too_large(
    broker: str, topics: str, tmp_path: Path
) -> None:
    app, _ = small_app(broker, topics, tmp_path)
    out = f"{topics}out"
    many = [Outgoing(out, n % 2, b"k%d" % n, b"%d " % n + b"x" * 10_000, [("n", b"%d" % n)]) for n in range(400)]
    large = [Outgoing(out, 2, b"large", b"y" * 10_000_000, (), None), Outgoing(out, 2, b"gone", None)]
    keyed = [Outgoing(out, None, b"session-%d" % n, b"v") for n in range(50)]
    async with running(app):
        await app.publisher.publish([*many, *large, *keyed])
        await app.publisher.publish([])
        with pytest.raises(PublishError, match=f"{topics}out"):
            await app.publisher.publish([Outgoing(out, 0, b"k", b"z" * 20_000_000)])
        found = await read_topic(broker, out)
        producer = AIOKafkaProducer(bootstrap_servers=broker)
        await producer.start()
        places = {b"session-%d" % n: (await producer.send_and_wait(out, b"v", key=b"session-%d" % n)).partition for n in range(50)}
        await producer.stop()
    for partition in (0, 1):
        mine = [r for r in found if r.partition == partition and r.value != b"v"]
        assert [(r.key, r.headers) for r in mine] == [(b"k%d" % n, (("n", b"%d" % n),)) for n in range(partition, 400, 2)]
    assert [(r.key, len(r.value or b"")) for r in found if r.partition == 2 and r.value != b"v"] == [(b"large", 10_000_000), (b"gone", 0)]
    assert {r.key: r.partition for r in found if r.value == b"v"} == places


async def test_rows_are_kept_and_recovered_from_the_changelog_alone(broker: str, topics: str, tmp_path: Path) -> None:
    app, table = small_app(broker, topics, tmp_path / "one")
    batch_agent(app, f"{topics}in")(forever)
    async with running(app):
        await store(table, 3, {b"k%d" % n: b"v%d" % n * 100 for n in range(5000)})
        await store(table, 3, {b"k7": b"new", b"k8": None, b"absent": None})
        await store(table, 5, {b"k7": b"elsewhere"})
        assert load(table, 3, [b"k7", b"k8", b"k9", b"k7"]) == {b"k7": b"new", b"k9": b"v9" * 100}
        expected = {partition: dict(rows(table, partition)) for partition in range(PARTITIONS)}
    assert [len(expected[p]) for p in range(PARTITIONS)] == [0, 0, 0, 4999, 0, 1, 0, 0]
    with pytest.raises(NotOursError):
        load(table, 3, [b"k7"])
    other, table = small_app(broker, topics, tmp_path / "two")
    batch_agent(other, f"{topics}in")(forever)
    async with running(other):
        assert {partition: dict(rows(table, partition)) for partition in range(PARTITIONS)} == expected


async def forever(stream: Any) -> None:
    async for step in gather(stream):
        for batch in step:
            batch.ack()


async def test_batches_are_the_events_of_fausts_own_stream_too(broker: str, topics: str, tmp_path: Path) -> None:
    app, _ = small_app(broker, topics, tmp_path)
    seen: list[int] = []

    @app.agent(app.topic(f"{topics}in", key_type=bytes, value_type=bytes))
    async def plain(stream: Any) -> None:
        async for event in stream.noack().events():
            seen.extend(r.offset for r in event.value.records)
            event.ack()

    await produce(broker, f"{topics}in", [(0, b"k", b"v")] * 300)
    async with running(app):
        for _ in range(100):
            if len(seen) == 300:
                break
            await asyncio.sleep(0.1)
    assert seen == list(range(300))
    assert await committed(broker, f"{topics}in", f"{topics}app") == 300


async def test_a_record_of_10_megabytes_passes(broker: str, topics: str, tmp_path: Path) -> None:
    app, _ = small_app(broker, topics, tmp_path)
    seen: list[tuple[int, int]] = []

    @batch_agent(app, f"{topics}in")
    async def sizes(stream: Any) -> None:
        async for step in gather(stream):
            for batch in step:
                seen.extend((r.offset, len(r.value or b"")) for r in batch.records)
                batch.ack()

    await produce(broker, f"{topics}in", [(0, b"k", b"x" * n) for n in (5, 10_000_000, 7)])
    async with running(app):
        for _ in range(100):
            if len(seen) == 3:
                break
            await asyncio.sleep(0.1)
    assert seen == [(0, 5), (1, 10_000_000), (2, 7)]
