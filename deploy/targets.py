"""Which servers a command speaks to.

Knows the order: flags, then the stack that runs on the data folder, then STRATA_* variables and strata.toml, then defaults. So after
`strata up --free-ports` every command in the same folder finds the stack without being told.
Next: deploy/local/state.py
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.config import DeployConfig, embedded_clickhouse, explicit_kafka
from deploy.local import state
from schemas import settings


@dataclass(frozen=True)
class Caller:
    """Who calls a command: its environment. Commands find it as `ctx.obj`."""

    environ: Mapping[str, str]


@dataclass(frozen=True)
class Target:
    """Addresses and names for one command."""

    kafka_bootstrap: str
    clickhouse_dsn: str
    clickhouse_http_port: int
    """Of the embedded engine's interface; without meaning when the DSN is a server's."""
    topic_prefix: str
    data_dir: Path
    partitions: int
    is_running_stack: bool
    """The addresses are those of a stack that runs on data_dir."""


def config_of(caller: Caller, **flags: Any) -> DeployConfig:
    """Settings of the stack; flags that are None do not count. Raises SettingError."""
    return settings.load(DeployConfig, caller.environ, settings.toml_path(caller.environ), flags)


def kafka_is_named(caller: Caller, flag: str | None) -> bool:
    """Did somebody name Kafka's address, rather than leave the default?"""
    path = settings.toml_path(caller.environ)
    return explicit_kafka(caller.environ, settings.read_toml(path) if path else {}, flag)


def target_of(caller: Caller, **flags: Any) -> Target:
    """Where a command with these flags (`data_dir`, `kafka_bootstrap`, `clickhouse_dsn`, `clickhouse_http_port`, `topic_prefix`) goes."""
    config = config_of(caller, **flags)
    running = state.running(config.data_dir)

    def pick(name: str, of_stack: Any) -> Any:
        return of_stack if running and flags.get(name) is None and of_stack is not None else getattr(config, name)

    return Target(
        kafka_bootstrap=pick("kafka_bootstrap", running and running.kafka_bootstrap),
        clickhouse_dsn=pick("clickhouse_dsn", running and running.clickhouse_dsn),
        clickhouse_http_port=pick("clickhouse_http_port", running and _port(running.clickhouse_url)),
        topic_prefix=pick("topic_prefix", running and running.topic_prefix),
        data_dir=config.data_dir,
        partitions=config.partitions,
        is_running_stack=running is not None,
    )


def environment(target: Target) -> dict[str, str]:
    """The same as settings of a part that is started as a process."""
    told = {
        "STRATA_KAFKA_BOOTSTRAP": target.kafka_bootstrap,
        "STRATA_CLICKHOUSE_DSN": target.clickhouse_dsn,
        "STRATA_CLICKHOUSE_HTTP_PORT": str(target.clickhouse_http_port),
        "STRATA_TOPIC_PREFIX": target.topic_prefix,
        "STRATA_DATA_DIR": str(target.data_dir.resolve()),
        "STRATA_PARTITIONS": str(target.partitions),
    }
    return told


def uses_embedded_clickhouse(target: Target) -> bool:
    """Is the answer behind the writer's HTTP interface?"""
    return embedded_clickhouse(DeployConfig(clickhouse_dsn=target.clickhouse_dsn))


def _port(url: str) -> int | None:
    tail = url.rpartition(":")[2]
    return int(tail) if tail.isdigit() else None
