"""Settings of one worker: names, defaults, units, meanings.

Knows values only; schemas/settings.py fills them, streams/__main__.py passes the environment in. Settings of the model
([buffer], [hierarchical_update], [state], [topics]) are models/config.py's, [learning] is models/learner.py's, [logs] is
models/log_settings.py's, [metrics] is models/metric_settings.py's.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from models.config import BufferSettings, CacheSettings, TopicSettings, UpdateSettings
from models.learner import LearningSettings
from models.log_settings import LogSettings
from models.metric_settings import MetricSettings


@dataclass(frozen=True)
class LatencyConfig:
    """[latency]: budgets; a step beyond one is marked and its trace kept."""

    max_per_token_ms: float = 50.0
    """Kafka's append of a record to the publish of what it decided, milliseconds."""
    max_update_ms: float = 200.0
    """One model step with its hierarchy update, milliseconds."""


@dataclass(frozen=True)
class PredictionConfig:
    """[prediction]: when answers are given."""

    mode: Literal["continuous", "on_demand"] = "continuous"
    """on_demand gives partial answers only to a record of topic `requests`; final answers come in both modes."""
    update_frequency_ms: int = 500
    """Event time between two partial answers of a session, milliseconds."""
    confidence_threshold: float = 0.7
    """A partial answer below it is held back, 0 to 1."""
    emit_partial: bool = True
    """Whether partial answers are published at all."""
    performance_every_items: int = 100
    """Items of a session from one set of performance rows to the next; the first item has one."""


@dataclass(frozen=True)
class SamplingConfig:
    """[sampling]: share of events published, chosen by a stable hash of session and position."""

    input_stream: float = 1.0
    """Of the records read, 0 to 1."""
    model_state: float = 0.1
    """Of the items whose states are told."""
    predictions: float = 1.0
    """Of the predictions, all revisions of one or none."""
    performance: float = 1.0
    """Of the sets of measurements."""


@dataclass(frozen=True)
class StreamConfig:
    """One worker."""

    kafka_bootstrap: str = "127.0.0.1:9092"
    topic_prefix: str = ""
    partitions: int = 8
    """Of every topic; fixed once the topics exist."""
    data_dir: Path = Path(".strata")
    worker_index: int = 0
    """Tells the workers of one data folder apart; also names the group member."""
    schema_registry_url: str | None = None
    """A Confluent-compatible registry: its schemas are read, ours are registered and outputs written in its wire format."""
    output_encoding: Literal["avro", "json"] = "avro"
    """avro is single-object encoding, or the Confluent wire format when a registry is set."""
    ready_file: Path | None = None
    """Written when the worker consumes, removed when it stops."""
    session_idle_s: float = 1800.0
    """A session without a record for so long, by the wall clock, is closed."""
    max_record_bytes: int = 2_097_152
    """A larger record is refused: failure and dead letter. A line of 1 MiB fits, with its key and what JSON escapes."""
    max_future_s: float = 86_400.0
    """A timestamp further ahead of Kafka's is replaced by Kafka's."""
    watchdog_s: float = 60.0
    """Committed offsets frozen for so long while records wait: the worker stops, to be started anew."""
    model: Literal["full", "null"] = "full"
    """null publishes nothing but what the plumbing needs: for `strata bench`."""
    model_path: Path | None = None
    """Folder of the checkpoint; default: the one that ships with the package."""
    model_device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where the trunk of the text model runs. auto takes CUDA where torch sees it. On CUDA answers agree with the CPU's within a tolerance, and not to the bit (docs/adr/0016-pages-and-graphs-on-a-gpu.md)."""
    buffer: BufferSettings = field(default_factory=BufferSettings)
    hierarchical_update: UpdateSettings = field(default_factory=UpdateSettings)
    state: CacheSettings = field(default_factory=CacheSettings)
    topics: TopicSettings = field(default_factory=TopicSettings)
    logs: LogSettings = field(default_factory=LogSettings)
    metrics: MetricSettings = field(default_factory=MetricSettings)
    latency: LatencyConfig = field(default_factory=LatencyConfig)
    prediction: PredictionConfig = field(default_factory=PredictionConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    learning: LearningSettings = field(default_factory=LearningSettings)
