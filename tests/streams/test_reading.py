"""Raw records become records of sessions, forwards or failures; none is lost."""

from dataclasses import dataclass, field
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from models.steps import Accumulated
from schemas import origin
from schemas.codec import Codec, encoder
from schemas.events import MetricEvent, TokenEvent
from schemas.origin import Origin
from streams.agents import logs, metrics, tokens
from streams.batching import Batch
from streams.failures import dead_letter_headers, to_event
from streams.lane import as_sent
from streams.reading import Decoded, Forward, Reader
from streams.session import Contents


@dataclass
class Raw:
    """A record as the consumer gives it."""

    offset: int
    value: bytes | None
    key: bytes | None = None
    headers: list = field(default_factory=list)
    timestamp: int = 1_767_000_000_000
    timestamp_type: int = 1


def decode(records: list[Raw], partition: int, name: str = "tokens", module=tokens, limit: int = 10_000) -> tuple[Decoded, Reader]:
    reader = Reader(name, Codec(), module.contents, 8, limit)
    return reader.read_all(Batch(name, partition, records)), reader


def home(session: str) -> int:
    return Reader("tokens", Codec(), tokens.contents, 8, 1).partition_of(session)


PIECE = b'{"session_id":"visit","text":"hi "}'


def test_murmur2_puts_sessions_where_java_does() -> None:
    # org.apache.kafka.common.utils.Utils.murmur2 of "21" is -973932308
    assert home("21") == (-973932308 & 0x7FFFFFFF) % 8


def test_a_rightly_keyed_record_is_read() -> None:
    decoded, _ = decode([Raw(5, PIECE, b"visit")], home("visit"))
    (read,) = decoded.reads
    assert (read.session_id, read.place.offset, read.contents.text) == ("visit", 5, "hi ")


def test_a_wrong_missing_or_misplaced_key_is_forwarded_to_its_session() -> None:
    elsewhere = (home("visit") + 1) % 8
    for key, partition in ((b"other", elsewhere), (None, home("visit")), (b"visit", elsewhere)):
        decoded, _ = decode([Raw(5, PIECE, key, [("h", b"1")])], partition)
        (forward,) = decoded.forwards
        assert (forward.partition, forward.key, forward.value) == (home("visit"), b"visit", PIECE)
        assert forward.headers == [("h", b"1"), ("strata-origin", b"%d/5/1767000000000/0" % partition)]
        assert not decoded.reads


def test_a_forwarded_record_keeps_its_first_place() -> None:
    decoded, _ = decode([Raw(99, PIECE, b"visit", [origin.write(Origin(2, 5, 1_766_000_000_000))])], home("visit"))
    (read,) = decoded.reads
    assert (read.offset, read.place.partition, read.place.offset, read.place.timestamp_ms) == (99, 2, 5, 1_766_000_000_000)
    assert read.origin == Origin(2, 5, 1_766_000_000_000)


def test_an_otlp_request_becomes_a_forward_per_line() -> None:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "checkout"
    for text in ("one", "two"):
        resource.scope_logs.add().log_records.add().body.string_value = text
    decoded, _ = decode([Raw(7, request.SerializeToString(), None, [("content-type", b"application/x-protobuf")])], 0, "logs", logs)
    assert [Codec().decode("logs", f.value).raw for f in decoded.forwards] == ["one", "two"]
    assert [f.headers[-1][1].split(b"/")[3] for f in decoded.forwards] == [b"0", b"1"]
    assert {f.key for f in decoded.forwards} == {b"checkout"}


def test_unreadable_records_are_failures_with_their_bytes_and_the_good_ones_are_read() -> None:
    bad = [
        b"{",
        b"",
        None,
        b"\xc3\x01aaaaaaaa",
        b'{"text":"x","session_id":"' + b"s" * 2000 + b'"}',
        b'{"text":"' + b"x" * 20_000 + b'"}',
        b'{"text":"x"}',
    ]
    records = [
        r
        for n, value in enumerate(bad)
        for r in (Raw(2 * n, value, b"visit" if value and len(value) < 12 else None), Raw(2 * n + 1, PIECE, b"visit"))
    ]
    decoded, _ = decode(records, home("visit"))
    assert len(decoded.reads) == len(bad)
    names = [type(f.error).__name__ for f, _, _ in decoded.failures]
    assert names == [
        "InvalidJsonError",
        "UnknownEncodingError",
        "UnknownEncodingError",
        "UnknownSchemaError",
        "FieldError",
        "RecordTooLargeError",
        "MissingSessionError",
    ]
    assert [f.value for f, _, _ in decoded.failures] == [value or b"" for value in bad]


def test_points_that_are_no_numbers_are_refused() -> None:
    nan = encoder("metrics")(
        {"session_id": "m", "timestamp": 1, "name": "cpu", "value": float("nan"), "end_of_session": False, "attributes": {}}
    )
    decoded, _ = decode(
        [Raw(0, nan, b"m"), Raw(1, b'{"session_id":"m","name":"cpu","value":Infinity}', b"m")], home("m"), "metrics", metrics
    )
    assert [type(f.error).__name__ for f, _, _ in decoded.failures] == ["FieldError", "InvalidJsonError"]


@given(
    st.lists(st.tuples(st.binary(max_size=40) | st.just(PIECE), st.none() | st.binary(max_size=8) | st.just(b"visit")), max_size=20),
    st.integers(0, 7),
)
def test_every_record_is_read_forwarded_or_refused(values: list, partition: int) -> None:
    decoded, _ = decode([Raw(n, value, key) for n, (value, key) in enumerate(values)], partition)
    assert len(decoded.reads) + len(decoded.forwards) + len(decoded.failures) == len(values)


def test_avro_and_json_of_a_record_read_the_same() -> None:
    avro = encoder("tokens")(TokenEvent("hi ", "visit", timestamp=5))  # type: ignore[arg-type]
    json = b'{"session_id":"visit","text":"hi ","timestamp":0.000005}'
    both, _ = decode([Raw(0, avro, b"visit"), Raw(1, json, b"visit")], home("visit"))
    assert both.reads[0].contents == both.reads[1].contents


def test_a_position_beyond_64_bits_is_refused_before_it_counts() -> None:
    values = [b'{"session_id":"visit","text":"hi ","position":%d}' % p for p in (2**63 - 1, 2**63, 10**30, 7)]
    decoded, _ = decode([Raw(n, value, b"visit") for n, value in enumerate(values)], home("visit"))
    assert [type(f.error).__name__ for f, _, _ in decoded.failures] == ["FieldError"] * 3
    assert [r.contents.position for r in decoded.reads] == [7]


def test_a_small_otlp_request_that_would_become_gigabytes_is_refused() -> None:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    for n in range(1000):
        resource.resource.attributes.add(key=f"attribute {n}").value.string_value = "x" * 200
    scope = resource.scope_logs.add()
    for _ in range(50_000):
        scope.log_records.add()
    value = request.SerializeToString()
    records = [Raw(n, v, None, [("content-type", b"application/x-protobuf")]) for n, v in enumerate((value, b""))]
    decoded, _ = decode(records, 0, "logs", logs, limit=1_000_000)
    assert len(value) < 400_000
    assert [type(f.error).__name__ for f, _, _ in decoded.failures] == ["RecordTooLargeError"]
    assert not decoded.forwards


def test_what_becomes_of_a_refused_copy_is_named_by_the_place_of_its_producer() -> None:
    nan = encoder("metrics")({"session_id": "m", "timestamp": 1, "name": "cpu", "value": float("nan"), "attributes": {}})
    copies = [Raw(90 + n, nan, b"m", [("h", b"1"), origin.write(Origin(2, 5, 7, index))]) for n, index in enumerate((0, 0, 1))]
    decoded, _ = decode(copies, home("m"), "metrics", metrics)
    failures = [failure for failure, _, _ in decoded.failures]
    events = [to_event(failure, "v") for failure in failures]
    assert {(e.kafka_partition, e.kafka_offset, e.timestamp) for e in events} == {(2, 5, 7000)}
    assert events[0].event_id == events[1].event_id != events[2].event_id
    letters = [dict(dead_letter_headers(f, tuple(r.headers))) for f, _, r in decoded.failures]
    assert letters[0] == letters[1] != letters[2]
    assert letters[0]["h"] == b"1"
    assert origin.NAME not in letters[0]


def test_a_record_that_makes_reading_fail_in_a_new_way_is_refused_alone() -> None:
    def contents(event: TokenEvent, received_us: int) -> Contents:
        if event.text == "bad":
            raise IndexError("nobody thought of this")
        return tokens.contents(event, received_us)

    module = SimpleNamespace(contents=contents)
    values = [b'{"session_id":"visit","text":"%s"}' % text for text in (b"a", b"bad", b"b")]
    decoded, _ = decode([Raw(n, value, b"visit") for n, value in enumerate(values)], home("visit"), module=module)
    assert [r.contents.text for r in decoded.reads] == ["a", "b"]
    ((failure, _, _),) = decoded.failures
    assert "nobody thought of this" in to_event(failure, "v").stack_trace


def test_key_and_headers_count_for_the_size_of_a_record() -> None:
    large = b"x" * 20_000
    records = [Raw(0, PIECE, large), Raw(1, PIECE, b"visit", [("tracestate", large)]), Raw(2, PIECE, b"visit", [("n", None)])]
    decoded, _ = decode(records, home("visit"))
    assert [type(f.error).__name__ for f, _, _ in decoded.failures] == ["RecordTooLargeError"] * 2
    assert len(decoded.reads) == 1


def test_a_long_series_name_is_bounded_and_still_tells_series_apart() -> None:
    points = [MetricEvent("cpu", 1.0, attributes={"host": "h" * 100_000 + end}) for end in "ab"]
    names = [metrics.contents(point, 0).name for point in points]
    assert len({*names}) == 2
    assert {len(name) for name in names} == {metrics.MAX_SERIES_NAME}
    assert metrics.contents(MetricEvent("cpu", 1.0, attributes={"b": "2", "a": "1"}), 0).name == "cpu|a=1|b=2"


def test_an_otlp_metrics_request_becomes_points_that_say_what_they_count_and_a_note_of_those_without_a_value() -> None:
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add()
    total = scope.metrics.add(name="requests").sum
    total.aggregation_temporality, total.is_monotonic = 2, True
    total.data_points.add(start_time_unix_nano=1000, time_unix_nano=0, as_int=3)
    total.data_points.add(flags=1)
    histogram = scope.metrics.add(name="latency").histogram
    histogram.aggregation_temporality = 1
    histogram.data_points.add(time_unix_nano=2000, start_time_unix_nano=1000, count=4, bucket_counts=[0, 4, 0], explicit_bounds=[1, 3])
    otlp = [("content-type", b"application/x-protobuf"), ("h", b"1")]
    decoded, _ = decode([Raw(7, request.SerializeToString(), None, otlp)], 0, "metrics", metrics)
    events = [Codec().decode("metrics", f.value) for f in decoded.forwards]
    assert [(e.name, e.value) for e in events] == [("requests", 3.0), ("latency_count", 4.0), *[("latency" + q, v) for q, v in LATE]]
    assert events[0].timestamp == 1_767_000_000_000_000  # it has none: Kafka's
    ((failure, partition),) = decoded.notices
    assert (type(failure.error).__name__, failure.action, partition) == ("NoRecordedValueError", "accept", 0)
    assert "1 points have the flag `no recorded value` (requests)" in str(failure.error)
    # at home each is read with what it counts; quantiles of a delta count nothing more
    home_of = decoded.forwards[0].partition
    copies = [Raw(n, f.value, f.key, f.headers) for n, f in enumerate(decoded.forwards)]
    at_home, _ = decode(copies, home_of, "metrics", metrics)
    assert not at_home.failures
    counted = [r.contents.accumulated for r in at_home.reads]
    assert counted == [Accumulated("cumulative", 1), Accumulated("delta", 1), None, None, None]
    assert [r.contents.shown for r in at_home.reads][:2] == ["3.0", "4.0"]


def test_what_a_producer_spread_over_partitions_is_forwarded_as_it_was_sent() -> None:
    def forwards(partition: int, *times: int) -> Decoded:
        return Decoded(0, forwards=[Forward(0, b"s", b"%d %d" % (partition, n), [], at_ms) for n, at_ms in enumerate(times)])

    found = [f.value for f in as_sent([forwards(0, 10, 40, 30), forwards(1, 20, 25, 50)])]
    assert found == [b"0 0", b"1 0", b"1 1", b"0 1", b"0 2", b"1 2"]  # 30 after 40: of one partition the order stays


LATE = [("_p50", 2.0), ("_p95", 2.9), ("_p99", 2.98)]
