"""Lines of named fields: JSON loggers, journald, container runtimes, logfmt."""

import json

import pytest

from streams.log_containers import PARTIAL_BYTES
from streams.log_lines import parse
from tests.streams.log_facts import AT, NOW, facts, us

MILLIS = AT + 123_000


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ('{"level":"warn","ts":1675010584.123,"msg":"slow","a":1}', ("warning", MILLIS, "", "", "", "slow")),
        ('{"level":50,"time":1675010584123,"pid":1,"hostname":"h","msg":"boom"}', ("error", MILLIS, "h", "", "1", "boom")),
        ('{"severity":"ALERT","message":"x","timestamp":"2023-01-29T16:43:04.123456789Z"}', ("alert", AT + 123_456, "", "", "", "x")),
        (
            '{"@timestamp":"2023-01-29T16:43:04.123Z","log":{"level":"error","logger":"a.B"},"message":"x","host":{"name":"h"},"process":{"pid":3}}',
            ("error", MILLIS, "h", "a.B", "3", "x"),
        ),
        ('{"t":{"$date":"2023-01-29T16:43:04.123+00:00"},"s":"W","c":"NETWORK","id":2,"msg":"ok"}', ("warning", MILLIS, "", "NETWORK", "", "ok")),
        ('{"level":"error","error":"x"}', ("error", None, "", "", "", '{"level":"error","error":"x"}')),
        ('{"a":1,"b":2}', ("", None, "", "", "", '{"a":1,"b":2}')),
        ('{"msg":"x"} and more', ("", None, "", "", "", '{"msg":"x"} and more')),
        ('{"msg":7,"level":true,"time":false}', ("", None, "", "", "", "7")),
        ('{"msg":"x","time":1e400}', ("", None, "", "", "", '{"msg":"x","time":1e400}')),
        ('time="2023-01-29T16:43:04Z" level=error msg="no way" n=1', ("error", AT, "", "", "", "no way")),
        ('level=warn ts=2023-01-29T16:43:04.123Z caller=main.go:12 msg="a \\"b\\" c"', ("warning", MILLIS, "", "", "", 'a "b" c')),
        ('at=info method=GET path="/" status=200', ("informational", None, "", "", "", 'at=info method=GET path="/" status=200')),
        ("a=1 b=2 and c=3", ("", None, "", "", "", "a=1 b=2 and c=3")),
    ],
)  # fmt: skip
def test_named_fields_are_read_by_their_names(raw: str, expected: tuple) -> None:
    assert facts(raw) == expected


def test_fields_without_a_part_of_their_own_are_kept() -> None:
    assert parse('{"level":"warn","msg":"x","a":1,"b":{"c":[2]}}', NOW).fields == {"a": 1, "b": {"c": [2]}}
    assert parse('level=warn msg=x n=1 t="a b"', NOW).fields == {"n": "1", "t": "a b"}


JOURNAL = {
    "__REALTIME_TIMESTAMP": "1675010584123456", "PRIORITY": "3", "SYSLOG_FACILITY": "10", "_HOSTNAME": "web", "SYSLOG_IDENTIFIER": "sshd",
    "_PID": "7", "MESSAGE": "bad", "_TRANSPORT": "syslog",
}  # fmt: skip


def test_an_entry_of_the_journal_is_its_priority_unit_and_message() -> None:
    line = parse(json.dumps(JOURNAL), NOW)
    assert facts(json.dumps(JOURNAL)) == ("error", AT + 123_456, "web", "sshd", "7", "bad")
    assert (line.priority, line.facility, line.severity_source, line.fields) == (83, 10, "pri", {"_TRANSPORT": "syslog"})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"MESSAGE": [72, 195, 164, 255]}, ("error", AT + 123_456, "web", "sshd", "7", "Hä\\xff")),
        ({"MESSAGE": None}, ("error", AT + 123_456, "web", "sshd", "7", "")),
        ({"MESSAGE": ["first", "second"]}, ("error", AT + 123_456, "web", "sshd", "7", "first")),
        ({"PRIORITY": "9"}, ("", AT + 123_456, "web", "sshd", "7", "bad")),
        ({"PRIORITY": None, "MESSAGE": "E0129 16:43:04.1 1 a.go:1] bad"}, ("error", AT + 123_456, "web", "sshd", "7", "bad")),
        ({"SYSLOG_IDENTIFIER": None, "_COMM": "x", "_PID": None, "SYSLOG_PID": "8"}, ("error", AT + 123_456, "web", "x", "8", "bad")),
        ({"__REALTIME_TIMESTAMP": "soon"}, ("error", None, "web", "sshd", "7", "bad")),
        ({"MESSAGE": "\tat a.B.c(D.java:1)\n"}, ("error", AT + 123_456, "web", "sshd", "7", "\tat a.B.c(D.java:1)")),
    ],
)  # fmt: skip
def test_odd_entries_of_the_journal(changes: dict, expected: tuple) -> None:
    assert (
        facts(json.dumps({name: value for name, value in (JOURNAL | changes).items() if value is not None or name == "MESSAGE"}))
        == expected
    )


def docker(log: str, **more: object) -> str:
    return json.dumps({"log": log, "stream": "stderr", "time": "2023-01-29T16:43:04.123456789Z"} | more)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("2023-01-29T16:43:04.123456789Z stdout F WARN: low", ("warning", AT + 123_456, "", "", "", "low")),
        ("2023-01-29T16:43:04.123456789Z stderr F \tat a.B.c(D.java:1)", ("", AT + 123_456, "", "", "", "\tat a.B.c(D.java:1)")),
        ("2023-01-29T16:43:04.123456789Z stdout F", ("", AT + 123_456, "", "", "", "")),
        ('2023-01-29T16:43:04.123456789Z stdout F {"msg":"x","level":"debug"}', ("debug", AT + 123_456, "", "", "", "x")),
        (docker("08:42:09.486 WARN  a.b.C#115 [x] y\n"), ("warning", AT + 123_456, "", "a.b.C#115", "", "[x] y")),
        (docker("\tat a.B.c(D.java:1)\n"), ("", AT + 123_456, "", "", "", "\tat a.B.c(D.java:1)")),
        (docker("x\n", kubernetes={"pod_name": "p", "container_name": "c", "host": "node"}), ("", AT + 123_456, "node", "c", "", "x")),
    ],
)  # fmt: skip
def test_a_container_runtimes_header_is_around_the_programs(raw: str, expected: tuple) -> None:
    assert facts(raw) == expected


def test_a_runtime_says_where_it_cut_a_line() -> None:
    assert [parse(f"2023-01-29T16:43:04Z stdout {tag} x", NOW).is_partial for tag in ("P", "F", "P:x")] == [True, False, True]
    assert [parse(docker(text), NOW).is_partial for text in ("x" * PARTIAL_BYTES, "x" * PARTIAL_BYTES + "\n", "x")] == [True, False, False]


def test_lines_of_one_writer_are_known_as_such() -> None:
    same = [parse(f"Feb 11 22:14:15 h a[1]: {text}", NOW).writer for text in ("x", "\tat y", "2023-01-29 16:43:04 INFO a.B: z")]
    others = [
        parse(raw, NOW).writer
        for raw in ("Feb 11 22:14:15 h a[2]: x", "<34>1 - h a 1 - - x", docker("x\n"), "2023-01-29T16:43:04Z stdout F x", "x")
    ]
    assert len({*same}) == 1
    assert len({*same, *others}) == 6


def test_a_time_of_day_inside_a_container_yields_to_the_runtimes() -> None:
    assert facts("2023-01-29T16:43:04Z stdout F 23:59:59 INFO x", us(2024, 1, 1))[1] == AT
