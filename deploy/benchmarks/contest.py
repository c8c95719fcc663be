"""One run of one program over the same records: records a second, CPU seconds and memory, without its start.

Knows the programs as commands and what is measured; leaves rounds and tables to deploy/bench.py.
The program starts on an empty topic, reads some records to warm up, is suspended while the backlog is written, and goes on: measured is
from there to Kafka's time of its last output or changelog row. CPU counts until all is committed.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from deploy.benchmarks import load
from deploy.benchmarks.load import Desk, Places
from deploy.errors import StackError
from deploy.local import broker, ports, processes, topics
from schemas.topics import SESSION_TABLES, app_id

READY_S = 60.0
POLL_S = 0.1
STALLED_S = 60.0
SCRIPTS = Path(__file__).parent / "peers"


class BenchError(StackError):
    """A program of the benchmark did not do its work."""


@dataclass(frozen=True)
class Where:
    """What a program is told."""

    bootstrap: str
    places: Places
    folder: Path
    """Its own."""
    peers: Path | None
    """Interpreter of the peers' environment."""


@dataclass(frozen=True)
class Contender:
    """One program."""

    name: str
    title: str
    places: Callable[[str], Places]
    """prefix -> its topics and group"""
    command: Callable[["Where"], list[str]]
    settings: Mapping[str, str]
    share: float = 1.0
    """Of the records of a round: a slow one gets fewer, so that all work about as long."""
    least: int = load.SESSIONS
    """Records of the smallest round."""
    creates_topics: bool = False
    outputs: Callable[[int], int] = load.expected_outputs
    """Records read -> records of its target when it is through."""


@dataclass(frozen=True)
class Run:
    """What one run cost."""

    contender: str
    records: int
    records_per_s: float
    cpu_s_per_100k: float
    rss_mb: float
    """The largest seen while it worked."""


def _rival(program: str) -> Callable[[str], Places]:
    return lambda prefix: Places(f"{prefix}tokens", f"{prefix}predictions", f"{prefix}{program}-sessions-changelog", f"{prefix}{program}")


def _worker_places(prefix: str) -> Places:
    return Places(f"{prefix}tokens", f"{prefix}predictions", f"{app_id(prefix)}-{SESSION_TABLES['tokens']}-changelog", app_id(prefix))


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", f"deploy.benchmarks.{name}"]


def _flags(where: Where) -> list[str]:
    places = where.places
    return ["--bootstrap", where.bootstrap, "--group", places.group, "--source", places.source, "--target", places.target]


def quix_places(prefix: str) -> Places:
    """Its changelog's name is the library's."""
    return Places(f"{prefix}tokens", f"{prefix}predictions", f"changelog__{prefix}quix--{prefix}tokens--default", f"{prefix}quix")


def quix(script: str) -> Callable[[Where], list[str]]:
    """Command of a peer's script."""
    return lambda where: [str(where.peers), str(SCRIPTS / f"{script}.py"), *_flags(where), "--data-dir", str(where.folder / "state")]


NULL_MODEL = {"STRATA_MODEL": "null"}
ONLY_PREDICTIONS = {
    "STRATA_SAMPLING_INPUT_STREAM": "0",
    "STRATA_SAMPLING_MODEL_STATE": "0",
    "STRATA_SAMPLING_PERFORMANCE": "0",
    "OTEL_TRACES_SAMPLER": "always_off",
}
FAUST = Contender(
    "faust",
    "Faust, one event at a time",
    _rival("faust"),
    lambda where: [*_module("faust_one_by_one"), *_flags(where), "--data-dir", str(where.folder), "--web-port", str(ports.free_port())],
    {},
    share=1 / 20,
)
BY_HAND = Contender(
    "aiokafka",
    "aiokafka by hand, no recovery",
    _rival("aiokafka"),
    lambda where: [*_module("aiokafka_loop"), *_flags(where), "--changelog", where.places.changelog],
    {},
)
QUIX = Contender("quix", "Quix Streams", quix_places, quix("quix_loop"), {}, share=1 / 4)
SPINE = Contender(
    "strata",
    "Strata, null model, the same outputs",
    _worker_places,
    lambda where: [sys.executable, "-m", "streams"],
    {**NULL_MODEL, **ONLY_PREDICTIONS},
    creates_topics=True,
)
SPINE_ALL = Contender(
    "strata-all",
    "Strata, null model, all rows and spans",
    _worker_places,
    SPINE.command,
    NULL_MODEL,
    share=1 / 4,
    creates_topics=True,
)
CONTENDERS = (FAUST, QUIX, BY_HAND, SPINE, SPINE_ALL)


async def run(
    contender: Contender,
    desk: Desk,
    bootstrap: str,
    prefix: str,
    count: int,
    folder: Path,
    environ: Mapping[str, str],
    peers: Path | None = None,
    rows: Callable[[int], Iterable[tuple[int, bytes, bytes]]] = load.records,
) -> Run:
    """Run one contender once on fresh topics. Raises BenchError when it ends early, stalls or does not make all outputs.

    rows: how many -> the records.
    """
    places = contender.places(prefix)
    if contender.creates_topics:
        await asyncio.to_thread(topics.create_missing, bootstrap, prefix, load.PARTITIONS)
    else:
        await desk.create(places)
    count = max(contender.least, round(count * contender.share))
    where = Where(bootstrap, places, folder, peers)
    with process_of(contender, where, prefix, environ) as process:
        try:
            # 1. warm up
            warm = await desk.fill(places.source, load.warm_up())
            await _until_committed(desk, places, warm, process, READY_S)
            # 2. the backlog, while it sleeps
            process.suspend()
            await desk.fill(places.source, rows(count))
            # 3. go
            cpu, begun_ms = _cpu(process), time.time() * 1000
            process.resume()
            rss = await _until_committed(desk, places, warm + count, process, STALLED_S)
            used = _cpu(process) - cpu
            took_s = (await desk.last_append_ms((places.target, places.changelog)) - begun_ms) / 1000
        except psutil.Error as problem:
            raise BenchError(f"{contender.title}: the process ended; last lines of its log:\n{broker.tail(folder / 'log')}") from problem
    made, wanted = await desk.end(places.target), contender.outputs(count)
    if made != wanted:
        raise BenchError(f"{contender.title}: {made} outputs of {count} records, wanted {wanted}; see {folder / 'log'}")
    return Run(contender.name, count, count / took_s, used / count * 1e5, rss / 1e6)


@contextmanager
def process_of(contender: Contender, where: Where, prefix: str, environ: Mapping[str, str]) -> Iterator[psutil.Process]:
    folder = where.folder
    folder.mkdir(parents=True, exist_ok=True)
    own = {
        "STRATA_KAFKA_BOOTSTRAP": where.bootstrap,
        "STRATA_TOPIC_PREFIX": prefix,
        "STRATA_DATA_DIR": str(folder),
        "STRATA_PARTITIONS": str(load.PARTITIONS),
        "STRATA_CONFIG": str(folder / "strata.toml"),
    }
    (folder / "strata.toml").touch()  # an empty one: the caller's settings are not part of the comparison
    clean = {k: v for k, v in environ.items() if not k.startswith(("STRATA_", "OTEL_"))}
    started = processes.start(contender.command(where), folder / "log", {**clean, **own, **contender.settings})
    try:
        yield psutil.Process(started.pid)
    finally:
        if started.poll() is None:
            psutil.Process(started.pid).resume()
        processes.stop(started, 15.0)


async def _until_committed(desk: Desk, places: Places, count: int, process: psutil.Process, patience_s: float) -> float:
    """Wait until so many records are committed; returns the largest memory seen, bytes."""
    rss, seen, deadline = 0.0, -1, time.monotonic() + patience_s
    while (now := await desk.committed(places.group, places.source)) < count:
        if process.status() == psutil.STATUS_ZOMBIE:
            raise psutil.NoSuchProcess(process.pid)
        if now > seen:
            seen, deadline = now, time.monotonic() + patience_s
        if time.monotonic() > deadline:
            raise BenchError(f"group {places.group}: {now} of {count} records committed, and no more for {patience_s:.0f} s")
        rss = max(rss, process.memory_info().rss)
        await asyncio.sleep(POLL_S)
    return max(rss, process.memory_info().rss)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
