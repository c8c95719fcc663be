"""`strata bench`: the worker's own cost beside bare Faust and a loop by hand on the same work; and the latency of a running stack.

Knows flags, rounds, medians and tables; leaves runs to benchmarks/contest.py and latency to benchmarks/latency.py.
Programs take turns within a round, so that what else the machine does falls on all of them.
Next: deploy/benchmarks/contest.py
"""

import asyncio
import contextlib
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import orjson
import psutil
import typer
from aiokafka.errors import KafkaError

from deploy import tables
from deploy.benchmarks import latency
from deploy.benchmarks.contest import CONTENDERS, FAUST, SPINE, BenchError, Run, run
from deploy.benchmarks.load import Desk
from deploy.local import background, broker, kafka_server, ports, processes, state
from deploy.local.progress import Progress
from deploy.local.state import StackState
from deploy.targets import Caller, kafka_is_named, target_of
from schemas.errors import SettingError

GOAL = 20.0
"""Times bare Faust, of the worker with the same outputs."""
MEASURED = {"STRATA_PREDICTION_PERFORMANCE_EVERY_ITEMS": "10"}
"""Of a stack that only lives to be measured: more rows that tell where the time goes."""
RECORDS, QUICK_RECORDS = 400_000, 60_000
ROUNDS, QUICK_ROUNDS = 3, 1


class Topic(StrEnum):
    """What latency is measured of."""

    tokens = "tokens"
    chat = "chat"
    logs = "logs"
    metrics = "metrics"


@dataclass(frozen=True)
class Standing:
    """One program's medians over the rounds."""

    name: str
    title: str
    records_per_s: float
    cpu_s_per_100k: float
    rss_mb: float
    times_faust_records: float | None
    times_faust_cpu: float | None
    """How many times fewer CPU seconds than Faust."""


def register(app: typer.Typer) -> None:
    """Add the command of this part to `strata`."""
    app.command()(bench)


def bench(
    ctx: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help=f"{QUICK_ROUNDS} round of {QUICK_RECORDS:,} records.")] = False,
    rounds: Annotated[
        int | None, typer.Option(help=f"How often; medians are shown.  [default: {ROUNDS}]", min=1, show_default=False)
    ] = None,
    records: Annotated[
        int | None,
        typer.Option(help=f"Records of a round; slow programs get a share.  [default: {RECORDS:,}]", min=1000, show_default=False),
    ] = None,
    only: Annotated[
        str | None, typer.Option(help=f"Some programs, comma separated: {', '.join(c.name for c in CONTENDERS)}.", metavar="NAMES")
    ] = None,
    latency_: Annotated[
        bool, typer.Option("--latency", help="Measure the running stack's latency instead (starts a stack when none runs).")
    ] = False,
    topic: Annotated[Topic, typer.Option(help="--latency: what is played.")] = Topic.tokens,
    rate: Annotated[float, typer.Option(help="--latency: records per second over 50 sessions.", min=1.0)] = 200.0,
    seconds: Annotated[float, typer.Option(help="--latency: how long.", min=1.0)] = 20.0,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder of the stack that --latency measures (STRATA_DATA_DIR).", show_default=False)
    ] = None,
    kafka: Annotated[str | None, typer.Option("--kafka", help="A Kafka to use in place of an embedded one.", metavar="HOST:PORT")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the results there too: JSON, or rows added to a .md file.")] = None,
) -> None:
    """Measure the worker's own cost (its model replaced by nothing) beside bare Faust and a loop by hand, on the same work.

    JSON in, a row per session with its changelog, one output for ten records, at least once. Interleaved rounds, medians.
    """
    caller: Caller = ctx.obj
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # new topics have no leader for a moment: it logs every try
    progress = Progress()
    try:
        if latency_:
            result = _latency(caller, data_dir, topic.value, rate, seconds, progress)
            _give({"machine": _machine(), "latency": result}, latency_table(result), as_json, out)
            print(latency_load(result), file=sys.stderr)
            return
        chosen = _chosen(only)
        count = records or (QUICK_RECORDS if quick else RECORDS)
        times = rounds or (QUICK_ROUNDS if quick else ROUNDS)
        with tempfile.TemporaryDirectory(prefix="strata-bench-") as folder, _kafka(caller, kafka, Path(folder), progress) as bootstrap:
            runs = asyncio.run(_rounds(bootstrap, chosen, times, count, Path(folder), caller.environ, progress))
    except KafkaError as problem:
        raise BenchError(f"Kafka: {problem or type(problem).__name__}; try again, or name another with --kafka") from problem
    standings = standing(runs)
    value = {"machine": _machine(), "runs": [asdict(r) for r in runs], "programs": [asdict(s) for s in standings], "goal": GOAL}
    _give(value, standings_table(standings), as_json, out)
    print(verdict(standings), file=sys.stderr)


def _chosen(only: str | None) -> list[Any]:
    names = [n.strip() for n in only.split(",")] if only else [c.name for c in CONTENDERS]
    if unknown := set(names) - {c.name for c in CONTENDERS}:
        raise SettingError(f"--only {', '.join(sorted(unknown))}: wanted some of {', '.join(c.name for c in CONTENDERS)}")
    return [c for c in CONTENDERS if c.name in names]


@contextlib.contextmanager
def _kafka(caller: Caller, flag: str | None, folder: Path, progress: Progress) -> Iterator[str]:
    """The Kafka that is named, else an embedded broker that lives as long as the block."""
    if kafka_is_named(caller, flag):
        yield target_of(caller, kafka_bootstrap=flag).kafka_bootstrap
        return
    cache = broker.default_cache_dir(caller.environ)
    server = broker.assemble(folder / "kafka", ports.free_port(), cache, caller.environ, progress.count)
    kafka_server.prepare(server, progress.doing)
    progress.doing(f"starting a broker on {server.bootstrap}")
    process = broker.start_until_ready(server, cache, folder / "broker.log")
    progress.done()
    try:
        yield server.bootstrap
    finally:
        processes.stop(process, 10.0)


async def _rounds(
    bootstrap: str, chosen: Sequence[Any], rounds: int, count: int, folder: Path, environ: Mapping[str, str], progress: Progress
) -> list[Run]:
    """All runs, the programs in turn, the order turned round every second time."""
    found: list[Run] = []
    for number in range(rounds):
        for contender in chosen if number % 2 == 0 else list(reversed(chosen)):
            progress.doing(f"round {number + 1} of {rounds}: {contender.title}")
            prefix = f"bench-{uuid.uuid4().hex[:8]}-"
            async with Desk(bootstrap) as desk:
                try:
                    one = await run(contender, desk, bootstrap, prefix, count, folder / prefix.rstrip("-"), environ)
                finally:
                    await desk.remove(prefix)
            progress.done()
            progress.line(f"{one.contender}: {one.records_per_s:,.0f} records/s, {one.cpu_s_per_100k:.2f} CPU s per 100,000")
            found.append(one)
    return found


def standing(runs: Sequence[Run]) -> list[Standing]:
    """Medians of each program. Ratios are medians over the rounds of each round's ratio: its runs had the same neighbours."""
    by_name = {c.name: [r for r in runs if r.contender == c.name] for c in CONTENDERS}
    faust = by_name[FAUST.name]
    found = []
    for contender in CONTENDERS:
        own = by_name[contender.name]
        if not own:
            continue
        pairs = list(zip(own, faust, strict=False))
        found.append(
            Standing(
                contender.name,
                contender.title,
                statistics.median(r.records_per_s for r in own),
                statistics.median(r.cpu_s_per_100k for r in own),
                statistics.median(r.rss_mb for r in own),
                statistics.median(r.records_per_s / f.records_per_s for r, f in pairs) if pairs else None,
                statistics.median(f.cpu_s_per_100k / r.cpu_s_per_100k for r, f in pairs) if pairs else None,
            )
        )
    return found


def verdict(standings: Sequence[Standing]) -> str:
    """Whether the goal was met, in a sentence."""
    spine = next((s for s in standings if s.name == SPINE.name), None)
    if spine is None or spine.times_faust_records is None or spine.times_faust_cpu is None:
        return "no ratio: both strata and faust must run"
    met = "met" if min(spine.times_faust_records, spine.times_faust_cpu) >= GOAL else "missed"
    return (
        f"goal of {GOAL:g} times bare Faust {met}: {spine.times_faust_records:.1f} times the records a second, "
        f"{spine.times_faust_cpu:.1f} times fewer CPU seconds"
    )


COLUMNS = ["program", "records/s", "CPU s per 100,000", "RSS MB", "times Faust", "times less CPU"]


def standings_table(standings: Sequence[Standing]) -> tuple[list[str], list[list[str]]]:
    """Head and rows."""

    def times(value: float | None) -> str:
        return "" if value is None else f"{value:.1f}"

    rows = [
        [s.title, f"{s.records_per_s:,.0f}", f"{s.cpu_s_per_100k:.2f}", f"{s.rss_mb:.0f}", times(s.times_faust_records), times(s.times_faust_cpu)]
        for s in standings
    ]  # fmt: skip
    return COLUMNS, rows


def latency_table(result: latency.Latency) -> tuple[list[str], list[list[str]]]:
    """Head and rows."""
    named = {f"append of a record to append of its {kind}": s for kind, s in result.by_kind.items()}
    named |= {f"in the worker: {name}": s for name, s in result.stages.items()}
    rows = [[name, f"{s.count:,}", *(f"{v:.0f}" for v in (s.p50_ms, s.p95_ms, s.p99_ms, s.max_ms))] for name, s in named.items()]
    return ["", "records", "p50 ms", "p95 ms", "p99 ms", "max ms"], rows


def latency_load(result: latency.Latency) -> str:
    """What was played, and what it cost."""
    shares = ", ".join(f"{name} {share:.2f}" for name, share in sorted(result.cpu_share.items()))
    played = f"{result.rate:g} {result.topic} records/s over {result.sessions} sessions for {result.seconds:g} s; {result.decided:,} of {result.records:,} made a prediction"
    return f"{played}; CPUs used: {shares}" if shares else played


def _latency(caller: Caller, data_dir: Path | None, topic: str, rate: float, seconds: float, progress: Progress) -> latency.Latency:
    target = target_of(caller, data_dir=data_dir)
    if target.is_running_stack or kafka_is_named(caller, None):
        running = state.running(target.data_dir)
        return asyncio.run(latency.measure(target.kafka_bootstrap, target.topic_prefix, topic, rate, seconds, _pids(running)))
    with tempfile.TemporaryDirectory(prefix="strata-bench-") as folder:
        flags = ["--free-ports", "--data-dir", folder]
        with background.stack_for(flags, Path(folder), {**MEASURED, **caller.environ}, progress) as stack:
            progress.line(f"measuring for {seconds:g} s")
            return asyncio.run(latency.measure(stack.kafka_bootstrap, stack.topic_prefix, topic, rate, seconds, _pids(stack)))


def _pids(stack: StackState | None) -> dict[str, int]:
    return {p.name: p.pid for p in stack.processes if p.pid} if stack else {}


def _machine() -> dict[str, Any]:
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _give(value: dict[str, Any], table: tuple[list[str], list[list[str]]], as_json: bool, out: Path | None) -> None:
    """To standard output as a table or JSON, and to the file that was named."""
    data = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_DATACLASS)
    head, rows = table
    if as_json:
        sys.stdout.write(data.decode() + "\n")
    else:
        tables.console().print(tables.table(head, ["String", *["Float64"] * (len(head) - 1)], rows))
    if out is None:
        return
    if out.suffix == ".md":
        with out.open("a", encoding="utf-8") as file:
            file.write(markdown(value["machine"], head, rows))
    else:
        out.write_bytes(data + b"\n")


def markdown(machine: Mapping[str, Any], head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A dated section with the rows."""
    lines = [
        f"\n### {machine['time']}, {machine['cpus']} CPUs, {machine['system']}, Python {machine['python']}, load {machine['load']} at the end\n",
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"
