"""How soon the questions are answered over so many rows, and what summing them up costs: `python -m tests.sinks.bench_evaluation [--rows N] [--days N]`.

Rows are made in the engine: answers with confidences, labels for one in fifty and thumbs for some of them, measurements of one record in seven, input records, failures, representations, over some
months with a drift of confidence at the end. The folder may be kept (`--folder`) and asked again without making it anew.
"""

import argparse
import logging
import re
import shutil
import tempfile
import time
from pathlib import Path

from sinks import migrations, questions, rollups
from sinks.clickhouse import Address, ClickHouse

COMMON = (
    "reinterpretAsUUID(sipHash128('{table}', number)) AS event_id, fromUnixTimestamp64Micro(toInt64({begin}) + toInt64(number * {gap})) AS timestamp, "
    "'session-' || toString(intDiv(number, 500)) AS session_id, ['tokens', 'logs', 'chat', 'metrics'][1 + intDiv(number, 500) % 4] AS modality, "
    "if(number < {rows} / 2, 'model-1', 'model-2') AS model_version, lower(hex(sipHash128(number))) AS trace_id, 'tokens' AS kafka_topic, "
    "toInt32(intDiv(number, 500) % 8) AS kafka_partition, toInt64(number) AS kafka_offset"
)
LABELS = "['billing', 'outage', 'weather', 'hotels', 'flights', 'music', 'other']"
SAID = f"{LABELS}[1 + sipHash64(intDiv(number, 20), 7) % 7]"
SURE = "(0.4 + 0.6 * pow((sipHash64(number, 5) % 1000003) / 1000003, if(number > 0.9 * {rows}, 1., 0.4)))"
THUMB = "intDiv(number, 51) % 7 = 0"
"""One label in seven is a thumb."""
TABLES = {
    "predictions": (
        1,
        "toString(intDiv(number, 2)) AS prediction_id, if(number % 2 = 0, 'partial', 'final') AS prediction_type, if(modality IN ('tokens', 'chat'), 'topic', 'severity') AS task, "
        "toInt32(number % 2) AS revision, toInt64(number % 500) AS position, toInt64(number % 500) AS span_start, toInt64(number % 500 + 1) AS span_end, "
        f"{SAID} AS label, {SURE} AS confidence, nan AS value, '{{}}' AS output, '{{}}' AS buffer_state, exp(2 + 2 * (sipHash64(number, 3) % 1000003) / 1000003) AS latency_ms, map() AS metadata",
    ),
    "input_stream": (1, "toInt32(sipHash64(number, 1) % 4000) AS token_id, repeat('x', 1 + sipHash64(number, 2) % 12) AS token_text, toInt64(number % 500) AS token_position, toInt32(512) AS buffer_size, map() AS metadata"),
    "labels": (
        51,
        f"if({THUMB}, 'feedback', if(modality IN ('tokens', 'chat'), 'topic', 'severity')) AS task, if((sipHash64(number, 5) % 1000003) / 1000003 < 0.8, {SAID}, 'other') AS label, "
        f"if({THUMB}, toFloat64(sipHash64(number, 6) % 5 > 0), NULL) AS value, if({THUMB}, toString(intDiv(number, 2)), NULL) AS prediction_id, "
        "toInt64(number % 500) AS position, NULL AS span_end, NULL AS event_timestamp",
    ),
    "performance": (7, "['latency_ms', 'step_ms', 'wait_ms', 'decode_ms'][1 + number % 4] AS metric_name, exp(3 * (sipHash64(number, 4) % 1000003) / 1000003) AS metric_value, 'ms' AS unit, '{}' AS context"),
    "failures": (5000, "toString(number) AS failure_id, 'InvalidJsonError' AS failure_type, '' AS exception, '' AS stack_trace, '{}' AS context, ['retry', 'dead_letter'][1 + number % 2] AS recovery_action, true AS recovery_success"),
    "boundaries": (200, "['sentence', 'topic'][1 + number % 2] AS boundary_type, toInt64(number % 500) AS position, toInt64(0) AS text_offset, 0.9 AS confidence, 'model' AS detected_by, '' AS context_before, '' AS context_after"),
    "model_state": (2000, "'sentence' AS state_type, toInt64(0) AS span_start, toInt64(1) AS span_end, arrayMap(i -> toFloat32(sipHash64(number, i) / 1e19), range(64)) AS representation, [] AS attention_weights, toFloat32(1) AS cache_size_mb, map() AS metadata"),
}  # fmt: skip
"""Table -> one in so many of the answers' numbers has a row, and its columns."""
BEGIN_US = 1_735_689_600_000_000
CHUNK = 5_000_000


def make(database: ClickHouse, rows: int, days: int) -> None:
    """Chunk by chunk; one that is there already is left, one that was cut off is made anew, so that a run that was stopped goes on."""
    gap = days * 86_400_000_000 / rows
    for table, (one_in, columns) in TABLES.items():
        began = time.monotonic()
        fields = COMMON + ", " + columns
        for name, value in {"table": table, "begin": BEGIN_US, "gap": gap, "rows": rows}.items():
            fields = fields.replace("{" + name + "}", str(value))
        names = ", ".join(re.findall(r" AS (\w+)", fields))
        for low in range(0, rows, CHUNK):
            high = min(rows, low + CHUNK)
            mine = f"kafka_offset >= {low} AND kafka_offset < {high}"
            wanted = (high - 1) // one_in - (low - 1) // one_in
            there = database.rows(f"SELECT count() FROM {table} WHERE {mine}")[0][0]
            if there == wanted:
                continue
            if there:
                database.command(f"ALTER TABLE {table} DELETE WHERE {mine} SETTINGS mutations_sync = 2")  # the projections with it
            database.command(f"INSERT INTO {table} ({names}) SELECT {fields} FROM numbers({low}, {high - low}) WHERE number % {one_in} = 0")
            print(f"  {table}: {high:,} of {rows:,}, {time.monotonic() - began:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000, help="answers; other tables follow")
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only-make", action="store_true", help="make the rows and end; the same command goes on where it was stopped")
    chosen = parser.parse_args()
    logging.basicConfig(level="WARNING")
    folder = chosen.folder or Path(tempfile.mkdtemp())
    database = ClickHouse(Address(str(folder / "clickhouse")))
    migrations.migrate(database, migrations.read())
    make(database, chosen.rows, chosen.days)
    if chosen.only_make:
        return
    began, cpu = time.monotonic(), time.process_time()
    hours = rollups.refresh(database)
    print(f"summed up {hours:,} hours in {time.monotonic() - began:.0f} s, {time.process_time() - cpu:.0f} s of processor")
    began, cpu = time.monotonic(), time.process_time()
    assert rollups.refresh(database) == 0
    print(f"nothing due: found in {1e3 * (time.monotonic() - began):.0f} ms, {1e3 * (time.process_time() - cpu):.0f} ms of processor")
    database.command(
        "INSERT INTO predictions (event_id, timestamp, session_id, modality, model_version, prediction_type, task, kafka_offset) SELECT generateUUIDv4(), max(timestamp), 'late', 'logs', 'model-2', 'final', 'severity', -1 FROM predictions"
    )
    began, cpu = time.monotonic(), time.process_time()
    assert rollups.refresh(database) == 1
    print(f"one row late: its hour anew in {time.monotonic() - began:.1f} s, {time.process_time() - cpu:.1f} s of processor")
    slowest = 0.0
    for question in questions.questions():
        for by in next((p.choices for p in question.parameters if p.name == "by"), ("all",)):
            walls, cpus = [], []
            for _ in range(chosen.rounds):
                began, cpu = time.monotonic(), time.process_time()
                rows = len(
                    questions.ask(database, question.name, **({"by": by} if any(p.name == "by" for p in question.parameters) else {}))
                )
                walls.append(time.monotonic() - began)
                cpus.append(time.process_time() - cpu)
            slowest = max(slowest, min(walls))
            print(
                f"{question.name:16} {by:5} {rows:6,} rows  best {1e3 * min(walls):6.0f} ms  median {1e3 * sorted(walls)[len(walls) // 2]:6.0f} ms  processor {1e3 * min(cpus):6.0f} ms",
                flush=True,
            )
    print(f"slowest (best of {chosen.rounds}): {1e3 * slowest:.0f} ms")
    for name, size in database.rows(
        "SELECT table, formatReadableSize(sum(bytes_on_disk)) FROM system.parts WHERE active AND database = currentDatabase() GROUP BY table ORDER BY sum(bytes_on_disk) DESC"
    ):
        print(f"  {name}: {size}")
    database.close()
    if not chosen.folder:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
