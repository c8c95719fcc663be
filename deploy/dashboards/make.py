"""The Grafana dashboard from the list of its panels: `python deploy/dashboards/make.py` writes strata.json; a test compares.

Knows panels and their SQL in the dialect of Grafana's ClickHouse data source ($__timeFilter, $__timeInterval, variables as ${name:...}); the
questions of months are the console's and `strata evaluate`'s, here is what a person on duty looks at.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("strata.json")
SOURCE = {"type": "grafana-clickhouse-datasource", "uid": "strata-clickhouse"}
WHERE = "$__timeFilter(timestamp) AND modality IN (${modality:singlequote}) AND model_version IN (${model_version:singlequote})"
BY_TIME = "$__timeInterval(timestamp) AS time"
TIME_SERIES, TABLE = 0, 1
"""Formats of the data source."""


@dataclass(frozen=True)
class Panel:
    """One panel, in reading order; `width` of 24."""

    title: str
    about: str
    sql: str
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 12
    height: int = 8
    limit: float | None = None
    """A line at the budget."""
    stacked: bool = False


PANELS = (
    Panel(
        "Items read",
        "Input records a second, by kind.",
        f"SELECT {BY_TIME}, modality, count() / greatest($__interval_s, 1) AS items FROM input_stream "
        "WHERE $__timeFilter(timestamp) AND modality IN (${modality:singlequote}) GROUP BY time, modality ORDER BY time",
        unit="cps",
        stacked=True,
    ),
    Panel(
        "Latency of answers",
        "From Kafka's time of the record that decided an answer to its publishing; the line is the budget.",
        f"SELECT {BY_TIME}, quantile(0.5)(latency_ms) AS p50, quantile(0.95)(latency_ms) AS p95, quantile(0.99)(latency_ms) AS p99 "
        f"FROM predictions WHERE {WHERE} GROUP BY time ORDER BY time",
        unit="ms",
        limit=50.0,
    ),
    Panel(
        "Answers over budget",
        "Share of the answers that took longer than 50 ms and 200 ms.",
        f"SELECT {BY_TIME}, countIf(latency_ms > 50) / count() AS over_50_ms, countIf(latency_ms > 200) / count() AS over_200_ms "
        f"FROM predictions WHERE {WHERE} GROUP BY time ORDER BY time",
        unit="percentunit",
    ),
    Panel(
        "Stages of a step",
        "95th percentile of what the worker measures of itself.",
        f"SELECT {BY_TIME}, metric_name, quantile(0.95)(metric_value) AS p95 FROM performance WHERE {WHERE} AND unit = 'ms' "
        "GROUP BY time, metric_name ORDER BY time",
        unit="ms",
    ),
    Panel(
        "Labels",
        "Final labels of segments.",
        f"SELECT {BY_TIME}, label, count() AS answers FROM predictions WHERE {WHERE} AND task = 'topic' AND prediction_type = 'final' "
        "GROUP BY time, label ORDER BY time",
        stacked=True,
    ),
    Panel(
        "Confidence",
        "Median and lower tenth of the confidence of final answers; a fall without a change of traffic is a drift.",
        f"SELECT {BY_TIME}, quantile(0.5)(confidence) AS median, quantile(0.1)(confidence) AS lower_tenth FROM predictions "
        f"WHERE {WHERE} AND prediction_type = 'final' AND confidence IS NOT NULL GROUP BY time ORDER BY time",
        unit="percentunit",
    ),
    Panel(
        "Anomalies",
        "Lines and points called an anomaly.",
        f"SELECT {BY_TIME}, modality, count() AS anomalies FROM predictions WHERE {WHERE} AND task = 'anomaly' AND label = 'anomaly' "
        "AND span_end = span_start + 1 GROUP BY time, modality ORDER BY time",
        stacked=True,
    ),
    Panel(
        "Failures",
        "What could not be done, by type.",
        f"SELECT {BY_TIME}, failure_type, count() AS failures FROM failures WHERE $__timeFilter(timestamp) GROUP BY time, failure_type ORDER BY time",
        stacked=True,
    ),
    Panel(
        "Accuracy",
        "Share of the labelled final answers that were right, by the hour of the answer, against labels that came later.",
        "SELECT hour AS time, concat(task, ' ', model_version) AS what, sum(correct) / sum(judged) AS accuracy FROM hourly_quality "
        "WHERE $__timeFilter(hour) AND prediction_type = 'final' AND judged > 0 AND modality IN (${modality:singlequote}) "
        "AND model_version IN (${model_version:singlequote}) GROUP BY time, what ORDER BY time",
        unit="percentunit",
    ),
    Panel(
        "Labels that came",
        "Truths a second; without them accuracy stands still.",
        f"SELECT {BY_TIME}, task, count() AS labels FROM labels WHERE $__timeFilter(timestamp) GROUP BY time, task ORDER BY time",
        stacked=True,
    ),
    Panel(
        "Slowest traces",
        "Records that took longest, with their session.",
        "SELECT TraceId AS traceID, SpanAttributes['session.id'] AS session, SpanName AS what, Timestamp AS begin, Duration / 1e6 AS took_ms "
        "FROM otel_traces WHERE $__timeFilter(Timestamp) AND startsWith(SpanName, 'process ') ORDER BY Duration DESC LIMIT 50",
        "table",
        "ms",
        24,
        10,
    ),
)
VARIABLES = (
    ("modality", "Kind", "SELECT DISTINCT modality FROM input_stream ORDER BY modality"),
    ("model_version", "Model", "SELECT DISTINCT model_version FROM predictions ORDER BY model_version"),
)


def dashboard() -> dict[str, Any]:
    """The whole file."""
    return {
        "uid": "strata",
        "title": "Strata",
        "description": "What a deployment reads, answers and how fast. The console has the sessions themselves.",
        "tags": ["strata"],
        "timezone": "utc",
        "editable": True,
        "schemaVersion": 41,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "graphTooltip": 1,
        "templating": {"list": [variable(*one) for one in VARIABLES]},
        "panels": list(placed()),
    }


def placed() -> list[dict[str, Any]]:
    """Panels on the grid, row by row."""
    x = y = row = 0
    made = []
    for number, panel in enumerate(PANELS, 1):
        if x + panel.width > 24:
            x, y, row = 0, y + row, 0
        made.append(drawn(panel, number, {"x": x, "y": y, "w": panel.width, "h": panel.height}))
        x, row = x + panel.width, max(row, panel.height)
    return made


def drawn(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    """One panel in Grafana's words."""
    is_table = panel.kind == "table"
    custom: dict[str, Any] = {} if is_table else {"lineWidth": 1, "fillOpacity": 18 if panel.stacked else 6, "showPoints": "never"}
    if panel.stacked:
        custom |= {"stacking": {"mode": "normal"}, "drawStyle": "bars", "fillOpacity": 60}
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        custom["thresholdsStyle"] = {"mode": "line"}
        steps.append({"color": "red", "value": panel.limit})
    target = {
        "refId": "A", "datasource": SOURCE, "editorType": "sql", "rawSql": panel.sql, "format": TABLE if is_table else TIME_SERIES,
        "queryType": "table" if is_table else "timeseries",
    }  # fmt: skip
    return {
        "id": number,
        "title": panel.title,
        "description": panel.about,
        "type": panel.kind,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "custom": custom, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": {}
        if is_table
        else {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": [target],
    }


def variable(name: str, label: str, sql: str) -> dict[str, Any]:
    """A choice on top of the dashboard, all by default."""
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "query": sql, "refresh": 2, "includeAll": True, "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]}, "sort": 1,
    }  # fmt: skip


def text() -> str:
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
