"""Measures delivery against a real broker: python -m tests.streams.bench_delivery BOOTSTRAP [throughput|latency|idle|recovery ...]

One worker process (tests/streams/delivery_worker.py, and bare Faust for comparison) with trivial work: JSON decode, a row of state per
key with its changelog, one output per ten records. Prints one line of JSON per measurement.
throughput: records a second and CPU seconds per 100,000. latency: append of the record to append of its output, 200 records/s, ms.
idle: CPU share with 4 topics of 8 partitions and nothing to do. recovery: changelog rows a second into an empty data folder.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

PARTITIONS = 8
KEYS = 1000


@contextmanager
def worker(kind: str, bootstrap: str, app: str, folder: Path, topics: str, *more: str) -> Iterator[psutil.Process]:
    command = [sys.executable, "-m", "tests.streams.delivery_worker", kind, bootstrap, app, str(folder), "--topics", topics, *more]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield psutil.Process(process.pid)
    finally:
        started = time.monotonic()
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
        print(json.dumps({"worker": kind, "exit": process.returncode, "stop_s": round(time.monotonic() - started, 2)}), file=sys.stderr)


async def create(bootstrap: str, *names: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    compact = {"cleanup.policy": "compact"}
    await admin.create_topics([NewTopic(n, PARTITIONS, 1, topic_configs=compact if n.endswith("-changelog") else {}) for n in names])
    await admin.close()
    await asyncio.sleep(1)


async def fill(bootstrap: str, topic: str, count: int) -> None:
    """`count` records in batches, KEYS keys, each key on one partition."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=500_000)
    await producer.start()
    for start in range(0, count, 40_000):
        sent = []
        for partition in range(PARTITIONS):
            batch = producer.create_batch()
            for i in range(start + partition, min(start + 40_000, count), PARTITIONS):
                value = b'{"n": %d, "text": "%s", "source": "bench"}' % (i % 97, b"word " * 8)
                if batch.append(key=b"key-%d" % (i % KEYS // PARTITIONS * PARTITIONS + partition), value=value, timestamp=None) is None:
                    raise RuntimeError("batch too small")
            batch.close()
            sent.append(await producer.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*sent)
    await producer.stop()


async def until(bootstrap: str, topic: str, group: str, count: int, process: psutil.Process) -> None:
    """Wait until the group has committed so many records."""
    while await offsets(bootstrap, topic, group) < count:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            raise RuntimeError("the worker ended; see its log")
        await asyncio.sleep(0.05)


async def offsets(bootstrap: str, topic: str, group: str | None = None) -> int:
    """Sum of end offsets, or of what the group has committed."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    places = [TopicPartition(topic, p) for p in range(PARTITIONS)]
    try:
        if group is None:
            return sum((await consumer.end_offsets(places)).values())
        return sum([await consumer.committed(p) or 0 for p in places])
    finally:
        await consumer.stop()


async def throughput(bootstrap: str, kind: str, count: int) -> None:
    name = f"bench-{uuid.uuid4().hex[:6]}"
    topic, out = f"{name}-t", f"{name}-out"
    await create(bootstrap, topic, out, f"{name}-sums-t-changelog")
    await fill(bootstrap, topic, 10)
    with tempfile.TemporaryDirectory() as folder, worker(kind, bootstrap, name, Path(folder) / "w", topic, "--output", out) as process:
        await until(bootstrap, topic, name, 10, process)
        # stopped, so that the whole backlog is there when it goes on
        process.suspend()
        await fill(bootstrap, topic, count)
        process.resume()
        cpu, started = process.cpu_times(), time.monotonic()
        await until(bootstrap, topic, name, count + 10, process)
        took, now = time.monotonic() - started, process.cpu_times()
        used = now.user + now.system - cpu.user - cpu.system
        report(
            "throughput",
            kind,
            records=count,
            per_s=round(count / took),
            cpu_s_per_100k=round(used / count * 1e5, 2),
            rss_mb=process.memory_info().rss >> 20,
        )


async def latency(bootstrap: str, kind: str, rate: int, seconds: float) -> None:
    name = f"bench-{uuid.uuid4().hex[:6]}"
    topic, out = f"{name}-t", f"{name}-out"
    await create(bootstrap, topic, out, f"{name}-sums-t-changelog")
    more = ("--output", out, "--every", "1")
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    with tempfile.TemporaryDirectory() as folder, worker(kind, bootstrap, name, Path(folder) / "w", topic, *more) as process:
        await producer.send_and_wait(topic, b'{"n": 1}', key=b"warm", partition=0)
        await until(bootstrap, topic, name, 1, process)
        started, cpu = time.monotonic(), process.cpu_times()
        for i in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, started + i / rate - time.monotonic()))
            await producer.send(topic, b'{"n": %d}' % i, key=b"key-%d" % (i % 50), partition=i % 50 % PARTITIONS)
        took, now = time.monotonic() - started, process.cpu_times()
        await producer.flush()
        await asyncio.sleep(3)
    await producer.stop()
    # append to append, by the broker's clock
    appended = {(r.partition, r.offset): r.timestamp for r in await read(bootstrap, topic)}
    outputs = [r for r in await read(bootstrap, out) if r.key != b"warm"]
    delays = sorted(r.timestamp - appended[r.partition, int(r.value.split()[0])] for r in outputs)
    missing = len(appended) - 1 - len(delays)
    at = [delays[min(int(len(delays) * q), len(delays) - 1)] for q in (0.5, 0.95, 0.99, 1.0)]
    used = now.user + now.system - cpu.user - cpu.system
    report(
        "latency",
        kind,
        per_s=rate,
        p50_ms=at[0],
        p95_ms=at[1],
        p99_ms=at[2],
        max_ms=at[3],
        missing=missing,
        cpu_share=round(used / took, 3),
    )


async def read(bootstrap: str, topic: str) -> list:
    """All records of a topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, max_poll_records=5000)
    await consumer.start()
    places = [TopicPartition(topic, p) for p in range(PARTITIONS)]
    ends = await consumer.end_offsets(places)
    consumer.assign([p for p in places if ends[p]])
    await consumer.seek_to_beginning()
    found: list = []
    while len(found) < sum(ends.values()):
        for records in (await consumer.getmany(timeout_ms=500)).values():
            found.extend(records)
    await consumer.stop()
    return found


async def idle(bootstrap: str, kind: str, seconds: float) -> None:
    name = f"bench-{uuid.uuid4().hex[:6]}"
    topics = [f"{name}-{t}" for t in ("a", "b", "c", "d")]
    await create(bootstrap, *topics, f"{name}-out", *[f"{name}-sums-{t}-changelog" for t in ("a", "b", "c", "d")])
    with (
        tempfile.TemporaryDirectory() as folder,
        worker(kind, bootstrap, name, Path(folder) / "w", ",".join(topics), "--output", f"{name}-out") as process,
    ):
        while not (Path(folder) / "w" / "ready").exists():  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        await asyncio.sleep(3)
        cpu, switches = process.cpu_times(), process.num_ctx_switches()
        await asyncio.sleep(seconds)
        now, after = process.cpu_times(), process.num_ctx_switches()
        used = now.user + now.system - cpu.user - cpu.system
        report(
            "idle",
            kind,
            cpu_share=round(used / seconds, 4),
            wakeups_per_s=round((after.voluntary - switches.voluntary) / seconds),
            rss_mb=process.memory_info().rss >> 20,
        )


async def recovery(bootstrap: str, kind: str, count: int) -> None:
    name = f"bench-{uuid.uuid4().hex[:6]}"
    topic, out, changelog = f"{name}-t", f"{name}-out", f"{name}-sums-t-changelog"
    await create(bootstrap, topic, out, changelog)
    await fill(bootstrap, changelog, count)
    with tempfile.TemporaryDirectory() as folder, worker(kind, bootstrap, name, Path(folder) / "w", topic, "--output", out):
        log = Path(folder) / "w" / "log"
        began = 0.0
        while not (Path(folder) / "w" / "ready").exists() and "Worker ready" not in log.read_text():
            if not began and "active offsets at start" in log.read_text():
                began = time.monotonic()
            await asyncio.sleep(0.01)
        took = time.monotonic() - began
    report("recovery", kind, rows=count, per_s=round(count / took), seconds=round(took, 2))


def report(what: str, kind: str, **figures: object) -> None:
    print(json.dumps({"what": what, "kind": kind, **figures, "load": os.getloadavg()[0]}), flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bootstrap")
    parser.add_argument("what", nargs="*", default=["throughput", "latency", "idle", "recovery"])
    parser.add_argument("--kind", default="ours", choices=("ours", "stock"))
    parser.add_argument("--count", type=int, default=400_000)
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    args = parser.parse_args()
    for what in args.what:
        if what == "throughput":
            await throughput(args.bootstrap, args.kind, args.count)
        elif what == "latency":
            await latency(args.bootstrap, args.kind, args.rate, args.seconds)
        elif what == "idle":
            await idle(args.bootstrap, args.kind, args.seconds)
        else:
            await recovery(args.bootstrap, args.kind, args.count)


if __name__ == "__main__":
    asyncio.run(main())
