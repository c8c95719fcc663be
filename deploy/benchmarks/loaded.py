"""Latency against load, up to saturation and beyond; beside Quix Streams that hands records through, and beside a simulated queue.

Knows rates, rounds and goals; leaves sending to open_loop.py, the queue to simulation.py.
Next: deploy/benchmarks/open_loop.py
"""

import asyncio
import contextlib
import statistics
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deploy.benchmarks import backlog, contest, open_loop, simulation
from deploy.benchmarks.contest import Contender, Where, quix, quix_places
from deploy.benchmarks.ground import Ground
from deploy.benchmarks.load import Desk
from deploy.benchmarks.open_loop import Spread
from deploy.benchmarks.results import Goal, Plot, Result, Series, Table, figure
from deploy.local.state import StackState
from schemas.codec import Codec
from schemas.topics import app_id

STANDARD = 500.0
"""Tokens a second at which the budget is asked for."""
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9, 1.1)
"""Of saturation."""
QUICK_SHARES = (0.3, 0.7)
SECONDS, QUICK_SECONDS = 12.0, 4.0
WARM_S = 3.0
PER_SESSION = 200
"""Pieces of each session of the backlog that saturation is measured with."""
THROUGH = Contender("through", "Quix Streams, records handed through", quix_places, quix("quix_through"), {})


def measure(ground: Ground) -> Result:
    """Saturation, then the curve; at the standard rate in turns with the peer."""
    seconds = QUICK_SECONDS if ground.quick else SECONDS
    with ground.stack() as stack, peer(ground) as source:
        pids = ground.pids(stack)
        backlog.drain(stack, pids, "tokens", 16, 40)
        ground.progress.doing("saturation: a backlog")
        full = backlog.drain(stack, pids, "tokens", open_loop.SESSIONS, PER_SESSION // (4 if ground.quick else 1))
        ground.progress.line(f"saturation: {full.per_s:,.0f} tokens/s")
        _ours(stack, pids, min(STANDARD, 0.5 * full.per_s), WARM_S)  # not counted
        standard, through = list[dict[str, Any]](), list[dict[str, Any]]()
        high = list[dict[str, Any]]()
        for number in range(ground.rounds):
            ground.progress.doing(f"round {number + 1} of {ground.rounds}: {STANDARD:g} tokens/s, and 70 % of saturation")
            standard.append(_ours(stack, pids, STANDARD, seconds))
            through.append(_theirs(ground, source, STANDARD, seconds))
            high.append(_ours(stack, pids, 0.7 * full.per_s, seconds))
            _tell(ground, standard[-1])
        curve = []
        for share in QUICK_SHARES if ground.quick else SHARES:
            ground.progress.doing(f"{100 * share:.0f} % of saturation")
            try:
                curve.append({"share": share, **_ours(stack, pids, share * full.per_s, seconds)})
                _tell(ground, curve[-1])
            except contest.BenchError as problem:  # beyond saturation it may not be through in time: the curve ends
                ground.progress.line(f"{100 * share:.0f} % of saturation: {problem}")
    return _result(full.per_s, standard, through, high, curve, seconds)


@contextlib.contextmanager
def peer(ground: Ground) -> Iterator[tuple[str, contest.Places]]:
    """Quix Streams handing records through, ready."""
    bootstrap, prefix = ground.bootstrap(), f"bench-{uuid.uuid4().hex[:8]}-"
    places = THROUGH.places(prefix)
    folder = ground.folder / prefix.rstrip("-")
    asyncio.run(_create(bootstrap, places))
    with contest.process_of(THROUGH, Where(bootstrap, places, folder, ground.peers()), prefix, ground.clean()):
        asyncio.run(_warm(bootstrap, places, folder))
        yield bootstrap, places
    asyncio.run(_remove(bootstrap, prefix))


async def _create(bootstrap: str, places: contest.Places) -> None:
    async with Desk(bootstrap) as desk:
        await desk.create(places)


async def _warm(bootstrap: str, places: contest.Places, folder: Path) -> None:
    await open_loop.play(bootstrap, places.source, places.target, places.group, 50.0, 1.0)


async def _remove(bootstrap: str, prefix: str) -> None:
    async with Desk(bootstrap) as desk:
        await desk.remove(prefix)


def _ours(stack: StackState, pids: dict[str, int], rate: float, seconds: float) -> dict[str, Any]:
    prefix, codec = stack.topic_prefix, Codec()

    def place_of(value: bytes) -> tuple[int, int]:
        event = codec.decode_dict("predictions", value)
        return event["kafka_partition"], event["kafka_offset"]

    before = backlog.processor_s(pids)
    played = asyncio.run(open_loop.play(stack.kafka_bootstrap, prefix + "tokens", prefix + "predictions", app_id(prefix), rate, seconds))
    after = backlog.processor_s(pids)
    used = {name: (after[name] - before[name]) / played.took_s for name in after.keys() & before.keys()}
    return _seen(played, open_loop.spread(open_loop.delays_by_place(played, place_of)), rate, seconds) | {"cores": used}


def _theirs(ground: Ground, source: tuple[str, contest.Places], rate: float, seconds: float) -> dict[str, Any]:
    bootstrap, places = source
    played = asyncio.run(open_loop.play(bootstrap, places.source, places.target, places.group, rate, seconds))
    return _seen(played, open_loop.spread(open_loop.delays_by_order(played)), rate, seconds)


def _seen(played: open_loop.Played, delays: Spread, rate: float, seconds: float) -> dict[str, Any]:
    late = open_loop.spread(played.late)
    return {
        "rate": rate,
        "seconds": seconds,
        "sent": played.sent,
        "behind_s": played.took_s - seconds,
        **asdict(delays),
        "late_p99_ms": late.p99_ms,
    }


def _tell(ground: Ground, seen: dict[str, Any]) -> None:
    ground.progress.line(
        f"{seen['rate']:,.0f} tokens/s: p50 {seen['p50_ms']:.1f} p99 {seen['p99_ms']:.1f} p99.9 {seen['p999_ms']:.1f} ms of {seen['count']:,} predictions"
    )


def _middle(rounds: list[dict[str, Any]], key: str) -> float:
    return statistics.median(r[key] for r in rounds)


def _result(
    saturation: float,
    standard: list[dict[str, Any]],
    through: list[dict[str, Any]],
    high: list[dict[str, Any]],
    curve: list[dict[str, Any]],
    seconds: float,
) -> Result:
    what = "latency, due to prediction visible, 500 tokens/s over 50 sessions"
    floor = f"Quix Streams handing records through: p50 {_middle(through, 'p50_ms'):.1f}, p99 {_middle(through, 'p99_ms'):.1f} ms"
    goals = [
        Goal(f"{what}, p50", floor, _middle(standard, "p50_ms"), 12.0, "ms", at_most=True),
        Goal(f"{what}, p99", floor, _middle(standard, "p99_ms"), 25.0, "ms", at_most=True),
        Goal(f"{what}, p99.9", "", _middle(standard, "p999_ms"), 50.0, "ms", at_most=True),
        Goal("latency at 70 % of saturation, p99", "", _middle(high, "p99_ms"), 50.0, "ms", at_most=True),
    ]
    named = [
        ("500 tokens/s", standard),
        ("Quix Streams handing through, 500/s", through),
        (f"70 % of saturation, {0.7 * saturation:,.0f} tokens/s", high),
        *((f"{100 * point['share']:.0f} % of saturation, {point['rate']:,.0f} tokens/s", [point]) for point in curve),
    ]
    keys = ("count", "p50_ms", "p99_ms", "p999_ms", "max_ms", "late_p99_ms", "behind_s")
    rows = [[name, *(figure(_middle(seen, key)) for key in keys), _cores(seen)] for name, seen in named]
    head = [
        "load",
        "predictions",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "load itself late, p99 ms",
        "through after the last was due, s",
        "cores: worker, writer, broker",
    ]
    tables, plots, notes = [Table(f"Open loop, {seconds:g} s each", head, rows)], list[Plot](), [NOTE.format(saturation=saturation)]
    fitted: dict[str, Any] = {}
    if len(curve) >= 3:
        model = simulation.fit(saturation, [(p["rate"], p["p50_ms"]) for p in curve])
        told = [simulation.latencies(model, p["rate"], seconds) for p in curve]
        fitted = {"model": asdict(model), "points": told}
        rates = [p["rate"] for p in curve]
        plots = [
            Plot(
                "latency-by-load",
                "Latency against load, open loop",
                "tokens a second, 50 sessions",
                "milliseconds from when a token was due",
                [
                    Series(name, rates, [p[key] for p in curve])
                    for name, key in (("p50", "p50_ms"), ("p99", "p99_ms"), ("p99.9", "p999_ms"))
                ],
                log_y=True,
                limit=50.0,
            ),
            Plot(
                "latency-simulated",
                "Latency against load, measured and simulated",
                "tokens a second, 50 sessions",
                "milliseconds from when a token was due",
                [
                    Series("p50 measured", rates, [p["p50_ms"] for p in curve]),
                    Series("p50 simulated", rates, [t["p50_ms"] for t in told]),
                    Series("p99 measured", rates, [p["p99_ms"] for p in curve]),
                    Series("p99 simulated", rates, [t["p99_ms"] for t in told]),
                ],
                log_y=True,
            ),
        ]
        rows = [
            [f"{p['rate']:,.0f}", *(figure(v) for v in (p["p50_ms"], t["p50_ms"], p["p99_ms"], t["p99_ms"]))] for p, t in zip(curve, told)
        ]
        tables.append(Table("Measured and simulated", ["tokens/s", "p50 ms", "simulated", "p99 ms", "simulated"], rows))
    data = {"saturation": saturation, "standard": standard, "through": through, "high": high, "curve": curve, "simulation": fitted}
    return Result("latency", "latency against load", goals, tables, plots, notes, data)


NOTE = """Records are sent when they are due whatever comes back, latency counts from when a record was due (so nothing is left out when somebody stalls), to when a
consumer in the load's own process has the prediction it decided; sessions live for 200 pieces and are replaced. Load, broker, writer and console share the cores with the worker.
Saturation is the rate at which a backlog of the same sessions goes end to end: {saturation:,.0f} tokens/s."""


def _cores(seen: list[dict[str, Any]]) -> str:
    if "cores" not in seen[0]:
        return ""

    def of(begins: str) -> float:
        return statistics.median(sum(v for name, v in s["cores"].items() if name.startswith(begins)) for s in seen)

    return ", ".join(f"{of(begins):.2f}" for begins in ("worker", "sink", "broker"))
