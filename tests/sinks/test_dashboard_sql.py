"""Every statement of the Grafana dashboard runs on our tables, its macros filled in as the data source does."""

import json
from pathlib import Path

import pytest

from sinks.clickhouse import ClickHouse

FILE = Path(__file__).parents[2] / "deploy" / "dashboards" / "strata.json"
DASHBOARD = json.loads(FILE.read_text(encoding="utf-8"))
MACROS = {
    "$__interval_s": "60",
    "${modality:singlequote}": "'tokens','logs'",
    "${model_version:singlequote}": "'a','b'",
}
STATEMENTS = [(p["title"], p["targets"][0]["rawSql"]) for p in DASHBOARD["panels"]]
STATEMENTS += [(v["label"], v["query"]) for v in DASHBOARD["templating"]["list"]]


def filled(sql: str) -> str:
    for name, value in MACROS.items():
        sql = sql.replace(name, value)
    for column in ("timestamp", "Timestamp", "hour"):
        sql = sql.replace(f"$__timeFilter({column})", f"{column} >= toDateTime(0) AND {column} <= toDateTime(4000000000)")
        sql = sql.replace(f"$__timeInterval({column})", f"toStartOfInterval(toDateTime({column}), INTERVAL 60 second)")
    return sql


@pytest.mark.parametrize(("title", "sql"), STATEMENTS, ids=[t for t, _ in STATEMENTS])
def test_it_runs(clickhouse: ClickHouse, title: str, sql: str) -> None:
    statement = filled(sql)
    assert "$" not in statement
    clickhouse.ask(statement)
    if title in {p["title"] for p in DASHBOARD["panels"] if p["type"] == "timeseries"}:  # Grafana wants the time first
        assert clickhouse.rows(f"DESCRIBE ({statement})")[0][0] == "time"
