"""A worker for the tests of delivery: counts and sums per key, with the last-offset guard, and one output per `every` records.

`ours` reads batches through streams.delivery; `stock` is the same job on Faust as it comes, one event at a time.
A row is count, sum of values and last applied source offset, as text. A record's value is JSON: {"n": int, ...}.
Run as a process: python -m tests.streams.delivery_worker ours 127.0.0.1:9092 APP DIR --instance a
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import faust
import orjson
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

from streams import delivery
from streams.delivery import Batch, Outgoing
from streams.polling import BatchThread

CRASH = b"CRASH"
"""A record with this value makes the agent fail."""


def table_name(topic: str) -> str:
    return f"sums-{topic.rsplit('-', 1)[-1]}"


def slow_seeks(seconds: float) -> None:
    """Let the answer to a seek be late, as a busy broker's may be; for both kinds of worker."""
    fausts: Any = AIOKafkaConsumerThread.seek_to_committed
    batches: Any = BatchThread.seek_streams

    async def slow_committed(self: Any) -> Any:
        found = await fausts(self)
        await asyncio.sleep(seconds)
        return found

    async def slow_streams(self: Any, *args: Any) -> Any:
        found = await batches(self, *args)
        await asyncio.sleep(seconds)
        return found

    AIOKafkaConsumerThread.seek_to_committed = slow_committed  # type: ignore[method-assign]
    BatchThread.seek_streams = slow_streams  # type: ignore[assignment,method-assign]


def ours(args: argparse.Namespace) -> None:
    app = delivery.make_app(
        args.app,
        args.bootstrap,
        Path(args.dir),
        instance=args.instance,
        partitions=args.partitions,
        session_timeout_s=args.session_s,
        watchdog_s=args.watchdog_s,
        ready_file=Path(args.dir) / "ready",
    )
    for topic in args.topics.split(","):
        add_agent(app, topic, args)
    delivery.run(app)


def decode(batch: Batch) -> list[tuple[bytes, int, int]]:
    """(key, offset, n) of each record."""
    return [(r.key or b"", r.offset, -1 if r.value == CRASH else orjson.loads(r.value or b"{}")["n"]) for r in batch.records]


def add_agent(app: delivery.App, topic: str, args: argparse.Namespace) -> None:
    table = delivery.add_table(app, table_name(topic))
    output = args.output or f"{topic}-out"

    @delivery.batch_agent(app, topic)
    async def sums(stream: Any) -> None:
        async for step in delivery.decode_ahead(delivery.gather(stream), decode):
            new: dict[int, dict[bytes, tuple[int, int, int]]] = {}
            outputs = []
            for batch, items in step:
                state = new.setdefault(batch.partition, {})
                missing = [key for key, _, _ in items if key not in state]
                state.update({k: read_row(v) for k, v in delivery.load(table, batch.partition, missing).items()})
                for key, offset, n in items:
                    if n == -1 and not args.tolerant:
                        raise ValueError("a record that crashes")
                    count, total, last = state.get(key, (0, 0, -1))
                    if offset > last:
                        count, total = count + 1, total + n
                        state[key] = (count, total, offset)
                    if offset % args.every == 0:
                        outputs.append(Outgoing(output, batch.partition, key, b"%d %d" % (offset, n), [("event-id", b"%d" % offset)]))
            if args.step_s:
                await asyncio.sleep(args.step_s)
            await delivery.publish(app, outputs)
            packed = {partition: {key: b"%d %d %d" % row for key, row in state.items()} for partition, state in new.items()}
            await asyncio.gather(*(delivery.store(table, partition, rows) for partition, rows in packed.items()))
            for batch, _ in step:
                batch.ack()


def read_row(value: bytes) -> tuple[int, int, int]:
    count, total, last = value.split()
    return int(count), int(total), int(last)


def stock(args: argparse.Namespace) -> None:
    app = faust.App(
        args.app,
        broker=f"kafka://{args.bootstrap}",
        datadir=args.dir,
        store="rocksdb://",
        topic_partitions=args.partitions,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=args.session_s,
        broker_heartbeat_interval=args.session_s / 5,
        broker_rebalance_timeout=15,
        broker_commit_interval=1.0,
        web_port=args.web_port,
        stream_wait_empty=False,
    )
    topic = args.topics
    source = app.topic(topic, key_type=bytes, value_type=bytes, value_serializer="raw")
    sink = app.topic(args.output or f"{topic}-out", key_type=bytes, value_type=bytes, value_serializer="raw")
    table = app.Table(
        table_name(topic), partitions=args.partitions, key_type=bytes, value_type=bytes, options={"block_cache_size": 16 << 20}
    )

    @app.agent(source)
    async def sums(stream: Any) -> None:
        async for event in stream.events():
            n, offset = json.loads(event.value)["n"], event.message.offset
            row = table.get(event.key)
            count, total, last = read_row(row) if row else (0, 0, -1)
            if offset > last:
                table[event.key] = b"%d %d %d" % (count + 1, total + n, offset)
            if offset % args.every == 0:
                await sink.send(key=event.key, value=b"%d %d" % (offset, n))

    app.conf.datadir.mkdir(parents=True, exist_ok=True)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    faust.Worker(app, loglevel="info", loop=loop).execute_from_commandline()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("ours", "stock"))
    parser.add_argument("bootstrap")
    parser.add_argument("app")
    parser.add_argument("dir")
    parser.add_argument("--topics", required=True, help="comma separated; stock takes one")
    parser.add_argument("--output", default="", help="default: TOPIC-out")
    parser.add_argument("--instance")
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--session-s", type=float, default=10.0)
    parser.add_argument("--step-s", type=float, default=0.0)
    parser.add_argument("--watchdog-s", type=float, default=60.0)
    parser.add_argument("--web-port", type=int, default=19480)
    parser.add_argument("--tolerant", action="store_true", help="take a record that crashes as -1")
    parser.add_argument("--seek-s", type=float, default=0.0, help="how late the answer to a seek is")
    args = parser.parse_args()
    if args.seek_s:
        slow_seeks(args.seek_s)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    print(f"pid {os.getpid()}", flush=True)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    {"ours": ours, "stock": stock}[args.kind](args)


if __name__ == "__main__":
    main()
