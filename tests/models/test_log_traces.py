"""Traces: each language's lines go on with the record they began at, and nothing else does."""

import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.log_traces import NONE, WRITERS, Open, Traces, begun, joined, kept, speaker

TOLD, BARE = speaker("app", True, False), speaker("app", False, False)
"""A line with a header of its program, and one without."""
JAVA = """ERROR failed to pay
java.lang.IllegalStateException: no card
\tat com.shop.Pay.run(Pay.java:12) ~[shop.jar:1.0]
\tat java.base/java.lang.Thread.run(Thread.java:840)
\tSuppressed: java.io.IOException: closed
\t\tat com.shop.Card.close(Card.java:3)
\t\t... 2 more
Caused by: com.shop.CardException: expired
\tat com.shop.Card.check(Card.java:7)
\t... 12 common frames omitted"""
PYTHON = """ERROR job failed
Traceback (most recent call last):
  File "/app/job.py", line 3, in run
    pay(card)
    ^^^^^^^^^
KeyError: 'card'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/job.py", line 5, in run
    raise JobError from None
app.jobs.JobError: no card
given"""
GO = """ERROR about to fall
panic: runtime error: index out of range [5] with length 3 [recovered]
\tpanic: again

goroutine 7 [running]:
main.(*Shop).pay(0xc000012120, {0x1, 0x2})
\t/src/shop.go:21 +0x1d
created by main.main in goroutine 1
\t/src/main.go:8 +0x5
exit status 2"""
DOTNET = """ERROR request failed
System.InvalidOperationException: no card
 ---> System.ArgumentNullException: Value cannot be null. (Parameter 'card')
   at Shop.Card..ctor(String number) in /src/Card.cs:line 9
   --- End of inner exception stack trace ---
   at Shop.Pay.Run() in /src/Pay.cs:line 12
--- End of stack trace from previous location ---
   at Shop.Program.Main(String[] args)"""
NODE = """ERROR boom
TypeError: Cannot read properties of undefined (reading 'card')
    at Object.<anonymous> (/srv/pay.js:3:9)
    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)"""
TRACES = {"java": JAVA, "python": PYTHON, "go": GO, "dotnet": DOTNET, "node": NODE}
Line = tuple[str, str, int]
"""Message, Item.speaker, severity on its own."""


def read(lines: list[Line], traces: Traces = NONE, start: int = 0) -> tuple[list[tuple[int, int]], Traces]:
    """Head and number within its record of each line, as a model would keep them."""
    found = []
    for position, (text, speaks, severity) in enumerate(lines, start):
        one = joined(traces, text, speaks) or begun(position, text, speaks, severity, f"group {position}")
        traces = kept(traces, one)
        found.append((one.head, one.lines))
    return found, traces


def lines_of(text: str, first: str = TOLD, severity: int = 3) -> list[Line]:
    head, *rest = text.split("\n")
    return [(head, first, severity), *[(line, BARE, 6) for line in rest]]


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_a_trace_after_a_logged_error_is_one_record(trace: str) -> None:
    lines = lines_of(trace)
    found, _ = read([*lines, ("INFO next", TOLD, 6)])
    assert found == [(0, n) for n in range(len(lines))] + [(len(lines), 0)]


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_a_trace_printed_without_any_header_is_one_record(trace: str) -> None:
    lines = [(line, BARE, 3) for line in trace.split("\n")[1:] if line != "given"]  # a message of several lines ends at its first
    found, _ = read([("all is well", BARE, 6), *lines, ("all is well again", BARE, 6)])
    assert found == [(0, 0)] + [(1, n) for n in range(len(lines))] + [(len(lines) + 1, 0)]


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_a_trace_after_an_unrelated_line_begins_a_record_of_its_own(trace: str) -> None:
    found, _ = read(lines_of(trace, severity=6)[:3])
    assert found[:2] == [(0, 0), (1, 0)]


def test_a_line_that_goes_on_has_the_template_and_severity_of_its_record() -> None:
    _, traces = read(lines_of(JAVA, severity=2))
    assert (traces[-1].template, traces[-1].severity) == ("group 0", 2)
    assert traces[-1].shown == {"head": 0, "line": 9}


def test_half_a_trace_is_a_record_from_where_it_was_seen() -> None:
    assert read([(line, BARE, 6) for line in JAVA.split("\n")[2:]])[0] == [(0, n) for n in range(8)]
    found, _ = read([*[(line, BARE, 3) for line in PYTHON.split("\n")[1:4]], ("INFO on", TOLD, 6), ("ValueError: late", BARE, 3)])
    assert found == [(0, 0), (0, 1), (0, 2), (3, 0), (4, 0)], "a trace cut short by the next record is over"


def test_the_pieces_of_a_runtime_are_one_record_whatever_they_hold() -> None:
    cut, last = speaker("stdout", False, True), speaker("stdout", False, False)
    other = speaker("stderr", False, False)
    found, _ = read([("a" * 9, cut, 6), ("x", other, 6), ("b" * 9, cut, 6), ("c", last, 6), ("d", last, 6)])
    assert found == [(0, 0), (1, 0), (0, 1), (0, 2), (4, 0)]
    begins_like_a_record = speaker("stdout", True, False)
    assert read([("a", cut, 6), ("ERROR b", begins_like_a_record, 3)])[0] == [(0, 0), (0, 1)]


def test_programs_that_write_in_turns_do_not_break_each_others_traces() -> None:
    mine, other = speaker("pay[1]", False, False), speaker("sshd[2]", False, False)
    java = [(line, mine, 3) for line in JAVA.split("\n")]
    turns = [one for line in java for one in (line, ("session opened", other, 6))]
    found, traces = read(turns)
    assert [head for head, _ in found[::2]] == [0] * len(java)
    assert [number for _, number in found[1::2]] == [0] * len(java)
    assert len(traces) == 2


@pytest.mark.parametrize(
    "text",
    ["started", "at your service", "GET / 200", "Warning: low", "key: value", "  indented", "panicked", "goroutines: 7", "Error", "", "{", "- a", "... and more"],
)  # fmt: skip
def test_an_ordinary_line_begins_a_record(text: str) -> None:
    assert read([("ERROR failed", TOLD, 3), (text, BARE, 6), (text, TOLD, 6)])[0][1:] == [(1, 0), (2, 0)]


texts = st.sampled_from([line for trace in TRACES.values() for line in trace.split("\n")]) | st.text(max_size=12)
speakers = st.builds(speaker, st.sampled_from(["", "a", "b", "c", "d", "e", "\ud800"]), st.booleans(), st.booleans())
a_session = st.lists(st.tuples(texts, speakers, st.integers(0, 7)), max_size=30)


@settings(max_examples=150, deadline=None)
@given(a_session, st.integers(0, 30))
def test_any_split_decides_the_same_and_the_state_goes_through_bytes(lines: list[Line], at: int) -> None:
    once, end = read(lines)
    first, traces = read(lines[:at])
    restored = msgspec.msgpack.decode(packed := msgspec.msgpack.encode(traces), type=tuple[Open, ...])
    rest, split_end = read(lines[at:], restored, at)
    assert (first + rest, split_end) == (once, end)
    assert len(traces) <= WRITERS
    assert len(packed) < 60 * WRITERS


@settings(max_examples=150, deadline=None)
@given(a_session)
def test_every_line_goes_on_with_a_head_before_it_and_lines_are_counted(lines: list[Line]) -> None:
    found, _ = read(lines)
    counted: dict[int, int] = {}
    for position, (head, number) in enumerate(found):
        assert (head == position) == (number == 0)
        assert number == counted.get(head, -1) + 1
        counted[head] = number


HOSTILE = [
    " " * 10**6,
    "\t" * 10**6,
    "a." * 10**5 + "(",
    "A" * 10**6,
    "x(" + ")a" * 10**5,
    "r" + "r" * 10**5,
    "#011" * 10**5,
    "at a" + ".a" * 10**5,
    ", " * 10**5,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("head", ["ERROR", "goroutine 1 [running]:", "Traceback (most recent call last):", "a.bException: x"])
def test_hostile_lines_take_a_blink(text: str, head: str) -> None:
    start = time.process_time()
    read([(head, BARE, 3), (text, BARE, 6), (text, BARE, 6)])
    assert time.process_time() - start < 2  # milliseconds; what looks at each part again for each part takes minutes
