"""Questions and what they read: summed up by the hour, once, whatever comes late or twice."""

import time
from datetime import UTC, datetime

import pytest

from schemas.errors import SettingError
from sinks import questions, rollups
from sinks.clickhouse import ClickHouse
from tests.sinks.evaluation_rows import empty, insert, label, prediction


@pytest.fixture
def database(clickhouse: ClickHouse) -> ClickHouse:
    empty(clickhouse)
    return clickhouse


def test_every_question_answers_with_the_columns_its_header_tells(database: ClickHouse) -> None:
    insert(database, "predictions", [prediction(n) for n in range(20)])
    insert(database, "labels", [label(n) for n in range(5)])
    rollups.refresh(database)
    for question in questions.questions():
        described = database.rows(f"DESCRIBE TABLE ({question.sql})", questions.values_of(question, {}))
        assert [column[0] for column in described] == [c.name for c in question.columns], question.name
        assert question.asks.endswith("?")


def test_a_parameter_nobody_knows_and_a_wrong_choice_are_refused(database: ClickHouse) -> None:
    with pytest.raises(SettingError, match="has no parameter vresion"):
        questions.ask(database, "quality", vresion="x")
    with pytest.raises(SettingError, match="wanted one of all, hour, day, age"):
        questions.ask(database, "quality", by="week")
    with pytest.raises(SettingError, match=r"there are .*quality"):
        questions.ask(database, "beauty")


def test_a_hostile_parameter_is_a_value_and_no_sql(database: ClickHouse) -> None:
    insert(database, "predictions", [prediction(n) for n in range(3)])
    rollups.refresh(database)
    assert questions.ask(database, "latency", task="x' OR 1=1 --\\") == []


def test_late_rows_make_their_hour_due_and_nothing_is_counted_twice(database: ClickHouse) -> None:
    insert(database, "predictions", [prediction(n) for n in range(50)])
    assert rollups.refresh(database) == 1
    assert rollups.refresh(database) == 0
    insert(database, "predictions", [prediction(n) for n in range(50, 80)])
    assert rollups.refresh(database) == 1
    assert [row["answers"] for row in questions.ask(database, "latency")] == [80]
    database.command("OPTIMIZE TABLE built_answers FINAL")
    assert [row["answers"] for row in questions.ask(database, "latency")] == [80]


def test_a_build_that_died_in_between_is_not_seen_twice(database: ClickHouse) -> None:
    insert(database, "predictions", [prediction(n) for n in range(50)])
    due = rollups.due(database)
    first = [r for r in rollups.read() if r.name == "answers"]
    database.command(first[0].sql, {"build": 1, **rollups.span({due[0].hour})}, rollups.SETTINGS)  # and no word in built_hours
    assert rollups.refresh(database) == 1
    assert [row["answers"] for row in questions.ask(database, "latency")] == [50]


def test_builds_that_were_replaced_are_deleted_and_nothing_that_is_shown(database: ClickHouse) -> None:
    insert(database, "predictions", [prediction(n) for n in range(50)])
    for n in range(3):
        insert(database, "labels", [label(n, label="info" if n else "error")])
        rollups.refresh(database)
    before = [questions.ask(database, name) for name in ("quality", "latency", "labels")]
    assert rollups.tidy(database) > 0
    assert database.rows("SELECT uniqExact(build) FROM built_answers") == [(1,)]
    assert [questions.ask(database, name) for name in ("quality", "latency", "labels")] == before
    assert rollups.tidy(database) == 0


def test_a_label_that_comes_a_day_later_changes_the_hour_it_speaks_of(database: ClickHouse) -> None:
    insert(database, "predictions", [prediction(n, label="error") for n in range(10)])
    rollups.refresh(database)
    assert questions.ask(database, "quality")[0]["labelled"] == 0
    insert(database, "labels", [label(n, label="error", after_s=86_400) for n in range(4)])
    rollups.refresh(database)
    row = questions.ask(database, "quality", by="hour")[0]
    assert (row["at"], row["labelled"], row["correct"], row["maturity"]) == (datetime(2026, 1, 1, tzinfo=UTC), 4, 4, 0.4)


def test_the_last_label_wins_and_how_many_changed_is_told(database: ClickHouse) -> None:
    insert(database, "predictions", [prediction(n, label="error") for n in range(3)])
    twice = [label(0, label="info", after_s=60), label(0, label="error", after_s=120)]  # changed its mind
    same = [label(1, label="info", after_s=60), label(1, label="info", after_s=60, offset=900)]  # came twice
    insert(database, "labels", [twice[1], twice[0], *same])
    rollups.refresh(database)
    row = questions.ask(database, "quality")[0]
    assert (row["judged"], row["correct"], row["labelled_twice"], row["label_changed"]) == (2, 1, 2, 1)


def test_a_window_is_frozen_only_past_the_usual_delay_of_labels(database: ClickHouse) -> None:
    """One hour long ago, one that ended just now, labels that take half a day."""
    now_us, day_us = time.time_ns() // 1000, 86_400_000_000
    old = [prediction(n, "old", timestamp=now_us - 9 * day_us) for n in range(5)]
    new = [prediction(n, "new", timestamp=now_us - 7_200_000_000) for n in range(5)]
    insert(database, "predictions", [*old, *new])
    insert(
        database,
        "labels",
        [
            label(n, s, timestamp=at + day_us // 2)
            for s, at in (("old", now_us - 9 * day_us), ("new", now_us - 7_200_000_000))
            for n in range(3)
        ],
    )
    rollups.refresh(database)
    assert [(row["maturity"], row["is_frozen"]) for row in questions.ask(database, "quality", by="hour")] == [(0.6, 1), (0.6, 0)]
