"""What a stack consists of: each process's command, environment, address and how its readiness is seen.

Knows commands and settings passed on; leaves starting, watching and stopping to supervisor.py.
Next: deploy/local/supervisor.py
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.config import DeployConfig, embedded_clickhouse
from deploy.local import kafka_server, ports, probe, state
from deploy.local.kafka_server import Broker

HOST = "127.0.0.1"
EVERY_ADDRESS = ("0.0.0.0", "::")


@dataclass(frozen=True)
class Addresses:
    """Where the stack's servers are, once ports are settled."""

    kafka_bootstrap: str
    starts_broker: bool
    clickhouse_dsn: str
    clickhouse_http_port: int
    """0 when a ClickHouse server is used."""
    console_port: int = 0

    @property
    def clickhouse_url(self) -> str:
        return f"http://{HOST}:{self.clickhouse_http_port}" if self.clickhouse_http_port else ""


@dataclass(frozen=True)
class Plan:
    """One process."""

    name: str
    command: tuple[str, ...]
    log: Path
    address: str
    is_ready: Callable[[int], bool]
    """Asked with the pid."""
    patience_s: float
    """Longest time to the first readiness."""
    environ: Mapping[str, str] = field(default_factory=dict)
    fallback: tuple[str, ...] | None = None
    """Command for the next try when this one ended before it was ready."""
    cores: frozenset[int] = frozenset()
    """That it keeps to once it is ready: a start may use all. Empty for all."""


def settle(config: DeployConfig, kafka_named: bool) -> Addresses:
    """Decide what is embedded and which ports it gets. `kafka_named`: somebody set Kafka's address, it is not the default.

    Raises PortTakenError when a port that is needed is in use.
    """
    _, kafka_port = probe.split_address(config.kafka_bootstrap)
    mode = config.kafka_mode
    if mode == "auto":
        answers = kafka_named and probe.kafka_nodes(config.kafka_bootstrap) is not None
        mode = "external" if answers or not probe.is_loopback(config.kafka_bootstrap) else "embedded"
    if mode == "embedded":
        if config.free_ports or kafka_port == 0:
            kafka_port = ports.free_port({config.clickhouse_http_port})
        ports.require_free(kafka_port, "broker", "--kafka-port")
        bootstrap = f"{HOST}:{kafka_port}"
    else:
        bootstrap = config.kafka_bootstrap
    http_port = 0
    if embedded_clickhouse(config):
        http_port = config.clickhouse_http_port
        if config.free_ports or http_port == 0:
            http_port = ports.free_port({kafka_port})
        ports.require_free(http_port, "ClickHouse HTTP interface", "--clickhouse-http-port")
    console_port = config.console_port
    if config.free_ports or console_port == 0:
        console_port = ports.free_port({kafka_port, http_port})
    ports.require_free(console_port, "console", "--console-port", config.console_host)
    return Addresses(bootstrap, mode == "embedded", config.clickhouse_dsn, http_port, console_port)


def broker_plan(broker: Broker, aot_cache: Path | None, logs: Path) -> Plan:
    """The embedded broker."""
    return Plan(
        name="broker",
        command=tuple(kafka_server.run_command(broker, aot_cache)),
        log=logs / "broker.log",
        address=broker.bootstrap,
        is_ready=lambda pid: probe.kafka_nodes(broker.bootstrap) is not None,
        patience_s=90.0,
        fallback=tuple(kafka_server.run_command(broker)) if aot_cache else None,
    )


def worker_plan(index: int, config: DeployConfig, addresses: Addresses, environ: Mapping[str, str]) -> Plan:
    """One worker, `python -m streams`."""
    name = f"worker-{index}"
    ready = state.run_dir(config.data_dir) / f"{name}.ready"
    own = {"STRATA_WORKER_INDEX": str(index), "STRATA_READY_FILE": str(ready)}
    return Plan(
        name=name,
        command=(sys.executable, "-m", "streams"),
        log=config.data_dir / "logs" / f"{name}.log",
        address="",
        is_ready=lambda pid: probe.ready_file_speaks_for(ready, pid),
        patience_s=180.0,
        environ={**environ, **settings(config, addresses), **own},
    )


def sink_plan(config: DeployConfig, addresses: Addresses, environ: Mapping[str, str]) -> Plan:
    """The ClickHouse writer, `python -m sinks`; with the embedded engine it is also the server."""
    ready = state.run_dir(config.data_dir) / "sink.ready"
    port = addresses.clickhouse_http_port

    def is_ready(pid: int) -> bool:
        return probe.http_says_ok(HOST, port) if port else probe.ready_file_speaks_for(ready, pid)

    return Plan(
        name="sink",
        command=(sys.executable, "-m", "sinks"),
        log=config.data_dir / "logs" / "sink.log",
        address=addresses.clickhouse_url or without_password(addresses.clickhouse_dsn),
        is_ready=is_ready,
        patience_s=120.0,
        environ={**environ, **settings(config, addresses), "STRATA_READY_FILE": str(ready)},
    )


def console_plan(config: DeployConfig, addresses: Addresses, environ: Mapping[str, str]) -> Plan:
    """The web page, `python -m sinks.console`. It is asked on its own address, or on loopback where it listens on every one."""
    port = addresses.console_port
    host = HOST if config.console_host in EVERY_ADDRESS else config.console_host
    return Plan(
        name="console",
        command=(sys.executable, "-m", "sinks.console"),
        log=config.data_dir / "logs" / "console.log",
        address=f"http://{host}:{port}",
        is_ready=lambda pid: probe.http_says_ok(host, port, "/healthz"),
        patience_s=60.0,
        environ={**environ, **settings(config, addresses), "STRATA_CONSOLE_HOST": config.console_host, "STRATA_CONSOLE_PORT": str(port)},
    )


def alerts_plan(config: DeployConfig, addresses: Addresses, environ: Mapping[str, str]) -> Plan:
    """The thresholds of the settings, held again and again: `strata evaluate --watch`."""
    ready = state.run_dir(config.data_dir) / "alerts.ready"
    return Plan(
        name="alerts",
        command=(sys.executable, "-m", "sinks.evaluate", "--watch"),
        log=config.data_dir / "logs" / "alerts.log",
        address=f"topic {config.topic_prefix}alerts",
        is_ready=lambda pid: probe.ready_file_speaks_for(ready, pid),
        patience_s=120.0,
        environ={**environ, **settings(config, addresses), "STRATA_READY_FILE": str(ready)},
    )


def settings(config: DeployConfig, addresses: Addresses) -> dict[str, str]:
    """What the parts are told through their environment; the rest of their settings they read themselves."""
    told = {
        "STRATA_KAFKA_BOOTSTRAP": addresses.kafka_bootstrap,
        "STRATA_CLICKHOUSE_DSN": addresses.clickhouse_dsn,
        "STRATA_DATA_DIR": str(config.data_dir),
        "STRATA_TOPIC_PREFIX": config.topic_prefix,
        "STRATA_PARTITIONS": str(config.partitions),
        "PYTHONUNBUFFERED": "1",
    }
    if addresses.clickhouse_http_port:
        told["STRATA_CLICKHOUSE_HTTP_PORT"] = str(addresses.clickhouse_http_port)
    return told


def without_password(dsn: str) -> str:
    """A DSN that may be shown."""
    scheme, _, rest = dsn.partition("://")
    user, at, place = rest.rpartition("@")
    return f"{scheme}://{user.split(':')[0]}@{place}" if at else dsn
