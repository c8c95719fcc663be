"""What is pasted becomes records, and a table that is none is told with its line."""

import pytest

from schemas.events import Micros
from sinks.console.giving import MOST_CHARS, GivenError, records


def test_the_pieces_of_a_text_are_the_text_and_the_last_ends_the_session() -> None:
    text = "It rained.\r\n\r\n  Then the sun\tcame out. "
    made = records("text", text, "s")
    assert "".join(r.text for r in made) == text.replace("\r\n", "\n")
    assert [r.end_of_session for r in made] == [False] * (len(made) - 1) + [True]
    assert {r.session_id for r in made} == {"s"}


def test_each_line_of_a_log_is_a_record_as_it_is() -> None:
    assert [r.raw for r in records("log", "a  b\n\n<34>1 - - x\n", "s")] == ["a  b", "<34>1 - - x"]


def test_a_turn_has_a_speaker_and_goes_on_until_the_next() -> None:
    made = records("chat", "user: hi\nthere\nagent: at 7:40?\n", "s")
    assert [(r.speaker, r.role, r.text) for r in made] == [("user", "user", "hi\nthere"), ("agent", "agent", "at 7:40?")]


@pytest.mark.parametrize(
    ("content", "points"),
    [
        ("1\n2.5\n", [("value", 1.0, None), ("value", 2.5, None)]),
        ("cpu\n1\n2\n", [("cpu", 1.0, None), ("cpu", 2.0, None)]),
        ("time;cpu;mem\n2026-01-31T12:00:00Z;1;7\n", [("cpu", 1.0, 1769860800000000), ("mem", 7.0, 1769860800000000)]),
        ("1769860800,5\n1769860860,6\n", [("value", 5.0, 1769860800000000), ("value", 6.0, 1769860860000000)]),
        ("1,2\n3,4\n", [("value-0", 1.0, None), ("value-1", 2.0, None), ("value-0", 3.0, None), ("value-1", 4.0, None)]),
        ("t,a\n2026-01-31,1\n2026-02-01,\n", [("a", 1.0, 1769817600000000)]),
    ],
)
def test_a_table_is_series(content: str, points: list[tuple[str, float, int | None]]) -> None:
    assert [(r.name, r.value, r.timestamp) for r in records("series", content, "s")] == [
        (n, v, t if t is None else Micros(t)) for n, v, t in points
    ]


@pytest.mark.parametrize(
    ("kind", "content", "told"),
    [
        ("text", " \n ", "nothing to read"),
        ("text", "x" * (MOST_CHARS + 1), "wanted no more than"),
        ("log", "x\n" * 20_001, "wanted no more than 20,000"),
        ("chat", "just words", "line 1: got 'just words', wanted `speaker: text`"),
        ("series", "cpu,mem\n1,2\n3\n", "line 3: 1 columns, wanted 2"),
        ("series", "cpu\n1\nhot\n", "line 3: 'hot' is not a number"),
        ("series", "cpu,mem\n", "a head and no rows"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(kind: str, content: str, told: str) -> None:
    with pytest.raises(GivenError, match=told):
        records(kind, content, "s")  # type: ignore[arg-type]
