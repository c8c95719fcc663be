"""OTLP requests on `logs` and `metrics`, as the OpenTelemetry Collector's Kafka exporter writes them, as records of ours.

Knows the requests' bytes; leaves log records to otlp_logs.py, points to otlp_metrics.py, text that is no UTF-8 to otlp_text.py and Kafka to
streams/reading.py, which sends each record to its session's partition.
Next: schemas/otlp_logs.py, schemas/otlp_metrics.py
"""

from collections.abc import Iterator

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from schemas.errors import TruncatedRecordError
from schemas.events import LogEvent
from schemas.otlp_logs import lines
from schemas.otlp_metrics import OtlpPoint, Skipped, points
from schemas.otlp_text import mended


def split(name: str, value: bytes) -> Iterator[LogEvent] | Iterator[OtlpPoint | Skipped]:
    """The records in one request, in its order, one at a time: each repeats what its resource says. `name` is logs or metrics.

    Raises TruncatedRecordError.
    """
    request = ExportLogsServiceRequest() if name == "logs" else ExportMetricsServiceRequest()
    try:
        try:
            request.ParseFromString(value)
        except DecodeError:  # text that is no UTF-8, or not a whole request
            request.ParseFromString(mended(value, request.DESCRIPTOR))
    except DecodeError as problem:
        raise TruncatedRecordError(
            f"{name}: not a whole {type(request).__name__} ({problem}); send the bytes the Collector's otlp_proto writes"
        ) from problem
    return lines(request) if isinstance(request, ExportLogsServiceRequest) else points(request)
