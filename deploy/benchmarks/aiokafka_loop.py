"""The work of the benchmark as a loop by hand: aiokafka, a dict, a changelog topic. What little code costs; no recovery, no rebalance.

A rival of the worker, run as a process; knows nothing of ours.
"""

import argparse
import asyncio
import signal
import time
from typing import Any

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

COMMIT_S = 1.0


async def run(args: argparse.Namespace) -> None:
    """Poll, update the dict, publish outputs and changed rows, commit every second; until TERM."""
    consumer = AIOKafkaConsumer(
        args.source, bootstrap_servers=args.bootstrap, group_id=args.group, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    producer = AIOKafkaProducer(bootstrap_servers=args.bootstrap, acks="all", enable_idempotence=True, max_batch_size=900_000)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await consumer.start()
    await producer.start()
    rows: dict[bytes, tuple[int, int, int]] = {}
    done: dict[TopicPartition, int] = {}
    due = time.monotonic() + COMMIT_S
    try:
        while not stopped.is_set():
            # 1. poll
            polled = await consumer.getmany(timeout_ms=250, max_records=16_000)
            sent = []
            for place, records in polled.items():
                # 2. update
                outputs, changed = _apply(rows, records)
                # 3. publish
                sent += await _send(producer, args.target, place.partition, outputs)
                sent += await _send(producer, args.changelog, place.partition, [(k, orjson.dumps(rows[k])) for k in changed])
                done[place] = records[-1].offset + 1
            await asyncio.gather(*sent)
            # 4. commit
            if done and time.monotonic() >= due:
                await consumer.commit(done)
                done, due = {}, time.monotonic() + COMMIT_S
    finally:
        if done:
            await consumer.commit(done)
        await producer.stop()
        await consumer.stop()


def _apply(rows: dict[bytes, tuple[int, int, int]], records: list[Any]) -> tuple[list[tuple[bytes, bytes]], set[bytes]]:
    """Outputs, and the keys whose rows changed."""
    outputs, changed = [], set()
    for record in records:
        key, offset, value = record.key, record.offset, orjson.loads(record.value)
        items, characters, applied = rows.get(key, (0, 0, -1))
        if offset <= applied:  # a replay
            continue
        items += 1
        rows[key] = (items, characters + len(value["text"]), offset)
        changed.add(key)
        if items % 10 == 0:
            outputs.append(
                (key, orjson.dumps({"session_id": value["session_id"], "position": items - 1, "offset": offset, "items": items}))
            )
    return outputs, changed


async def _send(producer: AIOKafkaProducer, topic: str, partition: int, pairs: list[tuple[bytes, bytes]]) -> list[Any]:
    """Hand the pairs to the producer in batches; returns the futures of their acknowledgements."""
    sent, batch = [], producer.create_batch()
    for key, value in pairs:
        if batch.append(key=key, value=value, timestamp=None) is None:
            batch.close()
            sent.append(await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
            batch.append(key=key, value=value, timestamp=None)
    if batch.record_count():
        batch.close()
        sent.append(await producer.send_batch(batch, topic, partition=partition))
    return sent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("bootstrap", "group", "source", "target", "changelog"):
        parser.add_argument(f"--{name}", required=True)
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
