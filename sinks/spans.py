"""OTLP requests -> rows of otel_traces, and the span of the writer itself, the last of a trace.

Knows the protobuf and the columns of the OpenTelemetry Collector's ClickHouse exporter; leaves writing to clickhouse.py.
Next: sinks/clickhouse.py
"""

import json
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from schemas.codec import Stored
from schemas.errors import TruncatedRecordError
from schemas.trace import TraceContext
from sinks.rows import Record, Values

KINDS = ("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")
STATUSES = ("Unset", "Ok", "Error")
SERVICE = "strata-sink"
SCOPE = "strata.sinks"


def span_rows(value: bytes | None) -> list[Values]:
    """The rows of one ExportTraceServiceRequest. Raises TruncatedRecordError."""
    request = ExportTraceServiceRequest()
    try:
        request.ParseFromString(value or b"")
    except DecodeError as problem:
        raise TruncatedRecordError(f"traces: not a whole ExportTraceServiceRequest ({problem}); send the bytes of otlp_proto") from problem
    rows = []
    for group in request.resource_spans:
        resource = attributes(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                rows.append(_row(span, resource, scope.scope.name, scope.scope.version))
    return rows


def _row(span: Any, resource: dict[str, str], scope_name: str, scope_version: str) -> Values:
    return {
        "Timestamp": span.start_time_unix_nano,
        "TraceId": span.trace_id.hex(),
        "SpanId": span.span_id.hex(),
        "ParentSpanId": span.parent_span_id.hex(),
        "TraceState": span.trace_state,
        "SpanName": span.name,
        "SpanKind": KINDS[span.kind] if 0 <= span.kind < len(KINDS) else KINDS[0],
        "ServiceName": resource.get("service.name", ""),
        "ResourceAttributes": resource,
        "ScopeName": scope_name,
        "ScopeVersion": scope_version,
        "SpanAttributes": attributes(span.attributes),
        "Duration": max(0, span.end_time_unix_nano - span.start_time_unix_nano),
        "StatusCode": STATUSES[span.status.code] if 0 <= span.status.code < len(STATUSES) else STATUSES[0],
        "StatusMessage": span.status.message,
        "Events.Timestamp": [e.time_unix_nano for e in span.events],
        "Events.Name": [e.name for e in span.events],
        "Events.Attributes": [attributes(e.attributes) for e in span.events],
        "Links.TraceId": [link.trace_id.hex() for link in span.links],
        "Links.SpanId": [link.span_id.hex() for link in span.links],
        "Links.TraceState": [link.trace_state for link in span.links],
        "Links.Attributes": [attributes(link.attributes) for link in span.links],
    }


def attributes(pairs: Iterable[Any]) -> dict[str, str]:
    """Attributes as text, lists and maps as JSON, as the Collector writes them; keys in order."""
    return {pair.key: _text(pair.value) for pair in sorted(pairs, key=lambda p: p.key)}


def _text(value: Any) -> str:
    plain = _plain(value)
    if isinstance(plain, bool):
        return "true" if plain else "false"
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(v) for v in value.array_value.values]
    if kind == "kvlist_value":
        return {v.key: _plain(v.value) for v in value.kvlist_value.values}
    if kind == "bytes_value":
        return value.bytes_value.hex()
    return getattr(value, kind) if kind else ""


def insert_span(record: Record, table: str, row: Stored, parent: TraceContext, group: str, batch: int, end_ns: int) -> Values:
    """The writer's own span of a sampled event: from Kafka's time of its record to the acknowledged insert.

    `end_ns` is the wall clock, nanoseconds. Its id is computed from the event's, so that a repeated insert repeats the span.
    """
    start_ns = record.timestamp * 1_000_000
    facts = {
        "db.collection.name": table,
        "db.operation.batch.size": str(batch),
        "db.operation.name": "INSERT",
        "db.system.name": "clickhouse",
        "messaging.consumer.group.name": group,
        "messaging.destination.name": record.topic,
        "messaging.destination.partition.id": str(record.partition),
        "messaging.kafka.offset": str(record.offset),
        "messaging.message.id": row.event_id,
        "messaging.operation.name": "insert",
        "messaging.operation.type": "process",
        "messaging.system": "kafka",
        "session.id": row.session_id,
    }
    return {
        "Timestamp": start_ns,
        "TraceId": parent.trace_id,
        "SpanId": blake2b(f"insert\x1f{row.event_id}".encode(), digest_size=8).hexdigest(),
        "ParentSpanId": parent.span_id,
        "TraceState": parent.state,
        "SpanName": f"insert {table}",
        "SpanKind": "Consumer",
        "ServiceName": SERVICE,
        "ResourceAttributes": {"service.name": SERVICE},
        "ScopeName": SCOPE,
        "ScopeVersion": "",
        "SpanAttributes": facts,
        "Duration": max(0, end_ns - start_ns),
        "StatusCode": "Unset",
        "StatusMessage": "",
        **{name: [] for name in ("Events.Timestamp", "Events.Name", "Events.Attributes")},
        **{name: [] for name in ("Links.TraceId", "Links.SpanId", "Links.TraceState", "Links.Attributes")},
    }


def readable(row: Values) -> ReadableSpan:
    """A span of ours in the SDK's form, for its OTLP exporter."""
    trace_id, sampled = int(row["TraceId"], 16), TraceFlags(TraceFlags.SAMPLED)
    return ReadableSpan(
        name=row["SpanName"],
        context=SpanContext(trace_id, int(row["SpanId"], 16), False, sampled),
        parent=SpanContext(trace_id, int(row["ParentSpanId"], 16), True, sampled),
        resource=Resource(row["ResourceAttributes"]),
        attributes=row["SpanAttributes"],
        kind=SpanKind.CONSUMER,
        status=Status(StatusCode.UNSET),
        start_time=row["Timestamp"],
        end_time=row["Timestamp"] + row["Duration"],
        instrumentation_scope=InstrumentationScope(SCOPE),
    )
