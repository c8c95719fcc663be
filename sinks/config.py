"""Settings of the writer: names, defaults, units, meanings.

Knows values only; schemas/settings.py fills them, sinks/__main__.py passes the environment in.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from schemas.topics import SINK_GROUP


@dataclass(frozen=True)
class SinkConfig:
    """One writer."""

    kafka_bootstrap: str = "127.0.0.1:9092"
    topic_prefix: str = ""
    """Put in front of every topic and of the consumer group."""
    schema_registry_url: str | None = None
    output_encoding: Literal["avro", "json"] = "avro"
    """Of the failure events the writer itself publishes."""
    data_dir: Path = Path(".strata")
    clickhouse_dsn: str = "chdb://"
    """chdb:// is the embedded engine under data_dir/clickhouse, chdb:///folder elsewhere; clickhouse://user:password@host:8123/strata a server."""
    clickhouse_http_host: str = "127.0.0.1"
    """Address the embedded engine's HTTP interface listens on."""
    clickhouse_http_port: int = 8123
    clickhouse_http_readonly: bool = True
    """Refuse whatever writes, and reading of files and other servers. Turned off, a client may do all that the engine can."""
    clickhouse_http_user: str = ""
    """When set, clients must name it, with the password below."""
    clickhouse_http_password: str = ""
    """Of that user."""
    clickhouse_http_queries: int = 4
    """Queries running at a time; further ones wait."""
    clickhouse_http_max_threads: int = 2
    """Threads of the engine one query may use, unless it says otherwise."""
    clickhouse_http_timeout_s: int = 60
    """Longest a query may run, unless it says otherwise, seconds."""
    sink_group: str = SINK_GROUP
    """Consumer group, after the prefix."""
    sink_index: int = 0
    """Tells several writers of one group apart; the group member keeps its partitions over a restart."""
    sink_batch_rows: int = 20_000
    """Records taken at a time, at most."""
    sink_batch_ms: int = 200
    """Longest a record waits for others, milliseconds. A backlog is not waited for."""
    sink_batch_bytes: int = 32 * 1024 * 1024
    """Bytes of records taken at a time; one larger record is a batch alone."""
    sink_threads: int = 2
    """Tables inserted into at a time."""
    sink_session_timeout_ms: int = 10_000
    """How long the broker waits for a lost writer."""
    rollup_every_s: float = 10.0
    """How often hours that have changed are summed up for `strata evaluate` and the console, seconds; or 8 times as long as it took, up to a minute. 0 never."""
    retention_days: dict[str, int] = field(default_factory=dict)
    """Table -> days after which its rows are dropped, by event time; `hourly` stands for all that is summed up, 0 for ever. What is not named stays as it is: kept for ever, unless you altered it."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What an evaluation must hold."""

    thresholds: dict[str, str] = field(default_factory=dict)
    """`question.column` -> what its values must be, such as `>= 0.8 when judged >= 100`; else `strata evaluate` ends with exit status 3."""
    every: str = "5m"
    """How often thresholds are looked at by `strata evaluate --watch`, which `strata up` starts when thresholds are set: 30s, 5m, 1h."""
    since: str = "24h"
    """What a look of `--watch` speaks of: the last 24h, 7d, 4w."""
    pending_for: str = "0s"
    """A row must break its threshold for so long before `--watch` opens an alert: 0s at the first look, 30s, 5m, 1h. As `for` of Prometheus."""
    keep_firing_for: str = "15m"
    """An alert that is open closes when its row has not broken its threshold for so long: 0s at the first such look. As `keep_firing_for` of Prometheus."""
    webhook: str = ""
    """URL that alerts are posted to as JSON, beside topic `alerts`, again and again until it takes them."""


@dataclass(frozen=True)
class EvaluateConfig:
    """`strata evaluate`: where it asks, and what must hold."""

    kafka_bootstrap: str = "127.0.0.1:9092"
    topic_prefix: str = ""
    clickhouse_dsn: str = "chdb://"
    clickhouse_http_host: str = "127.0.0.1"
    clickhouse_http_port: int = 8123
    clickhouse_http_user: str = ""
    clickhouse_http_password: str = ""
    data_dir: Path = Path(".strata")
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
