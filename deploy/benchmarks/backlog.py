"""A backlog through the whole stack: records written at once, until every one and every session's last answer is in ClickHouse.

Knows what is written, when it is through and what it cost; leaves ratios and goals to end_to_end.py.
Next: deploy/benchmarks/load.py
"""

import asyncio
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson
import psutil

from deploy.benchmarks.contest import BenchError
from deploy.benchmarks.load import Desk, partition_of
from deploy.clickhouse_http import Address, ClickHouse
from deploy.local.state import StackState
from deploy.replay import load_samples

PATIENCE_S = 240.0
POLL_S = 0.2
STEP_S = {"tokens": 0.1, "chat": 1.0, "logs": 0.1, "metrics": 60.0}
"""Event time between two records of a session."""
TABLES = ("input_stream", "predictions", "boundaries", "model_state", "performance", "failures", "otel_traces")
Row = tuple[int, bytes, bytes]


@dataclass(frozen=True)
class Drained:
    """What one backlog took."""

    records: int
    took_s: float
    cpu_s: Mapping[str, float]
    """Of each process of the stack, in that time."""
    rows: Mapping[str, int]
    """Rows in ClickHouse, by table."""

    @property
    def per_s(self) -> float:
        return self.records / self.took_s

    def cpu_us(self, part: str) -> float:
        """Microseconds of a core a record, of the processes whose name begins so."""
        return sum(s for name, s in self.cpu_s.items() if name.startswith(part)) / self.records * 1e6


def records(topic: str, name: str, sessions: int, per_session: int, ends: bool = True) -> Iterable[Row]:
    """(partition, key, value): real streams as JSON of sessions that take turns; where it `ends`, the last record closes its session."""
    samples = load_samples(modalities=(topic,))
    begin = time.time() - per_session * STEP_S[topic]
    homes = [(f"{name}-{i:04d}".encode(), partition_of(f"{name}-{i:04d}"), samples[i % len(samples)].items) for i in range(sessions)]
    for index in range(per_session):
        for number, (key, partition, items) in enumerate(homes):
            item = items[(number * 37 + index) % len(items)]
            value = {"session_id": key.decode(), "timestamp": round(begin + index * STEP_S[topic], 3), **item}
            if ends and index == per_session - 1:
                value["end_of_session"] = True
            yield partition, key, orjson.dumps(value)


def drain(
    stack: StackState, pids: Mapping[str, int], topic: str, sessions: int, per_session: int, patience_s: float = PATIENCE_S
) -> Drained:
    """Write a backlog and wait until it is through. Raises BenchError when it is not in time."""
    name = f"backlog-{uuid.uuid4().hex[:6]}"
    rows = list(records(topic, name, sessions, per_session))
    with_numbers = ClickHouse(Address(stack.clickhouse_url))
    try:
        cpu, began = processor_s(pids), time.monotonic()
        asyncio.run(_fill(stack, topic, rows))
        _until_through(with_numbers, name, len(rows), sessions, per_session, patience_s)
        took_s, used = time.monotonic() - began, processor_s(pids)
        if ended := cpu.keys() - used.keys():
            raise BenchError(
                f"{', '.join(sorted(ended))} ended while the backlog was played and was started anew: not a measurement; see its log"
            )
        by_table = {table: _count(with_numbers, table, name) for table in TABLES if table != "otel_traces"}
    finally:
        with_numbers.close()
    return Drained(len(rows), took_s, {part: used[part] - cpu[part] for part in used.keys() & cpu.keys()}, by_table)


async def _fill(stack: StackState, topic: str, rows: Iterable[Row]) -> None:
    async with Desk(stack.kafka_bootstrap) as desk:
        await desk.fill(stack.topic_prefix + topic, rows)


def _until_through(clickhouse: ClickHouse, name: str, n: int, sessions: int, per_session: int, patience_s: float) -> None:
    """All input rows are there, and of every session an answer about all of it."""
    deadline = time.monotonic() + patience_s
    while True:
        seen = _count(clickhouse, "input_stream", name)
        if seen >= n:
            sql = f"SELECT uniqExact(session_id) AS n FROM predictions WHERE startsWith(session_id, '{name}') AND span_start = 0 AND span_end = {per_session}"
            closed = int(clickhouse.rows(sql)[0]["n"])
            if closed >= sessions:
                return
        if time.monotonic() > deadline:
            raise BenchError(
                f"{seen} of {n} records are in ClickHouse {patience_s:.0f} s after they were written; look at the worker's log"
            )
        time.sleep(POLL_S)


def _count(clickhouse: ClickHouse, table: str, name: str) -> int:
    return int(clickhouse.rows(f"SELECT count() AS n FROM {table} WHERE startsWith(session_id, '{name}')")[0]["n"])


def disk(stack: StackState) -> dict[str, tuple[int, int]]:
    """Table -> rows and bytes on disk, after merging."""
    clickhouse = ClickHouse(Address(stack.clickhouse_url))
    try:
        for table in TABLES:
            clickhouse.ask(f"OPTIMIZE TABLE {table} FINAL")
        sql = "SELECT table, sum(rows) AS rows, sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND database = 'strata' GROUP BY table"
        return {row["table"]: (int(row["rows"]), int(row["bytes"])) for row in clickhouse.rows(sql) if row["table"] in TABLES}
    finally:
        clickhouse.close()


def processor_s(pids: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds of processes so far; one that is gone is left out."""
    found = {}
    for name, pid in pids.items():
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:
            continue
        found[name] = times.user + times.system
    return found


def resident_mb(pids: Mapping[str, int]) -> dict[str, float]:
    """Resident memory of processes, MB."""
    return {name: psutil.Process(pid).memory_info().rss / 1e6 for name, pid in pids.items() if psutil.pid_exists(pid)}
