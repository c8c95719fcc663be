"""OTLP log records as lines of ours: every field of the data model, every kind of body, text that is no UTF-8."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from schemas import otlp, trace
from schemas.errors import TruncatedRecordError
from schemas.events import LogEvent
from schemas.otlp_logs import LEVELS, headers_of, level_of
from streams.agents.logs import contents

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def a_request() -> ExportLogsServiceRequest:
    """One record with every field set, as the Collector writes it."""
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add(schema_url="https://opentelemetry.io/schemas/1.26.0")
    resource.resource.attributes.add(key="service.name").value.string_value = "checkout"
    resource.resource.attributes.add(key="host.name").value.string_value = "web-1"
    scope = resource.scope_logs.add()
    scope.scope.name, scope.scope.version = "com.shop.Pay", "1.2"
    scope.scope.attributes.add(key="team").value.string_value = "payments"
    record = scope.log_records.add(
        time_unix_nano=1_700_000_000_123_456_789,
        observed_time_unix_nano=1_700_000_001_000_000_000,
        severity_number=17,
        severity_text="ERROR",
        flags=1,
        trace_id=bytes.fromhex(TRACE),
        span_id=bytes.fromhex(SPAN),
        event_name="payment.failed",
        dropped_attributes_count=2,
    )
    record.body.string_value = "payment failed"
    record.attributes.add(key="order").value.int_value = 7
    return request


def lines(request: ExportLogsServiceRequest) -> list[LogEvent]:
    return list(otlp.split("logs", request.SerializeToString()))  # type: ignore[arg-type]


def test_every_field_of_a_record_is_told() -> None:
    (line,) = lines(a_request())
    assert (line.session_id, line.raw, line.timestamp, line.source) == ("checkout", "payment failed", 1_700_000_000_123_456, "otlp")
    assert line.metadata == {
        "service.name": "checkout",
        "host.name": "web-1",
        "team": "payments",
        "otel.scope.name": "com.shop.Pay",
        "otel.scope.version": "1.2",
        "order": "7",
        "severity": "ERROR",
        "severity_number": "17",
        "event_name": "payment.failed",
        "trace_id": TRACE,
        "span_id": SPAN,
        "trace_flags": "1",
        "observed_time_unix_nano": "1700000001000000000",
        "otel.dropped_attributes_count": "2",
    }


def test_what_a_record_leaves_out_is_left_out() -> None:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add(observed_time_unix_nano=1_700_000_001_000_000_000)
    (line,) = lines(request)
    assert (line.session_id, line.raw, line.timestamp, line.metadata) == ("unknown", "", 1_700_000_001_000_000, {})


def test_severity_numbers_are_the_eight_levels_of_the_data_model() -> None:
    told = {
        1: "debug",
        5: "debug",
        9: "informational",
        10: "notice",
        13: "warning",
        17: "error",
        18: "critical",
        19: "alert",
        21: "emergency",
    }
    assert {number: LEVELS[number] for number in told} == told
    assert sorted(LEVELS) == list(range(1, 25))
    order = ["debug", "informational", "notice", "warning", "error", "critical", "alert", "emergency"]
    ranks = [order.index(LEVELS[number]) for number in sorted(LEVELS)]
    assert ranks == sorted(ranks), "a higher number is never milder"
    assert [level_of(text) for text in ("0", "25", "", "x", "²", "999999")] == [""] * 6


@pytest.mark.parametrize(
    ("text", "number", "level"),
    [
        ("", 18, "header:critical"),
        ("Information", 9, "header:informational"),
        ("FATAL", 21, "header:critical"),  # the word the program used tells more than the range it fell into
        ("SCHWER", 17, "header:error"),  # a word nobody knows: the number
        ("", 0, ""),
        ("SCHWER", 0, ""),
    ],
)
def test_a_known_word_is_the_severity_else_the_number_is(text: str, number: int, level: str) -> None:
    request = a_request()
    record = request.resource_logs[0].scope_logs[0].log_records[0]
    record.severity_text, record.severity_number = text, number
    assert contents(lines(request)[0], 0).name == level


def test_what_the_record_says_of_severity_wins_over_the_line() -> None:
    assert contents(LogEvent(raw="<34>1 - h a - - - x", metadata={"severity": "warn"}), 0).name == "header:warning"
    assert contents(LogEvent(raw="<34>1 - h a - - - x", metadata={"other": "warn"}), 0).name == "pri:critical"


def test_a_body_of_any_kind_is_a_line() -> None:
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    records.add().body.bytes_value = "Grüße 2".encode()
    records.add().body.bytes_value = b"\xff\x00ok"
    records.add().body.int_value = 7
    records.add().body.bool_value = True
    records.add().body.double_value = 0.5
    for word in ("a", "b"):
        (records[5] if len(records) > 5 else records.add()).body.array_value.values.add().string_value = word
    kv = records.add().body.kvlist_value.values
    kv.add(key="msg").value.string_value = "card declined"
    kv.add(key="level").value.string_value = "warn"
    kv.add(key="code").value.bytes_value = b"\x01"
    found = lines(request)
    assert [line.raw for line in found] == [
        "Grüße 2", "\\xff\x00ok", "7", "true", "0.5", '["a", "b"]', '{"code": "01", "level": "warn", "msg": "card declined"}',
    ]  # fmt: skip
    read = contents(found[-1], 0)
    assert (read.text, read.name, read.metadata["code"]) == ("card declined", "header:warning", "01")


def test_a_line_has_the_trace_it_was_written_in_and_makes_no_spans_there() -> None:
    context = trace.read(headers_of(lines(a_request())[0].metadata))
    assert context is not None
    assert (context.trace_id, context.span_id, context.sampled) == (TRACE, SPAN, False)
    for bad in ({}, {"trace_id": "0" * 32}, {"trace_id": "x" * 32}, {"trace_id": TRACE[:-1]}):
        assert headers_of(bad) == []
    assert trace.read(headers_of({"trace_id": TRACE})) is not None


def test_text_that_is_no_utf8_does_not_cost_the_lines_beside_it() -> None:
    request = a_request()
    records = request.resource_logs[0].scope_logs[0].log_records
    records.add().body.string_value = "bad <~~> line"
    records.add().body.string_value = "Grüße"
    value = request.SerializeToString().replace(b"<~~>", b"<\xff\xfe>").replace(b"payments", b"\xffayments")
    found: list[LogEvent] = list(otlp.split("logs", value))  # type: ignore[arg-type]
    assert [line.raw for line in found] == ["payment failed", "bad <\\xff\\xfe> line", "Grüße"]
    assert {line.metadata["team"] for line in found} == {"\\xffayments"}
    assert found[0].metadata["trace_id"] == TRACE


def test_metrics_with_such_text_are_mended_too() -> None:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="c~u")
    metric.gauge.data_points.add(time_unix_nano=2000, as_double=0.5)
    (point,) = otlp.split("metrics", request.SerializeToString().replace(b"c~u", b"c\xffu"))
    assert point.name == "c\\xffu"  # type: ignore[union-attr]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 255))
def test_any_bytes_are_lines_or_refused_by_name(tail: bytes, at: int, byte: int) -> None:
    whole = bytearray(a_request().SerializeToString())
    whole[at % len(whole)] = byte
    for value in (bytes(whole), bytes(whole) + tail, tail):
        try:
            for line in otlp.split("logs", value):
                contents(line, 0)  # type: ignore[arg-type]
        except TruncatedRecordError:
            pass
