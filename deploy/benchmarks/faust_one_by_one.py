"""The work of the benchmark on Faust as it comes: one event at a time, its own table and its own sends.

A rival of the worker, run as a process; knows nothing of ours. Settings are the sensible ones: uvloop, RocksDB, commits every second,
no waiting for empty buffers, logs from WARNING on (its default of DEBUG on the root logger costs 8 %).
"""

import argparse
import asyncio
import logging
from typing import Any

import faust
import uvloop

ROCKSDB_OPTIONS = {"write_buffer_size": 4 << 20, "block_cache_size": 16 << 20, "max_open_files": 256}


def build(args: argparse.Namespace) -> faust.App:
    """topic tokens -> a row per session, and a prediction for each ten records of it."""
    app = faust.App(
        args.group,
        broker=f"kafka://{args.bootstrap}",
        store="rocksdb://",
        datadir=args.data_dir,
        value_serializer="json",
        topic_partitions=args.partitions,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=1.0,
        broker_max_poll_records=4000,
        stream_wait_empty=False,
        web_enabled=False,
        web_port=args.web_port,
    )
    source = app.topic(args.source, key_type=bytes, value_serializer="json")
    target = app.topic(args.target, key_type=bytes, value_serializer="json")
    sessions = app.Table("sessions", partitions=args.partitions, key_type=bytes, options=ROCKSDB_OPTIONS)

    @app.agent(source)
    async def tokens(stream: Any) -> None:
        async for event in stream.events():
            key, value, offset = event.key, event.value, event.message.offset
            row = sessions.get(key) or {"items": 0, "characters": 0, "applied": -1}
            if offset <= row["applied"]:  # a replay
                continue
            row = {"items": row["items"] + 1, "characters": row["characters"] + len(value["text"]), "applied": offset}
            sessions[key] = row
            if row["items"] % 10 == 0:
                await target.send(key=key, value={"session_id": value["session_id"], "position": row["items"] - 1, "offset": offset, **row})

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("bootstrap", "group", "source", "target", "data-dir"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--web-port", type=int, required=True, help="Faust binds one even without its web server")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    faust.Worker(build(args), loglevel="WARNING", override_logging=False, quiet=True, loop=loop).execute_from_commandline()


if __name__ == "__main__":
    main()
