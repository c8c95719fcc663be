"""`strata`: the command line.

Knows flags, what goes to standard output, and exit statuses (0 done, 2 wrong usage, 1 otherwise); leaves the work to the files it
names. Only this file of deploy/ reads the environment. Commands on records and tables are in data_commands.py.
Next: deploy/local/stack.py
"""

import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import typer

from deploy import bench, data_commands, tables
from deploy import doctor as examination
from deploy.local import background, stack, state
from deploy.local import topics as kafka_topics
from deploy.local.plan import without_password
from deploy.local.progress import Progress
from deploy.local.stack import Setup, Stack
from deploy.local.state import StackState
from deploy.targets import Caller, config_of, environment, kafka_is_named, target_of
from schemas.errors import SettingError, StrataError
from schemas.known_settings import unknown_variables

app = typer.Typer(
    name="strata",
    help="Streaming hierarchical transformer over Kafka, evaluated in ClickHouse.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of the stack (STRATA_DATA_DIR).  [default: .strata]", show_default=False)
]
Kafka = Annotated[str | None, typer.Option("--kafka", help="Kafka's address (STRATA_KAFKA_BOOTSTRAP).", metavar="HOST:PORT")]
ClickHouse = Annotated[
    str | None,
    typer.Option(
        "--clickhouse", help="ClickHouse (STRATA_CLICKHOUSE_DSN): chdb:// or clickhouse://user:password@host:8123/strata.", metavar="DSN"
    ),
]
Prefix = Annotated[str | None, typer.Option("--topic-prefix", help="In front of every topic (STRATA_TOPIC_PREFIX).")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
BECOME_OTHERS = ("worker", "sink", "console", "evaluate")
"""Commands that turn into another process, which says itself what it does not know."""


@app.callback()
def _caller(ctx: typer.Context) -> None:
    ctx.obj = ctx.obj or Caller(dict(os.environ))
    if ctx.invoked_subcommand not in BECOME_OTHERS:
        for line in unknown_variables(ctx.obj.environ):
            print(f"warning: {line}", file=sys.stderr)


@app.command()
def up(
    ctx: typer.Context,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once all is ready; `strata down` stops it.")] = False,
    workers: Annotated[int | None, typer.Option(help="Worker processes.  [default: 1]", show_default=False)] = None,
    free_ports: Annotated[bool, typer.Option("--free-ports", help="Take free ports; `strata status` tells them.")] = False,
    kafka_port: Annotated[
        int | None, typer.Option(help="Where the embedded broker listens; 0 takes a free port.  [default: 9092]", show_default=False)
    ] = None,
    clickhouse_http_port: Annotated[
        int | None, typer.Option(help="ClickHouse's HTTP interface; 0 takes a free port.  [default: 8123]", show_default=False)
    ] = None,
    console_port: Annotated[
        int | None, typer.Option(help="Where the console listens; 0 takes a free port.  [default: 8080]", show_default=False)
    ] = None,
    data_dir: DataDir = None,
    kafka: Kafka = None,
    clickhouse: ClickHouse = None,
    topic_prefix: Prefix = None,
) -> None:
    """Start the local stack: Kafka broker, worker(s), ClickHouse writer, console. Stays until Ctrl-C.

    With the address of a Kafka or ClickHouse server set (flag, variable or strata.toml), that server is used and none is started.
    """
    if kafka and kafka_port is not None:
        raise typer.BadParameter("--kafka names a server, --kafka-port is for the embedded broker: give one of them")
    caller: Caller = ctx.obj
    config = config_of(
        caller,
        workers=workers,
        free_ports=free_ports or None,
        clickhouse_http_port=clickhouse_http_port,
        console_port=console_port,
        data_dir=data_dir,
        clickhouse_dsn=clickhouse,
        topic_prefix=topic_prefix,
        kafka_bootstrap=kafka if kafka_port is None else f"127.0.0.1:{kafka_port}",
        kafka_mode="external" if kafka else None if kafka_port is None else "embedded",
    )
    stack.require_workers(config.workers)
    progress = Progress()
    if detach:
        flags = [a for a in sys.argv[2:] if a not in ("--detach", "-d")]
        _detached(flags, config.data_dir.resolve(), caller, progress)
        return
    sys.exit(_foreground(Stack(Setup(config, kafka_is_named(caller, kafka), caller.environ), progress), progress))


def _foreground(running: Stack, progress: Progress) -> int:
    """Run until a signal. A second signal ends at once: the processes are bound to this one and end with it."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    def give_up(number: int, frame: object) -> None:
        os._exit(1)

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in signals:
        signal.signal(number, interrupt)
    was_ready = False
    try:
        running.start()
        was_ready = True
        now = running.states()
        assert now is not None
        _show_processes(now)
        progress.line("ready; Ctrl-C stops it")
        while True:
            running.tick()
            time.sleep(0.2)
    except KeyboardInterrupt:
        progress.done()
        progress.line("stopping")
    finally:
        for number in signals:
            signal.signal(number, give_up)
        begun, had_begun = time.monotonic(), running.states() is not None
        killed = running.stop()
        if had_begun:
            progress.line(f"stopped in {time.monotonic() - begun:.1f} s" + (f", killed: {', '.join(killed)}" if killed else ""))
    if not was_ready:
        os._exit(1)  # a download may still hold a thread
    return 0


def _detached(flags: list[str], data_dir: Path, caller: Caller, progress: Progress) -> None:
    with state.owned(data_dir):
        pass  # raises while another stack runs here
    process = background.launch(flags, data_dir, caller.environ, detached=True)
    try:
        _show_processes(background.follow(process, data_dir, progress))
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise


@app.command()
def down(ctx: typer.Context, data_dir: DataDir = None) -> None:
    """Stop the stack of the data folder."""
    folder = config_of(ctx.obj, data_dir=data_dir).data_dir.resolve()
    stopped = background.end(folder)
    print("stopped" if stopped else f"no stack runs on {folder}", file=sys.stderr)


@app.command()
def status(ctx: typer.Context, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """What runs, whether it is ready, and where. Exit status 1 when no stack runs on the data folder or not all of it is ready."""
    folder = config_of(ctx.obj, data_dir=data_dir).data_dir.resolve()
    now = state.running(folder)
    if as_json:
        _print_json([asdict(p) for p in now.processes] if now else [])
    elif now:
        _show_processes(now)
    if now is None:
        print(f"no stack runs on {folder}; start one with `strata up`", file=sys.stderr)
    elif now.phase != "ready":
        print(f"{now.phase} {now.message}".strip(), file=sys.stderr)
    sys.exit(0 if now and now.phase == "ready" else 1)


@app.command()
def topics(
    ctx: typer.Context,
    create: Annotated[bool, typer.Option("--create", help="First make those that are missing; waits a minute for Kafka.")] = False,
    data_dir: DataDir = None,
    kafka: Kafka = None,
    topic_prefix: Prefix = None,
    as_json: AsJson = False,
) -> None:
    """Topics with their partitions, offsets and what their readers have still to commit."""
    target = target_of(ctx.obj, data_dir=data_dir, kafka_bootstrap=kafka, topic_prefix=topic_prefix)
    if create:
        created = kafka_topics.create_when_reachable(target.kafka_bootstrap, target.topic_prefix, target.partitions)
        print(f"{len(created)} topics created on {target.kafka_bootstrap}", file=sys.stderr)
    found = kafka_topics.survey(target.kafka_bootstrap, target.topic_prefix)
    if as_json:
        _print_json([asdict(t) for t in found])
        return
    groups = sorted({g for t in found for g in t.lag})
    names = ["topic", "direction", "partitions", "begin", "end", *(f"lag {g}" for g in groups)]
    types = ["String", "String", *["Int64"] * (3 + len(groups))]
    rows = [[t.topic, t.direction, t.partitions, t.begin, t.end, *(t.lag.get(g, "") for g in groups)] for t in found]
    tables.console().print(tables.table(names, types, rows))


@app.command()
def doctor(
    ctx: typer.Context, data_dir: DataDir = None, kafka: Kafka = None, clickhouse: ClickHouse = None, as_json: AsJson = False
) -> None:
    """Check this machine and the servers; each line says what to do. Exit status 1 when something fails."""
    target = target_of(ctx.obj, data_dir=data_dir, kafka_bootstrap=kafka, clickhouse_dsn=clickhouse)
    checks = examination.examine(target, ctx.obj.environ)
    if as_json:
        _print_json([asdict(c) for c in checks])
    else:
        for check in checks:
            print(f"{check.status:4}  {check.name:10}  {check.seen}" + (f"\n{'':18}-> {check.advice}" if check.advice else ""))
    sys.exit(1 if any(c.status == "fail" for c in checks) else 0)


@app.command()
def worker(
    ctx: typer.Context,
    index: Annotated[
        int | None,
        typer.Option(
            help="Tells workers of one data folder apart.  [default: the next after those of a running stack]", min=0, show_default=False
        ),
    ] = None,
    data_dir: DataDir = None,
    kafka: Kafka = None,
    topic_prefix: Prefix = None,
) -> None:
    """Run one worker in the foreground, against the Kafka that is set. Creates the topics that are missing."""
    target = target_of(ctx.obj, data_dir=data_dir, kafka_bootstrap=kafka, topic_prefix=topic_prefix)
    created = kafka_topics.create_when_reachable(target.kafka_bootstrap, target.topic_prefix, target.partitions)
    if created:
        print(f"{len(created)} topics created on {target.kafka_bootstrap}", file=sys.stderr)
    environ = {"STRATA_WORKER_INDEX": str(_next_worker(target.data_dir)), **ctx.obj.environ, **environment(target)}
    _become("streams", environ if index is None else {**environ, "STRATA_WORKER_INDEX": str(index)})


@app.command()
def sink(
    ctx: typer.Context, data_dir: DataDir = None, kafka: Kafka = None, clickhouse: ClickHouse = None, topic_prefix: Prefix = None
) -> None:
    """Run the ClickHouse writer in the foreground, against the servers that are set. Creates the topics that are missing."""
    target = target_of(ctx.obj, data_dir=data_dir, kafka_bootstrap=kafka, clickhouse_dsn=clickhouse, topic_prefix=topic_prefix)
    kafka_topics.create_when_reachable(target.kafka_bootstrap, target.topic_prefix, target.partitions)
    _become("sinks", {**ctx.obj.environ, **environment(target)})


@app.command()
def console(
    ctx: typer.Context,
    token: Annotated[str | None, typer.Option(help="Print a token for a role (viewer, labeller, admin) and end.", metavar="ROLE")] = None,
    name: Annotated[str, typer.Option(help="Who the token is for.")] = "console",
    days: Annotated[float, typer.Option(help="How long the token is good.")] = 30.0,
    port: Annotated[int | None, typer.Option(help="Where it listens (STRATA_CONSOLE_PORT).  [default: 8080]", show_default=False)] = None,
    data_dir: DataDir = None,
    kafka: Kafka = None,
    clickhouse: ClickHouse = None,
    topic_prefix: Prefix = None,
) -> None:
    """Run the console in the foreground, against the servers that are set; `up` runs one already."""
    target = target_of(ctx.obj, data_dir=data_dir, kafka_bootstrap=kafka, clickhouse_dsn=clickhouse, topic_prefix=topic_prefix)
    own = {} if port is None else {"STRATA_CONSOLE_PORT": str(port)}
    asked = ["--token", token, "--name", name, "--days", str(days)] if token else []
    _become("sinks.console", {**ctx.obj.environ, **environment(target), **own}, *asked)


def _next_worker(data_dir: Path) -> int:
    """Number of a worker beside those of a running stack."""
    now = state.running(data_dir)
    return sum(p.name.startswith("worker-") for p in now.processes) if now else 0


data_commands.register(app)
bench.register(app)


@app.command()
def train(
    ctx: typer.Context,
    data: Annotated[Path, typer.Option(help="Folder with plain/, text/ and chat/.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the checkpoint to write; STRATA_MODEL_PATH names it to a worker.", show_default=False)
    ] = Path("trained"),
    run_folder: Annotated[Path, typer.Option(help="Folder of training checkpoints, milestones and learning curves.")] = Path(".training"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --run-folder, to the bit as if it had not stopped.")
    ] = False,
    steps_language: Annotated[int | None, typer.Option(help="Steps of stage one.  [default: 4000]", min=1, show_default=False)] = None,
    steps_levels: Annotated[int | None, typer.Option(help="Steps of stage two.  [default: 2000]", min=1, show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="The same seed, steps and data give the same weights.")] = 0,
    without: Annotated[str | None, typer.Option(help="Sets that stage two leaves out, comma between them.", metavar="SET[,SET]")] = None,
    device: Annotated[
        str, typer.Option(help="auto takes CUDA where there is one; several GPUs train together.", metavar="auto|cpu|cuda")
    ] = "auto",
    threads: Annotated[int, typer.Option(help="Processor threads.", min=1)] = 1,
    eager: Annotated[bool, typer.Option("--eager", help="Do not compile: no C++ compiler needed, half as fast.")] = False,
) -> None:
    """Train the text model anew: language first, then levels and heads; writes a checkpoint with its model card.

    Ctrl-C saves and stops; the same command with --resume goes on. docs/training.md tells more.
    """
    flags = {
        "data": data, "out": out, "run-folder": run_folder, "steps-language": steps_language, "steps-levels": steps_levels, "seed": seed,
        "without": without, "device": device, "threads": threads,
    }  # fmt: skip
    given = [part for name, value in flags.items() if value is not None for part in (f"--{name}", str(value))]
    switches = [f"--{name}" for name, is_on in (("resume", resume), ("eager", eager)) if is_on]
    _become("models.training", ctx.obj.environ, *given, *switches)


def _become(package: str, environ: dict[str, str], *arguments: str) -> None:
    """Turn this process into `python -m package`."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, "-m", package, *arguments], environ)


def _show_processes(now: StackState) -> None:
    names, types = ["name", "pid", "ready", "address", "restarts", "log"], ["String", "UInt64", "String", "String", "UInt64", "String"]
    rows = [[p.name, p.pid, "yes" if p.ready else "no", p.address, p.restarts, p.log] for p in now.processes]
    tables.console().print(tables.table(names, types, rows))
    if not any(p.name == "broker" for p in now.processes):
        print(f"Kafka {now.kafka_bootstrap}, not started here", file=sys.stderr)
    if not now.clickhouse_url:
        print(f"ClickHouse {without_password(now.clickhouse_dsn)}, not started here", file=sys.stderr)


def _print_json(value: object) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def main() -> None:
    """Entry of the command. Our errors become one line and an exit status."""
    try:
        app(prog_name="strata")
    except StrataError as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(2 if isinstance(problem, SettingError) else 1)


if __name__ == "__main__":
    main()
