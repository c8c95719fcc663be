"""A worker and a writer as processes against the real broker, for tests of the whole way.

Knows how to start, kill and ask; leaves what is sent and expected to the tests.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from deploy.local.topics import create_missing

ROOT = Path(__file__).resolve().parents[2]
MEASURED = {
    "predictions": ("latency_ms",),
    "performance": ("metric_value", "context"),
    "model_state": ("cache_size_mb",),
    "failures": ("stack_trace",),
}
"""Columns that hold what a clock or the hardware said; all others are the same in every run."""
OF_A_RUN = ("trace_id", "kafka_topic")
"""Columns that name the topic, which every test has its own of."""


@dataclass
class Sent:
    """One record to send."""

    topic: str
    value: bytes
    key: bytes | None = None
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    partition: int | None = None


@dataclass
class System:
    """One deployment: topics under a prefix, a data folder, processes."""

    bootstrap: str
    prefix: str
    folder: Path
    http_port: int
    settings: dict[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen] = field(default_factory=dict)
    worker: str = "streams"
    """Module that a worker is."""

    def create_topics(self, partitions: int = 4) -> None:
        self.settings["STRATA_PARTITIONS"] = str(partitions)
        create_missing(self.bootstrap, self.prefix, partitions)

    def start(self, name: str, **settings: str) -> None:
        """Start `worker-N` or `sink` and return at once; see wait_ready."""
        kind, _, index = name.partition("-")
        module = self.worker if kind == "worker" else "sinks"
        self.ready_file(name).unlink(missing_ok=True)
        environ = {
            **os.environ,
            "STRATA_KAFKA_BOOTSTRAP": self.bootstrap,
            "STRATA_TOPIC_PREFIX": self.prefix,
            "STRATA_DATA_DIR": str(self.folder),
            "STRATA_CLICKHOUSE_HTTP_PORT": str(self.http_port),
            "STRATA_WORKER_INDEX": index or "0",
            "STRATA_READY_FILE": str(self.ready_file(name)),
            **self.settings,
            **settings,
        }
        log = open(self.folder / f"{name}.log", "ab")  # noqa: SIM115
        self.processes[name] = subprocess.Popen([sys.executable, "-m", module], cwd=ROOT, env=environ, stdout=log, stderr=log)

    def ready_file(self, name: str) -> Path:
        return self.folder / f"{name}.ready"

    def wait_ready(self, *names: str, seconds: float = 90.0) -> None:
        deadline = time.monotonic() + seconds
        for name in names:
            while not self.ready_file(name).exists():
                status = self.processes[name].poll()
                assert status is None, f"{name} ended with {status}:\n{self.log(name)[-3000:]}"
                assert time.monotonic() < deadline, f"{name} is not ready after {seconds} s:\n{self.log(name)[-3000:]}"
                time.sleep(0.1)

    def kill(self, name: str) -> None:
        """SIGKILL: the process has no say."""
        self.processes[name].kill()
        self.processes.pop(name).wait()

    def stop(self, name: str) -> int:
        """SIGTERM; the exit status."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(20)

    def stop_all(self) -> None:
        for name in list(self.processes):
            process = self.processes.pop(name)
            process.kill()
            process.wait()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def send(self, records: Sequence[Sent], rate: float | None = None) -> None:
        """Send in order, waiting for Kafka; `rate` in records a second."""
        asyncio.run(self._send(records, rate))

    async def _send(self, records: Sequence[Sent], rate: float | None) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, enable_idempotence=True, linger_ms=2, max_request_size=16 << 20)
        await producer.start()
        try:
            started, pending = time.monotonic(), []
            for n, one in enumerate(records):
                pending.append(
                    await producer.send(self.prefix + one.topic, one.value, key=one.key, headers=one.headers, partition=one.partition)
                )
                if rate and (ahead := (n + 1) / rate - (time.monotonic() - started)) > 0:
                    await asyncio.sleep(ahead)
            await asyncio.gather(*pending)
        finally:
            await producer.stop()

    def read_topic(self, topic: str) -> list:
        """All records of a topic as they are now."""
        return asyncio.run(self._read_topic(self.prefix + topic))

    async def _read_topic(self, topic: str) -> list:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False, max_partition_fetch_bytes=32 << 20)
        await consumer.start()
        try:
            places = [
                TopicPartition(topic, p)
                for p in sorted(await consumer._client._wait_on_metadata(topic) and consumer.partitions_for_topic(topic))
            ]
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            ends, found = await consumer.end_offsets(places), []
            while [p for p in places if await consumer.position(p) < ends[p]]:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    found += records
            return found
        finally:
            await consumer.stop()

    def query(self, sql: str) -> list[dict]:
        """Rows over ClickHouse's HTTP interface."""
        url = f"http://127.0.0.1:{self.http_port}/?" + urllib.parse.urlencode({"database": "strata"})
        with urllib.request.urlopen(urllib.request.Request(url, f"{sql} FORMAT JSONEachRow".encode()), timeout=60) as answer:
            return [json.loads(line) for line in answer if line.strip()]

    def value(self, sql: str):
        return next(iter(self.query(sql)[0].values()))

    def wait_for(self, sql: str, wanted: object, seconds: float = 120.0) -> None:
        """Until the single value of `sql` equals `wanted`."""
        deadline, seen = time.monotonic() + seconds, None
        while time.monotonic() < deadline:
            try:
                seen = self.value(sql)
            except OSError as problem:
                seen = str(problem)
            if seen == wanted or str(seen) == str(wanted):
                return
            for name, process in self.processes.items():
                assert process.poll() is None, f"{name} ended with {process.poll()}:\n{self.log(name)[-3000:]}"
            time.sleep(0.2)
        tails = "\n".join(f"--- {name}\n{self.log(name)[-2000:]}" for name in self.processes)
        raise AssertionError(f"{sql}\ngave {seen!r}, wanted {wanted!r} within {seconds} s\n{tails}")

    def settle(self, seconds: float = 1.5) -> None:
        """Until no table has grown for a while."""
        tables = ("input_stream", "predictions", "boundaries", "model_state", "performance", "failures")
        sql = "SELECT " + ", ".join(f"(SELECT count() FROM {t}) AS {t}" for t in tables)
        last, since = None, time.monotonic()
        while time.monotonic() - since < seconds:
            now = self.query(sql)
            if now != last:
                last, since = now, time.monotonic()
            time.sleep(0.2)

    def table(self, name: str) -> list[str]:
        """Every row of a table that a repetition must give again, as sorted JSON lines without what was measured."""
        skipped = {*MEASURED.get(name, ()), *OF_A_RUN}
        return sorted(
            json.dumps({k: v for k, v in row.items() if k not in skipped}, sort_keys=True) for row in self.query(f"SELECT * FROM {name}")
        )
