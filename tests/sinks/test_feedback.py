"""Thumbs of people, counted by the answers they speak of: against plain Python, and whatever comes twice, late or changes its mind."""

import random
from collections import Counter
from datetime import UTC, datetime

import pytest
from scipy import stats

from sinks import questions, rollups
from sinks.clickhouse import ClickHouse
from tests.sinks.evaluation_rows import BEGIN_US, empty, insert, label, prediction

HOUR_US = 3_600_000_000


@pytest.fixture
def database(clickhouse: ClickHouse) -> ClickHouse:
    empty(clickhouse)
    return clickhouse


def thumb(position: int, session: str, said: str, is_up: bool, after_s: float = 60.0, **other: object) -> dict:
    """About the answer of tests.sinks.evaluation_rows.prediction."""
    about = {"task": "feedback", "label": said, "value": float(is_up), "prediction_id": f"{session}-{position}"}
    return label(position, session, after_s=after_s, **{**about, **other})


def test_the_share_of_thumbs_up_is_that_of_plain_python_with_the_interval_of_scipy(database: ClickHouse) -> None:
    draw, answers, labels = random.Random(5), [], []
    last: dict[tuple[str, int], tuple[float, bool]] = {}
    about: dict[tuple[str, int], tuple[str, str]] = {}
    corrected = set()
    for n in range(400):
        session, position = f"f{n // 40}", n % 40
        version, task = f"v{1 + n // 200}", draw.choice(("topic", "severity"))
        answers.append(
            prediction(
                n,
                session,
                position=position,
                timestamp=BEGIN_US + n * 40_000_000,
                task=task,
                model_version=version,
                label=draw.choice("abc"),
                modality="chat",
            )
        )
        about[session, position] = version, task
        for _ in range(draw.choice((0, 0, 1, 1, 2))):
            at, is_up = draw.uniform(1, 9e5), draw.random() < 0.7
            labels.append(thumb(position, session, answers[-1]["label"], is_up, at))
            last[session, position] = max(last.get((session, position), (0.0, False)), (at, is_up))
        if draw.random() < 0.2:
            labels.append(
                label(position, session, task=task, label="z", prediction_id=f"{session}-{position}", after_s=draw.uniform(1, 9e5))
            )
            corrected.add((session, position))
    insert(database, "predictions", answers)
    insert(database, "labels", labels)
    rollups.refresh(database)
    up, down, mended, given = Counter(), Counter(), Counter(), Counter(about.values())
    for key, (_, is_up) in last.items():
        (up if is_up else down)[about[key]] += 1
        mended[about[key]] += not is_up and key in corrected
    rows = questions.ask(database, "feedback")
    assert {(r["model_version"], r["task"]) for r in rows} == set(up) | set(down)
    for row in rows:
        key = row["model_version"], row["task"]
        assert (row["up"], row["down"], row["thumbs"]) == (up[key], down[key], up[key] + down[key])
        assert (row["corrected"], row["answers"]) == (mended[key], given[key])
        interval = stats.binomtest(row["up"], row["thumbs"]).proportion_ci(method="wilson")
        assert row["share_up"] == pytest.approx(up[key] / (up[key] + down[key]))
        assert (row["share_up_low"], row["share_up_high"]) == pytest.approx((interval.low, interval.high), abs=1e-7)
    by_hour = questions.ask(database, "feedback", by="hour", task="topic")
    assert len({row["at"] for row in by_hour}) == 5
    assert sum(row["thumbs"] for row in by_hour) == sum(n for (_, task), n in (up + down).items() if task == "topic")


def test_a_thumb_speaks_of_the_first_revision_that_said_the_label_so_later_ones_move_nothing(database: ClickHouse) -> None:
    said = [
        prediction(0, "r", prediction_type="partial", label="a", model_version="v1"),
        prediction(0, "r", prediction_type="partial", label="b", model_version="v2", revision=1, event_id="0" * 31 + "1"),
    ]
    insert(database, "predictions", said)
    insert(database, "labels", [thumb(0, "r", "a", False), thumb(0, "r", "b", True)])
    rollups.refresh(database)
    expected = [("v1", 0, 1), ("v2", 1, 0)]
    assert [(r["model_version"], r["up"], r["down"]) for r in questions.ask(database, "feedback")] == expected
    later = prediction(0, "r", label="b", model_version="v3", revision=2, timestamp=BEGIN_US + 3 * HOUR_US, event_id="0" * 31 + "2")
    insert(database, "predictions", [later])
    rollups.refresh(database)
    assert [(r["model_version"], r["up"], r["down"]) for r in questions.ask(database, "feedback")] == expected


def test_a_thumb_that_comes_a_day_later_counts_in_the_hour_of_its_answer(database: ClickHouse) -> None:
    insert(database, "predictions", [prediction(n) for n in range(4)])
    rollups.refresh(database)
    assert questions.ask(database, "feedback") == []
    insert(database, "labels", [thumb(1, "s", "info", True, 86_400.0)])
    rollups.refresh(database)
    (row,) = questions.ask(database, "feedback", by="hour")
    assert (row["at"], row["up"], row["down"]) == (datetime(2026, 1, 1, tzinfo=UTC), 1, 0)


def test_thumbs_are_no_truths_and_those_about_nothing_that_was_said_are_left_out(database: ClickHouse) -> None:
    insert(database, "predictions", [prediction(n) for n in range(4)])
    insert(
        database,
        "labels",
        [thumb(0, "s", "info", False), thumb(1, "s", "never said", True), thumb(2, "s", "info", True, prediction_id=None)],
    )
    rollups.refresh(database)
    assert [(r["up"], r["down"]) for r in questions.ask(database, "feedback")] == [(0, 1)]
    assert [r["labelled"] for r in questions.ask(database, "quality")] == [0]
