"""How long rows are kept: a TTL per table, as the settings say.

Knows tables and their time columns; leaves dropping to ClickHouse, which drops whole parts in its own time. By event time: an old recording
that is played today is as old as it says. What is summed up by the hour outlives the rows it came from.
"""

import logging
from collections.abc import Mapping

from schemas.errors import SettingError
from sinks.clickhouse import ClickHouse
from sinks.rows import COLUMNS

log = logging.getLogger(__name__)
TTLS = """SELECT name, extract(engine_full, 'TTL (.+?)(?: SETTINGS|$)') FROM system.tables
WHERE database = currentDatabase() AND engine = 'ReplacingMergeTree' ORDER BY name"""
HOURLY = "hourly"
"""In the settings: all that is summed up."""


def apply(database: ClickHouse, days: Mapping[str, int]) -> None:
    """Give each table that is named its TTL, or with 0 days take it away; others stay as they are. Raises SettingError, UnavailableError."""
    if unknown := sorted(set(days) - set(COLUMNS) - {HOURLY}):
        raise SettingError(f"setting retention_days names table {unknown[0]!r}; wanted one of {', '.join([*COLUMNS, HOURLY])}")
    if wrong := sorted(name for name, count in days.items() if count < 0):
        raise SettingError(f"setting retention_days of {wrong[0]}: got {days[wrong[0]]}, wanted days, or 0 to keep its rows for ever")
    there = dict(database.rows(TTLS))
    for name, ttl in there.items():
        kept = days.get(HOURLY if name.startswith("built_") else name)
        if kept is None or name == "built_hours":
            continue
        column = "hour" if name.startswith("built_") else "Timestamp" if name == "otel_traces" else "timestamp"
        wanted = f"toDateTime({column}) + toIntervalDay({kept})" if kept else ""
        if wanted != ttl:
            database.command(f"ALTER TABLE {name} " + (f"MODIFY TTL {wanted}" if wanted else "REMOVE TTL"))
            log.info("rows of %s are %s", name, f"dropped {kept} days after their event time" if kept else "kept for ever")
