"""Log lines: what each common header says, and that no line is lost, slow or fatal."""

import time
from datetime import UTC, datetime

import pytest

from models.severity import SEVERITIES
from streams.log_lines import parse


def us(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0, micro: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()) * 1_000_000 + micro


NOW = us(2023, 3, 1)


def facts(raw, now=NOW):
    line = parse(raw, now)
    return line.severity, line.timestamp_us, line.host, line.app, line.pid, line.message


def test_rfc_5424_with_structured_data_and_bom():
    raw = '<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog 42 ID47 [ex@32473 iut="3" eventSource="Ap\\"p"][b@1 c="d"] \ufeffAn event'
    line = parse(raw, NOW)
    assert (line.priority, line.facility, line.severity, line.severity_source) == (165, 20, 5, "pri")
    assert line.timestamp_us == us(2003, 10, 11, 22, 14, 15, micro=3000)
    assert (line.host, line.app, line.pid, line.message) == ("mymachine.example.com", "evntslog", "42", "An event")
    assert line.fields == {"ex@32473": {"iut": "3", "eventSource": 'Ap"p'}, "b@1": {"c": "d"}, "msgid": "ID47"}
    assert line.level_name == "pri:notice"


def test_rfc_5424_with_nil_values():
    assert facts("<34>1 - - - - - -") == (2, None, "", "", "", "")
    assert facts("<34>1 2003-08-24T05:14:15.000003-07:00 h a - - - text") == (2, us(2003, 8, 24, 12, 14, 15, micro=3), "h", "a", "", "text")


def test_rfc_3164_with_and_without_pri():
    with_pri = facts("<34>Feb 11 22:14:15 mymachine su[12]: 'su root' failed for lonvick")
    assert with_pri == (2, us(2023, 2, 11, 22, 14, 15), "mymachine", "su", "12", "'su root' failed for lonvick")
    assert facts("Feb  1 02:03:04 combo sshd(pam_unix)[19939]: check pass")[1:] == (
        us(2023, 2, 1, 2, 3, 4), "combo", "sshd(pam_unix)", "19939", "check pass",
    )  # fmt: skip


def test_december_read_in_january_is_last_years():
    assert facts("Dec 31 23:59:59 h a: x", us(2024, 1, 1, 0, 0, 5))[1] == us(2023, 12, 31, 23, 59, 59)
    assert facts("Jan  1 00:00:01 h a: x", us(2023, 12, 31, 23, 59, 59))[1] == us(2024, 1, 1, 0, 0, 1)
    assert facts("Feb 29 00:00:00 h a: x", us(2023, 3, 1))[1] == us(2020, 2, 29)


@pytest.mark.parametrize(
    ("raw", "severity", "at", "app", "message"),
    [
        ("2023-01-29 16:43:04.123  INFO 1 --- [main] c.e.demo.App : Started", 6, us(2023, 1, 29, 16, 43, 4, micro=123_000), "c.e.demo.App", "Started"),
        ("2023-01-29 16:43:04,123 ERROR [main] org.apache.X: gone", 3, us(2023, 1, 29, 16, 43, 4, micro=123_000), "org.apache.X", "gone"),
        ("2023-01-29 16:43:04,123 - my.app - WARNING - late", 4, us(2023, 1, 29, 16, 43, 4, micro=123_000), "my.app", "late"),
        ("2023-01-29T16:43:04+01:00 info ready", 6, us(2023, 1, 29, 15, 43, 4), "", "ready"),
        ("2023/01/29 16:43:04 [error] 12#0: *1 open() failed", 3, us(2023, 1, 29, 16, 43, 4), "", "12#0: *1 open() failed"),
        ("[Sun Dec 04 04:47:44 2005] [notice] workerEnv.init() ok", 5, us(2005, 12, 4, 4, 47, 44), "", "workerEnv.init() ok"),
        ("02-17 16:13:38.811  1702  2395 D WindowManager: hello", 7, us(2023, 2, 17, 16, 13, 38, micro=811_000), "WindowManager", "hello"),
        ("17/06/09 20:10:40 INFO executor.Backend: Registered", 6, us(2017, 6, 9, 20, 10, 40), "executor.Backend", "Registered"),
        ("081109 203615 148 INFO dfs.DataNode$P: PacketResponder", 6, us(2008, 11, 9, 20, 36, 15), "dfs.DataNode$P", "PacketResponder"),
        ("2016-09-28 04:30:30, Info                  CBS    Loaded", 6, us(2016, 9, 28, 4, 30, 30), "CBS", "Loaded"),
        ("I0129 16:43:04.123456   12345 file.go:123] started", 6, us(2023, 1, 29, 16, 43, 4, micro=123_456), "", "started"),
        ('{"level":"warn","ts":1674981784.5,"msg":"slow","a":1}', 4, 1_674_981_784_500_000, "", "slow"),
        ('time="2023-01-29T16:43:04Z" level=error msg="no way" n=1', 3, us(2023, 1, 29, 16, 43, 4), "", "no way"),
        ('{"log":"16:42:09.486 WARN  a.b.C#115 [x] y\\n","stream":"stdout","time":"2023-01-29T08:42:09Z"}', 4, us(2023, 1, 29, 8, 42, 9), "a.b.C#115", "[x] y"),
        ("2023-01-29T16:43:04.5Z stdout F WARN: low", 4, us(2023, 1, 29, 16, 43, 4, micro=500_000), "", "low"),
        ("ERROR: it broke", 3, None, "", "it broke"),
        ('1.2.3.4 - bob [29/Jan/2023:16:43:04 +0100] "GET / HTTP/1.1" 200 5', None, us(2023, 1, 29, 15, 43, 4), "", '"GET / HTTP/1.1" 200 5'),
        ("just some text", None, None, "", "just some text"),
    ],
)  # fmt: skip
def test_common_headers_are_read(raw, severity, at, app, message):
    line = parse(raw, NOW)
    assert (line.severity, line.timestamp_us, line.app, line.message) == (severity, at, app, message)


def test_time_of_day_alone_takes_the_day_of_reception():
    line = parse("16:42:09.486 INFO  t.c.Travel2Controller#115 [query][Query TripResponse]", NOW + 80_000_000_000)
    assert line.timestamp_us == us(2023, 3, 1, 16, 42, 9, micro=486_000)
    assert (line.app, line.message) == ("t.c.Travel2Controller#115", "[query][Query TripResponse]")


@pytest.mark.parametrize(
    "raw",
    [
        "<999>1 x",
        "<",
        "<>",
        "<12",
        "{",
        "{}",
        "[]",
        "[",
        "2023-99-99 99:99:99 INFO x",
        "99:99:99 x",
        "\ud800",
        "",
        "\x00",
        "99999999999999999999 a",
    ],
)
def test_what_has_no_header_is_kept_as_text(raw):
    line = parse(raw, NOW)
    assert line.message in (raw, raw.strip("\x00")) or "x" in line.message
    assert line.level_name == "" or line.level_name.split(":")[1] in SEVERITIES


HOSTILE = [
    "x" * 1_000_000, " " * 1_000_000 + "x", "<34>1 " + "a " * 500_000, "<34>1 - h a p m [" + 'a="b" ' * 100_000, "{" * 1_000_000, "[" * 1_000_000,
    '{"a":' * 100_000, "Feb 11 22:14:15 " + "a" * 1_000_000, "2023-01-29 16:43:04 INFO " + "a." * 500_000, "02-17 16:13:38.811  1 2 D " + " " * 1_000_000,
    'msg= level=x a="' + '\\"' * 500_000, "\x00" * 1_000_000, "".join(chr(n % 256) for n in range(100_000)), "1" * 1_000_000, "- " * 500_000,
    "2023-01-29T16:43:04Z stdout F " * 3000, "2023-01-29 16:43:04 INFO a" + "-a$b" * 10_000, "2023-01-29 16:43:04 INFO " + "aA" * 10_000,
]  # fmt: skip


@pytest.mark.parametrize("raw", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_lines_take_a_blink(raw):
    start = time.process_time()
    parse(raw, NOW)
    assert time.process_time() - start < 0.5  # about 0.01 s on a free core


@pytest.mark.parametrize("received", [0, -1, 10**18, -(10**18), 253_402_300_799_000_000])
def test_any_time_of_reception_is_taken(received):
    for raw in ("Feb 29 00:00:00 h a: x", "16:42:09 INFO x", "02-17 16:13:38.811  1 2 D a: x"):
        assert parse(raw, received).message == "x"
