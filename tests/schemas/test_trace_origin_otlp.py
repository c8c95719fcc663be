"""Headers that travel with records, and OTLP requests as records of ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from schemas import origin, otlp, trace
from schemas.errors import TruncatedRecordError
from schemas.origin import Origin
from schemas.trace import TraceContext


def test_traceparent_goes_both_ways() -> None:
    context = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", True, "vendor=1")
    assert trace.read(trace.write(context)) == context
    assert trace.write(context)[0] == ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"00-0-1-01",
        b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",
        b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"\xff\xfe",
    ],
)
def test_a_malformed_traceparent_starts_a_new_trace(header: bytes) -> None:
    assert trace.read([("traceparent", header)]) is None


@given(st.integers(0, 10**6), st.integers(0, 2**40), st.integers(0, 2**42), st.integers(0, 10**6))
def test_origin_goes_both_ways(partition: int, offset: int, timestamp_ms: int, index: int) -> None:
    place = Origin(partition, offset, timestamp_ms, index)
    assert origin.read([("other", b"x"), origin.write(place)]) == place


def test_origin_of_others_is_ignored() -> None:
    assert origin.read([(origin.NAME, b"nonsense")]) is None
    assert origin.read([(origin.NAME, None)]) is None
    for forged in (b"-1/5/6/0", b"%d/5/6/0" % 2**31, b"1/%d/6/0" % 2**43, b"1/5/%d/0" % 2**60, b"1/5/6/%d" % origin.STEP):
        assert origin.read([(origin.NAME, forged)]) is None
    assert origin.read(None) is None


def test_otlp_metrics_become_points() -> None:
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    gauge = scope.metrics.add(name="cpu", unit="1").gauge.data_points.add(time_unix_nano=2000, as_double=0.5)
    gauge.attributes.add(key="core").value.string_value = "0"
    scope.metrics.add(name="requests").sum.data_points.add(time_unix_nano=2000, as_int=3)
    scope.metrics.add(name="latency").histogram.data_points.add(time_unix_nano=2000, count=4, sum=1.5)
    points = list(otlp.split("metrics", request.SerializeToString()))
    assert [(p.name, p.value, p.timestamp) for p in points] == [
        ("cpu", 0.5, 2),
        ("requests", 3.0, 2),
        ("latency_count", 4.0, 2),
        ("latency_sum", 1.5, 2),
        ("latency_mean", 0.375, 2),
    ]
    assert points[0].attributes == {"core": "0"}
    assert points[0].session_id == "unknown"


def test_truncated_otlp_is_refused_by_name() -> None:
    with pytest.raises(TruncatedRecordError, match="ExportLogsServiceRequest"):
        otlp.split("logs", b"\x0a\xff")
