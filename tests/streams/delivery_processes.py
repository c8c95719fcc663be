"""Worker processes against a real broker, and what tests read of its topics."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

PARTITIONS = 8
LARGE = {"max.message.bytes": str(16 << 20)}


class Workers:
    """Processes of tests/streams/delivery_worker.py, all of one app."""

    def __init__(self, bootstrap: str, app: str, folder: Path):
        self.bootstrap, self.app, self.folder = bootstrap, app, folder
        self.running: dict[str, subprocess.Popen] = {}

    def start(self, kind: str, name: str, topic: str, *more: str) -> subprocess.Popen:
        home = self.folder / name
        home.mkdir(parents=True, exist_ok=True)
        (home / "ready").unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "tests.streams.delivery_worker",
            kind,
            self.bootstrap,
            self.app,
            str(home),
            "--topics",
            topic,
            *more,
        ]
        with (home / "log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        self.running[name] = process
        return process

    async def start_ready(self, name: str, topic: str, *more: str) -> subprocess.Popen:
        """Start, and wait until it consumes."""
        process = self.start("ours", name, topic, *more)
        deadline = time.monotonic() + 30
        while not (self.folder / name / "ready").exists():
            assert process.poll() is None, self.logs()
            assert time.monotonic() < deadline, f"not ready\n{self.logs()}"
            await asyncio.sleep(0.05)
        return process

    async def ended(self, name: str, seconds: float) -> int:
        """The exit status, once it ends."""
        return await asyncio.to_thread(self.running[name].wait, seconds)

    def kill(self, name: str) -> None:
        self.running[name].kill()
        self.running[name].wait()

    def kill_all(self) -> None:
        for process in self.running.values():
            if process.poll() is None:
                process.kill()
                process.wait()

    def logs(self) -> str:
        return "\n".join(f"--- {p.parent.name}\n{p.read_text()[-3000:]}" for p in self.folder.glob("*/log"))


async def create_topics(bootstrap: str, *names: str, partitions: int = PARTITIONS) -> None:
    """Topics with leaders; those called -changelog are compacted."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    compact = LARGE | {"cleanup.policy": "compact"}
    await admin.create_topics([NewTopic(n, partitions, 1, topic_configs=compact if n.endswith("-changelog") else LARGE) for n in names])
    for _ in range(100):
        described = await admin.describe_topics(list(names))
        if all(t["partitions"] and all(p["leader"] >= 0 for p in t["partitions"]) for t in described):
            break
        await asyncio.sleep(0.1)
    await admin.close()


async def produce(bootstrap: str, topic: str, records: list[tuple[int, bytes, bytes]]) -> None:
    """records: partition, key, value."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=16 << 20)
    await producer.start()
    sent = [await producer.send(topic, value, key=key, partition=partition) for partition, key, value in records]
    await asyncio.gather(*sent)
    await producer.stop()


async def read_topic(bootstrap: str, topic: str) -> list:
    """All records of a topic, in order per partition."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, max_poll_records=5000, max_partition_fetch_bytes=16 << 20
    )
    await consumer.start()
    places = [TopicPartition(topic, p) for p in range(PARTITIONS)]
    ends = await consumer.end_offsets(places)
    consumer.assign(places)
    await consumer.seek_to_beginning()
    found: list = []
    while any([await consumer.position(p) < ends[p] for p in places]):
        for records in (await consumer.getmany(timeout_ms=300)).values():
            found.extend(records)
    await consumer.stop()
    return found


async def last_rows(bootstrap: str, changelog: str) -> dict[bytes, bytes]:
    """Key -> last value, as a recovery would find it."""
    records = sorted(await read_topic(bootstrap, changelog), key=lambda r: r.offset)
    return {r.key: r.value for r in records if r.value is not None} if records else {}


async def committed(bootstrap: str, topic: str, group: str) -> int:
    """Sum of the group's committed offsets."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        return sum([await consumer.committed(TopicPartition(topic, p)) or 0 for p in range(PARTITIONS)])
    finally:
        await consumer.stop()


async def all_committed(workers: Workers, topic: str, count: int, seconds: float) -> bool:
    """Whether the group commits so many records in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if await committed(workers.bootstrap, topic, workers.app) >= count:
            return True
        await asyncio.sleep(0.2)
    return False
