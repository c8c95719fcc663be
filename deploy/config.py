"""Settings of the local stack and the command line: names, defaults, meanings.

Knows values and what follows from them; schemas/settings.py fills them, cli.py passes the environment in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from schemas import settings


@dataclass(frozen=True)
class DeployConfig:
    """What `strata up` and the commands beside it need to know."""

    kafka_bootstrap: str = "127.0.0.1:9092"
    """Kafka's address. In `up` the embedded broker listens there, unless a Kafka already does or it is another machine's."""
    kafka_mode: Literal["auto", "embedded", "external"] = "auto"
    """embedded always starts a broker, external never does."""
    clickhouse_dsn: str = "chdb://"
    """chdb:// is the embedded engine, in the data folder unless a path follows; clickhouse://user:password@host:8123/strata a server."""
    clickhouse_http_port: int = 8123
    """Where the embedded engine's HTTP interface listens."""
    console_host: str = "127.0.0.1"
    """Address the console listens on. One that other machines reach needs `console_secret`."""
    console_port: int = 8080
    """Where the console listens."""
    data_dir: Path = Path(".strata")
    """Everything the stack keeps: log, state, tables, logs of the processes."""
    topic_prefix: str = ""
    """Put in front of every topic and group."""
    partitions: int = 8
    """Of every topic; fixed once the topics exist."""
    workers: int = 1
    """How many worker processes `up` starts."""
    reserve_cores: bool = True
    """Broker, writer, console and alerts stay off one core for each worker, off half of all at most; nobody where all are workers' cores. Linux only."""
    free_ports: bool = False
    """Take free ports in place of the named ones; `strata status` tells them."""
    stop_s: float = 9.0
    """Patience for all processes together when the stack stops, seconds; what is left is killed."""


@dataclass(frozen=True)
class Evaluation:
    """[evaluation], as far as `up` must know it; the rest is read by whoever evaluates."""

    thresholds: dict[str, str] = field(default_factory=dict)
    """With any, they are watched."""


def are_thresholds_set(environ: Mapping[str, str]) -> bool:
    """Is there something to watch? Raises SettingError."""
    return bool(settings.load(Evaluation, environ, settings.toml_path(environ), section="evaluation").thresholds)


def explicit_kafka(environ: Mapping[str, str], table: Mapping[str, object], flag: str | None) -> bool:
    """Did somebody name Kafka's address, rather than leave the default?"""
    return flag is not None or "STRATA_KAFKA_BOOTSTRAP" in environ or "kafka_bootstrap" in table


def embedded_clickhouse(config: DeployConfig) -> bool:
    """Does the sink own the engine (and serve its HTTP interface)?"""
    return config.clickhouse_dsn.startswith("chdb:")
