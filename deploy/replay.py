"""Recorded sessions -> topics at a chosen speed: the demo and the load.

Knows when each item of each session is due and what its record says; leaves bytes to schemas.codec, the choice of sessions to demo.py.
Next: streams/agents/tokens.py
"""

import asyncio
import heapq
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

from deploy.pieces import cut_text
from schemas.codec import CONTENT_TYPES, encoder
from schemas.events import RECORDS, LabelEvent, Micros
from schemas.trace import TraceContext, write

SAMPLES = Path(__file__).parent / "samples"
MODALITIES = ("tokens", "chat", "logs", "metrics")
Header = tuple[str, bytes]


@dataclass(frozen=True)
class Sample:
    """One recorded session."""

    modality: str
    name: str
    """What its sessions are called: `visit` gives visit-1, visit-2, ..."""
    source: str
    items: tuple[Mapping[str, Any], ...]
    """The record's fields, without session, position and time."""
    after_ms: tuple[float, ...] = ()
    """When each item came, milliseconds after the first, as recorded; empty where the recording has no times."""
    rate: float = 10.0
    """Items per second when played at speed 1."""
    truths: tuple[Mapping[str, Any], ...] = ()
    """What is true of it: fields of a label, without session and time."""


@dataclass(frozen=True)
class Pace:
    """How fast sessions are played."""

    speed: float = 1.0
    """Times faster than the sample's own rate (or, with `recorded`, than it was recorded); 0 is as fast as possible."""
    rate: float | None = None
    """Items per second and session, in place of the sample's own."""
    recorded: bool = False
    """Keep the gaps of the recording where it has times."""

    def due_s(self, sample: Sample, index: int) -> float:
        """Seconds from the session's first item to item `index`."""
        if self.speed <= 0:
            return 0.0
        if self.recorded and sample.after_ms:
            return sample.after_ms[index] / 1000 / self.speed
        return index / ((self.rate or sample.rate) * self.speed)


@dataclass(frozen=True)
class Play:
    """A sample played as one session."""

    session_id: str
    sample: Sample
    start_s: float = 0.0
    """Seconds after the beginning of the replay."""
    ends: bool = True
    """The last item carries end_of_session."""


@dataclass(frozen=True, order=True)
class Due:
    """One item to be sent."""

    at_s: float
    order: int
    """Of the plays among each other, so that equal times keep their order."""
    index: int
    play: Play = field(compare=False)


class Producer(Protocol):
    """What is needed of aiokafka's producer."""

    async def send(self, topic: str, value: bytes, key: bytes, headers: Sequence[Header]) -> Awaitable[Any]: ...


def load_samples(folder: Path = SAMPLES, modalities: Iterable[str] = MODALITIES) -> list[Sample]:
    """The sample sessions kept in the repository, in the order of their files."""
    found = []
    for modality in modalities:
        for line in (folder / f"{modality}.jsonl").read_text(encoding="utf-8").splitlines():
            found.append(as_sample(modality, json.loads(line)))
    return found


def as_sample(modality: str, row: Mapping[str, Any]) -> Sample:
    """One line of a sample file -> Sample."""
    if modality == "tokens":
        items = [{"text": piece, "source": row["name"]} for piece in cut_text(row["text"])]
    elif modality == "metrics":
        items = [{"name": row["metric"], "value": i["value"], "unit": row["unit"]} for i in row["items"]]
    else:
        items = [{k: v for k, v in item.items() if k != "after_ms"} for item in row["items"]]
    after = tuple(float(i["after_ms"]) for i in row.get("items", ()) if "after_ms" in i)
    return Sample(modality, row["name"], row["source"], tuple(items), after, float(row["rate"]), tuple(row.get("truths", ())))


def schedule(plays: Sequence[Play], pace: Pace) -> Iterator[Due]:
    """All items of all sessions in the order they are due: sessions interleave, items of one session keep their order."""
    return heapq.merge(*(_one(order, play, pace) for order, play in enumerate(plays)))


def _one(order: int, play: Play, pace: Pace) -> Iterator[Due]:
    start_s = play.start_s / pace.speed if pace.speed > 0 else 0.0
    for index in range(len(play.sample.items)):
        yield Due(start_s + pace.due_s(play.sample, index), order, index, play)


class Timestamps:
    """Event times: now and increasing for each session; a metric's own spacing, laid so that its last point comes at about now."""

    def __init__(self, pace: Pace, now_us: Callable[[], int]):
        self._pace, self._now_us = pace, now_us
        self._last: dict[str, int] = {}
        self._begun: dict[str, int] = {}

    def of(self, play: Play, index: int) -> int:
        now, sample = self._now_us(), play.sample
        if sample.modality == "metrics" and sample.after_ms:
            begun = self._begun.setdefault(play.session_id, now)
            end = begun + round(self._pace.due_s(sample, len(sample.items) - 1) * 1e6)
            return end - round((sample.after_ms[-1] - sample.after_ms[index]) * 1000)
        moment = max(now, self._last.get(play.session_id, 0) + 1)
        self._last[play.session_id] = moment
        return moment


def record_of(play: Play, index: int, timestamp_us: int) -> Any:
    """The record of one item."""
    sample = play.sample
    extra: dict[str, Any] = {"position": index} if sample.modality == "tokens" else {}
    last = play.ends and index == len(sample.items) - 1
    kind = RECORDS[sample.modality]
    return kind(session_id=play.session_id, timestamp=timestamp_us, end_of_session=last, **extra, **sample.items[index])


async def tell_truths(
    plays: Sequence[Play],
    producer: Producer,
    *,
    prefix: str = "",
    encoding: str = "avro",
    now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> int:
    """Send what is true of these sessions to topic labels, as it becomes known after the fact. Returns how many, all of them acknowledged."""
    encode, headers = encoder("labels", encoding), [("content-type", CONTENT_TYPES[encoding])]
    pending = []
    for play in plays:
        for truth in play.sample.truths:
            value = encode(LabelEvent(session_id=play.session_id, timestamp=Micros(now_us()), **truth))
            pending.append(await producer.send(prefix + "labels", value=value, key=play.session_id.encode(), headers=headers))
    await asyncio.gather(*pending)
    return len(pending)


def trace_headers(session_id: str, index: int, timestamp_us: int, sampled_share: float) -> list[Header]:
    """A traceparent computed from the item; `sampled_share` of the items (by hash) carry the sampled flag."""
    digest = blake2b(f"{session_id}\x1f{index}\x1f{timestamp_us}".encode(), digest_size=32).hexdigest()
    sampled = int(digest[48:56], 16) < sampled_share * 2**32
    return write(TraceContext(digest[:32], digest[32:48], sampled))


async def replay(
    plays: Sequence[Play],
    producer: Producer,
    pace: Pace,
    *,
    prefix: str = "",
    encoding: str = "avro",
    sampled_share: float = 0.01,
    now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    on_sent: Callable[[Due, Awaitable[Any]], None] | None = None,
) -> int:
    """Send every item when it is due. Returns the number of items, all of them acknowledged by the broker.

    `on_sent` gets each item with the future of its acknowledgement. Raises what the producer raises.
    """
    encoders = {m: encoder(m, encoding) for m in MODALITIES}
    times, begun, pending, sent = Timestamps(pace, now_us), clock(), [], 0
    for due in schedule(plays, pace):
        # 1. wait until it is due; a late item goes out at once
        wait_s = begun + due.at_s - clock()
        if wait_s > 0:
            await sleep(wait_s)
        # 2. the record, its key and headers
        play, modality = due.play, due.play.sample.modality
        moment = times.of(play, due.index)
        value = encoders[modality](record_of(play, due.index, moment))
        headers = [("content-type", CONTENT_TYPES[encoding]), *trace_headers(play.session_id, due.index, moment, sampled_share)]
        # 3. send; the acknowledgements are awaited in bulk, so that a slow one does not hold up the other sessions
        acknowledged = await producer.send(prefix + modality, value=value, key=play.session_id.encode(), headers=headers)
        sent += 1
        if on_sent:
            on_sent(due, acknowledged)
        pending.append(acknowledged)
        if len(pending) >= 5000:
            await asyncio.gather(*pending)
            pending.clear()
    await asyncio.gather(*pending)
    return sent
