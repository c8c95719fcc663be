"""What the writer costs: decode, rows, look-up and insert, without Kafka. `python -m tests.sinks.bench_writer [--rows N] [--stored N]`."""

import argparse
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from schemas.codec import Codec, encoder
from schemas.events import InputRead
from sinks import batch, migrations
from sinks.clickhouse import Address, ClickHouse
from sinks.deduplication import Table
from sinks.rows import to_block


@dataclass(frozen=True, slots=True)
class Record:
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes
    headers: tuple = ()


def records(low: int, n: int, sessions: int) -> list[Record]:
    encode, made = encoder("input_stream"), []
    for i in range(low, low + n):
        session = f"bench-{i % sessions}"
        event = InputRead(
            event_id=str(uuid.UUID(int=i)),
            timestamp=1_750_000_000_000_000 + i,
            session_id=session,
            modality="tokens",
            model_version="v1",
            trace_id=f"{i:032x}",
            kafka_topic="tokens",
            kafka_partition=i % 8,
            kafka_offset=i // 8,
            token_id=i % 4096,
            token_text="word ",
            token_position=i // sessions,
            buffer_size=512,
            metadata={"source": "bench"},
        )
        made.append(Record("input-stream", i % 8, i, 0, session.encode(), encode(event)))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--stored", type=int, default=0, help="rows in the table before")
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--batch", type=int, default=10_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = ClickHouse(Address(str(Path(folder) / "clickhouse")))
        migrations.migrate(database, migrations.read())
        if chosen.stored:
            database.command(
                "INSERT INTO input_stream SELECT reinterpretAsUUID(sipHash128(number)), fromUnixTimestamp64Micro(1740000000000000 + toInt64(number)), "
                f"'bench-' || toString(number % {chosen.sessions}), 'tokens', 'v1', lower(hex(sipHash128(number))), 'tokens', number % 8, "
                f"intDiv(number, 8) - {chosen.stored // 8 + 1}, 1, 'word ', number, 512, map() FROM numbers({chosen.stored})"
            )
        table, codec = Table(database, "input_stream"), Codec()
        table.write(batch.read(codec, "", records(10**9, 10, 10)).tables["input_stream"].values)  # imports and first plans
        spent = dict.fromkeys(("read", "block", "look up, insert"), 0.0)
        for again in (False, True):
            wall, cpu = 0.0, 0.0
            for low in range(0, chosen.rows, chosen.batch):
                polled = records(low, chosen.batch, chosen.sessions)
                wall -= time.perf_counter()
                cpu -= time.process_time()
                started = time.perf_counter()
                rows = batch.read(codec, "", polled).tables["input_stream"].values
                spent["read"] += time.perf_counter() - started
                started = time.perf_counter()
                written = table.write(rows)
                spent["look up, insert"] += time.perf_counter() - started
                wall += time.perf_counter()
                cpu += time.process_time()
                assert written.inserted == (0 if again else chosen.batch)
                if not again:
                    started = time.perf_counter()
                    to_block("input_stream", rows)
                    spent["block"] += time.perf_counter() - started
            print(f"{'repeats' if again else 'new rows'}: {chosen.rows / wall:,.0f} rows/s, {chosen.rows / cpu:,.0f} rows per CPU second")
        print({k: f"{1e6 * v / chosen.rows:.1f} us/row" for k, v in spent.items()})
        asked, low = [], 10 * chosen.rows
        for size in (10, 1000, 5000):
            rows = batch.read(codec, "", records(low, size, chosen.sessions)).tables["input_stream"].values
            for _ in range(3):
                table.forget()
                started, cpu = time.perf_counter(), time.process_time()
                table._stored(rows)
                asked.append(f"{size}: {1e3 * (time.perf_counter() - started):.1f} ({1e3 * (time.process_time() - cpu):.1f} CPU)")
            low += size
        print("look-up of a batch of new rows after a start, by rows, ms:", ", ".join(asked))
        database.close()


if __name__ == "__main__":
    main()
