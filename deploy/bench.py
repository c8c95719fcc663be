"""`strata bench`: all that the system promises of speed, measured side by side on this machine; or the latency of one stream, or a plan.

Knows flags, parts and what goes to standard output; leaves each part to its file in benchmarks/, the page to benchmarks/page.py.
A part that fails is reported and the others still run; a part that is measured again leaves the others' files as they are.
Next: deploy/benchmarks/parts.py
"""

import asyncio
import logging
import sys
import tempfile
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from deploy import tables
from deploy.benchmarks import capacity, latency, page, parts, results
from deploy.benchmarks.ground import Ground
from deploy.local import background, state
from deploy.local.progress import Progress
from deploy.local.state import StackState
from deploy.targets import Caller, kafka_is_named, target_of
from schemas.errors import SettingError

MEASURED = {"STRATA_PREDICTION_PERFORMANCE_EVERY_ITEMS": "10"}
"""Of a stack that only lives to be measured: more rows that tell where the time goes."""
ROUNDS, QUICK_ROUNDS = 3, 1
FOLDER = Path("docs/benchmarks")


class Topic(StrEnum):
    """What latency is measured of."""

    tokens = "tokens"
    chat = "chat"
    logs = "logs"
    metrics = "metrics"


def register(app: typer.Typer) -> None:
    """Add the command of this part to `strata`."""
    app.command()(bench)


def bench(
    ctx: typer.Context,
    only: Annotated[str | None, typer.Option(help=f"Some parts, comma separated: {', '.join(parts.PARTS)}.", metavar="PARTS")] = None,
    rounds: Annotated[
        int | None, typer.Option(help=f"How often; medians are shown.  [default: {ROUNDS}]", min=1, show_default=False)
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Once, little of everything; no files unless --out names a folder.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help=f"Folder of JSON and pictures; the page is written beside it.  [default: {FOLDER}]", show_default=False),
    ] = None,
    kafka: Annotated[str | None, typer.Option("--kafka", help="A Kafka to use in place of an embedded one.", metavar="HOST:PORT")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Measure nothing: what a load would need, by the figures of an earlier run.")
    ] = False,
    sessions: Annotated[int, typer.Option(help="--plan: sessions that are open.", min=1)] = 1_000_000,
    rate: Annotated[
        float | None,
        typer.Option(
            help="--plan: pieces a second of one session [0.1]; --latency: records a second over 50 sessions [200].",
            min=0.0,
            show_default=False,
        ),
    ] = None,
    latency_: Annotated[
        bool, typer.Option("--latency", help="Measure the running stack's latency instead (starts a stack when none runs).")
    ] = False,
    topic: Annotated[Topic, typer.Option(help="--latency: what is played.")] = Topic.tokens,
    seconds: Annotated[float, typer.Option(help="--latency: how long.", min=1.0)] = 20.0,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder of the stack that --latency measures (STRATA_DATA_DIR).", show_default=False)
    ] = None,
) -> None:
    """Measure plumbing, model and the whole beside others on the same work, on this machine; write a page with tables and pictures."""
    caller: Caller = ctx.obj
    if plan:
        _plan(out or FOLDER, sessions, 0.1 if rate is None else rate, as_json)
        return
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # new topics have no leader for a moment: it logs every try
    progress = Progress()
    if latency_:
        found = _latency(caller, data_dir, topic.value, rate or 200.0, seconds, progress)
        _show({"machine": results.machine(), "latency": found}, *latency_table(found), as_json)
        print(latency_load(found), file=sys.stderr)
        return
    chosen = parts.chosen(only)
    folder = out or (None if quick else FOLDER)
    with tempfile.TemporaryDirectory(prefix="strata-bench-") as scratch:
        named = target_of(caller, kafka_bootstrap=kafka).kafka_bootstrap if kafka_is_named(caller, kafka) else None
        ground = Ground(caller.environ, Path(scratch), progress, rounds or (QUICK_ROUNDS if quick else ROUNDS), quick, named)
        try:
            measured, failed = parts.run(chosen, ground, folder)
        finally:
            ground.close()
    if folder is not None and measured:
        progress.line(f"written: {folder.with_suffix('.md')}, {folder}/")
    rows = [page.goal_row(goal) for result in measured for goal in result.goals]
    value = {"parts": [asdict(r) for r in measured], "failed": failed}
    _show(value, ["what", "against", "seen", "to reach", "reached"], rows, as_json)
    if failed:
        raise parts.FailedPartsError("; ".join(f"{name}: {why}" for name, why in failed.items()))


def _plan(folder: Path, sessions: int, rate: float, as_json: bool) -> None:
    found = capacity.plan(capacity.constants(folder), sessions, rate)
    _show(asdict(found), ["for this load", "wanted"], capacity.rows(found), as_json)


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
    if rate <= 0:
        raise SettingError(f"--rate {rate:g}: wanted records a second above 0")
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


def _show(value: dict[str, Any], head: list[str], rows: list[list[str]], as_json: bool) -> None:
    """To standard output as a table or JSON."""
    if as_json:
        options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_DATACLASS | orjson.OPT_NON_STR_KEYS
        sys.stdout.write(orjson.dumps(value, option=options).decode() + "\n")
    else:
        tables.console().print(tables.table(head, ["String", *["Float64"] * (len(head) - 1)], rows))
