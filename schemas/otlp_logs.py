"""OTLP log records -> log lines of ours.

Knows the fields of a LogRecord, its scope and its resource; leaves values to otlp_values.py and the request to otlp.py. The body is the
line, and is read as any line is; what the record says beside it is metadata, under the names OpenTelemetry gives these fields where they
are attributes. Next: streams/agents/logs.py
"""

from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from schemas.events import LogEvent
from schemas.otlp_values import attributes_of, micros_of, session_of, text_of
from schemas.trace import Header, TraceContext
from schemas.trace import write as trace_headers

_STEPS = {"debug": 8, "informational": 1, "notice": 3, "warning": 4, "error": 1, "critical": 1, "alert": 2, "emergency": 4}
LEVELS = dict(enumerate((name for name, numbers in _STEPS.items() for _ in range(numbers)), 1))
"""Severity number -> name of RFC 5424. Source: log data model, appendix B, read backwards: INFO2 is notice, ERROR2 critical, ERROR3 alert,
FATAL emergency; a number between two belongs to the milder."""


def lines(request: ExportLogsServiceRequest) -> Iterator[LogEvent]:
    """Every record of a request, in its order."""
    for resource in request.resource_logs:
        about_resource = attributes_of(resource.resource.attributes)
        session_id = session_of(about_resource)
        for scope in resource.scope_logs:
            about = about_resource | _about_scope(scope.scope)
            for record in scope.log_records:
                yield LogEvent(
                    raw=body_of(record.body),
                    session_id=session_id,
                    timestamp=micros_of(record.time_unix_nano or record.observed_time_unix_nano),
                    source="otlp",
                    metadata=about | attributes_of(record.attributes) | _about_record(record),
                )


def level_of(number: str) -> str:
    """`severity_number` of a line's metadata as source and level of ours; empty where it is none."""
    name = LEVELS.get(int(number)) if number.isascii() and number.isdigit() and len(number) < 3 else None
    return f"header:{name}" if name else ""


def headers_of(metadata: Mapping[str, str]) -> list[Header]:
    """The trace a line was written in, so that what is found in it has the same trace_id. Not sampled: each line would make spans there."""
    trace_id, span_id = metadata.get("trace_id", ""), metadata.get("span_id", "")
    if not _is_id(trace_id, 32):
        return []
    return trace_headers(TraceContext(trace_id, span_id if _is_id(span_id, 16) else trace_id[:16], False, ""))


def body_of(body: Any) -> str:
    """The line: text as it is, bytes as the UTF-8 they mostly are, a map or an array as JSON, which log_json.py reads."""
    if body.WhichOneof("value") == "bytes_value":
        return str(body.bytes_value.decode("utf-8", "backslashreplace"))
    return text_of(body)


def _about_scope(scope: Any) -> dict[str, str]:
    named = {"otel.scope.name": scope.name, "otel.scope.version": scope.version}
    return attributes_of(scope.attributes) | {name: value for name, value in named.items() if value}


def _about_record(record: LogRecord) -> dict[str, str]:
    """What a record says in fields of its own; zero and empty mean that it does not."""
    named: dict[str, Any] = {
        "severity": record.severity_text or LEVELS.get(record.severity_number),
        "severity_number": record.severity_number,
        "event_name": record.event_name,
        "trace_id": record.trace_id.hex() if len(record.trace_id) == 16 else "",
        "span_id": record.span_id.hex() if len(record.span_id) == 8 else "",
        "trace_flags": record.flags & 0xFF,
        "observed_time_unix_nano": record.observed_time_unix_nano if record.time_unix_nano else 0,
        "otel.dropped_attributes_count": record.dropped_attributes_count,
    }
    return {name: str(value) for name, value in named.items() if value}


def _is_id(text: str, digits: int) -> bool:
    return len(text) == digits and text != "0" * digits and all(c in "0123456789abcdef" for c in text)
