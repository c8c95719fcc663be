"""Latency of a running worker: Kafka's append of a record to Kafka's append of what it decided, joined by the record's place.

Knows what is sent and how it is joined; leaves stacks to deploy/bench.py. Both times are the broker's, in whole milliseconds.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import psutil
from aiokafka import AIOKafkaProducer

from deploy.benchmarks.contest import BenchError
from deploy.benchmarks.load import Desk
from deploy.benchmarks.open_loop import Spread, spread
from deploy.replay import Pace, Play, Sample, load_samples, replay
from schemas.codec import Codec
from schemas.topics import app_id

SESSIONS = 50
WARM_UP_S = 3.0
SETTLE_S = 30.0
"""How long the worker may take to commit what was sent."""
APPEND_TIME = 1
"""timestamp_type of LogAppendTime."""


@dataclass(frozen=True)
class Latency:
    """What was measured."""

    topic: str
    """tokens, chat, logs or metrics."""
    rate: float
    """Records per second, all sessions together."""
    seconds: float
    sessions: int
    records: int
    decided: int
    """Records that made a prediction."""
    by_kind: Mapping[str, Spread]
    """predictions and input-stream."""
    stages: Mapping[str, Spread]
    """Milliseconds the worker says it spent (its performance rows), by name."""
    cpu_share: Mapping[str, float]
    """CPU seconds per second of each process of the stack, where it runs here."""


async def measure(bootstrap: str, prefix: str, topic: str, rate: float, seconds: float, pids: Mapping[str, int]) -> Latency:
    """Play real streams into `topic` and wait until the worker is through. Raises BenchError when it is not in time.

    pids: the stack's processes on this machine, by name.
    """
    source = prefix + topic
    async with Desk(bootstrap) as desk:
        outputs, measured = (prefix + "predictions", prefix + "input-stream"), prefix + "performance"
        # 1. warm up: a worker's first steps are not what it does all day
        await _play(_plays(topic, rate, WARM_UP_S), bootstrap, prefix, rate)
        await _settled(desk, app_id(prefix), source)
        # 2. play
        starts = {name: await desk.ends(name) for name in (source, *outputs, measured)}
        plays = _plays(topic, rate, seconds)
        names = {p.session_id for p in plays}
        cpu, begun = _cpu(pids), time.monotonic()
        sent = await _play(plays, bootstrap, prefix, rate)
        await _settled(desk, app_id(prefix), source)
        took_s, used = time.monotonic() - begun, _cpu(pids)
        # 3. join what came out to what went in
        appended = {}
        for record in await desk.read(source, starts[source]):
            if record.timestamp_type != APPEND_TIME:
                raise BenchError(f"topic {source} keeps its producers' times; set message.timestamp.type=LogAppendTime to measure with it")
            if record.key.decode() in names:
                appended[record.partition, record.offset] = record.timestamp
        delays, decided, codec = dict[str, list[float]](), set[tuple[int, int]](), Codec()
        for output, name in zip(outputs, ("predictions", "input_stream"), strict=True):
            kind = output.removeprefix(prefix)
            for record in await desk.read(output, starts[output]):
                event = codec.decode_dict(name, record.value)
                place = (event["kafka_partition"], event["kafka_offset"])
                if event["session_id"] in names and place in appended:
                    delays.setdefault(kind, []).append(record.timestamp - appended[place])
                    if kind == "predictions":
                        decided.add(place)
        stages: dict[str, list[float]] = {}
        for record in await desk.read(measured, starts[measured]):
            event = codec.decode_dict("performance", record.value)
            if event["session_id"] in names and event["unit"] == "ms":
                stages.setdefault(event["metric_name"], []).append(event["metric_value"])
    return Latency(
        topic,
        rate,
        seconds,
        SESSIONS,
        sent,
        len(decided),
        {kind: spread(d) for kind, d in delays.items()},
        {name: spread(d) for name, d in stages.items()},
        {name: round((used[name] - cpu[name]) / took_s, 3) for name in used.keys() & cpu.keys()},
    )


def _cpu(pids: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds so far; a process that is gone is left out."""
    found = {}
    for name, pid in pids.items():
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            found[name] = times.user + times.system
    return found


async def _play(plays: Sequence[Play], bootstrap: str, prefix: str, rate: float) -> int:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=0)
    await producer.start()
    try:
        return await replay(plays, producer, Pace(rate=rate / SESSIONS), prefix=prefix, sampled_share=0.0)
    finally:
        await producer.stop()


def _plays(topic: str, rate: float, seconds: float) -> list[Play]:
    """SESSIONS real sessions that take turns and all end with the time."""
    samples, run_id = load_samples(modalities=(topic,)), uuid.uuid4().hex[:6]
    length = max(1, round(rate * seconds / SESSIONS))
    return [Play(f"latency-{run_id}-{i:02d}", _cut(samples[i % len(samples)], i * 37, length), start_s=i / rate) for i in range(SESSIONS)]


def _cut(sample: Sample, start: int, length: int) -> Sample:
    """`length` items from `start` on, from the beginning again where the text ends."""
    items = sample.items
    return replace(sample, items=tuple(items[(start + i) % len(items)] for i in range(length)), after_ms=())


async def _settled(desk: Desk, group: str, source: str) -> None:
    """Until all that was sent is committed."""
    deadline = time.monotonic() + SETTLE_S
    while (done := await desk.committed(group, source)) < (end := await desk.end(source)):
        if time.monotonic() > deadline:
            raise BenchError(f"the worker has committed {done} of {end} records {SETTLE_S:.0f} s after the last; look at `strata status`")
        await asyncio.sleep(0.2)
