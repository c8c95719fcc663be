"""What a load needs: workers, writers, partitions, memory, rows and disk; computed from what `strata bench` measured.

Knows the model and its constants; leaves measuring to the parts, whose files it reads. Cores are those of the machine that was measured.
Next: docs/scaling.md
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.benchmarks import results
from deploy.benchmarks.results import Table
from schemas.errors import SettingError

UTILISATION = 0.7
"""Of a core that a process may use on average: above it waiting grows steeply."""
PARTITIONS_PER_WORKER = 4
"""So that workers share them nearly evenly: with k each, one worker has at most 1 / k more than another."""
CHANGELOG_COPIES = 2.0
"""Bytes of the compacted changelog, in rows' bytes: what is not compacted yet is as much again."""


@dataclass(frozen=True)
class Constants:
    """What was measured."""

    worker_us: float
    """Microseconds of a core a piece, worker at 70 % of saturation."""
    writer_us: float
    broker_us: float
    rebuild_us: float
    """Of a core, to prefill the window of a session whose cache was dropped."""
    worker_mb: float
    """Resident memory of a worker with its models, MB."""
    cache_bytes: float
    """Of a hot session."""
    row_bytes: float
    """Of a session's state."""
    rows_per_piece: Mapping[str, float]
    """Table -> rows in ClickHouse."""
    bytes_per_row: Mapping[str, float]
    """Table -> bytes on disk, merged."""


@dataclass(frozen=True)
class Plan:
    """For a load."""

    sessions: int
    pieces_per_s: float
    cache_mb: float
    """Budget of hot caches of each worker."""
    hot_share: float
    """Of the pieces that find their session's cache."""
    workers: int
    writers: int
    broker_cores: int
    partitions: int
    worker_memory_gb: float
    """Of all workers."""
    state_gb: float
    """Rows of all sessions, in the workers' stores and again in the changelog."""
    rows_per_day: float
    disk_gb_per_day: float
    """Of ClickHouse."""


def plan(c: Constants, sessions: int, rate: float, cache_mb: float | None = None) -> Plan:
    """rate: pieces a second of one session. cache_mb: budget of a worker; None makes it as large as its sessions need.

    A session whose turn comes finds its cache with the share of sessions that fit (they take turns, the least recently used go); else its
    window is prefilled first. Workers and share depend on each other: the least number of workers that carries its own misses is taken.
    """
    if rate < 0:
        raise SettingError(f"--rate {rate:g}: wanted pieces a second and session, not below 0")
    pieces = sessions * rate

    def hot_share(workers: int) -> float:
        return 1.0 if cache_mb is None else min(1.0, workers * cache_mb * 1e6 / (c.cache_bytes * sessions))

    def carries(workers: int) -> bool:
        return pieces * (c.worker_us + (1 - hot_share(workers)) * c.rebuild_us) / 1e6 <= UTILISATION * workers

    workers = _least(carries, max(1, math.ceil(pieces * (c.worker_us + c.rebuild_us) / 1e6 / UTILISATION)))
    budget = cache_mb if cache_mb is not None else sessions * c.cache_bytes / workers / 1e6
    used = min(budget, sessions * c.cache_bytes / workers / 1e6)
    rows_per_day = pieces * 86_400 * sum(c.rows_per_piece.values())
    bytes_per_piece = sum(n * c.bytes_per_row.get(table, 0.0) for table, n in c.rows_per_piece.items())
    return Plan(
        sessions,
        pieces,
        budget,
        hot_share(workers),
        workers,
        max(1, math.ceil(pieces * c.writer_us / 1e6 / UTILISATION)),
        max(1, math.ceil(pieces * c.broker_us / 1e6 / UTILISATION)),
        max(8, PARTITIONS_PER_WORKER * workers),
        workers * (c.worker_mb + used) / 1000,
        sessions * c.row_bytes * (1 + CHANGELOG_COPIES) / 1e9,
        rows_per_day,
        pieces * 86_400 * bytes_per_piece / 1e9,
    )


def _least(holds: Any, most: int) -> int:
    """The smallest number from 1 to `most` for which it holds, and from which on it does."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def cores(c: Constants, pieces_per_s: float) -> dict[str, float]:
    """Cores in use at a rate, all sessions hot: what is checked against measured points."""
    return {name: us * pieces_per_s / 1e6 for name, us in (("worker", c.worker_us), ("writer", c.writer_us), ("broker", c.broker_us))}


def constants(folder: Path) -> Constants:
    """From the files of a run. Raises SettingError naming the part that was not measured."""
    tokens, memory, latency = (_part(folder, name) for name in ("tokens", "memory", "latency"))
    high, drained = latency["high"], tokens["drained"]
    rate = sum(h["rate"] for h in high) / len(high)

    def us(begins: str) -> float:
        return sum(sum(v for name, v in h["cores"].items() if name.startswith(begins)) for h in high) / len(high) / rate * 1e6

    tables = drained[-1]["rows"]
    return Constants(
        us("worker"),
        us("sink"),
        us("broker"),
        memory["rebuild_ms_median"] * 1000,
        memory["loaded_mb"],
        memory["cache_bytes"],
        memory["row_bytes_median"],
        {table: n / drained[-1]["records"] for table, n in tables.items()},
        {table: found["bytes"] / max(found["rows"], 1) for table, found in tokens["disk"].items()},
    )


def _part(folder: Path, name: str) -> Mapping[str, Any]:
    file = folder / f"{name}.json"
    if not file.exists():
        raise SettingError(f"--plan needs {file}: run `strata bench --only {name}` first, or name the folder of an earlier run with --out")
    return results.load(file).data


def rows(p: Plan) -> list[list[str]]:
    """The plan as people read it."""
    return [
        ["open sessions", f"{p.sessions:,}"],
        ["pieces a second", f"{p.pieces_per_s:,.0f}"],
        ["workers, a core each", f"{p.workers:,}"],
        ["writers", f"{p.writers:,}"],
        ["cores of brokers", f"{p.broker_cores:,}"],
        ["partitions", f"{p.partitions:,}"],
        ["cache budget of a worker, MB", f"{p.cache_mb:,.0f}"],
        ["pieces that find a hot cache", f"{100 * p.hot_share:.0f} %"],
        ["memory of the workers, GB", f"{p.worker_memory_gb:,.0f}"],
        ["session state with changelog, GB", f"{p.state_gb:,.1f}"],
        ["rows in ClickHouse a day", f"{p.rows_per_day:,.0f}"],
        ["disk of ClickHouse a day, GB", f"{p.disk_gb_per_day:,.1f}"],
    ]


def checked(c: Constants, points: Sequence[Mapping[str, Any]]) -> Table:
    """Measured points of the latency part beside what the model says of them; the constants are from another point of it."""
    begins = {"worker": "worker", "writer": "sink", "broker": "broker"}
    found = []
    for point in points:
        told = cores(c, point["rate"])
        seen = {name: sum(v for process, v in point["cores"].items() if process.startswith(b)) for name, b in begins.items()}
        found.append([f"{point['rate']:,.0f}", *(f"{told[name]:.2f} / {seen[name]:.2f}" for name in begins)])
    return Table("Cores in use, computed / measured", ["pieces/s", *begins], found)


LOADS = ((1_000, 10.0, None), (100_000, 0.1, None), (1_000_000, 0.1, None), (1_000_000, 0.1, 512.0), (1_000_000, 1.0, None))
"""Of the page: sessions, pieces a second of each, cache budget of a worker in MB (None: as large as needed)."""


def tables(folder: Path) -> list[Table]:
    """Plans for some loads, the constants, and measured points beside computed ones; none before all that is needed was measured."""
    try:
        c = constants(folder)
    except SettingError:
        return []
    plans = [rows(plan(c, *load)) for load in LOADS]
    side_by_side = [[cells[0][0], *(cell[1] for cell in cells)] for cells in zip(*plans)]
    head, *body = side_by_side
    mean = {"worker": c.worker_us, "writer": c.writer_us, "broker": c.broker_us, "rebuild of a dropped cache": c.rebuild_us}
    measured = [[f"{name}, core us" + ("" if "rebuild" in name else " a piece"), f"{us:,.0f}"] for name, us in mean.items()]
    measured += [
        ["a worker with its models, MB", f"{c.worker_mb:,.0f}"],
        ["a hot session's cache, bytes", f"{c.cache_bytes:,.0f}"],
        ["a session's state row, bytes", f"{c.row_bytes:,.0f}"],
        ["rows in ClickHouse a piece", f"{sum(c.rows_per_piece.values()):.2f}"],
        ["bytes of them on disk", f"{sum(n * c.bytes_per_row.get(table, 0.0) for table, n in c.rows_per_piece.items()):,.0f}"],
    ]
    curve = _part(folder, "latency")["curve"]
    return [
        Table("Constants, as measured", ["", "seen"], measured),
        checked(c, [p for p in curve if p["share"] < 1]),
        Table("What a load needs", head, body),
    ]
