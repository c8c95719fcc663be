"""A worker with nothing to do but 1,000 open sessions, and one that starts.

Knows what is waited for; leaves processes to ground.py and contest.py.
Next: deploy/benchmarks/ground.py
"""

import asyncio
import statistics
import time
import uuid
from typing import Any

from deploy.benchmarks import backlog, contest
from deploy.benchmarks.contest import SPINE, BenchError, Contender, Where
from deploy.benchmarks.end_to_end import SIDES
from deploy.benchmarks.ground import Ground
from deploy.benchmarks.load import PARTITIONS, Desk
from deploy.benchmarks.results import Goal, Result, Table, figure
from deploy.local import topics
from schemas.topics import app_id

OPEN_SESSIONS, PIECES = 1000, 5
SETTLE_S, IDLE_S, QUICK_IDLE_S = 8.0, 30.0, 6.0
PATIENCE_S = 120.0
FIRST_S = 60.0
WORKER = Contender("worker", "Strata, one worker", SPINE.places, SPINE.command, {}, creates_topics=True)


def measure(ground: Ground) -> Result:
    """Idle CPU and memory of a stack, then starts of a worker."""
    sessions, idle_s = (100, QUICK_IDLE_S) if ground.quick else (OPEN_SESSIONS, IDLE_S)
    with ground.stack() as stack:
        pids = ground.pids(stack)
        resting = _use(pids, SETTLE_S / 2, ground)
        ground.progress.doing(f"opening {sessions:,} sessions")
        asyncio.run(_open(stack.kafka_bootstrap, stack.topic_prefix, sessions))
        time.sleep(SETTLE_S)
        ground.progress.doing(f"{sessions:,} open sessions and nothing to do, {idle_s:g} s")
        used, memory = _use(pids, idle_s, ground), backlog.resident_mb(pids)
    starts = [_start(ground, f"start {n + 1} of {ground.rounds}") for n in range(ground.rounds)]
    goals = [
        Goal(f"CPU of an idle worker, {sessions:,} open sessions", "one core", 100 * _of(used, "worker"), 3.0, "%", at_most=True),
        Goal("start of a worker to first prediction, weights on disk", "", statistics.median(starts), 5.0, "s", at_most=True),
    ]
    rows = [
        [name, f"{100 * _of(resting, begins):.1f}", f"{100 * _of(used, begins):.1f}", figure(_of(memory, begins))]
        for name, begins in SIDES.items()
    ]
    head = ["process", "% of a core, no session yet", f"% of a core, {sessions:,} sessions", "MB resident"]
    note = "From the start of `python -m streams` to Kafka's append of the first prediction, a finished session waiting in the topic."
    data = {"idle": used, "resting": resting, "resident_mb": memory, "starts_s": starts, "sessions": sessions, "pieces": PIECES}
    return Result("idle", "idle, and started", goals, [Table("Idle", head, rows)], notes=[note], data=data)


def _of(by_process: dict[str, float], begins: str) -> float:
    return sum(value for name, value in by_process.items() if name.startswith(begins))


def _use(pids: dict[str, int], seconds: float, ground: Ground) -> dict[str, float]:
    """Cores in use of each process."""
    before, began = backlog.processor_s(pids), time.monotonic()
    time.sleep(seconds)
    after, took_s = backlog.processor_s(pids), time.monotonic() - began
    return {name: (after[name] - before[name]) / took_s for name in after.keys() & before.keys()}


async def _open(bootstrap: str, prefix: str, sessions: int) -> None:
    rows = list(backlog.records("tokens", f"open-{uuid.uuid4().hex[:6]}", sessions, PIECES, ends=False))
    async with Desk(bootstrap) as desk:
        await desk.fill(prefix + "tokens", rows)
        deadline = time.monotonic() + PATIENCE_S
        while (done := await desk.committed(app_id(prefix), prefix + "tokens")) < (end := await desk.end(prefix + "tokens")):
            if time.monotonic() > deadline:
                raise BenchError(f"the worker has committed {done} of {end} records {PATIENCE_S:.0f} s after they were written")
            await asyncio.sleep(0.2)


def _start(ground: Ground, said: str) -> float:
    """Seconds from the start of the process to its first prediction."""
    ground.progress.doing(said)
    bootstrap, prefix = ground.bootstrap(), f"bench-{uuid.uuid4().hex[:8]}-"
    topics.create_missing(bootstrap, prefix, PARTITIONS)
    folder = ground.folder / prefix.rstrip("-")
    took_s: float = asyncio.run(_first(ground, bootstrap, prefix, Where(bootstrap, WORKER.places(prefix), folder, None)))
    ground.progress.done()
    ground.progress.line(f"{said}: {took_s:.2f} s to the first prediction")
    return took_s


async def _first(ground: Ground, bootstrap: str, prefix: str, where: Where) -> Any:
    async with Desk(bootstrap) as desk:
        try:
            await desk.fill(where.places.source, backlog.records("tokens", "first", 1, 30))
            began, began_ms = time.monotonic(), time.time() * 1000
            with contest.process_of(WORKER, where, prefix, ground.clean()):
                while not await desk.end(where.places.target):
                    if time.monotonic() - began > FIRST_S:
                        raise BenchError(f"no prediction {FIRST_S:.0f} s after the worker was started; see {where.folder / 'log'}")
                    await asyncio.sleep(0.02)
                first = (await desk.read(where.places.target))[0]
            return (first.timestamp - began_ms) / 1000
        finally:
            await desk.remove(prefix)
