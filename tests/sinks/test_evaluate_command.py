"""`strata evaluate`: tables, JSON, page, thresholds and alerts, over the writer's HTTP interface as in production."""

import argparse
import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from schemas.errors import SettingError
from sinks import evaluate, evaluate_thresholds, evaluate_watch, questions, report, retention, rollups
from sinks.asking import Answered, moment
from sinks.clickhouse import ClickHouse
from sinks.config import EvaluateConfig, EvaluationConfig
from sinks.evaluate_text import cell, shown
from sinks.http_interface import HttpInterface
from sinks.http_query import HttpConfig
from tests.sinks.evaluation_rows import empty, insert, label, prediction

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
HOSTILE = "<script>alert('x')</script>\x1b[31m"


@pytest.fixture
def database(clickhouse: ClickHouse) -> ClickHouse:
    empty(clickhouse)
    insert(clickhouse, "predictions", [prediction(n, label="info" if n % 3 else HOSTILE) for n in range(60)])
    insert(clickhouse, "labels", [label(n, label="info") for n in range(60)])
    rollups.refresh(clickhouse)
    return clickhouse


@pytest.fixture
async def served(database: ClickHouse) -> AsyncIterator[EvaluateConfig]:
    """The engine's HTTP interface, read-only as it is in `strata up`."""
    interface = HttpInterface(":memory:", HttpConfig(port=0))
    port = await interface.start()
    yield EvaluateConfig(clickhouse_http_port=port)
    await interface.stop()


async def run(config: EvaluateConfig, *flags: str) -> int:
    return await asyncio.to_thread(evaluate.run, evaluate.parser().parse_args([*flags, "--wait", "0"]), config, NOW)


def holding(config: EvaluateConfig, thresholds: dict[str, str]) -> EvaluateConfig:
    return EvaluateConfig(clickhouse_http_port=config.clickhouse_http_port, evaluation=EvaluationConfig(thresholds))


async def test_tables_and_json_tell_the_same_and_hostile_text_is_harmless(
    served: EvaluateConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(served) == 0
    told = capsys.readouterr()
    assert "0.667 [0.541, 0.773]" in told.out
    assert "\x1b[31m" not in told.out
    assert await run(served, "--json", "--question", "quality", "--question", "labels") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["questions"]["quality"]["rows"][0]["accuracy"] == pytest.approx(2 / 3)
    assert {row["label"] for row in found["questions"]["labels"]["rows"]} == {"info", HOSTILE}
    assert found["crossed"] == []


async def test_a_crossed_threshold_is_told_and_ends_with_3(served: EvaluateConfig, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        await run(holding(served, {"quality.accuracy_high": ">= 0.8 when judged >= 50 and task = severity"}), "--question", "latency") == 3
    )
    assert "crossed: quality.accuracy_high of v1 logs severity is 0.77" in capsys.readouterr().err
    for kept in (
        {"quality.accuracy": ">= 0.6"},
        {"quality.accuracy": ">= 0.8 when judged >= 500"},
        {"quality.accuracy": ">= 0.8 when task = topic"},
    ):
        assert await run(holding(served, kept), "--question", "latency") == 0


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("quality", ">= 1", "wanted question.column"),
        ("beauty.x", ">= 1", "there are inventory"),
        ("quality.beauty", ">= 1", "has no column beauty"),
        ("quality.accuracy", "high", "wanted such as `>= 0.8`"),
        ("quality.accuracy", ">= 0.5 when beauty > 1", "has no column beauty"),
    ],
)
def test_a_threshold_that_means_nothing_is_refused(name: str, text: str, told: str) -> None:
    with pytest.raises(SettingError, match=re.escape(told)):
        evaluate_thresholds.read({name: text})


async def test_a_watch_without_thresholds_or_with_a_wrong_time_is_refused(served: EvaluateConfig) -> None:
    with pytest.raises(SettingError, match="no threshold is set"):
        evaluate_watch.run(evaluate.parser().parse_args(["--watch"]), served, None)
    with pytest.raises(SettingError, match="wanted such as 30s"):
        evaluate_watch.run(evaluate.parser().parse_args(["--every", "often"]), holding(served, {"quality.accuracy": ">= 0"}), None)


class Tags(HTMLParser):
    """Every tag and every address in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]
        assert not [name for name, _ in attrs if name.startswith("on")]


async def test_the_page_needs_nothing_else_and_runs_nothing(
    served: EvaluateConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "report.html"
    assert await run(holding(served, {"quality.accuracy": ">= 0.9"}), "--html", str(page)) == 3
    text, tags = page.read_text(encoding="utf-8"), Tags()
    tags.feed(text)
    assert "script" not in tags.tags
    assert "link" not in tags.tags
    assert {a[:1] for a in tags.addresses} == {"#"}
    assert "&lt;script&gt;alert" in text
    assert "Thresholds crossed" in text
    assert tags.tags.count("svg") >= 5
    for question in questions.questions():
        assert f'id="{question.name}"' in text


async def test_with_nothing_stored_the_command_says_what_to_do(
    clickhouse: ClickHouse, served: EvaluateConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    empty(clickhouse)
    assert await run(served) == 0
    assert "nothing is summed up yet: send something with `strata produce`" in capsys.readouterr().err
    insert(clickhouse, "predictions", [prediction(n) for n in range(3)])
    assert await run(served) == 0
    assert "1 hours have rows that are not summed up yet" in capsys.readouterr().err
    rollups.refresh(clickhouse)
    assert await run(served) == 0
    assert "no label has come for any answer" in capsys.readouterr().err


def test_an_empty_page_is_a_page() -> None:
    answers = [Answered(question, [], 0.0) for question in questions.questions()]
    assert report.page(answers, [], [], {}, NOW).count("No rows.") == len(answers)


def test_times_are_read_as_people_write_them() -> None:
    assert moment("24h", NOW) == NOW - timedelta(hours=24)
    assert moment("2w", NOW) == NOW - timedelta(weeks=2)
    assert moment("2026-01-31", NOW) == datetime(2026, 1, 31, tzinfo=UTC)
    assert moment("2026-01-31T12:00:00+02:00", NOW) == datetime(2026, 1, 31, 10, tzinfo=UTC)
    with pytest.raises(SettingError, match="wanted such as"):
        moment("yesterday", NOW)


def test_a_value_stands_with_its_interval_and_empty_columns_are_left_out() -> None:
    asked = questions.question("quality")
    row = dict.fromkeys((c.name for c in asked.columns), None) | {
        "task": "topic",
        "accuracy": 0.5,
        "accuracy_low": 0.25,
        "accuracy_high": 0.75,
    }
    told = shown(asked, [row])
    assert (told.names, told.cells) == (["task", "accuracy"], [["topic", "0.5 [0.25, 0.75]"]])
    assert [cell(v) for v in (1234567, 1234.5, 0.00123, None, True)] == ["1,234,567", "1,234", "0.00123", "", "yes"]


def test_retention_is_given_changed_and_taken_away_and_other_tables_are_left_alone(clickhouse: ClickHouse) -> None:
    def ttls() -> dict[str, str]:
        return {name: ttl for name, ttl in clickhouse.rows(retention.TTLS) if ttl}

    clickhouse.command("ALTER TABLE boundaries MODIFY TTL toDateTime(timestamp) + toIntervalDay(7)")
    try:
        retention.apply(clickhouse, {"predictions": 90, "otel_traces": 3, "hourly": 1000})
        given = ttls()
        assert given["predictions"] == "toDateTime(timestamp) + toIntervalDay(90)"
        assert given["built_quality"] == "toDateTime(hour) + toIntervalDay(1000)"
        assert given["otel_traces"] == "toDateTime(Timestamp) + toIntervalDay(3)"
        assert "built_hours" not in given
        retention.apply(clickhouse, {"predictions": 30, "otel_traces": 0, "hourly": 0})
        assert ttls() == {
            "boundaries": "toDateTime(timestamp) + toIntervalDay(7)",
            "predictions": "toDateTime(timestamp) + toIntervalDay(30)",
        }
        with pytest.raises(SettingError, match="names table 'predictons'"):
            retention.apply(clickhouse, {"predictons": 30})
        with pytest.raises(SettingError, match="wanted days"):
            retention.apply(clickhouse, {"predictions": -1})
    finally:
        retention.apply(clickhouse, {"predictions": 0, "boundaries": 0})


def test_sums_outlive_the_rows_they_came_from(database: ClickHouse) -> None:
    before = questions.ask(database, "latency")
    database.command("TRUNCATE TABLE predictions")
    assert rollups.refresh(database) == 0
    assert questions.ask(database, "latency") == before


def test_the_flags_of_the_command_are_those_of_the_process_it_starts() -> None:
    from deploy.evaluate_command import evaluate as command

    names = {name for action in evaluate.parser()._actions for name in action.option_strings if name.startswith("--")} - {"--help"}
    of_command = set(re.findall(r"\"--(?:[a-z-]+)\"", Path(command.__code__.co_filename).read_text())) - {'"--question"'}
    given = {f"--{p.replace('_', '-').strip('-')}" for p in command.__annotations__} | {o.strip('"') for o in of_command}
    assert names <= given, names - given
    assert isinstance(evaluate.parser(), argparse.ArgumentParser)
