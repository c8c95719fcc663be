"""What the demo asks ClickHouse: totals of earlier runs, rows of its own sessions, the summary at its end.

Knows SQL over the tables of the contract; leaves the connection to clickhouse_http.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.clickhouse_http import ClickHouse

MODALITIES = ("tokens", "chat", "logs", "metrics")


@dataclass(frozen=True)
class Totals:
    """How much is stored."""

    sessions: int
    items: int


def earlier(clickhouse: ClickHouse) -> Totals:
    """All sessions and items stored so far."""
    row = clickhouse.rows("SELECT uniqExact(modality, session_id) AS sessions, count() AS items FROM input_stream")[0]
    return Totals(int(row["sessions"]), int(row["items"]))


def highest_numbers(clickhouse: ClickHouse) -> dict[str, int]:
    """Name -> highest number of the session ids `name-number` stored, whoever wrote them."""
    sql = (
        "SELECT replaceRegexpOne(session_id, '-[0-9]{1,9}$', '') AS name, max(toUInt32OrZero(extract(session_id, '-([0-9]{1,9})$'))) AS highest "
        "FROM input_stream GROUP BY name HAVING highest > 0"
    )
    return {row["name"]: int(row["highest"]) for row in clickhouse.rows(sql)}


def stored_rows(clickhouse: ClickHouse, ids: Sequence[str]) -> dict[str, int]:
    """Rows of these sessions in each table."""
    tables = ("input_stream", "predictions", "boundaries")
    parts = (f"SELECT '{table}' AS name, count() AS n FROM {table} WHERE session_id IN ({quoted(ids)})" for table in tables)
    found = {row["name"]: int(row["n"]) for row in clickhouse.rows(" UNION ALL ".join(parts))}
    return {table: found.get(table, 0) for table in tables}


def quoted(ids: Sequence[str]) -> str:
    """A list of SQL strings."""
    return ", ".join("'" + i.replace("\\", "\\\\").replace("'", "\\'") + "'" for i in ids) or "''"


def summary(clickhouse: ClickHouse, ids: Sequence[str], console: Console) -> None:
    """What this run left in ClickHouse, and where to go from here."""
    mine = f"session_id IN ({quoted(ids)})"
    items = {
        r["modality"]: r
        for r in clickhouse.rows(
            f"SELECT modality, uniqExact(session_id) AS sessions, count() AS items FROM input_stream WHERE {mine} GROUP BY modality"
        )
    }
    answers = {
        r["modality"]: r
        for r in clickhouse.rows(
            "SELECT modality, count() AS predictions, countIf(task = 'anomaly' AND label = 'anomaly' AND span_end = span_start + 1) AS anomalies, "
            "quantileExact(0.5)(latency_ms) AS p50, quantileExact(0.99)(latency_ms) AS p99 "
            f"FROM predictions WHERE {mine} GROUP BY modality"
        )
    }
    edges = {
        (r["modality"], r["boundary_type"]): int(r["n"])
        for r in clickhouse.rows(
            f"SELECT modality, boundary_type, count() AS n FROM boundaries WHERE {mine} GROUP BY modality, boundary_type"
        )
    }
    title = "This run, as ClickHouse has it"
    table = Table(
        box=box.SIMPLE_HEAD,
        header_style="bold",
        pad_edge=False,
        padding=0,
        show_edge=False,
        title=title,
        title_justify="left",
        title_style="",
    )
    for name in ("stream", "sessions", "items", "sentences", "paragr.", "topics", "answers", "anomalies", "p50 ms", "p99 ms"):
        table.add_column(name, justify="left" if name == "stream" else "right", no_wrap=True)
    for modality in MODALITIES:
        if modality in items:
            row, told = items[modality], answers.get(modality, {})
            counts = [edges.get((modality, kind), 0) for kind in ("sentence", "paragraph", "topic")]
            numbers = [row["sessions"], row["items"], *counts, told.get("predictions", 0), told.get("anomalies", 0)]
            late = [f"{float(told[q]):.0f}" if q in told else "" for q in ("p50", "p99")]
            table.add_row(modality, *(f"{int(n):,}" if int(n) else "·" for n in numbers), *late)
    console.print()
    console.print(table)
    console.print()
    total = earlier(clickhouse)
    console.print(f"Stored in all: {total.sessions:,} sessions, {total.items:,} items.", highlight=False)


def examples(ids: Sequence[str]) -> list[str]:
    """Commands worth trying next."""
    text = next((i for i in ids if i.startswith("visit")), ids[0] if ids else "SESSION")
    return [
        f"strata inspect {text}",
        'strata query "SELECT task, label, count() FROM predictions GROUP BY ALL ORDER BY 1, 3 DESC"',
        "strata query \"SELECT position, context_after FROM boundaries WHERE boundary_type = 'topic' LIMIT 5\"",
        "strata query \"SELECT session_id, timestamp, value FROM predictions WHERE label = 'anomaly' LIMIT 5\"",
        'strata query "SELECT modality, quantiles(0.5, 0.99)(latency_ms) FROM predictions GROUP BY modality"',
    ]


def print_examples(ids: Sequence[str], running: bool, console: Console) -> None:
    """The commands, one a line, ready to be copied."""
    console.print("Try next:" if running else "Start the stack again with `strata up`, then try:", highlight=False)
    for line in examples(ids):
        console.print(Text("  " + line), soft_wrap=True)
