"""Raw lines of every origin to records: the headers that runtimes and daemons put before each line of a trace do not break it."""

import json

import pytest

from models.log_traces import NONE, begun, joined, kept
from schemas.events import LogEvent
from streams.agents.logs import contents
from tests.models.test_log_traces import TRACES
from tests.streams.log_facts import NOW

LOGGED = "2023-01-29 16:43:04,123 ERROR [main] com.shop.Pay: failed to pay"
STAMP = "2023-01-29T16:43:04.123456789Z"


def records(raws: list[str]) -> list[tuple[int, int]]:
    """Head and number within its record of each raw line."""
    traces, found = NONE, []
    for position, raw in enumerate(raws):
        read = contents(LogEvent(raw=raw), NOW)
        one = joined(traces, read.text, read.speaker) or begun(position, read.text, read.speaker, 3, "")
        traces = kept(traces, one)
        found.append((one.head, one.lines))
    return found


def journal(text: str) -> str:
    return json.dumps(
        {
            "__REALTIME_TIMESTAMP": "1675010584123456",
            "_HOSTNAME": "h",
            "SYSLOG_IDENTIFIER": "pay",
            "_PID": "7",
            "PRIORITY": "3",
            "MESSAGE": text,
        }
    )


WRAPPED = {
    "bare": lambda line: line,
    "syslog": lambda line: f"Jan 29 16:43:04 h pay[7]: {line}",
    "rsyslog": lambda line: "2023-01-29T16:43:04.123456+00:00 h pay[7]: " + line.replace("\t", "#011"),
    "RFC 5424": lambda line: f"<27>1 {STAMP[:-4]}Z h pay 7 - - {line}",
    "journal": journal,
    "CRI": lambda line: f"{STAMP} stderr F {line}",
    "Docker": lambda line: json.dumps({"log": line + "\n", "stream": "stderr", "time": STAMP}),
}
OTHERS = {
    "syslog": "Jan 29 16:43:04 h sshd[9]: session opened",
    "CRI": f"{STAMP} stdout F GET / 200",
    "Docker": json.dumps({"log": "GET / 200\n", "stream": "stdout", "time": STAMP}),
}


@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.parametrize("trace", TRACES)
def test_a_trace_is_one_record_under_any_header(trace: str, name: str) -> None:
    _, *lines = TRACES[trace].split("\n")
    raws = [WRAPPED[name](line) for line in [LOGGED, *lines]]
    after = WRAPPED[name]("2023-01-29 16:43:05,000 INFO [main] com.shop.Pay: next")
    assert records([*raws, after]) == [(0, n) for n in range(len(raws))] + [(len(raws), 0)]


@pytest.mark.parametrize("name", OTHERS)
def test_lines_of_other_writers_between_do_not_break_it(name: str) -> None:
    _, *lines = TRACES["java"].split("\n")
    raws = [raw for line in [LOGGED, *lines] for raw in (WRAPPED[name](line), OTHERS[name])]
    assert records(raws)[::2] == [(0, n) for n in range(len(lines) + 1)]
    assert records(raws)[1::2] == [(2 * n + 1, 0) for n in range(len(lines) + 1)]


def test_the_pieces_of_a_cut_line_are_one_record() -> None:
    raws = [f"{STAMP} stdout P {LOGGED}", f"{STAMP} stdout P of card", f"{STAMP} stdout F number 7", f"{STAMP} stdout F {LOGGED}"]
    assert records(raws) == [(0, 0), (0, 1), (0, 2), (3, 0)]
