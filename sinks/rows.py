"""Records -> rows, rows -> blocks: what each table takes from a record of its topic.

An event is stored as the Avro bytes it came in; a label and a span are columns of their own and go in as Arrow. Knows columns and their
Arrow types; leaves Avro's bytes to schemas/codec.py, spans to spans.py and writing to clickhouse.py.
Next: sinks/clickhouse.py
"""

from collections.abc import Sequence
from typing import Any, Protocol

import pyarrow as pa

from schemas import origin, trace
from schemas.codec import FIRST_US, LAST_US, Codec, Stored, events_container, writable
from schemas.events import event_id, trace_id_of

Values = dict[str, Any]
S, I32, I64, F32, F64 = pa.string(), pa.int32(), pa.int64(), pa.float32(), pa.float64()
MICROS, NANOS = pa.timestamp("us", tz="UTC"), pa.timestamp("ns", tz="UTC")
MAP = pa.map_(S, S)

COMMON = {
    "event_id": S,
    "timestamp": MICROS,
    "session_id": S,
    "modality": S,
    "model_version": S,
    "trace_id": S,
    "kafka_topic": S,
    "kafka_partition": I32,
    "kafka_offset": I64,
}
COLUMNS: dict[str, dict[str, pa.DataType]] = {
    "input_stream": COMMON | {"token_id": I32, "token_text": S, "token_position": I64, "buffer_size": I32, "metadata": MAP},
    "model_state": COMMON
    | {"state_type": S, "span_start": I64, "span_end": I64, "representation": pa.list_(F32), "attention_weights": pa.list_(F32)}
    | {"cache_size_mb": F32, "metadata": MAP},
    "predictions": COMMON
    | {"prediction_id": S, "prediction_type": S, "task": S, "revision": I32, "position": I64, "span_start": I64, "span_end": I64}
    | {"label": S, "confidence": F64, "value": F64, "output": S, "buffer_state": S, "latency_ms": F64, "metadata": MAP},
    "boundaries": COMMON
    | {
        "boundary_type": S,
        "position": I64,
        "text_offset": I64,
        "confidence": F64,
        "detected_by": S,
        "context_before": S,
        "context_after": S,
    },
    "performance": COMMON | {"metric_name": S, "metric_value": F64, "unit": S, "context": S},
    "failures": COMMON
    | {
        "failure_id": S,
        "failure_type": S,
        "exception": S,
        "stack_trace": S,
        "context": S,
        "recovery_action": S,
        "recovery_success": pa.bool_(),
    },
    "labels": COMMON
    | {"task": S, "label": S, "value": F64, "prediction_id": S, "position": I64, "span_end": I64, "event_timestamp": MICROS},
    "otel_traces": {"Timestamp": NANOS, "TraceId": S, "SpanId": S, "ParentSpanId": S, "TraceState": S, "SpanName": S, "SpanKind": S}
    | {"ServiceName": S, "ResourceAttributes": MAP, "ScopeName": S, "ScopeVersion": S, "SpanAttributes": MAP, "Duration": pa.uint64()}
    | {
        "StatusCode": S,
        "StatusMessage": S,
        "Events.Timestamp": pa.list_(NANOS),
        "Events.Name": pa.list_(S),
        "Events.Attributes": pa.list_(MAP),
    }
    | {"Links.TraceId": pa.list_(S), "Links.SpanId": pa.list_(S), "Links.TraceState": pa.list_(S), "Links.Attributes": pa.list_(MAP)},
}
"""Table -> column -> type on the way in; the files of sql/tables say the types stored (a test compares names)."""

EVENT_TABLES = tuple(t for t in COLUMNS if t not in ("labels", "otel_traces"))


class Record(Protocol):
    """A Kafka record, as aiokafka gives it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    """Milliseconds since the epoch."""
    key: bytes | None
    value: bytes | None
    headers: Sequence[trace.Header]


def label_row(codec: Codec, record: Record) -> Stored | None:
    """The row of a label; None for one the worker forwards to its session's partition. Raises CodecError (the worker dead-letters it).

    The row's id and place are those of the record as it was produced, so that a forwarded copy sent twice is one row.
    """
    values = codec.decode_dict("labels", record.value)
    key = (record.key or b"").decode("utf-8", "replace")
    values["session_id"] = values["session_id"] or key
    if not key or key != values["session_id"]:
        return None
    source = origin.read(record.headers) or origin.Origin(record.partition, record.offset, record.timestamp)
    context = trace.read(record.headers)
    given, event_time = values["timestamp"], values["event_timestamp"]
    place = (record.topic, source.partition, source.offset)
    values |= {
        "event_id": event_id("labels", *place, source.index),
        "timestamp": storable(source.timestamp_ms * 1000 if given is None else given),
        "event_timestamp": None if event_time is None else storable(event_time),
        "modality": "",
        "model_version": "",
        "trace_id": context.trace_id if context else trace_id_of(*place),
        "kafka_topic": record.topic,
        "kafka_partition": source.partition,
        "kafka_offset": source.offset,
    }
    return Stored(values["event_id"], values["session_id"], *place, values)


def storable(moment_us: int) -> int:
    """The nearest moment a DateTime64(6) can hold."""
    return min(max(moment_us, FIRST_US), LAST_US)


def to_block(table: str, rows: Sequence[Any]) -> tuple[str, bytes]:
    """Rows of a table as ClickHouse reads them, and the name of the format. Raises TypeError, ValueError or OverflowError, as to_arrow does."""
    if table in EVENT_TABLES:
        return "Avro", events_container(table, rows)
    return "ArrowStream", to_arrow(table, [row.content for row in rows] if table == "labels" else rows)


def to_arrow(table: str, rows: Sequence[Values]) -> bytes:
    """Rows as one Arrow stream. Raises TypeError, ValueError or OverflowError (pyarrow's errors are such) for a value of a wrong kind."""
    types = COLUMNS[table]
    arrays = [column([row[name] for row in rows], kind) for name, kind in types.items()]
    batch = pa.record_batch(arrays, names=list(types))
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, batch.schema) as writer:
        writer.write_batch(batch)
    return out.getvalue().to_pybytes()


def column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """One column; maps become their pairs in the order of their keys."""
    if kind is MAP:
        values = [pairs(v) for v in values]
    elif kind == LISTS_OF_MAPS:
        values = [[pairs(m) for m in v] for v in values]
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:  # a lone surrogate: JSON can say it, UTF-8 cannot
        return pa.array(writable(values), kind)


LISTS_OF_MAPS = pa.list_(MAP)


def pairs(attributes: dict[str, str]) -> list[tuple[str, str]]:
    """Sorted: unsorted maps compress worse and make equal rows differ (opentelemetry-collector-contrib#34598)."""
    return sorted(attributes.items()) if attributes else []
