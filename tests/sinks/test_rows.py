"""Rows: what each table takes from a record, and what happens to values no column can hold."""

import json
from dataclasses import dataclass, field

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from schemas import trace
from schemas.codec import FIRST_US, LAST_US, Codec, Stored, encoder, schema_text, writable
from schemas.errors import CodecError
from schemas.events import PredictionMade
from schemas.topics import OUTPUTS
from sinks import batch
from sinks.rows import COLUMNS
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


def stored(encoding: str = "avro", **fields: object) -> tuple[Stored, dict]:
    """A prediction as it is stored, and its bytes read again."""
    event = Codec().event("predictions", encoder("predictions", encoding)(PredictionMade(**prediction(**fields))))
    return event, Codec().decode_dict("predictions", encoder("predictions")(PredictionMade(**prediction()))[:10] + event.content)


@pytest.mark.parametrize("encoding", ["avro", "json"])
def test_an_event_tells_its_place_in_any_encoding_and_its_id_is_written_alike(encoding: str) -> None:
    event, fields = stored(encoding, event_id="0E" * 16)
    assert event[:-1] == ("0e0e0e0e-0e0e-0e0e-0e0e-0e0e0e0e0e0e", "s", "chat", 1, 2)
    assert fields["event_id"] == event.event_id


@pytest.mark.parametrize(("given", "kept"), [(-(2**62), FIRST_US), (2**62, LAST_US), (-1, -1), (LAST_US, LAST_US), (36 << 48, 36 << 48)])
def test_a_time_no_column_holds_becomes_the_nearest(given: int, kept: int) -> None:
    assert stored(timestamp=given)[1]["timestamp"] == kept


def test_a_lone_surrogate_is_written_as_a_question_mark() -> None:
    row = {"k": "a\ud800", "e": [("k\udfff", 1)]}
    assert writable(row) == {"k": "a?", "e": [("k?", 1)]}


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
    row, parent = stored()[0], trace.TraceContext("a" * 32, "b" * 16, True)
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
