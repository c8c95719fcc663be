"""Points of OTLP metrics requests: names, identity, values and what they were accumulated over."""

import math

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from schemas import accumulation
from schemas.accumulation import Accumulation
from schemas.otlp import split
from schemas.otlp_metrics import OtlpPoint, Skipped

SECOND = 1_000_000_000


def request(**resource: str) -> tuple[ExportMetricsServiceRequest, object]:
    made = ExportMetricsServiceRequest()
    one = made.resource_metrics.add()
    for key, value in resource.items():
        one.resource.attributes.add(key=key.replace("__", ".")).value.string_value = value
    return made, one.scope_metrics.add()


def points(made: ExportMetricsServiceRequest) -> list[OtlpPoint]:
    return list(split("metrics", made.SerializeToString()))


def test_integers_and_doubles_of_a_gauge_are_their_numbers() -> None:
    made, scope = request()
    data = scope.metrics.add(name="g", unit="By").gauge.data_points
    data.add(time_unix_nano=2000, as_int=2**62)
    data.add(time_unix_nano=3000, as_double=-0.5)
    data.add(time_unix_nano=3000)  # no value at all
    assert [(p.name, p.value, p.unit, p.timestamp, p.accumulation) for p in points(made)] == [
        ("g", 2.0**62, "By", 2, None),
        ("g", -0.5, "By", 3, None),
    ]


@pytest.mark.parametrize(
    ("temporality", "monotonic", "expected"),
    [
        (1, True, Accumulation("delta", 5_000_000)),
        (2, True, Accumulation("cumulative", 5_000_000)),
        (1, False, Accumulation("delta", 5_000_000)),
        (2, False, None),
        (0, True, None),
    ],
)
def test_a_sum_says_what_it_counts_and_a_level_counts_nothing(temporality: int, monotonic: bool, expected: Accumulation | None) -> None:
    made, scope = request()
    data = scope.metrics.add(name="requests").sum
    data.aggregation_temporality, data.is_monotonic = temporality, monotonic
    data.data_points.add(start_time_unix_nano=5 * SECOND, time_unix_nano=9 * SECOND, as_int=3)
    (point,) = points(made)
    assert (point.name, point.value, point.accumulation) == ("requests", 3.0, expected)


def test_a_histogram_is_counts_mean_and_quantiles_that_share_its_buckets() -> None:
    made, scope = request()
    data = scope.metrics.add(name="latency", unit="ms").histogram
    data.aggregation_temporality = 2
    data.data_points.add(
        start_time_unix_nano=SECOND, time_unix_nano=9 * SECOND, count=10, sum=90.0, bucket_counts=[2, 6, 2], explicit_bounds=[5, 10]
    )
    found = {p.name: p for p in points(made)}
    assert list(found) == ["latency_count", "latency_sum", "latency_mean", "latency_p50", "latency_p95", "latency_p99"]
    assert [found[n].value for n in ("latency_count", "latency_sum", "latency_mean")] == [10.0, 90.0, 9.0]
    assert [found[n].unit for n in ("latency_count", "latency_sum")] == ["1", "ms"]
    assert found["latency_mean"].accumulation == Accumulation("cumulative", 1_000_000, counts=(10.0,))
    assert found["latency_p95"].accumulation == Accumulation("cumulative", 1_000_000, 0.95, (0.0, 5.0, 10.0, 10.0), (2.0, 6.0, 2.0))
    assert all(math.isnan(found[n].value) for n in ("latency_p50", "latency_p95", "latency_p99"))


def test_the_outermost_buckets_end_at_the_least_and_greatest_value() -> None:
    made, scope = request()
    data = scope.metrics.add(name="t").histogram
    data.data_points.add(count=2, sum=40.0, bucket_counts=[1, 0, 1], explicit_bounds=[5, 10], min=3.0, max=37.0)
    assert next(p for p in points(made) if p.name == "t_p50").accumulation.edges == (3.0, 5.0, 10.0, 37.0)


def test_exponential_buckets_have_their_powers_as_edges_and_gaps_are_empty_buckets() -> None:
    made, scope = request()
    point = scope.metrics.add(name="e").exponential_histogram.data_points.add(count=7, sum=1.0, scale=0, zero_count=1, zero_threshold=0.5)
    point.positive.offset = 1
    point.positive.bucket_counts.extend([2, 0, 1])  # (2, 4] (4, 8] (8, 16]
    point.negative.offset = 0
    point.negative.bucket_counts.extend([3])  # [-2, -1)
    found = next(p for p in points(made) if p.name == "e_p50").accumulation
    assert found.edges == (-2.0, -1.0, -0.5, 0.5, 2.0, 4.0, 8.0, 16.0)
    assert found.counts == (3.0, 0.0, 1.0, 0.0, 2.0, 0.0, 1.0)


def test_hostile_buckets_stay_within_bounds() -> None:
    made, scope = request()
    wide = scope.metrics.add(name="wide").exponential_histogram.data_points.add(count=2000, sum=1.0, scale=-2_000_000_000)
    wide.positive.bucket_counts.extend([1] * 2000)
    wide.positive.offset = 2_000_000_000
    bad = scope.metrics.add(name="bad").histogram
    bad.data_points.add(count=2, sum=1.0, bucket_counts=[1, 1], explicit_bounds=[float("nan")])
    bad.data_points.add(count=2, sum=1.0, bucket_counts=[1, 1, 1], explicit_bounds=[5.0, 1.0])
    bad.data_points.add(count=2, sum=1.0, bucket_counts=[1], explicit_bounds=[5.0, 1.0])
    found = points(made)
    with_buckets = [p for p in found if p.accumulation is not None and p.accumulation.edges]
    assert {p.name for p in with_buckets} == {"wide_p50", "wide_p95", "wide_p99"}
    for point in with_buckets:
        assert accumulation.is_possible(point.accumulation)
        assert sum(point.accumulation.counts) == 2000


def test_a_summary_has_its_quantiles_as_attributes() -> None:
    made, scope = request()
    point = scope.metrics.add(name="gc", unit="s").summary.data_points.add(
        start_time_unix_nano=SECOND, time_unix_nano=2 * SECOND, count=4, sum=1.5
    )
    point.quantile_values.add(quantile=0.5, value=0.1)
    point.quantile_values.add(quantile=0.99, value=0.9)
    found = points(made)
    assert [(p.name, p.value, p.attributes) for p in found] == [
        ("gc_count", 4.0, {}),
        ("gc_sum", 1.5, {}),
        ("gc", 0.1, {"quantile": "0.5"}),
        ("gc", 0.9, {"quantile": "0.99"}),
    ]
    assert [p.accumulation is not None for p in found] == [True, True, False, False]


def test_a_point_without_a_recorded_value_is_told_apart_from_the_others() -> None:
    made, scope = request(service__name="shop")
    data = scope.metrics.add(name="up").gauge.data_points
    data.add(time_unix_nano=1000, as_double=1.0)
    data.add(time_unix_nano=2000, flags=1)
    assert [type(p) for p in points(made)] == [OtlpPoint, Skipped]
    assert points(made)[1] == Skipped("shop", "up")


def test_two_instances_of_a_service_are_two_series_and_a_new_version_of_one_is_the_same() -> None:
    made, scope = request(
        service__name="shop", service__instance__id="a", service__version="1", telemetry__sdk__version="9", host__name="h"
    )
    scope.scope.name = "lib"
    gauge = scope.metrics.add(name="cpu").gauge.data_points.add(as_double=1.0)
    gauge.attributes.add(key="core").value.int_value = 3
    (point,) = points(made)
    assert point.session_id == "shop"
    assert point.attributes == {"service.instance.id": "a", "host.name": "h", "otel.scope.name": "lib", "core": "3"}


def test_the_attribute_that_names_the_session_is_not_repeated() -> None:
    made, scope = request(host__name="web-1", process__pid="7")
    scope.metrics.add(name="cpu").gauge.data_points.add(as_double=1.0)
    (point,) = points(made)
    assert (point.session_id, point.attributes) == ("web-1", {"process.pid": "7"})


def test_accumulation_goes_both_ways_and_what_cannot_be_ours_is_ignored() -> None:
    one = Accumulation("cumulative", 7, 0.95, (0.0, 1.0), (3.0,))
    assert accumulation.read([("x", b""), accumulation.write(one)]) == one
    nan = float("nan")
    for bad in (
        Accumulation("gauge"),
        Accumulation("delta", -1),
        Accumulation("delta", counts=(1.0, 2.0)),
        Accumulation("delta", counts=(nan,)),
        Accumulation("delta", counts=(-1.0,)),
        Accumulation("delta", 0, 1.5, (0.0, 1.0), (3.0,)),
        Accumulation("delta", 0, 0.5, (0.0,), (3.0,)),
        Accumulation("delta", 0, 0.5, (1.0, 0.0), (3.0,)),
        Accumulation("delta", 0, 0.5, (nan, 0.0), (3.0,)),
        Accumulation("delta", 0, 0.5, (0.0, float("inf")), (3.0,)),
        Accumulation("delta", 0, 0.5, tuple(map(float, range(1000))), (1.0,) * 999),
    ):
        assert accumulation.read([accumulation.write(bad)]) is None
    for nonsense in (None, b"", b"\xff\xff", b"{}"):
        assert accumulation.read([(accumulation.NAME, nonsense)]) is None
