"""`strata replay`: recorded sessions through two versions."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from deploy.local.topics import create_missing

ROOT = Path(__file__).resolve().parents[2]


def strata(*arguments: str, timeout_s: float = 60, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.cli", *arguments],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


def test_one_model_or_a_folder_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    once = strata("replay", "--model", "shipped", STRATA_DATA_DIR=str(tmp_path))
    assert (once.returncode, "wanted twice" in once.stderr) == (2, True), once.stderr
    absent = strata("replay", "--model", "shipped", "--model", str(tmp_path / "no"), STRATA_DATA_DIR=str(tmp_path))
    assert (absent.returncode, "no such folder" in absent.stderr) == (2, True), absent.stderr


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_model_replayed_against_itself_differs_in_nothing_and_leaves_nothing(broker: str, tmp_path: Path) -> None:
    prefix = f"twice-{uuid4().hex[:8]}-"
    create_missing(broker, prefix, 2)
    environ = {"STRATA_DATA_DIR": str(tmp_path), "STRATA_KAFKA_BOOTSTRAP": broker, "STRATA_TOPIC_PREFIX": prefix, "STRATA_PARTITIONS": "2"}
    words = tmp_path / "words.txt"
    words.write_text("The bus was late again. It rained all day. We went home. Then we cooked soup.\n" * 4)
    sent = strata("produce", "tokens", str(words), "--session", "r-1", **environ)
    assert sent.returncode == 0, sent.stderr
    truth = tmp_path / "labels.jsonl"
    truth.write_text(json.dumps({"session_id": "r-1", "task": "topic", "label": "Weather", "position": 0, "span_end": 20}) + "\n")
    assert strata("produce", "labels", str(truth), **environ).returncode == 0
    done = strata("replay", "--model", "shipped", "--model", str(ROOT / "models/weights/text-small"), "--json", timeout_s=350, **environ)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["a"] == told["b"] != ""
    assert told["changed"] == []
    assert {d["measure"] for d in told["differences"]} >= {"agreement", "accuracy"}
    assert all(d["difference"] == 0 for d in told["differences"])
    assert [t for t in asyncio.run(topics_of(broker)) if t.startswith(f"{prefix}replay-")] == []


async def topics_of(broker: str) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        return list(await admin.list_topics())
    finally:
        await admin.close()
