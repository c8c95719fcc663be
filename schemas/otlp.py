"""OTLP requests on `logs` and `metrics`, as the OpenTelemetry Collector's Kafka exporter writes them, as records of ours.

Knows ExportLogsServiceRequest and ExportMetricsServiceRequest; leaves Kafka to streams/rekey.py, which sends each record to its session's
partition. Session: resource attribute service.name, else host.name, else `unknown`.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from schemas.errors import TruncatedRecordError
from schemas.events import LogEvent, MetricEvent, Micros


def split(name: str, value: bytes) -> Iterator[LogEvent] | Iterator[MetricEvent]:
    """The records in one request, in its order, one at a time: each repeats what its resource says. `name` is logs or metrics.

    Raises TruncatedRecordError.
    """
    request = ExportLogsServiceRequest() if name == "logs" else ExportMetricsServiceRequest()
    try:
        request.ParseFromString(value)
    except DecodeError as problem:
        raise TruncatedRecordError(
            f"{name}: not a whole {type(request).__name__} ({problem}); send the bytes the Collector's otlp_proto writes"
        ) from problem
    return _logs(request) if isinstance(request, ExportLogsServiceRequest) else _metrics(request)


def _logs(request: ExportLogsServiceRequest) -> Iterator[LogEvent]:
    for resource in request.resource_logs:
        attributes = _attributes(resource.resource.attributes)
        for scope in resource.scope_logs:
            for line in scope.log_records:
                metadata = attributes | _attributes(line.attributes)
                if line.severity_text or line.severity_number:
                    metadata["severity"] = line.severity_text or severity_of(line.severity_number)
                if line.trace_id:
                    metadata["trace_id"] = line.trace_id.hex()
                yield LogEvent(
                    raw=_text(line.body),
                    session_id=_session(attributes),
                    timestamp=_micros(line.time_unix_nano or line.observed_time_unix_nano),
                    source="otlp",
                    metadata=metadata,
                )


def severity_of(number: int) -> str:
    """OTel severity number (1-24) -> its text, per the log data model."""
    names = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
    return names[min(max(number - 1, 0) // 4, 5)]


def _metrics(request: ExportMetricsServiceRequest) -> Iterator[MetricEvent]:
    for resource in request.resource_metrics:
        session = _session(_attributes(resource.resource.attributes))
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                for point in getattr(metric, kind).data_points if kind else ():
                    for suffix, value in _values(kind, point):
                        yield MetricEvent(
                            name=metric.name + suffix,
                            value=value,
                            session_id=session,
                            timestamp=_micros(point.time_unix_nano),
                            unit=metric.unit or None,
                            attributes=_attributes(point.attributes),
                        )


def _values(kind: str, point: Any) -> list[tuple[str, float]]:
    """A gauge or sum point is its number; a histogram or summary is its count and sum."""
    if kind in ("gauge", "sum"):
        return [("", float(point.as_int if point.WhichOneof("value") == "as_int" else point.as_double))]
    return [("_count", float(point.count)), ("_sum", float(point.sum))]


def _session(attributes: dict[str, str]) -> str:
    return attributes.get("service.name") or attributes.get("host.name") or "unknown"


def _micros(nanos: int) -> Micros | None:
    return Micros(nanos // 1000) if nanos else None


def _attributes(pairs: Iterable[Any]) -> dict[str, str]:
    return {pair.key: _text(pair.value) for pair in pairs}


def _text(value: Any) -> str:
    plain = _plain(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False, sort_keys=True)


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return ""
    if kind == "array_value":
        return [_plain(v) for v in value.array_value.values]
    if kind == "kvlist_value":
        return {v.key: _plain(v.value) for v in value.kvlist_value.values}
    return value.bytes_value.hex() if kind == "bytes_value" else getattr(value, kind)
