"""What is summed up by the hour: which hours have changed, and computing them anew.

Knows hours, counts and the files of sql/rollups; leaves what is summed up to them and when to try again to its caller. An hour is compared
with its rows by count (the projections rows_by_hour answer at once, exactly), computed whole and inserted under a new build; built_hours
remembers the counts from before it was read. So nothing is counted twice or lost, whatever is killed; rows that come meanwhile make the hour due again.
Next: sinks/sql/rollups/answers.sql
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from schemas.errors import StrataError

log = logging.getLogger(__name__)
SHARE, LONGEST_WAIT_S = 8, 60.0
FOLDER = Path(__file__).parent / "sql" / "rollups"
HEADER = re.compile(r"^-- (Reads|After): (.+)$", re.M)
SOURCES = ("predictions", "performance", "failures", "labels", "boundaries", "input_stream", "model_state")
STALE_SHARE, TIDY_EVERY_S = 0.2, 3600.0
ROWS_AT_A_TIME = 5_000_000
"""Hours are computed together up to so many rows: more would need more memory, fewer would ask too often."""
FIRST, LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2299, 12, 31, tzinfo=UTC)
LAST_HOUR = datetime(2106, 2, 7, 6, tzinfo=UTC)
"""The hour column ends here; all that is later falls into it, and all before 1970 into the first hour of 1970."""
SETTINGS = {"min_insert_block_size_rows": 10**9, "min_insert_block_size_bytes": 0, "prefer_column_name_to_alias": 1, "max_threads": 1}
"""An hour goes in as one part, so that it is seen whole or not at all; and a sum may bear the name of what is summed."""


class Database(Protocol):
    """What is needed of ClickHouse."""

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None) -> object: ...

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple]: ...


@dataclass(frozen=True)
class Rollup:
    """One file: an INSERT for some hours."""

    name: str
    sql: str
    reads: tuple[str, ...]
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Due:
    """An hour whose rows have changed since it was built, per table: rows now."""

    hour: datetime
    counts: Mapping[str, int]


def read(folder: Path = FOLDER) -> list[Rollup]:
    """The rollups, each behind those it reads."""
    found = {}
    for path in sorted(folder.glob("*.sql")):
        sql = path.read_text(encoding="utf-8")
        told = {kind: tuple(part.strip() for part in names.split(",")) for kind, names in HEADER.findall(sql)}
        found[path.stem] = Rollup(path.stem, sql, told["Reads"], told.get("After", ()))
    return sorted(found.values(), key=lambda rollup: (len(rollup.after), rollup.name))


def due(database: Database) -> list[Due]:
    """Hours of which some table holds other rows than when they were built, the oldest first. Rows that a TTL took make none due."""
    counted = " UNION ALL ".join(
        f"SELECT '{table}' AS source, toStartOfHour(timestamp) AS hour, count() AS rows FROM {table} GROUP BY hour" for table in SOURCES
    )
    changed = database.rows(
        f"SELECT source, hour, rows FROM ({counted}) AS now "
        "LEFT JOIN (SELECT source, hour, argMax(rows, build) AS rows FROM built_hours GROUP BY source, hour) AS built USING (source, hour) "
        "WHERE now.rows > built.rows ORDER BY hour"
    )
    hours: dict[datetime, dict[str, int]] = {}
    for source, hour, rows in changed:
        hours.setdefault(_utc(hour), {})[source] = rows
    return [Due(hour, counts) for hour, counts in hours.items()]


def refresh(
    database: Database, now_us: Callable[[], int] = lambda: time.time_ns() // 1000, go_on: Callable[[], bool] = lambda: True
) -> int:
    """Compute the hours that are due; returns how many. Stops in between when `go_on` says so. Raises UnavailableError: then call it again."""
    rollups, done = read(), 0
    for group in _groups(due(database)):
        if not _build(database, rollups, group, now_us(), go_on):
            break
        done += len(group)
    return done


def tidy(database: Database) -> int:
    """Delete builds that newer ones have replaced, from tables that hold many such rows; returns how many tables. Merges leave those whose key
    is not in the newer build."""
    found = database.rows(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE 'built\\_%' AND name != 'built_hours' AND total_rows > 0"
    )
    tidied = 0
    for (name,) in found:
        newest = f"(hour, build) IN (SELECT hour, max(build) FROM {name} GROUP BY hour)"
        ((stale, shown),) = database.rows(f"SELECT countIf(NOT ({newest})), countIf({newest}) FROM {name}")
        if stale > STALE_SHARE * shown:
            database.command(f"DELETE FROM {name} WHERE NOT ({newest})")
            tidied += 1
    return tidied


async def keep_up(database: Database, every_s: float, stop: asyncio.Event) -> None:
    """Refresh again and again until `stop`; what fails is told and tried again. Waits 8 times as long as it took, at most LONGEST_WAIT_S."""
    thread, loop, tidied = ThreadPoolExecutor(1, thread_name_prefix="sum up"), asyncio.get_running_loop(), time.monotonic()
    while not stop.is_set():
        started = time.monotonic()
        try:
            await loop.run_in_executor(thread, lambda: refresh(database, go_on=lambda: not stop.is_set()))
            if started - tidied > TIDY_EVERY_S:
                await loop.run_in_executor(thread, tidy, database)
                tidied = time.monotonic()
        except StrataError as problem:
            log.warning("what has changed could not be summed up: %s; tried again", problem)
        try:
            async with asyncio.timeout(max(every_s, min(SHARE * (time.monotonic() - started), LONGEST_WAIT_S))):
                await stop.wait()
        except TimeoutError:
            pass
    thread.shutdown(wait=False)


def _groups(changed: Sequence[Due]) -> Iterator[list[Due]]:
    """Hours to be computed together: of one month, so that an hour's rows land in one part, and not too many rows."""
    group: list[Due] = []
    rows = 0
    for item in changed:
        size = sum(item.counts.values())
        if group and (rows + size > ROWS_AT_A_TIME or (item.hour.year, item.hour.month) != (group[0].hour.year, group[0].hour.month)):
            yield group
            group, rows = [], 0
        group.append(item)
        rows += size
    if group:
        yield group


def _build(database: Database, rollups: Sequence[Rollup], group: Sequence[Due], build: int, go_on: Callable[[], bool]) -> bool:
    """Compute hours; False when told to stop in between, which leaves them due."""
    started = time.monotonic()
    # 1. the hours each table's rows speak of: a label speaks of the hours of its session's answers
    hours = {source: {item.hour for item in group if source in item.counts} for source in SOURCES}
    spoken_of = _hours_labelled(database, hours["labels"]) if hours["labels"] else set()
    # 2. compute them, build by build
    for rollup in rollups:
        wanted = set().union(*(hours[source] for source in rollup.reads if source != "labels"))
        if "labels" in rollup.reads:
            wanted |= spoken_of
        if not go_on():
            return False
        if wanted:
            database.command(rollup.sql, {"build": build, **span(wanted)}, SETTINGS)
    # 3. remember what they were built from
    values = ", ".join(
        f"('{source}', {int(item.hour.timestamp())}, {rows}, {build})" for item in group for source, rows in item.counts.items()
    )
    database.command(f"INSERT INTO built_hours (source, hour, rows, build) VALUES {values}")
    log.debug("summed up %d hours in %.1f s", len(group), time.monotonic() - started)
    return True


def _hours_labelled(database: Database, label_hours: set[datetime]) -> set[datetime]:
    """Hours of the answers of sessions with such labels, and of their first records."""
    sessions = "session_id IN (SELECT session_id FROM labels WHERE toStartOfHour(timestamp) IN {hours:Array(DateTime('UTC'))})"
    asked = (
        f"SELECT toStartOfHour(timestamp) AS hour FROM predictions WHERE {sessions} GROUP BY hour "
        f"UNION DISTINCT SELECT toStartOfHour(min(timestamp)) AS hour FROM input_stream WHERE {sessions} GROUP BY session_id, modality"
    )
    return {_utc(hour) for (hour,) in database.rows(asked, {"hours": _texts(label_hours)})}


def span(hours: set[datetime]) -> dict[str, Any]:
    """Parameters `hours`, and `first` and `end` around them, by which months are left out."""
    first, last = min(hours), max(hours)
    end = LAST if last >= LAST_HOUR else datetime.fromtimestamp(last.timestamp() + 3600, UTC)
    begin = FIRST if first.timestamp() <= 0 else first
    return {"hours": _texts(hours), "first": f"{begin:%Y-%m-%d %H:%M:%S}", "end": f"{end:%Y-%m-%d %H:%M:%S}"}


def _texts(hours: set[datetime]) -> list[str]:
    return [f"{hour:%Y-%m-%d %H:%M:%S}" for hour in sorted(hours)]


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
