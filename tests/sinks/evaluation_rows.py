"""Rows for tests of the evaluation: answers, labels and what else the questions read, each a function of its number."""

from collections.abc import Sequence
from typing import Any

from schemas.events import event_id
from sinks.clickhouse import ClickHouse
from sinks.rows import to_arrow

BEGIN_US = 1_767_225_600_000_000
"""2026-01-01 00:00 UTC."""
Row = dict[str, Any]


def common(kind: str, n: int, session: str, **other: Any) -> Row:
    return {
        "event_id": event_id("test", kind, session, n),
        "timestamp": BEGIN_US + n * 1_000_000,
        "session_id": session,
        "modality": "logs",
        "model_version": "v1",
        "trace_id": "0" * 32,
        "kafka_topic": kind,
        "kafka_partition": 0,
        "kafka_offset": n,
    } | other


def prediction(n: int, session: str = "s", **other: Any) -> Row:
    """Final answer about item n of its session."""
    position = other.get("position", n)
    row = {
        "prediction_id": f"{session}-{position}",
        "prediction_type": "final",
        "task": "severity",
        "revision": 0,
        "position": position,
        "span_start": position,
        "span_end": position + 1,
        "label": "info",
        "confidence": 0.9,
        "value": float("nan"),
        "output": "{}",
        "buffer_state": "{}",
        "latency_ms": 5.0 + n,
        "metadata": {},
    }
    return common("predictions", n, session) | row | other


def label(position: int | None, session: str = "s", *, after_s: float = 60.0, offset: int | None = None, **other: Any) -> Row:
    """The truth about an item, known so long after it."""
    row = {
        "modality": "",
        "model_version": "",
        "timestamp": BEGIN_US + round(((position or 0) + after_s) * 1e6),
        "kafka_offset": round((position or 0) * 10 + after_s) if offset is None else offset,
        "task": "severity",
        "label": "info",
        "value": None,
        "prediction_id": None,
        "position": position,
        "span_end": None,
        "event_timestamp": None,
    }
    made = common("labels", position or 0, session) | row | other
    return made | {"event_id": event_id("test", "label", session, made["kafka_offset"], made["label"], made["timestamp"], position)}


def insert(database: ClickHouse, table: str, rows: Sequence[Row]) -> None:
    """Without looking up what is there."""
    database.insert(table, to_arrow(table, rows), event_id(*(row["event_id"] for row in rows)))


def empty(database: ClickHouse) -> None:
    """Take every row out of every table."""
    tables = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'ReplacingMergeTree' AND name != 'schema_migrations' AND total_rows > 0"
    for (name,) in database.rows(tables):
        database.command(f"TRUNCATE TABLE {name}")
