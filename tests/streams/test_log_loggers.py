"""Lines of application loggers, single systems and web servers: level, time, app, pid, message and further fields of each."""

import pytest

from streams.log_lines import parse
from tests.streams.log_facts import AT, NOW, facts, level, us

MILLIS = AT + 123_000
NOON = us(2023, 3, 1, 16, 42, 9, micro=486_000)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("2023-01-29 16:43:04.123  INFO 1 --- [main] c.e.demo.App : Started", ("informational", MILLIS, "", "c.e.demo.App", "1", "Started")),
        ("2023-01-29 16:43:04,123 ERROR [main] org.apache.X: gone", ("error", MILLIS, "", "org.apache.X", "", "gone")),
        ("2023-01-29 16:43:04,123 - my.app - WARNING - late", ("warning", MILLIS, "", "my.app", "", "late")),
        ("2023-01-29T17:43:04+01:00 info ready", ("informational", AT, "", "", "", "ready")),
        ("2023-01-29 17:43:04 CET ERROR gone", ("error", AT, "", "", "", "gone")),
        ("2023-01-29 11:43:04 EST ERROR gone", ("error", AT, "", "", "", "gone")),
        ("2023-01-29 22:13:04.123+0530 ERROR gone", ("error", MILLIS, "", "", "", "gone")),
        ("17/06/09 20:10:40 INFO executor.Backend: Registered", ("informational", us(2017, 6, 9, 20, 10, 40), "", "executor.Backend", "", "Registered")),
        ("081109 203615 148 INFO dfs.DataNode$P: Packet", ("informational", us(2008, 11, 9, 20, 36, 15), "", "dfs.DataNode$P", "148", "Packet")),
        ("2016-09-28 04:30:30, Info                  CBS    Loaded", ("informational", us(2016, 9, 28, 4, 30, 30), "", "CBS", "", "Loaded")),
        ("29-Jan-2023 16:43:04.123 INFO [main] o.a.c.Catalina: up", ("informational", MILLIS, "", "o.a.c.Catalina", "", "up")),
        ("29 Jan 2023 16:43:04,123 WARN late", ("warning", MILLIS, "", "", "", "late")),
        ("1/29/2023 4:43:04 PM ERROR boom", ("error", AT, "", "", "", "boom")),
        ("29/01/2023 16:43:04 [ERROR] boom", ("error", AT, "", "", "", "boom")),
        ("Jan 29, 2023 4:43:04 PM org.a.B run", ("", AT, "", "", "", "org.a.B run")),
        ("1675010584.123 WARN hey", ("warning", MILLIS, "", "", "", "hey")),
        ("[1675010584.123] hey", ("", MILLIS, "", "", "", "hey")),
        ("[2023-01-29 16:43:04,123] WARN slow", ("warning", MILLIS, "", "", "", "slow")),
        ("[2023-01-29T16:43:04Z INFO  my_crate::web] ready", ("informational", AT, "", "my_crate::web", "", "ready")),
        ("I, [2023-01-29T16:43:04.123456 #12]  INFO -- web: Started", ("informational", AT + 123_456, "", "web", "12", "Started")),
        ("2023-01-29 16:43:04.123 UTC [1234] LOG:  checkpoint", ("informational", MILLIS, "", "", "1234", "checkpoint")),
        ("2023-01-29 16:43:04.123 UTC [1234] joe@shop ERROR:  no", ("error", MILLIS, "", "", "1234", "no")),
        ("2023-01-29T16:43:04.123Z 0 [Warning] [MY-010068] CA", ("warning", MILLIS, "", "", "0", "CA")),
        ("2023/01/29 16:43:04 main.go:23: hello", ("", AT, "", "", "", "main.go:23: hello")),
        ("16:42:09.486 INFO  t.c.Travel2Controller#115 [query][x]", ("informational", NOON, "", "t.c.Travel2Controller#115", "", "[query][x]")),
        ("ERROR: it broke", ("error", None, "", "", "", "it broke")),
        ("[warn] low", ("warning", None, "", "", "", "low")),
        ("WARNING:root:low", ("warning", None, "", "root", "", "low")),
        ("ERROR 2023-01-29 16:43:04,123 job failed", ("error", MILLIS, "", "", "", "job failed")),
        ("[WARN] [2023-01-29 16:43:04] slow", ("warning", AT, "", "", "", "slow")),
        ("[2023-01-29 16:43:04] production.ERROR: boom", ("error", AT, "", "production", "", "boom")),
        ("info: starting up", ("informational", None, "", "", "", "starting up")),
        ("log: file opened", ("", None, "", "", "", "log: file opened")),
        ("fail: Microsoft.Hosting.Host[9] down", ("error", None, "", "Microsoft.Hosting.Host", "", "down")),
        ("02-17 16:13:38.811  1702  2395 D Window: hello", ("debug", us(2023, 2, 17, 16, 13, 38, micro=811_000), "", "Window", "1702", "hello")),
        ("02-17 16:13:38.811 D/Window( 1702): hello", ("debug", us(2023, 2, 17, 16, 13, 38, micro=811_000), "", "Window", "1702", "hello")),
        ("I0129 16:43:04.123456   12345 file.go:123] started", ("informational", AT + 123_456, "", "", "12345", "started")),
        ("12:M 29 Jan 2023 16:43:04.123 # Warning: low", ("warning", MILLIS, "", "", "12", "Warning: low")),
        ("panic: runtime error", ("", None, "", "", "", "panic: runtime error")),
    ],
)  # fmt: skip
def test_a_loggers_header_is_read(raw: str, expected: tuple) -> None:
    assert facts(raw, us(2023, 3, 1, 22)) == expected
    assert parse(raw, NOW).is_record == (not raw.startswith(("panic", "log:")))


def test_a_time_of_day_ahead_of_its_reception_was_yesterdays() -> None:
    assert facts("16:42:09.486 INFO x", us(2023, 3, 1, 1))[1] == NOON - 86_400_000_000


@pytest.mark.parametrize(("status", "word"), [("200", "informational"), ("304", "informational"), ("404", "warning"), ("503", "error")])
def test_the_status_of_an_answer_is_its_severity(status: str, word: str) -> None:
    raw = f'example.com:443 1.2.3.4 - bob [29/Jan/2023:17:43:04 +0100] "GET /a?b=1 HTTP/1.1" {status} 12 "https://x/" "Mozilla/5.0 (X11)"'
    line = parse(raw, NOW)
    assert (level(line), line.severity_source, line.timestamp_us) == (word, "status", AT)
    assert line.message == f'"GET /a?b=1 HTTP/1.1" {status} 12 "https://x/" "Mozilla/5.0 (X11)"'
    assert line.fields == {
        "client": "1.2.3.4", "user": "bob", "virtual_host": "example.com:443", "method": "GET", "path": "/a?b=1", "status": status, "bytes": "12",
        "referrer": "https://x/", "agent": "Mozilla/5.0 (X11)",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "word", "fields", "message"),
    [
        ('::1 - - [29/Jan/2023:16:43:04 +0000] "-" 408 -', "warning", {"client": "::1", "status": "408"}, '"-" 408 -'),
        ('h - - [29/Jan/2023:16:43:04 +0000] "\\x16\\x03\\"" 400 0', "warning", {"client": "h", "status": "400", "bytes": "0"}, '"\\x16\\x03\\"" 400 0'),
        ("h - - [29/Jan/2023:16:43:04 +0000] GET / 200", "", {"client": "h"}, "GET / 200"),
        ("[Sun Jan 29 16:43:04 2023] [notice] workerEnv.init() ok", "notice", {}, "workerEnv.init() ok"),
        (
            "[Sun Jan 29 16:43:04.000000 2023] [core:error] [pid 12:tid 34] [client 1.2.3.4:5] AH00126: x",
            "error", {"module": "core", "tid": "34"}, "[client 1.2.3.4:5] AH00126: x",
        ),
        ("2023/01/29 16:43:04 [error] 12#34: *1 open() failed", "error", {"tid": "34", "connection": "1"}, "open() failed"),
    ],
)  # fmt: skip
def test_web_servers_other_lines(raw: str, word: str, fields: dict, message: str) -> None:
    line = parse(raw, NOW)
    assert (level(line), line.timestamp_us, line.fields, line.message) == (word, AT, fields, message)
