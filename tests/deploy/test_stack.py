"""`strata up` as a user runs it: a real broker, and stand-ins for worker and writer that only get ready."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploy.local import background, processes, state, topics
from schemas.topics import all_topics

pytestmark = pytest.mark.broker

WORKER = """
import json, os, signal, sys, time
file = os.environ["STRATA_READY_FILE"]
open(file, "w").write(json.dumps({"pid": os.getpid()}))
signal.signal(signal.SIGTERM, signal.SIG_IGN if os.environ.get("DEAF") else lambda *a: sys.exit())
while True:
    time.sleep(1)
"""
SINK = """
import http.server, os
class Ping(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"Ok.\\n")
http.server.HTTPServer(("127.0.0.1", int(os.environ["STRATA_CLICKHOUSE_HTTP_PORT"])), Ping).serve_forever()
"""
WATCH = WORKER.replace("while True", "assert sys.argv[1:] == ['--watch']\nwhile True")
CONSOLE = SINK.replace("STRATA_CLICKHOUSE_HTTP_PORT", "STRATA_CONSOLE_PORT")


@dataclass
class Desk:
    """A folder where somebody types `strata ...`."""

    folder: Path
    environ: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def data_dir(self) -> Path:
        return self.folder / ".strata"

    def strata(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deploy.cli", *words], cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=120
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.cli", *words], cwd=self.folder, env=self.environ, stderr=subprocess.PIPE, text=True
        )
        self.started.append(process)
        return process

    def status(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.strata("status", "--json").stdout)
        return found

    def running(self) -> state.StackState:
        now = state.running(self.data_dir)
        assert now is not None
        return now

    def pids(self) -> dict[str, int]:
        return {p.name: p.pid for p in self.running().processes if p.pid}

    def is_ready(self) -> bool:
        now = state.running(self.data_dir)
        return now is not None and now.phase == "ready"


@pytest.fixture
def desk(tmp_path: Path, repository: Path) -> Iterator[Desk]:
    for package, code in (("streams", WORKER), ("sinks", SINK), ("sinks/console", CONSOLE)):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / "__main__.py").write_text(code)
    (tmp_path / "sinks" / "evaluate.py").write_text(WATCH)
    mine = {k: v for k, v in os.environ.items() if not k.startswith("STRATA_") or k == "STRATA_CACHE_DIR"}
    one = Desk(tmp_path, {**mine, "PYTHONPATH": str(repository)})
    yield one
    background.end(one.data_dir)
    for process in one.started:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def gone(pid: int) -> bool:
    return processes.identity(pid) is None


def test_up_detached_is_ready_when_it_returns_restarts_what_dies_and_down_leaves_nothing(
    desk: Desk, wait_until: Callable[..., None]
) -> None:
    desk.environ["STRATA_EVALUATION_THRESHOLDS"] = '{"latency.p99_ms": "<= 200"}'
    up = desk.strata("up", "--detach", "--free-ports", "--workers", "2")
    assert up.returncode == 0, up.stderr
    listed = desk.status()
    assert [p["name"] for p in listed] == ["broker", "worker-0", "worker-1", "sink", "console", "alerts"]
    assert all(p["ready"] and p["pid"] for p in listed)
    bootstrap = listed[0]["address"]
    assert int(bootstrap.rpartition(":")[2]) < 32768

    # a healthy start has no errors: partitions and groups were there when the parts asked for them
    logs = [desk.data_dir / "logs" / f"{name}.log" for name in ("sink", "console", "worker-0", "worker-1")]
    assert [line for log in logs for line in log.read_text().splitlines() if " ERROR " in line] == []

    # every topic is there, changelogs too, with equal partitions; asking again changes nothing
    assert {t["topic"]: t["partitions"] for t in json.loads(desk.strata("topics", "--json").stdout)} == {t.name: 8 for t in all_topics()}
    assert topics.create_missing(bootstrap, "", 8) == []

    # a second stack on the folder, and one on a taken port, are told so
    second = desk.strata("up", "--free-ports")
    assert second.returncode == 1
    assert "already runs on" in second.stderr
    taken = desk.strata("up", "--data-dir", "other", "--console-port", "0", "--kafka-port", bootstrap.rpartition(":")[2])
    assert taken.returncode == 1
    assert f"port {bootstrap.rpartition(':')[2]} for the broker is taken by java" in taken.stderr
    assert desk.strata("doctor").returncode == 0

    # what dies is started again
    before = desk.pids()
    os.kill(before["worker-1"], signal.SIGKILL)
    os.kill(before["broker"], signal.SIGKILL)
    wait_until(lambda: desk.is_ready() and all(p.restarts == 1 for p in desk.running().processes if p.name in ("worker-1", "broker")), 60)
    after = desk.pids()
    assert after["worker-0"] == before["worker-0"]
    assert after["broker"] != before["broker"]

    begun = time.monotonic()
    assert desk.strata("down").returncode == 0
    assert time.monotonic() - begun < 12
    assert all(gone(pid) for pid in after.values())
    again = desk.strata("status", "--json")
    assert (again.returncode, json.loads(again.stdout)) == (1, [])


def test_ctrl_c_ends_all_within_ten_seconds_even_a_worker_that_does_not_listen(desk: Desk, wait_until: Callable[..., None]) -> None:
    desk.environ["DEAF"] = "1"
    process = desk.start("up", "--free-ports")
    wait_until(desk.is_ready, 60)
    pids = desk.pids()
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(15) == 0
    assert time.monotonic() - begun < 10
    assert all(gone(pid) for pid in pids.values())
    assert "killed: worker-0" in process.stderr.read() if process.stderr else False


def test_ctrl_c_during_the_start_ends_what_has_begun(desk: Desk, wait_until: Callable[..., None]) -> None:
    process = desk.start("up", "--free-ports")
    wait_until(lambda: (now := state.read(desk.data_dir)) is not None and any(p.pid for p in now.processes), 60)
    begun, now = time.monotonic(), state.read(desk.data_dir)
    assert now is not None
    process.send_signal(signal.SIGINT)
    assert process.wait(15) == 1
    assert time.monotonic() - begun < 10
    assert all(gone(p.pid) for p in now.processes if p.pid)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's parent-death signal is Linux's")
def test_a_killed_supervisor_leaves_no_orphan_not_even_the_broker_and_up_works_again(desk: Desk, wait_until: Callable[..., None]) -> None:
    process = desk.start("up", "--free-ports")
    wait_until(desk.is_ready, 60)
    pids = desk.pids()
    assert set(pids) == {"broker", "worker-0", "sink", "console"}
    process.kill()
    process.wait()
    wait_until(lambda: all(gone(pid) for pid in pids.values()), 5, "the end of all processes")
    assert state.running(desk.data_dir) is None
    # a second start goes on with the same log
    cluster = (desk.data_dir / "kafka" / "cluster-id").read_text()
    again = desk.strata("up", "--detach", "--free-ports")
    assert again.returncode == 0, again.stderr
    assert "formatting" not in again.stderr
    assert (desk.data_dir / "kafka" / "cluster-id").read_text() == cluster


def test_with_an_external_kafka_no_broker_is_started_and_topics_are_made_there(desk: Desk, broker: str, topic_prefix: str) -> None:
    desk.environ |= {"STRATA_KAFKA_BOOTSTRAP": broker, "STRATA_TOPIC_PREFIX": topic_prefix, "STRATA_PARTITIONS": "2"}
    up = desk.strata("up", "--detach", "--clickhouse-http-port", "0", "--console-port", "0")
    assert up.returncode == 0, up.stderr
    assert [p.name for p in desk.running().processes] == ["worker-0", "sink", "console"]
    assert {t.partitions for t in topics.survey(broker, topic_prefix)} == {2}
    background.end(desk.data_dir)
    # the partitions are fixed now
    desk.environ["STRATA_PARTITIONS"] = "4"
    other = desk.strata("up", "--detach", "--clickhouse-http-port", "0", "--console-port", "0")
    assert other.returncode == 1
    assert f"topics must have 4 partitions each, but {topic_prefix}tokens has 2" in other.stderr
    assert "STRATA_PARTITIONS" in other.stderr


def test_an_external_kafka_that_does_not_answer_is_a_clear_error(desk: Desk) -> None:
    up = desk.strata("up", "--kafka", "127.0.0.2:19", "--free-ports")
    assert up.returncode == 1
    assert "no Kafka answers on 127.0.0.2:19" in up.stderr


def test_wrong_usage_has_status_two(desk: Desk) -> None:
    assert desk.strata("up", "--workers", "many").returncode == 2
    assert desk.strata("up", "--kafka", "a:1", "--kafka-port", "2").returncode == 2
    desk.environ["STRATA_PARTITIONS"] = "many"
    wrong = desk.strata("status")
    assert wrong.returncode == 2
    assert "STRATA_PARTITIONS" in wrong.stderr
