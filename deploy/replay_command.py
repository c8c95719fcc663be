"""`strata replay --model A --model B`: the same recorded sessions through two versions of the model, from Kafka's own history.

Knows topics, copying and one worker after the other as a process; leaves what differs to sinks/compare.py. Each version has topics of its own, under a
prefix, and a data folder of its own, so that nothing of it reaches the tables or the sessions of the running stack. The records keep their keys, times, headers and partitions.
Next: sinks/compare.py
"""

import asyncio
import logging
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated

import typer
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from deploy.local import topics as kafka_topics
from deploy.targets import Target, environment, target_of
from schemas.errors import SettingError, StrataError
from schemas.topics import INPUTS, MAX_MESSAGE_BYTES, all_topics, app_id

SHIPPED = "shipped"
COPIED = tuple(t.name for t in INPUTS if t.name != "requests")
SETTLED_S = 3.0
"""The worker has read all for so long: what it says last is on the topics."""


class ReplayError(StrataError):
    """The sessions did not go through a version."""


def replay(
    ctx: typer.Context,
    model: Annotated[
        list[str], typer.Option(help=f"Folder of a checkpoint, or `{SHIPPED}`; give it twice, A and then B.", metavar="FOLDER")
    ],
    since: Annotated[
        str | None,
        typer.Option(
            help="Records from then on: 2026-01-31, RFC 3339, or 24h, 7d ago.  [default: all that Kafka has]",
            show_default=False,
            metavar="TIME",
        ),
    ] = None,
    modality: Annotated[list[str] | None, typer.Option(help="Only tokens, logs, chat or metrics; may be repeated.")] = None,
    changes: Annotated[int, typer.Option(help="How many examples that changed are shown.", min=0)] = 20,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the topics of the two versions there.")] = False,
    patience_s: Annotated[float, typer.Option("--patience", help="Longest time without progress, seconds.", min=1.0)] = 120.0,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the stack (STRATA_DATA_DIR).  [default: .strata]", show_default=False)
    ] = None,
    kafka: Annotated[str | None, typer.Option(help="Kafka's address (STRATA_KAFKA_BOOTSTRAP).", metavar="HOST:PORT")] = None,
    topic_prefix: Annotated[str | None, typer.Option(help="In front of every topic (STRATA_TOPIC_PREFIX).")] = None,
) -> None:
    """Put the recorded sessions through two versions of the model; tell paired differences and which examples changed."""
    if len(model) != 2:
        raise SettingError(f"--model was given {len(model)} times, wanted twice: A and B, each a folder or `{SHIPPED}`")
    if missing := next((m for m in model if m != SHIPPED and not Path(m).is_dir()), None):
        raise SettingError(f"--model {missing}: no such folder; name a checkpoint's folder, or `{SHIPPED}`")
    target = target_of(ctx.obj, data_dir=data_dir, kafka_bootstrap=kafka, topic_prefix=topic_prefix)
    names = [name for name in COPIED if not modality or name in modality or name == "labels"]
    logging.getLogger("aiokafka").setLevel(
        logging.CRITICAL
    )  # new topics have no leader yet: it tries again, and what matters comes as an error
    run = f"{target.topic_prefix}replay-{os.getpid()}-"
    prefixes = (f"{run}a-", f"{run}b-")
    try:
        for prefix, folder in zip(prefixes, model, strict=True):
            kafka_topics.create_missing(target.kafka_bootstrap, prefix, target.partitions)
            copied = asyncio.run(_copy(target, prefix, names, _moment_ms(since)))
            if not copied:
                raise ReplayError(
                    f"Kafka at {target.kafka_bootstrap} has no records of {', '.join(names)} since then; send some with `strata produce`, or name another --since"
                )
            print(f"{folder}: {copied:,} records", file=sys.stderr)
            _through(target, prefix, folder, ctx.obj.environ, patience_s)
        flags = [
            "--kafka",
            target.kafka_bootstrap,
            "--prefix-a",
            prefixes[0],
            "--prefix-b",
            prefixes[1],
            "--changes",
            str(changes),
            "--model-a",
            model[0],
            "--model-b",
            model[1],
            "--keep-in",
            str(target.data_dir.resolve()),
            *(["--json"] if as_json else []),
        ]
        status = subprocess.run([sys.executable, "-m", "sinks.compare", *flags], env=dict(ctx.obj.environ)).returncode
    except KafkaError as problem:
        raise ReplayError(f"Kafka at {target.kafka_bootstrap}: {problem or type(problem).__name__}; see `strata doctor`") from problem
    finally:
        if not keep:
            asyncio.run(_forget(target.kafka_bootstrap, prefixes))
    sys.exit(status)


def _moment_ms(text: str | None) -> int:
    """Milliseconds since the epoch; 0 for all. Raises SettingError."""
    if text is None:
        return 0
    units = {"h": "hours", "d": "days", "w": "weeks"}
    try:
        if text[-1:] in units and text[:-1].isdigit():
            found = datetime.now(UTC) - timedelta(**{units[text[-1]]: int(text[:-1])})
        else:
            found = datetime.fromisoformat(text)
    except ValueError:
        raise SettingError(f"--since {text!r}: wanted such as 2026-01-31, 2026-01-31T12:00:00Z, 24h or 7d") from None
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


async def _copy(target: Target, prefix: str, names: list[str], since_ms: int) -> int:
    """Records of the input topics from a time on to the same partitions under a prefix; returns how many."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=target.kafka_bootstrap, group_id=None, enable_auto_commit=False, max_partition_fetch_bytes=MAX_MESSAGE_BYTES
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=target.kafka_bootstrap, enable_idempotence=True, max_request_size=MAX_MESSAGE_BYTES, client_id="strata-replay"
    )
    copied = 0
    await consumer.start()
    try:
        await producer.start()
        places = [TopicPartition(target.topic_prefix + name, p) for name in names for p in range(target.partitions)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        begins = await consumer.beginning_offsets(places)
        if since_ms:
            found = await consumer.offsets_for_times(dict.fromkeys(places, since_ms))
            begins = {p: found[p].offset if found.get(p) else ends[p] for p in places}
        for place, begin in begins.items():
            consumer.seek(place, begin)
        left = {p for p in places if ends[p] > begins[p]}
        while left:
            pending = []
            for place, records in (await consumer.getmany(*left, timeout_ms=500, max_records=2000)).items():
                for r in records:
                    if r.offset < ends[place]:
                        to = prefix + place.topic.removeprefix(target.topic_prefix)
                        pending.append(await producer.send(to, r.value, r.key, r.partition, r.timestamp, list(r.headers)))
            await asyncio.gather(*pending)
            copied += len(pending)
            left = {p for p in left if await consumer.position(p) < ends[p]}
    finally:
        await producer.stop()
        await consumer.stop()
    return copied


def _through(target: Target, prefix: str, folder: str, environ: dict[str, str], patience_s: float) -> None:
    """One worker over all that was copied, until it has read it. Raises ReplayError."""
    place = Path(mkdtemp(prefix="strata-replay-"))
    told = {**environ, **environment(target), "STRATA_TOPIC_PREFIX": prefix, "STRATA_DATA_DIR": str(place), "STRATA_WORKER_INDEX": "0"}
    told = {k: v for k, v in told.items() if k != "STRATA_MODEL_PATH"} | (
        {} if folder == SHIPPED else {"STRATA_MODEL_PATH": str(Path(folder).resolve())}
    )
    with open(place / "worker.log", "wb") as log:
        worker = subprocess.Popen([sys.executable, "-m", "streams"], env=told, stdout=log, stderr=log)
        try:
            least, since, done_since = None, time.monotonic(), None
            while True:
                if worker.poll() is not None:
                    raise ReplayError(
                        f"the worker with {folder} ended with status {worker.returncode}:\n{(place / 'worker.log').read_text(errors='replace')[-1500:]}"
                    )
                lag = sum(t.lag.get(app_id(prefix), 0) for t in kafka_topics.survey(target.kafka_bootstrap, prefix) if t.direction == "in")
                now = time.monotonic()
                if lag != least:
                    least, since = lag, now
                    print(f"\r{folder}: {lag:,} records to go  ", end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)
                done_since = (done_since or now) if lag == 0 else None
                if done_since and now - done_since >= SETTLED_S:
                    break
                if now - since > patience_s:
                    raise ReplayError(
                        f"the worker with {folder} has made no progress for {patience_s:.0f} s, {lag:,} records to go; its log is {place / 'worker.log'}"
                    )
                time.sleep(1.0)
        finally:
            worker.terminate()
            try:
                worker.wait(15)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
    shutil.rmtree(place, ignore_errors=True)


async def _forget(bootstrap: str, prefixes: tuple[str, ...]) -> None:
    """Delete the topics of the two versions."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="strata-replay")
    try:
        await admin.start()
        there = set(await admin.list_topics())
        await admin.delete_topics([t.name for prefix in prefixes for t in all_topics(prefix) if t.name in there])
    except KafkaError as problem:
        print(f"topics {prefixes[0]}* and {prefixes[1]}* could not be deleted: {problem}", file=sys.stderr)
    finally:
        await admin.close()
