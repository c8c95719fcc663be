"""Every topic and encoding in, every table out; requests, labels, silence, traces."""

import json

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from schemas.codec import encoder
from tests.end_to_end.system import Sent, System

pytestmark = pytest.mark.broker

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01".encode()
OWN = "session_id IN ('doc', 'talk', 'web', 'checkout', 'svc')"
TURNS = [
    "Can you find me a hotel?",
    "Sure, in which city?",
    "In Berlin, please.",
    "And I need a train there.",
    "When do you want to leave?",
    "Monday.",
]
LINES = [
    "<34>1 2026-01-05T09:00:00Z web su - - - 'su root' failed for lonvick",
    "Jan  5 09:00:01 web sshd[7]: Accepted password for root",
    "oops: error 42",
]


def test_every_topic_and_encoding_comes_out_in_its_tables(system: System) -> None:
    avro, text = encoder("chat"), encoder("tokens")
    otlp = ExportLogsServiceRequest()
    resource = otlp.resource_logs.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "checkout"
    resource.scope_logs.add().log_records.add(severity_number=17).body.string_value = "payment failed"
    records = [
        Sent(
            "tokens",
            text({"session_id": "doc", "text": piece, "timestamp": 1_767_000_000_000_000 + n, "end_of_session": n == 5, "metadata": {}}),
            b"doc",
            [("traceparent", TRACEPARENT)],
        )
        for n, piece in enumerate(["It ", "rained. ", "We ", "left ", "early. ", "Why? "])
    ]
    for n, turn in enumerate(TURNS):
        chat = {
            "session_id": "talk",
            "timestamp": 1_767_000_000_000_000 + n,
            "speaker": "AB"[n % 2],
            "text": turn,
            "end_of_session": n == 5,
            "metadata": {},
        }
        records.append(Sent("chat", avro(chat), b"talk"))
    records += [
        Sent("logs", json.dumps({"session_id": "web", "raw": line, "end_of_session": n == 2}).encode(), b"web")
        for n, line in enumerate(LINES)
    ]
    records.append(Sent("logs", otlp.SerializeToString(), None, [("content-type", b"application/x-protobuf")]))
    points = [
        {"session_id": "svc", "timestamp": 1_767_000_000 + n, "name": "cpu", "value": 0.5, "end_of_session": n == 9} for n in range(10)
    ]
    records += [Sent("metrics", json.dumps(p).encode(), b"svc") for p in points]
    records.append(
        Sent(
            "labels",
            json.dumps({"session_id": "talk", "timestamp": 1_767_000_100, "task": "topic", "label": "hotels", "position": 0}).encode(),
            b"talk",
        )
    )
    system.send(records)

    system.wait_for(f"SELECT count() FROM input_stream WHERE {OWN}", 6 + 6 + 3 + 1 + 10)
    # a request is asked of what was read: topics have no order between them
    system.send([Sent("requests", json.dumps({"session_id": "web", "request_id": "now"}).encode(), b"web")])
    system.wait_for("SELECT count() FROM predictions WHERE metadata['request_id'] = 'now'", 1)
    system.wait_for("SELECT count() FROM labels", 1)
    system.settle()
    finals = {
        (r["modality"], r["task"]): int(r["n"])
        for r in system.query(
            f"SELECT modality, task, count() AS n FROM predictions WHERE prediction_type = 'final' AND {OWN} GROUP BY modality, task"
        )
    }
    assert finals[("logs", "template")] == finals[("logs", "severity")] == 4
    assert finals[("metrics", "anomaly")] == 10 + 1
    assert finals[("metrics", "forecast")] == 10
    assert finals[("tokens", "topic")] >= 2
    assert finals[("chat", "topic")] >= 2
    whole = f"SELECT count() FROM predictions WHERE prediction_type = 'final' AND JSONExtractString(output, 'level') IN ('document', 'session') AND {OWN}"
    assert int(system.value(whole)) == 4, "one final answer for each session that ended"
    spans = system.query(
        "SELECT span_start, span_end FROM predictions WHERE task = 'surprise' AND prediction_type = 'final' AND session_id = 'doc' ORDER BY span_start"
    )
    assert [int(s["span_start"]) for s in spans] + [6] == [0] + [int(s["span_end"]) for s in spans], "surprise covers all pieces once"
    severities = system.query(
        "SELECT position, label FROM predictions WHERE task = 'severity' AND session_id IN ('web', 'checkout') ORDER BY session_id, position"
    )
    assert [s["label"] for s in severities] == ["error", "critical", "informational", "error"]
    asked = system.query("SELECT task, session_id FROM predictions WHERE metadata['request_id'] = 'now'")
    assert {a["session_id"] for a in asked} == {"web"}
    assert system.value(f"SELECT count() FROM failures WHERE {OWN}") in (0, "0")

    # the producer's trace goes on to the insert
    system.wait_for(f"SELECT count() > 0 FROM otel_traces WHERE TraceId = '{TRACE}' AND SpanName LIKE 'insert%'", 1, 30)
    spans = system.query(f"SELECT SpanName, SpanId, ParentSpanId FROM otel_traces WHERE TraceId = '{TRACE}'")
    names = {s["SpanName"].removeprefix("process ").split(" ")[0] for s in spans}
    assert {"poll", "decode", "wait", "encode", "hierarchical_update", "publish", "insert"} <= names
    roots = [s for s in spans if s["ParentSpanId"] == "b7ad6b7169203331"]
    assert len(roots) == 6, "one span per record under the producer's"
    assert {s["ParentSpanId"] for s in spans if s not in roots} == {s["SpanId"] for s in roots}


def test_silent_sessions_are_closed_and_may_go_on(make_system) -> None:
    system = make_system("idle", STRATA_SESSION_IDLE_S="2")
    system.start("sink")
    system.start("worker-0")
    system.wait_ready("sink", "worker-0")
    piece = {"session_id": "quiet", "text": "One sentence. ", "timestamp": 1_767_000_000}
    ended = "SELECT groupArray(span_end) FROM (SELECT span_end FROM predictions WHERE JSONExtractString(output, 'level') = 'document' ORDER BY span_end)"
    system.send([Sent("tokens", json.dumps(piece).encode(), b"quiet")])
    system.wait_for(ended, [1], 30)
    system.kill("worker-0")
    system.start("worker-0")
    system.wait_ready("worker-0")
    system.send([Sent("tokens", json.dumps({**piece, "timestamp": 1_767_000_005}).encode(), b"quiet")])
    system.wait_for(ended, [1, 2], 30)
    system.settle(4)
    assert system.value(ended) == [1, 2], "closed once each time"
