"""Everything a producer can get wrong: each gets a failure row, the unreadable a dead letter, and no good record suffers."""

import json

import pytest
from aiokafka.producer import message_accumulator, producer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from schemas.codec import encoder
from tests.end_to_end.system import Sent, System

pytestmark = pytest.mark.broker

TOKEN = encoder("tokens")({"session_id": "bad", "text": "x ", "timestamp": 0, "end_of_session": False, "metadata": {}})
POINT = {"session_id": "bad", "timestamp": 1, "name": "cpu", "end_of_session": False, "attributes": {}}
METRIC = encoder("metrics")
UNREADABLE = {
    "truncated Avro": ("tokens", TOKEN[:-2], "TruncatedRecordError"),
    "bytes after Avro": ("tokens", TOKEN + b"??", "TruncatedRecordError"),
    "unknown fingerprint": ("tokens", b"\xc3\x01\1\2\3\4\5\6\7\x08" + TOKEN[10:], "UnknownSchemaError"),
    "Confluent without registry": ("tokens", b"\0\0\0\0\1xyz", "UnknownSchemaError"),
    "invalid JSON": ("tokens", b'{"text": "x"', "InvalidJsonError"),
    "wrong type": ("tokens", b'{"session_id": "bad", "text": 7}', "InvalidJsonError"),
    "lone surrogate": ("tokens", b'{"session_id": "bad", "text": "a\\ud800b"}', "InvalidJsonError"),
    "not UTF-8": ("tokens", b'{"session_id": "bad", "text": "\xff"}', "InvalidJsonError"),
    "no encoding": ("logs", b"plain words", "UnknownEncodingError"),
    "empty value": ("chat", b"", "UnknownEncodingError"),
    "10 MB text": ("tokens", b'{"session_id": "bad", "text": "' + b"x" * 10_000_000 + b'"}', "RecordTooLargeError"),
    "NaN in Avro": ("metrics", METRIC({**POINT, "value": float("nan")}), "FieldError"),
    "infinity in Avro": ("metrics", METRIC({**POINT, "value": float("-inf")}), "FieldError"),
    "NaN in JSON": ("metrics", b'{"session_id": "bad", "name": "cpu", "value": NaN}', "InvalidJsonError"),
    "unreadable label": ("labels", b"{}", "InvalidJsonError"),
}
ACCEPTED = {
    "empty text": ({"text": ""}, "EmptyTextError", "accept"),
    "NUL": ({"text": "a\0b "}, "ControlCharacterError", "accept"),
    "before 1970": ({"text": "old ", "timestamp": -1}, "TimestampError", "use_kafka_time"),
    "far future": ({"text": "new ", "timestamp": "2999-01-01T00:00:00Z"}, "TimestampError", "use_kafka_time"),
    "skipped position": ({"text": "gap ", "position": 50}, "SkippedPositionError", "accept"),
}


def good(session: str, n: int, last: bool = False) -> Sent:
    value = {"session_id": session, "text": f"word{n} ", "timestamp": 1_767_000_000 + n, "end_of_session": last}
    return Sent("tokens", json.dumps(value).encode(), session.encode())


def test_every_kind_of_bad_record_is_told_and_no_good_one_suffers(system: System) -> None:
    records = [good("steady", 0)]
    for n, (topic, value, _) in enumerate(UNREADABLE.values(), 1):
        records += [Sent(topic, value, b"bad", [("mine", b"kept")]), good("steady", n)]
    for fields, _, _ in ACCEPTED.values():
        records.append(Sent("tokens", json.dumps({"session_id": "odd", **fields}).encode(), b"odd"))
    for position in (50, 12):  # repeated, and late after the gap
        records.append(Sent("tokens", json.dumps({"session_id": "odd", "text": "again ", "position": position}).encode(), b"odd"))
    records.append(Sent("tokens", b'{"text": "whose? "}', None))
    records.append(good("steady", len(UNREADABLE) + 1, last=True))
    system.send(records)

    n_good = len(UNREADABLE) + 2
    system.wait_for("SELECT count() FROM input_stream WHERE session_id = 'steady'", n_good)
    system.wait_for("SELECT count() FROM input_stream WHERE session_id = 'odd'", len(ACCEPTED))
    system.settle()

    # 1. the good session is whole, and the worker lives
    text = system.query("SELECT token_text FROM input_stream WHERE session_id = 'steady' ORDER BY token_position")
    assert [r["token_text"] for r in text] == [f"word{n} " for n in range(n_good)]
    assert system.processes["worker-0"].poll() is None

    # 2. each unreadable record: a failure, and a dead letter with its own bytes, key and headers
    refused = [*UNREADABLE.values(), ("tokens", records[-2].value, "MissingSessionError")]
    refused += [("tokens", r.value, "PositionError") for r in records[-4:-2]]
    letters = {
        (r.value, dict(r.headers)["__connect.errors.topic"].decode().removeprefix(system.prefix)): r
        for r in system.read_topic("dead-letter")
        if r.key in (b"bad", b"odd", None)
    }
    failures = system.query(
        "SELECT failure_type, exception, recovery_action, recovery_success, kafka_topic, kafka_partition, kafka_offset FROM failures WHERE session_id IN ('bad', 'odd', '')"
    )
    by_place = {(f["kafka_topic"].removeprefix(system.prefix), int(f["kafka_partition"]), int(f["kafka_offset"])): f for f in failures}
    for topic, value, kind in refused:
        letter = letters[(value, topic)]
        headers = {name: text.decode() for name, text in letter.headers}
        failure = by_place[(topic, int(headers["__connect.errors.partition"]), int(headers["__connect.errors.offset"]))]
        assert failure["failure_type"] == headers["__connect.errors.exception.class.name"] == kind
        assert failure["exception"] == headers["__connect.errors.exception.message"] != ""
        assert (failure["recovery_action"], bool(failure["recovery_success"])) == ("dead_letter", True)
        if kind not in ("MissingSessionError", "PositionError"):
            assert letter.key == b"bad"
            assert headers["mine"] == "kept"
    assert len(letters) == len(refused)

    # 3. each odd but readable record: accepted, and told
    told = {(f["failure_type"], f["recovery_action"]) for f in failures if f["recovery_action"] != "dead_letter"}
    assert told == {(kind, action) for _, kind, action in ACCEPTED.values()}
    odd = system.query("SELECT token_position, token_text, timestamp FROM input_stream WHERE session_id = 'odd' ORDER BY token_position")
    assert [int(r["token_position"]) for r in odd] == [0, 1, 2, 3, 50]
    assert [r["token_text"] for r in odd] == [fields["text"] for fields, _, _ in ACCEPTED.values()]
    assert all(r["timestamp"] >= "2020" and r["timestamp"] < "2100" for r in odd)


def test_misplaced_records_reach_their_session_once_and_in_order(system: System) -> None:
    records = [good("strayed", n) for n in range(20)]
    for n, record in enumerate(records):
        record.key = [b"strayed", None, b"other", b"strayed"][n % 4]
        record.partition = n % 4 if n % 4 else None
    for record in records:  # one by one: each takes its detour before the next is sent
        system.send([record])
    system.wait_for("SELECT count() FROM input_stream WHERE session_id = 'strayed'", 20)
    rows = system.query("SELECT token_position, token_text FROM input_stream WHERE session_id = 'strayed' ORDER BY token_position")
    assert [int(r["token_position"]) for r in rows] == list(range(20))
    assert sorted(r["token_text"] for r in rows) == sorted(f"word{n} " for n in range(20))
    places = {
        (r.topic.removeprefix(system.prefix), r.partition, r.offset)
        for r in system.read_topic("tokens")
        if "strata-origin" not in dict(r.headers) and b"strayed" in r.value
    }
    own = system.query("SELECT kafka_topic, kafka_partition, kafka_offset FROM input_stream WHERE session_id = 'strayed'")
    assert {(r["kafka_topic"].removeprefix(system.prefix), int(r["kafka_partition"]), int(r["kafka_offset"])) for r in own} == places


class Odd(str):
    """A header name as another program writes it, in bytes that are no UTF-8."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"\xff\xfe"


def test_bad_log_lines_are_a_row_each_and_an_odd_header_name_stops_nobody(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "".join(map(chr, range(256))),
        "<999>1 - - x",
        "x" * (1 << 20),
        "2099-12-31T23:59:59Z INFO x",
        "\tat a.B.c(D.java:1)",
        "a\r\nb\0",
        "last",
    ]
    records = [Sent("logs", json.dumps({"session_id": "ill", "raw": line}).encode(), b"ill") for line in lines]
    for module in (producer, message_accumulator):
        monkeypatch.setattr(module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)  # the other refuses such a name
    records[-1].headers.append((Odd("~~"), b"kept"))
    system.send(records)
    system.send([Sent("logs", json.dumps({"session_id": "ill", "raw": "after"}).encode(), b"ill")])
    system.wait_for("SELECT count() FROM input_stream WHERE session_id = 'ill'", len(lines) + 1)
    rows = system.query("SELECT token_text FROM input_stream WHERE session_id = 'ill' ORDER BY token_position")
    assert [row["token_text"] for row in rows] == [*lines, "after"]
    for task in ("template", "severity"):
        system.wait_for(f"SELECT count() FROM predictions WHERE session_id = 'ill' AND task = '{task}'", len(lines) + 1)
    assert system.processes["worker-0"].poll() is None
