"""The console as a process: what it refuses, that it lives without Kafka and ClickHouse, and that it ends when told to."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from http.client import HTTPResponse

from sinks.console.access import read_token

SECRET = "s" * 32


def environ(**settings: object) -> dict[str, str]:
    mine = {k: v for k, v in os.environ.items() if not k.startswith("STRATA_")}
    return {**mine, **{f"STRATA_{k.upper()}": str(v) for k, v in settings.items()}}


def run(*words: str, **settings: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sinks.console", *words]
    return subprocess.run(command, env=environ(**settings), capture_output=True, text=True, timeout=60)


def test_a_token_is_printed_alone_and_is_one_of_this_console() -> None:
    done = run("--token", "labeller", "--name", "ann", "--days", "2", console_secret=SECRET)
    caller = read_token(SECRET, done.stdout.strip())
    assert (done.returncode, caller.name, caller.role) == (0, "ann", "labeller")


def test_a_console_that_would_be_open_to_others_does_not_start() -> None:
    done = run(console_host="0.0.0.0")
    assert done.returncode == 2
    assert "STRATA_CONSOLE_SECRET must be set" in done.stderr
    assert run("--token", "viewer").returncode == 2


def test_a_taken_port_is_named(free_port: Callable[[], int]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(console_port=taken.getsockname()[1], kafka_bootstrap=f"127.0.0.1:{free_port()}")
    assert done.returncode == 2
    assert "cannot be listened on" in done.stderr


def test_without_kafka_and_clickhouse_it_serves_says_so_and_ends_when_told(
    free_port: Callable[[], int], wait_until: Callable[..., None]
) -> None:
    port, kafka = free_port(), f"127.0.0.1:{free_port()}"
    settings = environ(console_port=port, kafka_bootstrap=kafka, clickhouse_http_port=free_port())
    process = subprocess.Popen([sys.executable, "-m", "sinks.console"], env=settings, stderr=subprocess.DEVNULL)

    def get(path: str) -> HTTPResponse:
        opened: HTTPResponse = urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20)
        return opened

    def answers() -> bool:
        try:
            return get("/healthz").read() == b"Ok.\n"
        except OSError:
            return False

    try:
        wait_until(answers, 30, "an answer")
        wait_until(lambda: f"no Kafka answers at {kafka}" in json.load(get("/api/v1/now"))["feed"]["problem"], 30, "the feed's complaint")
        assert kafka in get("/").read().decode()
        live = get("/api/v1/live")  # an open view does not keep it from ending
        assert live.readline().startswith(b"retry")
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert time.monotonic() - begun < 10
    finally:
        process.kill()
        process.wait()
