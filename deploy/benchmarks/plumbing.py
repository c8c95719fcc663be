"""Plumbing alone: the worker with a model that is nothing, beside Faust, Quix Streams and a loop by hand, on the same work.

Knows rounds and medians; leaves one run to contest.py.
Next: deploy/benchmarks/contest.py
"""

import asyncio
import statistics
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deploy.benchmarks import contest
from deploy.benchmarks.contest import BY_HAND, CONTENDERS, FAUST, QUIX, SPINE, Contender, Run
from deploy.benchmarks.ground import Ground
from deploy.benchmarks.load import Desk
from deploy.benchmarks.results import Goal, Result, Table

RECORDS, QUICK_RECORDS = 400_000, 60_000
GOALS = ((FAUST, 20.0), (QUIX, 7.0), (BY_HAND, 0.9))
"""Times the records a second of each, of the worker with the same outputs."""


@dataclass(frozen=True)
class Standing:
    """One program's medians over the rounds."""

    name: str
    title: str
    records_per_s: float
    cpu_s_per_100k: float
    rss_mb: float
    times_records: float | None
    """The worker's records a second, as a multiple of this program's, median of the rounds'."""
    times_cpu: float | None
    """This program's CPU seconds, as a multiple of the worker's."""


def measure(ground: Ground) -> Result:
    """All programs in turn."""
    bootstrap, peers = ground.bootstrap(), ground.peers()
    runs = asyncio.run(rounds(ground, bootstrap, peers, CONTENDERS, QUICK_RECORDS if ground.quick else RECORDS))
    standings = standing(runs)
    by_name = {s.name: s for s in standings}
    goals = [Goal("plumbing, records/s", c.title, by_name[c.name].times_records or 0.0, wanted) for c, wanted in GOALS if c.name in by_name]
    goals += [
        Goal("plumbing, CPU seconds a record", c.title, by_name[c.name].times_cpu or 0.0, wanted)
        for c, wanted in GOALS
        if c.name in by_name
    ]
    return Result(
        "plumbing",
        "the worker without a model beside others on the same work",
        goals,
        [table(standings)],
        notes=[NOTE],
        data={"runs": [asdict(r) for r in runs], "programs": [asdict(s) for s in standings]},
    )


NOTE = """JSON records of 1,000 sessions in, a row per session with its changelog, one output for ten records of a session, at least once, commits every
second. A program starts on an empty topic, warms up, sleeps while the backlog is written, and goes on; from there to Kafka's time of its last output or
changelog row is measured, CPU and memory are its own. *Faust* is as it comes with sensible settings (faust_one_by_one.py), *Quix Streams* with its own and no
guard against replays (peers/quix_loop.py), *aiokafka by hand* keeps a dict and has no recovery, no rebalance, no failures (aiokafka_loop.py).
*Strata, the same outputs* is `python -m streams` with the null model, only predictions sampled; *all rows and spans* with default sampling."""


async def rounds(ground: Ground, bootstrap: str, peers: Path | None, contenders: Sequence[Contender], count: int) -> list[Run]:
    """All runs, the programs in turn, the order turned round every second time."""
    found: list[Run] = []
    for number in range(ground.rounds):
        for contender in contenders if number % 2 == 0 else list(reversed(contenders)):
            found.append(await one(ground, bootstrap, peers, contender, count, f"round {number + 1} of {ground.rounds}"))
    return found


async def one(ground: Ground, bootstrap: str, peers: Path | None, contender: Contender, count: int, said: str, **how: Any) -> Run:
    """One run on topics of its own, which are removed."""
    ground.progress.doing(f"{said}: {contender.title}")
    prefix = f"bench-{uuid.uuid4().hex[:8]}-"
    async with Desk(bootstrap) as desk:
        try:
            folder = ground.folder / prefix.rstrip("-")
            found = await contest.run(contender, desk, bootstrap, prefix, count, folder, ground.clean(), peers, **how)
        finally:
            await desk.remove(prefix)
    ground.progress.done()
    ground.progress.line(f"{contender.title}: {found.records_per_s:,.0f} records/s, {found.cpu_s_per_100k:.2f} CPU s per 100,000")
    return found


def standing(runs: Sequence[Run]) -> list[Standing]:
    """Medians of each program. Ratios are medians over the rounds of each round's ratio: its runs had the same neighbours."""
    by_name = {c.name: [r for r in runs if r.contender == c.name] for c in CONTENDERS}
    found = []
    for contender in CONTENDERS:
        own = by_name[contender.name]
        if not own:
            continue
        pairs = list(zip(by_name[SPINE.name], own, strict=False))
        found.append(
            Standing(
                contender.name,
                contender.title,
                statistics.median(r.records_per_s for r in own),
                statistics.median(r.cpu_s_per_100k for r in own),
                statistics.median(r.rss_mb for r in own),
                statistics.median(s.records_per_s / r.records_per_s for s, r in pairs) if pairs else None,
                statistics.median(r.cpu_s_per_100k / s.cpu_s_per_100k for s, r in pairs) if pairs else None,
            )
        )
    return found


def table(standings: Sequence[Standing]) -> Table:
    """The programs, absolute and beside the worker."""

    def times(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}"

    head = ["program", "records/s", "CPU s per 100,000", "RSS MB", "Strata: times its records/s", "Strata: times less CPU"]
    rows = [
        [s.title, f"{s.records_per_s:,.0f}", f"{s.cpu_s_per_100k:.2f}", f"{s.rss_mb:.0f}", times(s.times_records), times(s.times_cpu)]
        for s in standings
    ]
    return Table("Plumbing alone", head, rows)
