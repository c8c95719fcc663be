"""Log lines of any origin: none is lost, slow or fatal; each shape's own facts are in test_log_syslog.py, _loggers.py and _records.py."""

import time
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.severity import SEVERITIES
from schemas.events import LogEvent
from streams.agents.logs import MAX_FIELD_CHARS, MAX_FIELDS, contents
from streams.log_lines import parse

NOW = int(datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()) * 1_000_000
HEADS = [
    "<34>1 2003-10-11T22:14:15.003Z h a 1 m ", "12 <34>", "<999>", "Feb 11 22:14:15 h a[1]: ", "2023-01-29T16:43:04Z ", "2023-01-29T16:43:04Z stdout P ",
    "2023-01-29 16:43:04,123 ERROR [main] a.b.C: ", "[Sun Dec 04 04:47:44 2005] [error] ", "16:43:04 ", "1/29/2023 4:43:04 PM ", "1674981784.123 ",
    '1.2.3.4 - - [29/Jan/2023:16:43:04 +0100] "GET / HTTP/1.1" 500 1', '{"log":"x\\n","stream":"stdout","time":"', '{"_HOSTNAME":"h","MESSAGE":[1,', '{"msg":"',
    "level=info ts=1 msg=", "E0129 16:43:04.1 1 a.go:1] ", "*Mar  1 18:46:11: %SYS-5-X: ", "ERROR: ", "I, [2023-01-29T16:43:04 #1] INFO -- a: ", "\x1b[31mERROR\x1b[0m ", "\tat a.b(C.java:1)",
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(HEADS) | st.text(max_size=20), max_size=4).map("".join), st.integers(-(10**18), 10**18))
def test_any_line_at_any_time_is_read_and_its_text_is_kept(raw: str, received_us: int) -> None:
    line = parse(raw, received_us)
    assert line.level_name == "" or line.level_name.split(":")[1] in SEVERITIES
    assert line.severity is None or line.severity_source in ("pri", "header", "status")
    if not line.fields and "{" not in raw and "=" not in raw and "\x1b" not in raw:
        assert line.message in raw, "a message is what the line says, not what was made of it"
        if not (line.is_record or line.wraps or line.host):
            assert line.message == raw.strip("\r\n\x00").lstrip("\ufeff")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(HEADS) | st.text(max_size=20), max_size=4).map("".join))
def test_what_the_model_and_the_table_get_can_be_written(raw: str) -> None:
    found = contents(LogEvent(raw=raw), NOW)
    msgspec.msgpack.encode(found)
    assert found.shown == raw
    assert all(isinstance(value, str) for value in found.metadata.values())


@pytest.mark.parametrize(
    "raw",
    [
        "<999>1 x", "<192>x", "<", "<>", "<12", "{", "{}", "[]", "[", "2023-99-99 99:99:99 INFO x", "99:99:99 x", "\ud800", "", "\x00", "\r\n", "99999999999999999999 a",
        "just some text", '{"a":1,"b":2}', "  indented", "\tat a.B.c(D.java:1)", "x=1", "a=1 b=2", "-", "*", "Feb 30 99:99:99", "<34", "12 <34", "key: value",
    ],
)  # fmt: skip
def test_what_has_no_header_is_kept_as_text(raw: str) -> None:
    line = parse(raw, NOW)
    assert line.message in (raw, raw.strip("\r\n\x00")) or (line.is_record and line.message == "x")
    assert line.severity is None or line.is_record


def test_a_wrong_priority_or_time_is_text_and_costs_nothing_else() -> None:
    assert (parse("<999>1 - - - - - - x", NOW).priority, parse("<999>1 - - - - - - x", NOW).message) == (None, "<999>1 - - - - - - x")
    line = parse("<34>Feb 30 22:14:15 h a: x", NOW)
    assert (line.severity, line.timestamp_us, line.host, line.message) == (2, None, "h", "x")


@pytest.mark.parametrize(("year", "at"), [("1970-01-01T00:00:00Z", 0), ("2099-12-31T23:59:59Z", 4_102_444_799_000_000)])
def test_times_of_1970_and_2099_are_read_as_they_are(year: str, at: int) -> None:
    assert parse(f"<34>1 {year} h a - - - x", NOW).timestamp_us == at
    assert parse(f"{year} INFO x", NOW).timestamp_us == at


SUMMER, WINTER = 1_780_000_000_000_000, 1_764_064_800_000_000


@pytest.mark.parametrize(
    ("zone", "raw", "at"),
    [
        ("+0200", "Nov 25 12:00:00 h a: x", WINTER),
        ("-05:00", "2025-11-25 10:00:00 INFO x", WINTER + 18_000_000_000),
        ("CET", "2025-11-25 10:00:00 INFO x", WINTER - 3_600_000_000),
        ("Europe/Berlin", "2025-11-25 10:00:00 INFO x", WINTER - 3_600_000_000),
        ("Europe/Berlin", "2026-05-28 20:26:40 INFO x", SUMMER - 7_200_000_000),
        ("Europe/Berlin", "2025-11-25T10:00:00Z INFO x", WINTER),
        ("Europe/Berlin", "2025-11-25T10:00:00-0100 INFO x", WINTER + 3_600_000_000),
        ("Europe/Nowhere", "2025-11-25 10:00:00 INFO x", WINTER),
        ("../../etc/passwd", "2025-11-25 10:00:00 INFO x", WINTER),
        ("Europe", "2025-11-25 10:00:00 INFO x", WINTER),
        ("", "2025-11-25 10:00:00 INFO x", WINTER),
        ("+9999", "2025-11-25 10:00:00 INFO x", WINTER),
    ],
)
def test_a_time_without_a_zone_is_in_the_one_its_record_names(zone: str, raw: str, at: int) -> None:
    read = contents(LogEvent(raw=raw, metadata={"timezone": zone}), WINTER + 7_200_000_000)
    assert read.timestamp_us == at
    assert contents(LogEvent(raw=raw, timestamp=5, metadata={"timezone": zone}), 0).timestamp_us == 5  # type: ignore[arg-type]


def test_colours_of_a_terminal_are_no_part_of_a_line() -> None:
    line = parse("\x1b[2m2023-01-29T16:43:04Z\x1b[0m \x1b[31mERROR\x1b[0m app: \x1b[1mgone\x1b[0m", NOW)
    assert (line.severity, line.message) == (3, "app: gone")


def test_metadata_is_bounded_whatever_a_line_names() -> None:
    many = '{"msg":"x",' + ",".join(f'"k{n}":"{n}"' for n in range(10_000)) + "}"
    assert len(contents(LogEvent(raw=many), NOW).metadata) == MAX_FIELDS
    long = contents(LogEvent(raw='{"msg":"x","k":"' + "v" * 100_000 + '"}'), NOW)
    assert len(long.metadata["k"]) < MAX_FIELD_CHARS + 10


def test_a_line_shows_its_header_and_what_the_record_says_beside_it() -> None:
    event = LogEvent(raw="<34>Feb 11 22:14:15 h su[12]: x", source="syslog", metadata={"zone": "b", "host": "named"})
    found = contents(event, NOW)
    assert found.metadata == {
        "source": "syslog",
        "host": "named",
        "app": "su",
        "pid": "12",
        "priority": "34",
        "facility": "auth",
        "zone": "b",
    }
    assert (found.text, found.name, found.speaker) == ("x", "pri:critical", ":h su[12]: ")
    assert contents(LogEvent(raw='{"msg":"x","a":{"b":[1]},"c":true}'), NOW).metadata == {"a": '{"b":[1]}', "c": "true"}


def test_a_record_that_names_its_severity_begins_a_record_of_its_own() -> None:
    assert contents(LogEvent(raw="KeyError: 'x'", metadata={"severity": "ERROR"}), NOW).speaker == "h:"
    assert contents(LogEvent(raw="KeyError: 'x'", metadata={"severity_number": "17"}), NOW).speaker == "h:"
    assert contents(LogEvent(raw="KeyError: 'x'", metadata={"other": "ERROR"}), NOW).speaker == ":"


M = 1_000_000
HOSTILE = [
    "x" * M, " " * M + "x", "<34>1 " + "a " * (M // 2), "<34>1 - h a p m [" + 'a="b" ' * 100_000, "{" * M, "[" * M, '{"a":' * 100_000,
    "Feb 11 22:14:15 " + "a" * M, "Feb 11 22:14:15 h" + " " * M, "Feb 11 22:14:15 h " + "a(" * (M // 2), "2023-01-29 16:43:04 INFO " + "a." * (M // 2),
    "02-17 16:13:38.811  1 2 D " + " " * M, 'msg= level=x a="' + '\\"' * (M // 2), "\x00" * M, "".join(chr(n % 256) for n in range(100_000)), "1" * M, "- " * (M // 2),
    "2023-01-29T16:43:04Z stdout F " * 3000, "2023-01-29 16:43:04 INFO a" + "-a$b" * 10_000, "2023-01-29 16:43:04 INFO " + "aA" * 10_000,
    "2023-01-29T16:43:04Z " + "h" * M, "2023-01-29T16:43:04Z h " + "a" * M + ":", "2023-01-29T16:43:04Z" + " h" * (M // 2), "a=1 " * (M // 4), 'a="' * (M // 3), "=" * M,
    "<34>1 - h a p m " + '[a b="' + "\\" * M, "<34>1 - h a p m " + "[a]" * (M // 3), "<34>" * (M // 4), "1 <34>" * (M // 6), '1.2.3.4 - - [29/Jan/2023:16:43:04 +0100] "' + "\\" * M,
    '1.2.3.4 - - [29/Jan/2023:16:43:04 +0100] "GET ' + "/a " * (M // 3), '{"log":"' + "x" * M + '","stream":"a"}', '{"_HOSTNAME":"h","MESSAGE":[' + "1," * 400_000 + "1]}",
    "\x1b[" * (M // 2), "\x1b[0m" * (M // 4), "Feb 11 22:14:15 h a[1]: " * 40_000, "[" + "1" * M + "]", "A" * M + ".log 2023-01-29 x", "INFO " * (M // 5), "1: " * (M // 3), "*" * M,
]  # fmt: skip


@pytest.mark.parametrize("raw", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_lines_take_a_blink(raw: str) -> None:
    start = time.process_time()
    parse(raw, NOW)
    assert time.process_time() - start < 0.5  # at most 0.03 s on a free core


@pytest.mark.parametrize("received", [0, -1, 10**18, -(10**18), 253_402_300_799_000_000])
def test_any_time_of_reception_is_taken(received: int) -> None:
    for raw in ("Feb 29 00:00:00 h a: x", "16:42:09 INFO x", "02-17 16:13:38.811  1 2 D a: x"):
        assert parse(raw, received).message == "x"
