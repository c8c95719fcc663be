"""The topics: name, direction, record, retention; and the changelogs of the session tables.

Knows names and settings of topics; leaves clients to streams, sinks and deploy. All topics have the same number of partitions, so
that a session's key falls on the same partition number everywhere.
"""

from dataclasses import dataclass, field

HOUR_MS = 3600 * 1000
DAY_MS = 24 * HOUR_MS
APP_ID = "strata"
SINK_GROUP = "strata-sink"
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
MAX_LETTER_BYTES = MAX_MESSAGE_BYTES + 1024 * 1024
"""Of a dead letter: the largest record, and the reason why."""


@dataclass(frozen=True)
class Topic:
    """One topic as the contract names it, without prefix."""

    name: str
    direction: str
    """in, out, inner (between workers) or changelog."""
    record: str | None
    """Name of the record's schema file; None where the bytes are not ours."""
    configs: dict[str, str] = field(default_factory=dict)


def _kept(days: int, max_bytes: int = MAX_MESSAGE_BYTES) -> dict[str, str]:
    return {"retention.ms": str(days * DAY_MS), "max.message.bytes": str(max_bytes)}


INPUTS = tuple(Topic(name, "in", name, _kept(7)) for name in ("tokens", "logs", "chat", "metrics", "labels", "requests"))
OUTPUTS = tuple(
    Topic(name.replace("_", "-"), "out", name, _kept(7))
    for name in ("input_stream", "predictions", "boundaries", "model_state", "performance", "failures")
)
TRACES = Topic("traces", "out", None, _kept(2))
DEAD_LETTER = Topic("dead-letter", "out", None, _kept(30, MAX_LETTER_BYTES))
ALERTS = Topic("alerts", "out", None, _kept(30))
TOPICS = (*INPUTS, *OUTPUTS, TRACES, DEAD_LETTER, ALERTS)

SESSION_TABLES = {modality: f"sessions-{modality}" for modality in ("tokens", "logs", "chat", "metrics")}
"""Modality -> name of its session table."""


LEARNING_TABLE = "learning"
"""Table of what was learned: learners and their versions under the partition of their tenant, which version judges from where under that of the lines."""
LESSONS = "lessons"
"""Inner topic: lines as they were judged, from where sessions live to where their tenant's learner does."""


def app_id(prefix: str = "") -> str:
    """Consumer group of the workers; a prefix keeps several deployments on one broker apart."""
    return prefix + APP_ID


def changelogs(prefix: str = "") -> tuple[Topic, ...]:
    """Compacted topics the session tables are recovered from; full names."""
    compact = {"cleanup.policy": "compact", "max.message.bytes": str(MAX_MESSAGE_BYTES), "segment.ms": str(DAY_MS)}
    # versions of models follow each other quickly: small segments let compaction drop the old ones
    short = compact | {"segment.ms": str(HOUR_MS // 6), "segment.bytes": str(64 << 20), "min.cleanable.dirty.ratio": "0.2"}
    of = {**dict.fromkeys(SESSION_TABLES.values(), compact), LEARNING_TABLE: short}
    return tuple(Topic(changelog_of(table, prefix), "changelog", None, configs) for table, configs in of.items())


def changelog_of(table: str, prefix: str = "") -> str:
    """The topic a table is recovered from."""
    return f"{app_id(prefix)}-{table}-changelog"


def lessons(prefix: str = "") -> Topic:
    """What learners read; once learned a record is not needed again."""
    return Topic(
        f"{app_id(prefix)}-{LESSONS}", "inner", None, _kept(1) | {"retention.bytes": str(256 << 20), "segment.bytes": str(64 << 20)}
    )


def all_topics(prefix: str = "") -> tuple[Topic, ...]:
    """Every topic that must exist before a worker starts, with full names."""
    named = tuple(Topic(prefix + t.name, t.direction, t.record, t.configs) for t in TOPICS)
    return (*named, lessons(prefix), *changelogs(prefix))
