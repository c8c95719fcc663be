"""docker-compose.yml: held to our settings and commands, and each of our services' commands run as a plain process."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import typing
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from deploy import cli
from deploy.config import DeployConfig
from schemas.known_settings import variable
from sinks.config import EvaluateConfig, SinkConfig
from streams.config import StreamConfig

OURS = ("topics", "worker", "writer", "alerts")
SERVERS = ("kafka", "clickhouse")
SUBSTITUTE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text(encoding="utf-8"))
    return loaded


def filled(text: str, given: dict[str, str]) -> str:
    """As Compose fills in ${NAME:-default} and ${NAME:?message}."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        if kind == "?":
            return given[name]
        return given.get(name) or (rest or "")

    return SUBSTITUTE.sub(value, text)


def settings_of(cls: type, section: str = "") -> Iterator[str]:
    """Names of the variables that fill a settings dataclass."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind = hints[field.name]
        if dataclasses.is_dataclass(kind):
            yield from settings_of(typing.cast(type, kind), field.name)
        else:
            yield variable(section, field.name)


def test_every_image_is_pinned_and_ours_is_the_version_of_the_package(compose: dict[str, Any], repository: Path) -> None:
    version = re.search(r'^version = "(.+)"', (repository / "pyproject.toml").read_text(), re.M)
    assert version
    for name, service in compose["services"].items():
        tag = service["image"].partition(":")[2]
        assert tag, name
        assert tag != "latest", name
        if name in OURS:
            assert service["image"] == f"strata:{version[1]}"
            assert (repository / service["build"]["dockerfile"]).is_file()


def test_the_broker_is_the_one_that_is_embedded(compose: dict[str, Any], repository: Path) -> None:
    jar = re.search(r"kafka_2\.13:([\d.]+)", (repository / "deploy/local/kafka_jars.txt").read_text())
    assert jar
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{jar[1]}"


def test_what_keeps_running_has_a_health_check_a_restart_policy_and_bounded_logs(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert "max-size" in service["logging"]["options"], name
        assert service["restart"], name
        if name != "topics":
            assert service["healthcheck"]["test"][0] == "CMD", name
            assert service["restart"] == "unless-stopped", name


def test_our_services_are_healthy_by_the_file_they_write_when_ready(compose: dict[str, Any]) -> None:
    for name in ("worker", "writer", "alerts"):
        service = compose["services"][name]
        file = service["environment"]["STRATA_READY_FILE"]
        assert service["healthcheck"]["test"] == ["CMD", "test", "-f", file]
        # the file of a killed process must be gone at its next start
        assert any(file.startswith(mount.split(":")[0] + "/") for mount in service["tmpfs"])


def test_volumes_that_are_used_are_declared(compose: dict[str, Any], repository: Path) -> None:
    for name, service in compose["services"].items():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            assert (repository / source).is_file() if source.startswith("./") else source in compose["volumes"], (name, mount)


def test_ports_are_open_to_this_machine_only(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_each_command_is_a_command_of_strata(compose: dict[str, Any]) -> None:
    commands: Any = typer.main.get_command(cli.app)
    for name in OURS:
        first, *flags = compose["services"][name]["command"]
        known = {option for parameter in commands.commands[first].params for option in parameter.opts}
        assert {f for f in flags if f.startswith("-")} <= known


def test_each_variable_is_a_setting_of_the_part_that_gets_it(compose: dict[str, Any]) -> None:
    common = set(settings_of(DeployConfig))
    configs = {"worker": StreamConfig, "writer": SinkConfig, "alerts": EvaluateConfig}
    known = {"topics": common, **{name: common | set(settings_of(config)) for name, config in configs.items()}}
    shared = set().union(*known.values())
    for name in OURS:
        given = {v for v in compose["services"][name]["environment"] if v.startswith("STRATA_")}
        # the writer's __main__ reads its ready file itself
        assert given - shared == set(), name
        assert {v for v in given if v not in known[name]} <= {"STRATA_READY_FILE", "STRATA_SCHEMA_REGISTRY_URL", "STRATA_OUTPUT_ENCODING"}


def test_no_password_is_written_down(compose: dict[str, Any]) -> None:
    assert compose["services"]["clickhouse"]["environment"]["CLICKHOUSE_PASSWORD"].startswith("${CLICKHOUSE_PASSWORD:?")
    assert ":${CLICKHOUSE_PASSWORD:?" in compose["services"]["writer"]["environment"]["STRATA_CLICKHOUSE_DSN"]


def test_the_image_runs_without_root_and_installs_by_hash(repository: Path) -> None:
    lines = (repository / "deploy/Dockerfile").read_text().splitlines()
    assert all("slim" in line for line in lines if line.startswith("FROM"))
    assert [line for line in lines if line.startswith("USER")][-1] == "USER strata"
    assert any("--require-hashes" in line and "requirements.lock" in line for line in lines)
    assert 'ENTRYPOINT ["strata"]' in lines
    copied = {word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]}
    kept = {line[1:] for line in (repository / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == kept


def test_the_collector_reads_the_topic_of_the_contract_as_otlp_protobuf(repository: Path) -> None:
    config = yaml.safe_load((repository / "deploy/collector.yaml").read_text())
    receiver = config["receivers"]["kafka"]
    assert filled(receiver["traces"]["topics"][0].replace("env:", ""), {"STRATA_TOPIC_PREFIX": "a-"}) == "a-traces"
    assert receiver["traces"]["encoding"] == "otlp_proto"
    for pipeline in config["service"]["pipelines"].values():
        assert set(pipeline["receivers"]) <= config["receivers"].keys()
        assert set(pipeline["exporters"]) <= config["exporters"].keys()


def test_the_settings_of_clickhouse_are_xml(repository: Path) -> None:
    for file in (repository / "deploy/clickhouse").glob("*.xml"):
        assert ET.parse(file).getroot().tag == "clickhouse"


def _has_compose() -> bool:
    return shutil.which("docker") is not None and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0


@pytest.mark.skipif(not _has_compose(), reason="no `docker compose` here")
def test_docker_compose_accepts_the_file(repository: Path) -> None:
    done = subprocess.run(
        ["docker", "compose", "config", "--quiet"],
        cwd=repository,
        env={**os.environ, "CLICKHOUSE_PASSWORD": "x"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.broker
def test_each_command_runs_with_its_own_settings_as_a_plain_process(
    compose: dict[str, Any],
    broker: str,
    topic_prefix: str,
    free_port: Callable[[], int],
    wait_until: Callable[..., None],
    tmp_path: Path,
) -> None:
    # what differs from the containers: addresses, folders, the model left out, the embedded engine in place of the server
    here = {
        "STRATA_KAFKA_BOOTSTRAP": broker,
        "STRATA_CLICKHOUSE_DSN": "chdb://",
        "STRATA_CLICKHOUSE_HTTP_PORT": str(free_port()),
        "STRATA_MODEL": "null",
    }
    thresholds = json.dumps({"latency.p99_ms": "<= 200"})
    given = {
        "CLICKHOUSE_PASSWORD": "x",
        "STRATA_TOPIC_PREFIX": topic_prefix,
        "STRATA_PARTITIONS": "2",
        "STRATA_EVALUATION_THRESHOLDS": thresholds,
    }
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("STRATA_", "OTEL_"))}

    def start(name: str) -> tuple[subprocess.Popen[bytes], Path]:
        service, folder = compose["services"][name], tmp_path / name
        folder.mkdir()
        own = {k: filled(str(v), given) for k, v in service["environment"].items()}
        ready = folder / "ready"
        environ = {**outside, **own, **here, "STRATA_DATA_DIR": str(folder), "STRATA_READY_FILE": str(ready)}
        with (folder / "log").open("wb") as log:
            command = [sys.executable, "-m", "deploy.cli", *service["command"]]
            return subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log), ready

    topics, _ = start("topics")
    assert topics.wait(60) == 0
    running = {name: start(name) for name in ("worker", "writer", "alerts")}
    try:
        for name, (process, ready) in running.items():
            wait_until(lambda ready=ready, process=process: ready.exists() or process.poll() is not None, 90.0, f"{name} ready")
            log = (tmp_path / name / "log").read_text()
            assert process.poll() is None, log
            assert subprocess.run(["test", "-f", str(ready)]).returncode == 0, log
    finally:
        for process, _ in running.values():
            process.send_signal(signal.SIGTERM)
        ended = {name: process.wait(30) for name, (process, _) in running.items()}
    assert ended == {"worker": 0, "writer": 0, "alerts": 0}
    assert not any(ready.exists() for _, ready in running.values())
