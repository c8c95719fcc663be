"""OTLP requests on `logs` and `metrics`, as the OpenTelemetry Collector's Kafka exporter writes them, as records of ours.

Knows the requests' bytes and log records; leaves points to otlp_metrics.py, values and sessions to otlp_values.py and Kafka to
streams/reading.py, which sends each record to its session's partition.
Next: schemas/otlp_metrics.py
"""

from collections.abc import Iterator

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from schemas.errors import TruncatedRecordError
from schemas.events import LogEvent
from schemas.otlp_metrics import OtlpPoint, Skipped, points
from schemas.otlp_values import attributes_of, micros_of, session_of, text_of


def split(name: str, value: bytes) -> Iterator[LogEvent] | Iterator[OtlpPoint | Skipped]:
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
    return _logs(request) if isinstance(request, ExportLogsServiceRequest) else points(request)


def _logs(request: ExportLogsServiceRequest) -> Iterator[LogEvent]:
    for resource in request.resource_logs:
        attributes = attributes_of(resource.resource.attributes)
        for scope in resource.scope_logs:
            for line in scope.log_records:
                metadata = attributes | attributes_of(line.attributes)
                if line.severity_text or line.severity_number:
                    metadata["severity"] = line.severity_text or severity_of(line.severity_number)
                if line.trace_id:
                    metadata["trace_id"] = line.trace_id.hex()
                yield LogEvent(
                    raw=text_of(line.body),
                    session_id=session_of(attributes),
                    timestamp=micros_of(line.time_unix_nano or line.observed_time_unix_nano),
                    source="otlp",
                    metadata=metadata,
                )


def severity_of(number: int) -> str:
    """OTel severity number (1-24) -> its text, per the log data model."""
    names = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
    return names[min(max(number - 1, 0) // 4, 5)]
