"""Metric sessions through kills: what is told is what an undisturbed model tells, also when all comes back from the changelog."""

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from deploy.local.topics import create_missing
from models.metric_model import MetricModel
from models.metric_settings import MetricSettings
from models.steps import Answer, Item, Work
from schemas.codec import Codec

pytestmark = pytest.mark.broker

PARTITIONS, SESSIONS, SERIES, ROUNDS = 4, 5, 30, 90
MOST = 24
"""Fewer than the series of a session: some are let go all the time."""


def points() -> list[dict]:
    """Of all sessions, in turns; some series rarely."""
    chance, found = random.Random(1), []
    for n in range(ROUNDS):
        for k in range(SERIES):
            for s in range(SESSIONS):
                if k < 20 or chance.random() < 0.2:
                    value = chance.gauss(50, 1) + (500 if n > 80 and k == 3 else 0)
                    found.append({"session_id": f"host-{s}", "timestamp": 1_767_225_600 + 60 * n, "name": f"m{k}", "value": value})
    return found


def expected(sent: list[dict]) -> dict[tuple, tuple]:
    """(session, task, span, revision) -> label and value, by a model that reads all in one go."""
    works = []
    for session in sorted({p["session_id"] for p in sent}):
        mine = [p for p in sent if p["session_id"] == session]
        works.append(
            Work(session, None, [Item(n, "", p["timestamp"] * 1_000_000, name=p["name"], value=p["value"]) for n, p in enumerate(mine)])
        )
    found: dict[tuple, tuple] = {}
    for work, result in zip(works, MetricModel(MetricSettings(max_series=MOST)).step(works), strict=True):
        assert result.state.evicted > 20
        for answer in (f for item in result.items for f in item.findings if isinstance(f, Answer)):
            found[work.session, answer.task, answer.span_start, answer.span_end, answer.is_final] = (answer.label, answer.value)
    return found


class Worker:
    """One worker process, killed and started anew."""

    def __init__(self, broker: str, prefix: str, folder: Path):
        self.folder, self.ready = folder, folder / "ready"
        self.environ = {
            **os.environ, "STRATA_KAFKA_BOOTSTRAP": broker, "STRATA_TOPIC_PREFIX": prefix, "STRATA_PARTITIONS": str(PARTITIONS),
            "STRATA_DATA_DIR": str(folder), "STRATA_READY_FILE": str(self.ready), "STRATA_METRICS_MAX_SERIES": str(MOST),
        }  # fmt: skip

    def start(self) -> None:
        self.ready.unlink(missing_ok=True)
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "tests.streams.metric_worker"], env=self.environ, stdout=log, stderr=log)

    def wait(self, seconds: float = 90.0) -> None:
        deadline = time.monotonic() + seconds
        while not self.ready.exists():
            assert self.process.poll() is None, (self.folder / "log").read_text()[-3000:]
            assert time.monotonic() < deadline, "not ready"
            time.sleep(0.1)

    def kill(self, forget: bool = False) -> None:
        """SIGKILL; `forget`: what it had on disk is lost too."""
        self.process.kill()
        self.process.wait()
        if forget:
            shutil.rmtree(self.folder / "worker-0", ignore_errors=True)


async def predictions(broker: str, topic: str, wanted: int) -> dict[tuple, set[tuple]]:
    """All of the topic, once it has `wanted` different ones: (session, task, span, is final) -> what was said of it."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False)
    await consumer.start()
    try:
        places = [TopicPartition(topic, p) for p in range(PARTITIONS)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        found: dict[tuple, set[tuple]] = {}
        deadline, codec = time.monotonic() + 120, Codec()
        while len(found) < wanted and time.monotonic() < deadline:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    made = codec.decode_dict("predictions", record.value)
                    if made["task"] == "anomaly" and made["prediction_type"] == "partial":
                        continue  # the session's, given at ticks that the model alone has none of
                    key = (made["session_id"], made["task"], made["span_start"], made["span_end"], made["prediction_type"] == "final")
                    found.setdefault(key, set()).add((made["label"], made["value"]))
        return found
    finally:
        await consumer.stop()


async def send(broker: str, topic: str, sent: list[dict]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker, enable_idempotence=True)
    await producer.start()
    try:
        for point in sent:
            await producer.send(topic, json.dumps(point).encode(), key=point["session_id"].encode())
            await asyncio.sleep(0)
        await producer.flush()
    finally:
        await producer.stop()


@pytest.mark.timeout(400)
async def test_killed_workers_tell_what_an_undisturbed_model_tells(broker: str, topic_prefix: str, tmp_path: Path) -> None:
    await asyncio.to_thread(create_missing, broker, topic_prefix, PARTITIONS)
    sent, worker = points(), Worker(broker, topic_prefix, tmp_path)
    worker.start()
    worker.wait()
    try:
        third = len(sent) // 3
        for n, part in enumerate((sent[:third], sent[third : 2 * third], sent[2 * third :])):
            await send(broker, topic_prefix + "metrics", part)
            if n < 2:
                await asyncio.sleep(1.0)
                worker.kill(forget=n == 1)  # once with what is on disk, once from the changelog alone
                worker.start()
                worker.wait()
        wanted = expected(sent)
        found = await predictions(broker, topic_prefix + "predictions", len(wanted))
    finally:
        worker.kill()
    assert {key: values for key, values in found.items() if len(values) != 1} == {}
    assert {key: next(iter(values)) for key, values in found.items()} == wanted
