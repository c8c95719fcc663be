"""ExportMetricsServiceRequest -> points: each number that one can look at is a point of a series of its own.

    gauge, sum                 NAME
    histogram, exponential     NAME_count, NAME_sum, NAME_mean, NAME_p50, NAME_p95, NAME_p99
    summary                    NAME_count, NAME_sum, NAME with attribute quantile, as Prometheus has it

A series is told by its session, name and attributes: the point's, those of its resource that do not merely describe it, and
otel.scope.name. Exemplars are not read. Knows the data model; leaves buckets to otlp_buckets.py, what was counted before to the worker.
Next: streams/otlp_points.py
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, DataPointFlags

from schemas.accumulation import Accumulation
from schemas.events import MetricEvent
from schemas.otlp_buckets import Buckets, explicit, exponential
from schemas.otlp_values import attributes_of, micros_of, session_of

QUANTILES = {"_p50": 0.5, "_p95": 0.95, "_p99": 0.99}
DESCRIBES = (
    "telemetry.", "os.", "cloud.", "webengine.", "deployment.", "service.version", "host.arch", "host.cpu.", "host.image.", "host.ip",
    "host.mac", "host.type", "container.image.", "container.runtime", "container.command", "process.runtime.", "process.command",
    "process.executable.", "process.owner", "process.parent_pid",
)  # fmt: skip
"""Beginnings of resource attributes that say what a source is like, not which it is: a new version of it is the same series."""
TEMPORALITIES = {
    AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA: "delta",
    AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE: "cumulative",
}


class OtlpPoint(MetricEvent, frozen=True):
    """A point and how it was accumulated. Its value is NaN where it is a quantile that is yet to be estimated."""

    accumulation: Accumulation | None = None


class Skipped(msgspec.Struct, frozen=True):
    """A point whose flags say that no value was recorded: its source is gone, or was not asked."""

    session_id: str
    name: str


def points(request: ExportMetricsServiceRequest) -> Iterator[OtlpPoint | Skipped]:
    """The points of one request, in its order."""
    for resource in request.resource_metrics:
        described = attributes_of(resource.resource.attributes)
        session = session_of(described)
        which = {k: v for k, v in described.items() if not k.startswith(DESCRIBES) and k not in ("service.name", session_key(described))}
        for scope in resource.scope_metrics:
            own = which | {"otel.scope.name": scope.scope.name} if scope.scope.name else which
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                data = getattr(metric, kind) if kind else None
                for point in data.data_points if data is not None else ():
                    if point.flags & DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK:
                        yield Skipped(session, metric.name)
                        continue
                    attributes = own | attributes_of(point.attributes)
                    for suffix, value, more, accumulation in READERS[kind](data, point):
                        yield OtlpPoint(
                            name=metric.name + suffix,
                            value=value,
                            session_id=session,
                            timestamp=micros_of(point.time_unix_nano),
                            unit=unit_of(metric.unit, suffix),
                            attributes=attributes | more if more else attributes,
                            accumulation=accumulation,
                        )


Number = tuple[str, float, dict[str, str], Accumulation | None]
"""Suffix of the name, value, further attributes, how it was accumulated."""


def session_key(resource: dict[str, str]) -> str:
    """The attribute that names the session already."""
    return "" if resource.get("service.name") else "host.name"


def unit_of(unit: str, suffix: str) -> str | None:
    """A count has no unit of what is counted."""
    return "1" if suffix == "_count" else unit or None


def _gauge(data: Any, point: Any) -> Iterator[Number]:
    if point.WhichOneof("value"):
        yield "", _number(point), {}, None


def _sum(data: Any, point: Any) -> Iterator[Number]:
    """A sum that may fall and counts from its start is a level, as a gauge is; every other has a rate."""
    counted = _counted(data, point)
    is_level = counted is not None and counted.temporality == "cumulative" and not data.is_monotonic
    if point.WhichOneof("value"):
        yield "", _number(point), {}, None if is_level else counted


def _histogram(data: Any, point: Any) -> Iterator[Number]:
    return _distribution(data, point, explicit(point))


def _exponential(data: Any, point: Any) -> Iterator[Number]:
    return _distribution(data, point, exponential(point))


def _distribution(data: Any, point: Any, buckets: Buckets) -> Iterator[Number]:
    """The sum is missing where values may be negative: it could fall. No observations have no mean and no quantiles."""
    counted, count = _counted(data, point), float(point.count)
    lasting = counted if counted is not None and counted.temporality == "cumulative" else None
    yield "_count", count, {}, counted
    if point.HasField("sum"):
        yield "_sum", point.sum, {}, counted
        if count:
            yield "_mean", point.sum / count, {}, msgspec.structs.replace(lasting, counts=(count,)) if lasting else None
    edges, counts = buckets
    if any(counts):
        for suffix, quantile in QUANTILES.items():
            start = counted or Accumulation("delta")
            yield suffix, float("nan"), {}, msgspec.structs.replace(start, quantile=quantile, edges=edges, counts=counts)


def _summary(data: Any, point: Any) -> Iterator[Number]:
    """Count and sum go on from the start; quantiles are over a time that the source chose."""
    counted = Accumulation("cumulative", point.start_time_unix_nano // 1000)
    yield "_count", float(point.count), {}, counted
    yield "_sum", point.sum, {}, counted
    for one in point.quantile_values:
        yield "", one.value, {"quantile": f"{one.quantile:g}"}, None


READERS = {
    "gauge": _gauge,
    "sum": _sum,
    "histogram": _histogram,
    "exponential_histogram": _exponential,
    "summary": _summary,
}


def _counted(data: Any, point: Any) -> Accumulation | None:
    temporality = TEMPORALITIES.get(data.aggregation_temporality)
    return Accumulation(temporality, point.start_time_unix_nano // 1000) if temporality else None


def _number(point: Any) -> float:
    return float(point.as_int if point.WhichOneof("value") == "as_int" else point.as_double)
