"""Rows: what each table takes from a record, and what happens to values no column can hold."""

import json
import math
from dataclasses import dataclass, field

import pyarrow as pa
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from schemas import trace
from schemas.codec import Codec, encoder, schema_text
from schemas.errors import CodecError
from schemas.events import PredictionMade
from schemas.topics import OUTPUTS
from sinks import batch
from sinks.rows import COLUMNS, FIRST_US, LAST_US, event_row, to_arrow
from sinks.spans import insert_span, readable, span_rows


@dataclass(frozen=True)
class Record:
    topic: str
    value: bytes | None
    key: bytes | None = b"s"
    partition: int = 0
    offset: int = 0
    timestamp: int = 1_700_000_000_000
    headers: list = field(default_factory=list)


def prediction(**fields: object) -> dict:
    common = {"event_id": "0E" * 16, "timestamp": 5, "session_id": "s", "modality": "chat", "model_version": "v", "trace_id": "t"}
    place = {"kafka_topic": "chat", "kafka_partition": 1, "kafka_offset": 2}
    own = {"prediction_id": "p", "prediction_type": "final", "task": "topic", "revision": 0, "position": 3, "span_start": 0, "span_end": 4}
    return common | place | own | fields


@pytest.mark.parametrize("encoding", ["avro", "json"])
def test_a_prediction_without_a_value_has_not_a_number(encoding: str) -> None:
    event = PredictionMade(**prediction())
    row = event_row(Codec(), "predictions", encoder("predictions", encoding)(event))
    assert math.isnan(row["value"])
    assert (row["label"], row["confidence"], row["event_id"]) == (None, None, "0e" * 16)
    assert set(row) == set(COLUMNS["predictions"])


@pytest.mark.parametrize(("given", "stored"), [(-(2**62), FIRST_US), (2**62, LAST_US), (-1, -1)])
def test_a_time_no_column_holds_becomes_the_nearest(given: int, stored: int) -> None:
    assert event_row(Codec(), "predictions", encoder("predictions")(PredictionMade(**prediction(timestamp=given))))["timestamp"] == stored


def test_a_lone_surrogate_is_written_as_a_question_mark() -> None:
    row = event_row(Codec(), "predictions", encoder("predictions")(PredictionMade(**prediction())))
    rows = [row | {"session_id": "a\ud800", "metadata": {"k\udfff": "v"}}, row]
    table = pa.ipc.open_stream(to_arrow("predictions", rows)).read_all()
    assert table["session_id"].to_pylist() == ["a?", "s"]
    assert table["metadata"].to_pylist() == [[("k?", "v")], []]


def test_every_output_topic_has_a_table_whose_columns_are_its_fields() -> None:
    for topic in OUTPUTS:
        fields = [field["name"] for field in json.loads(schema_text(str(topic.record)))["fields"]]
        assert list(COLUMNS[batch.TABLES[topic.name]]) == fields


def test_what_cannot_be_read_is_told_and_what_can_is_kept() -> None:
    good = encoder("predictions")(PredictionMade(**prediction()))
    records = [Record("p-predictions", good), Record("p-predictions", good[:-2]), Record("p-traces", b"\xff\xff"), Record("p-labels", b"?")]
    read = batch.read(Codec(), "p-", records)
    assert [record.topic for record, _ in read.unreadable] == ["p-predictions", "p-traces"]  # the worker dead-letters labels
    assert all(isinstance(problem, CodecError) for _, problem in read.unreadable)
    assert {table: len(rows.values) for table, rows in read.tables.items()} == {"predictions": 1}


def test_no_spans_are_no_rows() -> None:
    assert span_rows(b"") == []


def test_the_span_of_an_insert_is_the_same_for_the_same_event_and_can_be_exported() -> None:
    row, parent = (
        event_row(Codec(), "predictions", encoder("predictions")(PredictionMade(**prediction()))),
        trace.TraceContext("a" * 32, "b" * 16, True),
    )
    first, again = (
        insert_span(Record("predictions", b"", offset=n), "predictions", row, parent, "strata-sink", 3, 1_700_000_001_000_000_000)
        for n in (1, 2)
    )
    assert (first["SpanId"], first["TraceId"], first["ParentSpanId"]) == (again["SpanId"], "a" * 32, "b" * 16)
    assert first["Duration"] == 1_000_000_000
    [exported] = span_rows(encode_spans([readable(first)]).SerializeToString())
    assert {k: v for k, v in exported.items() if k not in ("ResourceAttributes", "TraceState")} == {
        k: v for k, v in first.items() if k not in ("ResourceAttributes", "TraceState")
    }
