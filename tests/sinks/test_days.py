"""Days merged from hours: whatever the ends of a question's time, nothing is counted twice or left out, and late rows reach their day."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from sinks import migrations, questions, rollups
from sinks.clickhouse import ClickHouse
from tests.sinks.evaluation_rows import BEGIN_US, common, empty, insert, prediction

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
GAP_S, N = 1500, 300
"""Five days and some hours."""
ENDS = (0, 5, 24, 31, 96, 200)
"""Hours after BEGIN, on days' ends and between."""


@pytest.fixture(scope="module")
def database(clickhouse: ClickHouse) -> ClickHouse:
    empty(clickhouse)
    at = [BEGIN_US + n * GAP_S * 1_000_000 for n in range(N)]
    version = ["v1" if n < N // 2 else "v2" for n in range(N)]
    insert(
        clickhouse,
        "predictions",
        [prediction(n, timestamp=at[n], model_version=version[n], label=("a", "b", "c")[n % 3]) for n in range(N)],
    )
    text = {"token_text": "word", "buffer_size": 1, "metadata": {}, "token_id": 1}
    insert(
        clickhouse,
        "input_stream",
        [common("input_stream", n, "s") | text | {"token_position": n, "timestamp": at[n], "model_version": version[n]} for n in range(N)],
    )
    rollups.refresh(clickhouse)
    yield clickhouse
    empty(clickhouse)


def hours(since: int, until: int) -> list[int]:
    """Numbers of the rows in these hours."""
    return [n for n in range(N) if since <= n * GAP_S // 3600 < until]


@pytest.mark.parametrize(("since", "until"), list(itertools.combinations(ENDS, 2)))
def test_any_time_holds_the_rows_of_its_hours_and_no_others(database: ClickHouse, since: int, until: int) -> None:
    given = {"since": BEGIN + timedelta(hours=since), "until": BEGIN + timedelta(hours=until)}
    mine = hours(since, until)
    assert sum(r["answers"] for r in questions.ask(database, "latency", by="age", **given)) == len(mine)
    for row in questions.ask(database, "drift", **given):
        assert row["reference_n"] + row["current_n"] == len(mine), row
    for row in questions.ask(database, "drift", reference="v1", **given):
        assert (row["reference_n"], row["current_n"]) == (sum(n < N // 2 for n in mine), sum(n >= N // 2 for n in mine))
    for split in (since + 1, (since + until) // 2):
        for row in questions.ask(database, "drift", split=BEGIN + timedelta(hours=split), **given):
            assert (row["reference_n"], row["current_n"]) == (len(hours(since, split)), len(hours(split, until)))


def test_a_late_row_reaches_its_day_and_replaced_days_are_tidied(database: ClickHouse) -> None:
    before = sum(r["answers"] for r in questions.ask(database, "latency", by="age"))
    insert(database, "predictions", [prediction(N, timestamp=BEGIN_US + 40 * 3_600_000_000 + 1, model_version="v1")])
    assert rollups.refresh(database) == 1
    assert sum(r["answers"] for r in questions.ask(database, "latency", by="age")) == before + 1
    rollups.tidy(database)
    assert sum(r["answers"] for r in questions.ask(database, "latency", by="age")) == before + 1


def test_days_of_hours_that_were_there_before_are_those_the_rollups_make(database: ClickHouse) -> None:
    asked = {"features": "SELECT hour, feature, category, bin, n FROM daily_features ORDER BY ALL", "ages": "SELECT hour, age, answers, latency_max_ms FROM daily_ages ORDER BY ALL", "inputs": "SELECT hour, feature, bin, n FROM daily_inputs ORDER BY ALL"}  # fmt: skip
    made = {name: database.rows(sql) for name, sql in asked.items()}
    for name in asked:
        database.command(f"TRUNCATE TABLE built_daily_{name}")
    (migration,) = [m for m in migrations.read() if m.name == "days_of_hours"]
    for statement in migration.statements:
        database.command(statement)
    assert {name: database.rows(sql) for name, sql in asked.items()} == made
