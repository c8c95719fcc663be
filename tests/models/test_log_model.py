"""LogModel: any split of a session gives the same answers and bytes; one session's trouble stays its own."""

import random

import msgspec
import pytest

from models.log_model import LogModel
from models.log_traces import speaker
from models.severity import SEVERITIES
from models.steps import Answer, Item, ItemResult, Work
from tests.models.test_log_traces import TRACES

MODEL = LogModel()
KINDS = [
    "Took {} seconds",
    "user {} logged in",
    "error reading block {}",
    "GET /a/{} 200",
    "cache miss for key={}",
    "shutting down worker w{}",
]


def items(n: int, seed: int = 1, ends: bool = True) -> list[Item]:
    chance = random.Random(seed)
    weights = [40, 20, 2, 30, 10, 1]
    return [
        Item(k, chance.choices(KINDS, weights)[0].format(chance.randrange(1000)), k * 1_000_000, ends_session=ends and k == n - 1)
        for k in range(n)
    ]


def run(parts, state=None, repack=False):
    results: list[ItemResult] = []
    for part in parts:
        result = MODEL.step([Work("logs/a", state, part)])[0]
        assert result.error is None
        results += result.items
        state = MODEL.unpack(MODEL.pack(result.state)) if repack else result.state
    return results, state


def random_parts(all_items, seed):
    chance, parts, at = random.Random(seed), [], 0
    while at < len(all_items):
        size = chance.randrange(1, 40)
        parts.append(all_items[at : at + size])
        at += size
    return parts


@pytest.mark.parametrize("seed", range(4))
def test_any_split_gives_the_same_answers_and_bytes(seed):
    whole = items(700)
    once, state = run([whole])
    split, split_state = run(random_parts(whole, seed), repack=seed % 2 == 1)
    assert split == once
    assert MODEL.pack(split_state) == MODEL.pack(state)


def test_step_leaves_the_state_it_was_given():
    _, state = run([items(200, ends=False)])
    before = MODEL.pack(state)
    again = [MODEL.step([Work("logs/a", state, items(50, seed=2))])[0] for _ in range(2)]
    assert MODEL.pack(state) == before
    assert again[0].items == again[1].items
    assert MODEL.pack(again[0].state) == MODEL.pack(again[1].state)


def test_every_line_has_one_final_template_severity_and_anomaly():
    results, _ = run([items(100)])
    for n, result in enumerate(results[:-1]):
        assert [a.task for a in result.findings] == ["template", "severity", "anomaly"]
        assert {(a.span_start, a.span_end, a.is_final) for a in result.findings} == {(n, n + 1, True)}
        assert result.findings[1].label in SEVERITIES
        assert 0.0 <= result.findings[2].value <= 1.0


def test_positions_may_have_gaps():
    some = [Item(p, "hello 1", p) for p in (0, 1, 5, 9)]
    results, state = run([some])
    assert [(r.position, r.findings[0].span_start, r.findings[0].span_end) for r in results] == [(p, p, p + 1) for p in (0, 1, 5, 9)]
    whole = MODEL.close(Work("logs/a", state, ())).items[0].findings[0]
    assert isinstance(whole, Answer)
    assert (whole.span_start, whole.span_end) == (0, 10)


def test_end_gives_one_answer_for_the_whole_session_and_close_no_second():
    results, state = run([items(100)])
    whole = results[-1].findings[-1]
    assert (whole.task, whole.span_start, whole.span_end, whole.is_final) == ("anomaly", 0, 100, True)
    assert MODEL.close(Work("logs/a", state, ())).items == ()


def test_severity_comes_from_the_line_before_its_words():
    cases = [("pri:error", "all good", "error", "pri"), ("debug", "fatal", "debug", "header"), ("header:notice", "x", "notice", "header")]
    for name, text, label, source in cases:
        answer = MODEL.step([Work("s", None, [Item(0, text, 0, name=name)])])[0].items[0].findings[1]
        assert isinstance(answer, Answer)
        assert (answer.label, answer.output["source"]) == (label, source)


def test_a_kind_of_line_never_seen_is_an_anomaly_once_other_sessions_taught_what_is_usual():
    usual = [Item(n, KINDS[n % 2].format(n), n) for n in range(4000)]
    model = LogModel()
    lessons = model.step([Work("logs/a", None, usual)])[0].lessons
    for at in range(0, len(lessons), 100):
        model.normal = model.normal.taught(lessons[at : at + 100], at)
    results = model.step([Work("logs/b", None, [*usual[:50], Item(50, "out of memory, killing process 7", 50)])])[0].items
    last = results[-1].findings[2]
    assert last.label == "anomaly"
    assert {"unseen template", "rare severity"} <= set(last.output["reason"].split(", "))
    assert all(r.findings[2].label == "normal" for r in results[:-1])


def test_a_line_gets_the_same_whichever_sessions_share_its_step():
    model = LogModel()
    model.normal = model.normal.taught(model.step([Work("logs/a", None, items(2000))])[0].lessons, 0)
    works = [Work(f"logs/{n}", None, items(60, seed=n)) for n in range(5)]
    assert model.step(works) == [model.step([work])[0] for work in works]


def test_lessons_tell_each_line_with_what_stood_before_it_and_the_end_with_the_whole():
    lessons = MODEL.step([Work("logs/a", None, items(30))])[0].lessons
    assert len(lessons) == 32
    assert [len(lesson.before) for lesson in lessons[:12]] == [*range(11), 10]
    assert lessons[5].before[-1] == lessons[4].text
    assert sum(count for _, count in lessons[-1].whole) == 30
    assert [lesson.ends_session for lesson in lessons] == [False] * 30 + [True] * 2


def test_a_session_of_the_first_layout_goes_on():
    group = ("00" * 8, "hello \x00", 3)
    row = [
        1,
        [(bytes.fromhex(group[0]), group[1], group[2])],
        3,
        3,
        group[0],
        [1, 2],
        3.0,
        1.0,
        1.0,
        [0.0] * 8,
        [0.0, 0.99],
        0.99,
        0.2,
        3,
        1,
        False,
    ]
    state = MODEL.unpack(msgspec.msgpack.encode(row))
    assert (state.end, state.lines, state.before, state.counts) == (3, 3, ("hello <*>",), {"hello <*>": 3})
    results, state = run([[Item(3, "hello 9", 9)]], state)
    assert results[0].findings[0].label == group[0]
    assert state.counts == {"hello <*>": 4}


def test_lines_of_a_trace_have_template_and_severity_of_their_record_and_make_no_groups():
    logged, bare = speaker("", True, False), speaker("", False, False)
    lines = [
        ("order 7 failed", logged, "header:error"),
        *[(line, bare, "") for line in TRACES["java"].split("\n")[1:]],
        ("order 8 paid", logged, "header:informational"),
    ]
    whole = [Item(n, text, n, speaker=who, name=level) for n, (text, who, level) in enumerate(lines)]
    results, state = run([whole])
    assert run(random_parts(whole, 1), repack=True) == (results, MODEL.unpack(MODEL.pack(state)))
    labels = [[answer.label for answer in result.findings] for result in results]
    assert labels[1:-1] == [[*labels[0][:2], "normal"]] * (len(lines) - 2)
    assert [r.findings[0].output["trace"] for r in results[1:-1]] == [{"head": 0, "line": n} for n in range(1, len(lines) - 1)]
    assert [group.count for group in state.miner.groups.values()] == [1, 1]


def test_a_trace_ends_with_its_session():
    logged, bare = speaker("", True, False), speaker("", False, False)
    half = [Item(0, "failed", 0, speaker=logged, name="header:error"), Item(1, "\tat a.B.c(D.java:1)", 1, speaker=bare, ends_session=True)]
    results, state = run([half])
    assert results[1].findings[0].output["trace"] == {"head": 0, "line": 1}
    after, _ = run([[Item(2, "\tat a.B.c(D.java:2)", 2, speaker=bare)]], state)
    assert "trace" not in after[0].findings[0].output


def test_one_bad_session_fails_alone_and_keeps_its_state():
    bad = [Item(0, None, 0)]  # type: ignore[arg-type]
    results = MODEL.step([Work("logs/a", None, items(5)), Work("logs/b", None, bad), Work("logs/c", None, items(5))])
    assert [r.error is None for r in results] == [True, False, True]
    assert results[1].state is None
    assert results[0].items == results[2].items


def test_state_of_many_distinct_lines_is_bounded():
    chance, letters = random.Random(3), "abcdefghijklmnopqrstuvwxyz"
    flood = [Item(n, " ".join("".join(chance.choices(letters, k=6)) for _ in range(20)), n) for n in range(5000)]
    _, state = run([flood])
    assert len(MODEL.pack(state)) < 80_000


def test_an_answer_on_demand_is_what_an_end_would_say_and_changes_nothing() -> None:
    _, state = run([items(120, ends=False)])
    before = MODEL.pack(state)
    (asked,) = MODEL.answer(Work("s/a", state, ()))
    (closed,) = MODEL.close(Work("s/a", state, ())).items[0].findings
    assert (asked.label, asked.value, asked.span_end, asked.is_final) == (closed.label, closed.value, closed.span_end, False)
    assert "level" not in asked.output
    assert MODEL.pack(state) == before
    assert MODEL.answer(Work("s/b", None, ())) == ()
