"""`strata demo`: sample streams played into a running stack, in waves, while what is predicted is shown live.

Knows when which sample is played, when all of it is through, and what earlier runs left; leaves the stack to deploy/local, the sending
to replay.py, the looks to live_view.py.
"""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from rich.console import Console, Group
from rich.live import Live

from deploy.clickhouse_http import ClickHouse, QueryError, UnreachableError
from deploy.demo_totals import earlier, highest_numbers, stored_rows
from deploy.live_state import LiveState
from deploy.live_view import Caption, frame, plain, plain_progress
from deploy.local import state
from deploy.replay import Pace, Play, Sample, replay, tell_truths
from schemas.codec import Codec
from schemas.errors import CodecError, StrataError

OUTPUTS = {"input-stream": "input_stream", "predictions": "predictions", "boundaries": "boundaries", "failures": "failures"}
WAVES, WAVE_GAP_S = 3, 16.0
"""A round is played in so many waves, so many seconds apart at speed 1."""
FRAMES_PER_S, LINES_EVERY_S, STORED_EVERY_S = 4, 5.0, 1.0
STALLED_S = 45.0
"""Nothing new for so long, after all was sent: something is stuck."""
UNREADABLE = b'{"session_id": "cut-off", "text": '
"""What a broken producer would send, once a demo: it is told as a failure and put aside in dead-letter, and nothing else stops."""
UNREADABLE_HEADERS = [("content-type", b"application/json")]
SEEN = {
    "tokens": "sentences, paragraphs and topics of text",
    "chat": "topics of conversations",
    "logs": "templates, severities and anomalies of log lines",
    "metrics": "anomalies of measurements",
}
"""Modality -> what of it will be shown."""
HINT = 'Ctrl-C stops everything  ·  strata query "SELECT ..." answers meanwhile'
PAGE_HINT = "Ctrl-C stops everything  ·  watch it at {}"


WATCH_S = 1.0
"""How often to look whether the stack still runs."""


class DemoError(StrataError):
    """The samples did not come through."""


@dataclass(frozen=True)
class Servers:
    """The running stack the demo plays into."""

    kafka_bootstrap: str
    topic_prefix: str
    clickhouse: ClickHouse
    data_dir: Path
    codec: Codec = field(default_factory=Codec)
    console: str = ""
    """Address of the web page; empty where none runs."""


@dataclass(frozen=True)
class Choice:
    """What the user asked for."""

    once: bool = False
    speed: float = 1.0
    encoding: str = "avro"
    sampled_share: float = 0.05
    budget_ms: float = 50.0
    all_inputs: bool = True
    """Every item comes back on input-stream: it is not sampled."""


def introduction(samples: Sequence[Sample], choice: Choice) -> str:
    """What is going to be played and seen: said before anything comes back, which takes a few seconds."""
    counts = {m: sum(s.modality == m for s in samples) for m in SEEN}
    played = ", ".join(f"{n} of {m}" for m, n in counts.items() if n)
    rounds, speed = "once" if choice.once else "again and again", "" if choice.speed == 1.0 else f" at {choice.speed:g} times their speed"
    seen = "; ".join(SEEN[m] for m, n in counts.items() if n)
    return f"Playing {len(samples)} recorded sessions ({played}) {rounds}{speed}.\nShown as the model finds them, in a few seconds: {seen}."


def numbered(samples: Sequence[Sample], counters: Mapping[str, int]) -> tuple[list[Play], dict[str, int]]:
    """A round: each sample under a session id never used before, in its wave; and the counters after it."""
    counts, plays = dict(counters), []
    for sample in samples:
        alike = [s for s in samples if s.modality == sample.modality]
        wave = next(i for i, s in enumerate(alike) if s is sample) * WAVES // len(alike)
        counts[sample.name] = counts.get(sample.name, 0) + 1
        plays.append(Play(f"{sample.name}-{counts[sample.name]}", sample, wave * WAVE_GAP_S))
    return plays, counts


def read_counters(data_dir: Path) -> dict[str, int]:
    """How many sessions of each name were played from this data folder."""
    try:
        found = json.loads((data_dir / "demo.json").read_text(encoding="utf-8"))
        return {str(name): int(count) for name, count in found["sessions"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_counters(data_dir: Path, counters: Mapping[str, int]) -> None:
    """Before the sessions are played: a killed demo never uses an id again."""
    data_dir.mkdir(parents=True, exist_ok=True)
    fresh = data_dir / "demo.json.new"
    fresh.write_text(json.dumps({"sessions": dict(counters)}, indent=1) + "\n", encoding="utf-8")
    os.replace(fresh, data_dir / "demo.json")


class Demo:
    """One demo from its first session to its last; holds what the screen shows."""

    def __init__(self, servers: Servers, choice: Choice, samples: Sequence[Sample], console: Console):
        self.servers, self.choice, self.samples, self.console = servers, choice, samples, console
        self.state = LiveState(choice.budget_ms)
        self.played: list[Play] = []
        self.has_erred = False
        """The unreadable record was sent."""
        self.note, self.earlier = "the first records are on their way", ""
        self.stored: int | None = None
        self._begun = time.monotonic()

    def hint(self) -> str:
        """The last line of the screen."""
        return PAGE_HINT.format(self.servers.console) if self.servers.console else HINT

    def elapsed_s(self) -> float:
        return time.monotonic() - self._begun

    async def run(self) -> list[Play]:
        """Play until Ctrl-C, or once until all is in ClickHouse. Returns what was played. Raises DemoError when something is missing."""
        self.console.print(introduction(self.samples, self.choice), highlight=False, markup=False, soft_wrap=not self.console.is_terminal)
        before = await asyncio.to_thread(earlier, self.servers.clickhouse)
        if before.items:
            self.earlier = f"going on: {before.sessions:,} sessions, {before.items:,} items stored"
            self.console.print(self.earlier, highlight=False)
        self._begun = time.monotonic()
        async with _consumer(self.servers) as consumer, _producer(self.servers) as producer:
            parts = (self._read(consumer), self._count(), self._show(), self._watch_stack())
            shown = [asyncio.create_task(part) for part in parts]
            playing = asyncio.create_task(self._play(producer))
            try:
                await asyncio.wait([playing, *shown], return_when=asyncio.FIRST_COMPLETED)
                for task in (playing, *shown):  # whichever ended first: done, or with its error
                    if task.done():
                        task.result()
            finally:
                for task in (playing, *shown):
                    task.cancel()
                await asyncio.gather(playing, *shown, return_exceptions=True)
        return self.played

    async def _watch_stack(self) -> None:
        """Raise DemoError when the stack that ran at the start is gone: nothing would be read any more."""
        folder = self.servers.data_dir
        here = await asyncio.to_thread(state.running, folder) is not None
        while True:
            await asyncio.sleep(WATCH_S)
            if here and await asyncio.to_thread(state.running, folder) is None:
                raise DemoError(f"the stack has ended; {folder / 'logs' / 'supervisor.log'} says why, `strata demo` starts it again")

    async def _play(self, producer: AIOKafkaProducer) -> None:
        counters = read_counters(self.servers.data_dir)
        used = await asyncio.to_thread(highest_numbers, self.servers.clickhouse)
        counters = {name: max(counters.get(name, 0), used.get(name, 0)) for name in {*counters, *used}}
        rounds = 0
        while rounds == 0 or not self.choice.once:
            rounds += 1
            plays, counters = numbered(self.samples, counters)
            write_counters(self.servers.data_dir, counters)
            self.played = plays if not self.choice.once else [*self.played, *plays]
            self.note = f"round {rounds}" if not self.choice.once else f"{len(plays)} sessions"
            await self._round(producer, plays)
            if not self.choice.once:
                self.state.forget_ended(self.elapsed_s() - 20.0)
        await self._through()

    async def _round(self, producer: AIOKafkaProducer, plays: Sequence[Play]) -> None:
        pace = Pace(self.choice.speed)
        options = {"prefix": self.servers.topic_prefix, "encoding": self.choice.encoding, "sampled_share": self.choice.sampled_share}
        try:
            await replay(plays, producer, pace, **options)  # type: ignore[arg-type]
            await tell_truths(plays, producer, prefix=self.servers.topic_prefix, encoding=self.choice.encoding)
            if not self.has_erred:
                await producer.send_and_wait(
                    self.servers.topic_prefix + "tokens", UNREADABLE, key=b"unreadable", headers=UNREADABLE_HEADERS
                )
                self.has_erred = True
        except KafkaError as problem:
            if self.choice.once:
                raise DemoError(
                    f"Kafka at {self.servers.kafka_bootstrap} did not take the samples ({problem!r}); look at `strata status`"
                ) from problem
            self.note = f"Kafka does not answer ({type(problem).__name__}); next round follows"
            await asyncio.sleep(2.0)

    async def _through(self) -> None:
        """Wait until every item was read, every session has its last word, and the tables hold all that was seen."""
        progress, since = (-1, -1, -1), self.elapsed_s()
        ids = [p.session_id for p in self.played]
        while True:
            missing, seen = self.missing()
            rows = await asyncio.to_thread(stored_rows, self.servers.clickhouse, ids)
            absent = {table: count - rows[table] for table, count in seen.items() if rows[table] < count}
            if not missing and not absent:
                return
            self.note = missing or "storing: " + ", ".join(f"{n:,} {table}" for table, n in absent.items())
            now = (sum(seen.values()), sum(rows.values()), self.state.items)
            if now != progress:
                progress, since = now, self.elapsed_s()
            elif self.elapsed_s() - since > STALLED_S:
                raise DemoError(
                    f"nothing new for {STALLED_S:.0f} s: {self.note}; look at `strata status` and the logs in {self.servers.data_dir / 'logs'}"
                )
            await asyncio.sleep(0.3)

    def missing(self) -> tuple[str, dict[str, int]]:
        """What has not come back yet, in words; and the rows each table must hold for what has."""
        views = [self.state.sessions.get(f"{p.sample.modality}/{p.session_id}") for p in self.played]
        read = sum(v.records["InputRead"] for v in views if v)
        sent, ended = sum(len(p.sample.items) for p in self.played), sum(v is not None and v.ended_s is not None for v in views)
        classes = {"input_stream": "InputRead", "predictions": "PredictionMade", "boundaries": "BoundaryFound"}
        seen = {table: sum(v.records[name] for v in views if v) for table, name in classes.items()}
        if read < sent and self.choice.all_inputs:
            return f"reading: {sent - read:,} of {sent:,} items left", seen
        return f"{len(views) - ended} of {len(views)} sessions not closed yet" if ended < len(views) else "", seen

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        """Output topics -> state; without a terminal, one line for each thing that happened."""
        names = {self.servers.topic_prefix + topic: name for topic, name in OUTPUTS.items()}
        while True:
            for place, records in (await consumer.getmany(timeout_ms=100, max_records=2000)).items():
                for record in records:
                    with contextlib.suppress(CodecError):  # a record of a newer version: not ours to show
                        self._tell(self.servers.codec.decode(names[place.topic], record.value))
            await asyncio.sleep(0)

    def _tell(self, record: Any) -> None:
        told = self.state.apply(record, self.elapsed_s())
        if not self.console.is_terminal:
            for happening in told:
                self.console.print(plain(happening, self.elapsed_s()), markup=False, highlight=False, soft_wrap=True)

    async def _count(self) -> None:
        """How much is stored; a busy or restarting writer is asked again."""
        while True:
            with contextlib.suppress(QueryError, UnreachableError):
                self.stored = (await asyncio.to_thread(earlier, self.servers.clickhouse)).items
            await asyncio.sleep(STORED_EVERY_S)

    def _caption(self) -> Caption:
        return Caption("demo", self.elapsed_s(), self.note, self.earlier, self.stored, self.hint())

    async def _show(self) -> None:
        if not self.console.is_terminal:
            while True:
                await asyncio.sleep(LINES_EVERY_S)
                line = plain_progress(self.state, self.elapsed_s(), self.elapsed_s(), self.stored)
                self.console.print(line, markup=False, highlight=False, soft_wrap=True)
        with Live(console=self.console, screen=True, auto_refresh=False) as live:
            while True:
                width, height = self.console.size
                live.update(Group(*frame(self.state, self._caption(), self.elapsed_s(), width, height)), refresh=True)
                await asyncio.sleep(1 / FRAMES_PER_S)


@contextlib.asynccontextmanager
async def _consumer(servers: Servers) -> AsyncIterator[AIOKafkaConsumer]:
    """Reads the output topics from their ends on; no group, nothing committed. Raises DemoError."""
    topics = [servers.topic_prefix + topic for topic in OUTPUTS]
    consumer = AIOKafkaConsumer(
        *topics,
        bootstrap_servers=servers.kafka_bootstrap,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="latest",
        fetch_max_wait_ms=100,
    )
    await consumer.start()
    try:
        if absent := set(topics) - await consumer.topics():
            raise DemoError(f"no topic {', '.join(sorted(absent))}; start the stack with `strata up`, or create the topics on your Kafka")
        for _ in range(200):
            if {p.topic for p in consumer.assignment()} == set(topics):
                break
            await asyncio.sleep(0.05)
        for place in consumer.assignment():  # settled before anything is sent, so that nothing is missed
            await consumer.position(place)
        yield consumer
    finally:
        with contextlib.suppress(asyncio.TimeoutError, asyncio.CancelledError, KafkaError):  # aiokafka's own tasks end so without a broker
            await asyncio.wait_for(consumer.stop(), 2.0)


@contextlib.asynccontextmanager
async def _producer(servers: Servers) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=servers.kafka_bootstrap, acks="all", enable_idempotence=True, client_id="strata-demo")
    await producer.start()
    try:
        yield producer
    finally:
        with contextlib.suppress(asyncio.TimeoutError, KafkaError):
            await asyncio.wait_for(producer.stop(), 2.0)
