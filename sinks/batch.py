"""A batch: records of many topics -> rows by table, and what could not be read.

Knows which topic fills which table; leaves polling and committing to consumer.py.
Next: sinks/rows.py, sinks/spans.py
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any

from schemas.codec import Codec
from schemas.errors import StrataError
from schemas.topics import OUTPUTS, TRACES
from sinks.rows import Record, label_row
from sinks.spans import span_rows

TABLES = {topic.name: str(topic.record) for topic in OUTPUTS} | {"labels": "labels", TRACES.name: "otel_traces"}
"""Topic, without prefix -> table."""


@dataclass
class Rows:
    """Rows for one table, each with the record it came from."""

    values: list[Any] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)


@dataclass
class Batch:
    """What one poll gave, read."""

    tables: dict[str, Rows] = field(default_factory=dict)
    unreadable: list[tuple[Record, Exception]] = field(default_factory=list)


def read(codec: Codec, prefix: str, records: Iterable[Record]) -> Batch:
    """Rows of all records. What cannot be read is told; a label that cannot is left to the worker, which reads the topic too.

    Raises errors that another try can cure (a schema registry that does not answer).
    """
    batch = Batch()
    for topic, run in groupby(records, attrgetter("topic")):  # a poll gives them by partition
        table = TABLES[topic.removeprefix(prefix)]
        rows = batch.tables.get(table) or Rows()
        for record in run:
            try:
                found = _rows(codec, table, record)
            except StrataError as problem:
                if problem.retriable:
                    raise
                if table != "labels":
                    batch.unreadable.append((record, problem))
                continue
            rows.values += found
            rows.records += [record] * len(found)
        if rows.values:
            batch.tables[table] = rows
    return batch


def _rows(codec: Codec, table: str, record: Record) -> list[Any]:
    if table == "otel_traces":
        return span_rows(record.value)
    if table == "labels":
        row = label_row(codec, record)
        return [row] if row else []
    return [codec.event(table, record.value)]
