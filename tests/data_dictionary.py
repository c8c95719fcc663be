"""docs/data-dictionary.md from the migrations: `python -m tests.data_dictionary` writes it, tests/sinks/test_data_dictionary.py compares.

The migrations run in the engine, which then tells tables, columns and types. Meanings: of events the .avsc files', of what is summed up the migrations' own.
"""

import json
import re
from pathlib import Path

from schemas.codec import schema_text
from schemas.topics import TOPICS
from sinks import migrations
from sinks.clickhouse import MEMORY, Address, ClickHouse
from sinks.rows import COLUMNS, COMMON

PAGE = Path(__file__).resolve().parents[1] / "docs" / "data-dictionary.md"
HEAD = """# Data dictionary

Tables of the database `strata`, in the order of their migrations (`sinks/sql/tables/`). Made by `python -m tests.data_dictionary`.
Events and labels are kept for ever unless `STRATA_RETENTION_DAYS` says otherwise (docs/evaluation.md).
Tables `built_*` hold what is summed up by the hour, several builds of an hour at times; read the view named with each, which shows the newest.
"""
CREATED = re.compile(r"((?:^--.*\n)*)^CREATE TABLE IF NOT EXISTS (\w+)", re.M)
UNSAID = {
    "otel_traces_trace_id_ts": "The first and last moment of each trace, as the OpenTelemetry Collector's exporter keeps it.",
    "built_hours": "From how many rows of each table an hour was computed; one that holds more by now is computed anew.",
}
"""Tables without a comment of their own."""
LATER = {"one of 256 by the hash": "one of 64 by the hash"}
"""What a later migration changed in the words of an earlier one, which stays as it is."""
FORGET = "To forget after a while"


def page(database: ClickHouse) -> str:
    """The whole page, from a migrated database."""
    told = meanings()
    lines = [HEAD.rstrip()]
    views = dict(
        database.rows(
            "SELECT extract(as_select, 'FROM \\\\w+\\\\.(\\\\w+)'), name FROM system.tables WHERE database = currentDatabase() AND engine = 'View'"
        )
    )
    for name, purpose in tables():
        columns = database.rows(
            f"SELECT name, type, default_kind, comment FROM system.columns WHERE database = currentDatabase() AND table = '{name}' ORDER BY position"
        )
        ((key, partition),) = database.rows(
            f"SELECT sorting_key, partition_key FROM system.tables WHERE database = currentDatabase() AND name = '{name}'"
        )
        lines += [
            "",
            f"## {name}",
            "",
            purpose,
            "",
            f"Ordered by {key}"
            + (f", parted by {partition}" if partition else "")
            + (f". Read the view `{views[name]}`." if name in views else "."),
            "",
        ]
        lines += ["| column | type | meaning |", "|---|---|---|"]
        for column, kind, default, comment in columns:
            meaning = comment or told.get((name, column), told["input_stream", column] if column in COMMON and name == "labels" else "")
            lines.append(f"| `{column}` | {kind} | {meaning + (' Computed from the others.' if default == 'MATERIALIZED' else '')} |")
    return "\n".join(lines) + "\n"


def tables() -> list[tuple[str, str]]:
    """Tables as the migrations make them, each with the comment above it."""
    found = []
    for migration in migrations.read():
        for comment, name in CREATED.findall(migration.sql):
            said = [line[2:].strip() for line in comment.splitlines() if FORGET not in line]
            purpose = " ".join(said) or UNSAID[name]
            for before, now in LATER.items():
                purpose = purpose.replace(before, now)
            found.append((name, purpose))
    return found


def meanings() -> dict[tuple[str, str], str]:
    """(table, column) -> what the schema of the table's record says of the field."""
    return {
        (topic.record, field["name"]): field["doc"]
        for topic in TOPICS
        if topic.record in COLUMNS
        for field in json.loads(schema_text(str(topic.record)))["fields"]
    }


if __name__ == "__main__":
    opened = ClickHouse(Address(MEMORY))
    migrations.migrate(opened, migrations.read())
    PAGE.write_text(page(opened), encoding="utf-8")
    opened.close()
