"""End to end, Kafka to ClickHouse with everything on: tokens beside plumbing and model alone; logs, metrics; several workers.

Knows rounds, medians and goals; leaves a backlog to backlog.py.
Next: deploy/benchmarks/backlog.py
"""

import asyncio
import statistics
from typing import Any

from deploy.benchmarks import backlog, plumbing
from deploy.benchmarks.backlog import Drained
from deploy.benchmarks.contest import SPINE_ALL
from deploy.benchmarks.ground import Ground
from deploy.benchmarks.results import Goal, Plot, Result, Series, Table, figure

SESSIONS = 128
PER_SESSION, QUICK_PER_SESSION = 360, 40
"""Some fifteen seconds: the writer waits up to one for its last rows, whatever was written."""
ALONE_S, QUICK_ALONE_S = 10.0, 2.0
WARM_UP = 40
PLUMBING_RECORDS, QUICK_PLUMBING_RECORDS = 200_000, 40_000
WORKERS = (1, 2, 4)
SIDES = {"worker": "worker", "writer": "sink", "broker": "broker", "console": "console"}
"""What people call the processes, and how their names begin."""


def tokens(ground: Ground) -> Result:
    """Tokens a second of the whole, beside the least of its parts."""
    bootstrap, per_session = ground.bootstrap(), QUICK_PER_SESSION if ground.quick else PER_SESSION
    drained, lanes, one_core, both = list[Drained](), list[float](), list[float](), list[float]()
    for number in range(ground.rounds):
        said = f"round {number + 1} of {ground.rounds}"
        count = QUICK_PLUMBING_RECORDS if ground.quick else PLUMBING_RECORDS
        lanes.append(asyncio.run(plumbing.one(ground, bootstrap, None, SPINE_ALL, count, said)).records_per_s)
        flags = ("--sessions", SESSIONS, "--seconds", QUICK_ALONE_S if ground.quick else ALONE_S)
        one_core.append(ground.model("alone", *flags, cpus={0})["pieces_per_s"])
        both.append(ground.model("alone", *flags)["pieces_per_s"])
        with ground.stack() as stack:
            pids = ground.pids(stack)
            _warm(ground, stack, pids, "tokens")
            ground.progress.doing(f"{said}: {SESSIONS * per_session:,} tokens end to end")
            drained.append(backlog.drain(stack, pids, "tokens", SESSIONS, per_session))
            ground.progress.line(f"end to end: {drained[-1].per_s:,.0f} tokens/s")
            if number == ground.rounds - 1:
                on_disk, memory = backlog.disk(stack), backlog.resident_mb(pids)
    least = [min(lane, model) for lane, model in zip(lanes, one_core)]
    share = statistics.median(d.per_s / m for d, m in zip(drained, least))
    middle = statistics.median(d.per_s for d in drained)
    goals = [
        Goal("end to end, Kafka to ClickHouse, everything on", "least of plumbing and model alone on one core", 100 * share, 70.0, "%"),
        Goal("end to end, Kafka to ClickHouse, everything on", "", middle, 3000.0, "tokens/s"),
    ]
    rows = [
        ["plumbing alone, all rows and spans, records/s", figure(statistics.median(lanes))],
        ["model alone on one core, pieces/s", figure(statistics.median(one_core))],
        ["model alone on all cores, pieces/s", figure(statistics.median(both))],
        ["end to end, tokens/s", figure(middle)],
    ]
    note = f"""A token is a record of topic `tokens`: a piece of real text, about two tokens of the model's. {SESSIONS} sessions of {per_session} pieces each, written at once;
from there until every piece and every session's last answer is seen by a SELECT. Event time runs at ten pieces a second and session, so answers are as many as in a live stream."""
    data = {
        "drained": [_data(d) for d in drained],
        "plumbing_per_s": lanes,
        "model_one_core_per_s": one_core,
        "model_all_cores_per_s": both,
        "disk": {name: {"rows": rows_, "bytes": size} for name, (rows_, size) in on_disk.items()},
        "resident_mb": memory,
        "sessions": SESSIONS,
        "pieces_per_session": per_session,
    }
    tables = [Table("Tokens end to end", ["", "median"], rows), _cost(drained), _kept(drained[-1], on_disk)]
    return Result("tokens", "tokens a second from Kafka to ClickHouse", goals, tables, notes=[note], data=data)


def logs(ground: Ground) -> Result:
    """Lines a second of the whole."""
    return _one_topic(ground, "logs", "lines", 10_000.0, 50, 100 if ground.quick else 800)


def metrics(ground: Ground) -> Result:
    """Points a second of the whole."""
    return _one_topic(ground, "metrics", "points", 20_000.0, 50, 100 if ground.quick else 1600)


def _one_topic(ground: Ground, topic: str, what: str, wanted: float, sessions: int, per_session: int) -> Result:
    drained = []
    with ground.stack() as stack:
        pids = ground.pids(stack)
        _warm(ground, stack, pids, topic)
        for number in range(ground.rounds):
            ground.progress.doing(f"round {number + 1} of {ground.rounds}: {sessions * per_session:,} {what} end to end")
            drained.append(backlog.drain(stack, pids, topic, sessions, per_session))
            ground.progress.line(f"end to end: {drained[-1].per_s:,.0f} {what}/s")
        on_disk = backlog.disk(stack)
    goals = [
        Goal(
            f"{topic}, end to end, all predictions on",
            "",
            statistics.median(d.per_s for d in drained),
            wanted,
            f"{what}/s",
        )
    ]
    note = f"{sessions} sessions of {per_session} {what} each, real ones, written at once; until each one and every session's last answer is seen by a SELECT."
    data = {"drained": [_data(d) for d in drained], "disk": {name: {"rows": n, "bytes": size} for name, (n, size) in on_disk.items()}}
    return Result(
        topic, f"{what} a second from Kafka to ClickHouse", goals, [_cost(drained), _kept(drained[-1], on_disk)], notes=[note], data=data
    )


def workers(ground: Ground) -> Result:
    """The same backlog with one, two and four workers."""
    per_session = QUICK_PER_SESSION if ground.quick else PER_SESSION
    found: dict[int, list[Drained]] = {n: [] for n in WORKERS}
    for number in range(ground.rounds):
        for n in WORKERS:
            with ground.stack(workers=n) as stack:
                pids = ground.pids(stack)
                _warm(ground, stack, pids, "tokens")
                ground.progress.doing(f"round {number + 1} of {ground.rounds}: {n} workers, {SESSIONS * per_session:,} tokens end to end")
                found[n].append(backlog.drain(stack, pids, "tokens", SESSIONS, per_session))
                ground.progress.line(f"{n} workers: {found[n][-1].per_s:,.0f} tokens/s")
    rates = {n: statistics.median(d.per_s for d in ds) for n, ds in found.items()}
    cost = {n: statistics.median(d.cpu_us("worker") for d in ds) for n, ds in found.items()}
    ratio = {n: statistics.median(d.per_s / o.per_s for d, o in zip(ds, found[1])) for n, ds in found.items()}
    rows = [[str(n), figure(rates[n]), f"{ratio[n]:.2f}", figure(cost[n])] for n in WORKERS]
    table = Table("Workers of one machine", ["workers", "tokens/s", "times one worker", "workers' core us a token"], rows)
    plot = Plot(
        "workers",
        "Tokens a second against workers on one machine",
        "workers",
        "tokens a second, Kafka to ClickHouse",
        [Series("end to end", list(WORKERS), [rates[n] for n in WORKERS])],
    )
    note = "All workers, broker, writer and console share the cores of one machine: what more workers bring here is bounded by them."
    data = {"drained": {n: [_data(d) for d in ds] for n, ds in found.items()}}
    return Result("workers", "one, two and four workers", [], [table], [plot], notes=[note], data=data)


def _warm(ground: Ground, stack: Any, pids: dict[str, int], topic: str) -> None:
    ground.progress.doing(f"warming up with {topic}")
    backlog.drain(stack, pids, topic, 16, WARM_UP)
    ground.progress.done()


def _cost(drained: list[Drained]) -> Table:
    """Where the cores go. What a core would carry is the rate that a process has to itself: a machine's other work slows the clock, less so CPU time."""
    rows = []
    for name, begins in SIDES.items():
        us = statistics.median(d.cpu_us(begins) for d in drained)
        share = statistics.median(_share(d, begins) for d in drained)
        rows.append([name, figure(us), f"{share:.2f}", figure(1e6 / us) if us else ""])
    return Table("Cost of a record", ["process", "core us a record", "cores in use meanwhile", "records/s that a core would carry"], rows)


def _share(drained: Drained, begins: str) -> float:
    return drained.cpu_us(begins) / 1e6 * drained.per_s


def _kept(drained: Drained, on_disk: dict[str, tuple[int, int]]) -> Table:
    """Rows of a record in ClickHouse, and their bytes."""
    rows = [
        [table, f"{drained.rows.get(table, 0) / drained.records:.3f}" if table in drained.rows else "", f"{size / max(n, 1):.0f}"]
        for table, (n, size) in sorted(on_disk.items())
    ]
    return Table("What ClickHouse keeps", ["table", "rows a record", "bytes a row on disk, merged"], rows)


def _data(drained: Drained) -> dict[str, Any]:
    return {
        "records": drained.records,
        "took_s": drained.took_s,
        "per_s": drained.per_s,
        "cpu_us": {name: drained.cpu_us(begins) for name, begins in SIDES.items()},
        "rows": dict(drained.rows),
    }
