"""Syslog lines: RFC 5424, RFC 3164 as daemons and devices write it, with and without PRI, and what programs wrote inside."""

import pytest

from streams.log_lines import parse
from tests.streams.log_facts import AT, NOW, facts, us

TIME = us(2003, 10, 11, 22, 14, 15, micro=3000)


def test_rfc_5424_with_structured_data_and_bom() -> None:
    raw = '<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog 42 ID47 [ex@32473 iut="3" eventSource="Ap\\"p"][b@1 c="d"] \ufeffAn event'
    line = parse(raw, NOW)
    assert (line.priority, line.facility, line.severity, line.severity_source) == (165, 20, 5, "pri")
    assert line.timestamp_us == TIME
    assert (line.host, line.app, line.pid, line.message) == ("mymachine.example.com", "evntslog", "42", "An event")
    assert line.fields == {"ex@32473.iut": "3", "ex@32473.eventSource": 'Ap"p', "b@1.c": "d", "msgid": "ID47"}
    assert line.level_name == "pri:notice"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("<34>1 - - - - - -", ("critical", None, "", "", "", "")),
        ("<34>1 2003-08-24T05:14:15.000003-07:00 h a - - - text", ("critical", us(2003, 8, 24, 12, 14, 15, micro=3), "h", "a", "", "text")),
        ("<34>1 2003-10-11T22:14:15.003Z h a 7 m -", ("critical", TIME, "h", "a", "7", "")),
        ("<34>1 2003-10-11T22:14:15.003Z h a 7 m - ï»¿text", ("critical", TIME, "h", "a", "7", "text")),
        ("<191>1 2003-10-11T22:14:15.003Z h a 7 m - -", ("debug", TIME, "h", "a", "7", "-")),
        ("123 <34>1 2003-10-11T22:14:15.003Z h a 7 m - text", ("critical", TIME, "h", "a", "7", "text")),
        ("9 <34>Oct 11 22:14:15 h a[7]: text", ("critical", us(2022, 10, 11, 22, 14, 15), "h", "a", "7", "text")),
        ('<34>1 2003-10-11T22:14:15.003Z h a 7 m [broken a=b text', ("critical", TIME, "h", "a", "7", "[broken a=b text")),
        ("<34>just text", ("critical", None, "", "", "", "just text")),
        ("<34>{\"msg\":\"x\",\"level\":\"debug\"}", ("critical", None, "", "", "", "x")),
    ],
)  # fmt: skip
def test_priority_then_any_header(raw: str, expected: tuple) -> None:
    assert facts(raw) == expected


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        ('[a b="]" c="x\\]y\\\\"]', {"a.b": "]", "a.c": "x]y\\"}),
        ('[a][b c="1"]', {"a": "", "b.c": "1"}),
        ('[a b="1" ]', {"a.b": "1"}),
        ('[a b=""]', {"a.b": ""}),
        ("-", {}),
    ],
)
def test_structured_data_is_named_by_its_element(data: str, fields: dict) -> None:
    line = parse(f"<34>1 - h a - - {data} text", NOW)
    assert (line.fields, line.message) == (fields, "text")


FEBRUARY = us(2023, 2, 11, 22, 14, 15)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("<34>Feb 11 22:14:15 mymachine su[12]: 'su root' failed", ("critical", FEBRUARY, "mymachine", "su", "12", "'su root' failed")),
        ("Feb  1 02:03:04 combo sshd(pam_unix)[19939]: check pass", ("", us(2023, 2, 1, 2, 3, 4), "combo", "sshd(pam_unix)", "19939", "check pass")),
        ("<13>Feb 11 22:14:15 10.0.0.99 Use the BFG!", ("notice", FEBRUARY, "10.0.0.99", "", "", "Use the BFG!")),
        ("<165>Aug 24 05:34:00 CST 1987 m my[10]: %% It's time", ("notice", us(1987, 8, 24, 11, 34), "m", "my", "10", "%% It's time")),
        ("<0>1990 Oct 22 10:52:01 TZ-6 s.example.org sched[0]: That's all", ("emergency", us(1990, 10, 22, 16, 52, 1), "s.example.org", "sched", "0", "That's all")),
        ("<34>Feb 11 2021 22:14:15 h a: x", ("critical", us(2021, 2, 11, 22, 14, 15), "h", "a", "", "x")),
        ("<34>Feb 11 22:14:15.250 CET h a: x", ("critical", us(2023, 2, 11, 21, 14, 15, micro=250_000), "h", "a", "", "x")),
        ("Feb 11 22:14:15 su[12]: no host", ("", FEBRUARY, "", "su", "12", "no host")),
        ("Feb 11 22:14:15 h last message repeated 2 times", ("", FEBRUARY, "h", "", "", "last message repeated 2 times")),
        ("<189>29: *Feb 11 22:14:15.000 UTC: %SYS-5-CONFIG_I: by vty2", ("notice", FEBRUARY, "", "SYS", "", "%SYS-5-CONFIG_I: by vty2")),
        ("000045: Feb 11 22:14:15: %LINK-3-UPDOWN: down", ("error", FEBRUARY, "", "LINK", "", "%LINK-3-UPDOWN: down")),
        ("2023-02-11T22:14:15.000000+00:00 web-1 sshd[712]: Accepted", ("", FEBRUARY, "web-1", "sshd", "712", "Accepted")),
        ("<34>2023-02-11T23:14:15+01:00 web-1 CRON[7]: (root) CMD", ("critical", FEBRUARY, "web-1", "CRON", "7", "(root) CMD")),
        ("2023-02-11T22:14:15Z web-1 kernel: [1.2] usb", ("", FEBRUARY, "web-1", "kernel", "", "[1.2] usb")),
        ("Feb 11 22:14:15 h a[1]: \tat a.B.c(D.java:1)", ("", FEBRUARY, "h", "a", "1", "\tat a.B.c(D.java:1)")),
    ],
)  # fmt: skip
def test_the_older_syslog_in_the_forms_it_has(raw: str, expected: tuple) -> None:
    assert facts(raw) == expected


def test_an_applications_time_and_level_are_no_host_and_tag() -> None:
    assert facts("2023-01-29T16:43:04Z INFO main: started") == ("informational", AT, "", "", "", "main: started")
    assert facts("2023-01-29T16:43:04Z [WARN] main: slow") == ("warning", AT, "", "", "", "main: slow")


@pytest.mark.parametrize(
    ("message", "level", "text"),
    [
        ('time="2023-01-29T16:43:04Z" level=error msg="no such container"', "error", "no such container"),
        ('E0129 16:43:04.123456      99 pod.go:951] "Error syncing pod"', "error", '"Error syncing pod"'),
        ('{"level":"warn","msg":"slow","ms":3}', "warning", "slow"),
        ("2023-01-29 16:43:04,123 DEBUG [main] a.b.C: found", "debug", "found"),
        ("ERROR: it broke", "", "ERROR: it broke"),
    ],
)
def test_what_a_program_wrote_to_its_daemon_is_read_on(message: str, level: str, text: str) -> None:
    found = facts(f"Feb 11 22:14:15 h app[5]: {message}")
    assert found == (level, FEBRUARY, "h", "app", "5", text)
    assert facts(f"<30>Feb 11 22:14:15 h app[5]: {message}") == ("informational", *found[1:]), "PRI says the severity where there is one"


@pytest.mark.parametrize(
    ("line", "now", "at"),
    [
        ("Dec 31 23:59:59", us(2024, 1, 1, 0, 0, 5), us(2023, 12, 31, 23, 59, 59)),
        ("Jan  1 00:00:01", us(2023, 12, 31, 23, 59, 59), us(2024, 1, 1, 0, 0, 1)),
        ("Feb 29 00:00:00", us(2023, 3, 1), us(2020, 2, 29)),
        ("Feb 29 00:00:00", us(2103, 3, 1), us(2096, 2, 29)),
        ("Jul  1 00:00:00", us(2023, 3, 1), us(2022, 7, 1)),
    ],
)
def test_a_time_without_a_year_is_the_last_such_time_before_the_line_came(line: str, now: int, at: int) -> None:
    assert facts(f"{line} h a: x", now)[1] == at
