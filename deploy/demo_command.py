"""`strata demo`: the flags, a stack that lives as long as the demo, and what is said after it.

Knows that the flags of `up` are handed on to it; leaves playing and showing to demo.py.
Next: deploy/demo.py
"""

import asyncio
import logging
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from aiokafka.errors import KafkaError
from rich.console import Console

from deploy.clickhouse_http import ClickHouse, address
from deploy.demo import Choice, Demo, DemoError, Servers
from deploy.demo_totals import print_examples, summary
from deploy.local import background, state
from deploy.local.progress import Progress
from deploy.replay import load_samples
from deploy.targets import Caller, config_of, target_of
from schemas import settings
from schemas.codec import Codec
from schemas.errors import SettingError
from schemas.registry import Registry


@dataclass(frozen=True)
class Shown:
    """Settings of other parts that the demo shows or needs to read their records."""

    schema_registry_url: str | None = None


@dataclass(frozen=True)
class Latency:
    """[latency] of the worker."""

    max_per_token_ms: float = 50.0


@dataclass(frozen=True)
class Sampling:
    """[sampling] of the worker."""

    input_stream: float = 1.0


def demo(
    ctx: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="End when the samples are through and stored.")] = False,
    speed: Annotated[float, typer.Option(help="Times faster; 0 is as fast as possible.", min=0.0)] = 1.0,
    encoding: Annotated[str, typer.Option(help="Of the records sent: avro or json.")] = "avro",
    workers: Annotated[int | None, typer.Option(help="Worker processes.  [default: 1]", show_default=False)] = None,
    free_ports: Annotated[bool, typer.Option("--free-ports", help="Take free ports; `strata status` tells them.")] = False,
    kafka_port: Annotated[int | None, typer.Option(help="Where the embedded broker listens.  [default: 9092]", show_default=False)] = None,
    clickhouse_http_port: Annotated[
        int | None, typer.Option(help="ClickHouse's HTTP interface.  [default: 8123]", show_default=False)
    ] = None,
    console_port: Annotated[int | None, typer.Option(help="Where the console listens.  [default: 8080]", show_default=False)] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder of the stack (STRATA_DATA_DIR).  [default: .strata]", show_default=False)
    ] = None,
    kafka: Annotated[str | None, typer.Option("--kafka", help="Kafka's address (STRATA_KAFKA_BOOTSTRAP).", metavar="HOST:PORT")] = None,
    clickhouse: Annotated[str | None, typer.Option("--clickhouse", help="ClickHouse (STRATA_CLICKHOUSE_DSN).", metavar="DSN")] = None,
    topic_prefix: Annotated[str | None, typer.Option("--topic-prefix", help="In front of every topic (STRATA_TOPIC_PREFIX).")] = None,
) -> None:
    """Start the stack, play real sample streams into it and show live what is read and predicted.

    A stack that already runs on the data folder is used and left running. Ctrl-C stops everything that was started.
    """
    if encoding not in ("avro", "json"):
        raise SettingError(f"--encoding {encoding!r}: wanted avro or json")
    caller: Caller = ctx.obj
    up = {
        "workers": workers,
        "free-ports": free_ports,
        "kafka-port": kafka_port,
        "clickhouse-http-port": clickhouse_http_port,
        "console-port": console_port,
        "kafka": kafka,
        "clickhouse": clickhouse,
        "topic-prefix": topic_prefix,
    }
    folder = config_of(caller, data_dir=data_dir).data_dir.resolve()
    flags = [*flags_of(up), "--data-dir", str(folder)]
    path = settings.toml_path(caller.environ)
    shown = settings.load(Shown, caller.environ, path)
    budget_ms = settings.load(Latency, caller.environ, path, section="latency").max_per_token_ms
    share = settings.load(Sampling, caller.environ, path, section="sampling").input_stream
    choice = Choice(once, speed, encoding, budget_ms=budget_ms, all_inputs=share >= 1.0)
    console = Console()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it would write over the screen; what matters comes as an error
    was_running = state.running(folder) is not None
    progress, playing = Progress(), None
    try:
        with background.stack_for(flags, folder, caller.environ, progress):
            try:
                target = target_of(caller, data_dir=folder, topic_prefix=topic_prefix)
                codec = Codec(Registry(shown.schema_registry_url) if shown.schema_registry_url else None)
                clickhouse_at = address(target.clickhouse_dsn, target.clickhouse_http_port)
                now = state.running(folder)
                page = next((p.address for p in now.processes if p.name == "console"), "") if now else ""
                servers = Servers(target.kafka_bootstrap, target.topic_prefix, ClickHouse(clickhouse_at), folder, codec, page)
                playing = Demo(servers, choice, load_samples(), console)
                _play(playing, once, was_running, console)
            finally:
                if not was_running:
                    progress.line("stopping")
    except KeyboardInterrupt:
        progress.done()
        if once or playing is None:
            sys.exit(130)


def _play(playing: Demo, once: bool, was_running: bool, console: Console) -> None:
    """Run it to its end and say what is stored."""
    try:
        asyncio.run(playing.run())
    except KafkaError as problem:
        raise DemoError(
            f"Kafka at {playing.servers.kafka_bootstrap}: {problem or type(problem).__name__}; look at `strata status`"
        ) from problem
    except KeyboardInterrupt:
        if once:
            raise
        print_examples([p.session_id for p in playing.played], was_running, console)
        return
    ids = [p.session_id for p in playing.played]
    summary(playing.servers.clickhouse, ids, console)
    print_examples(ids, was_running, console)


def flags_of(options: dict[str, Any]) -> list[str]:
    """Values of options -> the flags that give them."""
    flags: list[str] = []
    for name, value in options.items():
        if value is True:
            flags.append(f"--{name}")
        elif value is not None and value is not False:
            flags += [f"--{name}", str(value)]
    return flags


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
