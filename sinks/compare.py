"""`python -m sinks.compare`, the end of `strata replay`: read what two versions said of the same sessions from their topics, and tell the difference.

Knows topics and what is shown; leaves pairs and intervals to compare_pairs.py, keeping to comparisons.py. It reads to the end that the topics have now, in no group, and commits nothing.
Next: sinks/compare_pairs.py
"""

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.codec import Codec
from schemas.errors import CodecError
from sinks import compare_pairs, comparisons
from sinks.compare_pairs import Changed, Difference, Record
from sinks.evaluate_text import cell

TOPICS = {"predictions": "predictions", "boundaries": "boundaries", "input-stream": "input_stream", "labels": "labels"}
SHOWN_CHANGES, SHOWN_TEXT = 20, 70


async def read(bootstrap: str, prefix: str) -> dict[str, list[Record]]:
    """Every record of the topics of TOPICS under a prefix, by topic; what cannot be read is left out."""
    names = {prefix + name: name for name in TOPICS}
    consumer = AIOKafkaConsumer(
        *names,
        bootstrap_servers=bootstrap,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        client_id="strata-compare",
    )
    codec = Codec()
    found: dict[str, list[Record]] = {name: [] for name in TOPICS}
    await consumer.start()
    try:
        for _ in range(200):
            if {p.topic for p in consumer.assignment()} == set(names):
                break
            await asyncio.sleep(0.05)
        places = list(consumer.assignment())
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        left = {p for p in places if ends[p] > begins[p]}
        while left:
            for place, records in (await consumer.getmany(timeout_ms=500, max_records=5000)).items():
                name = names[place.topic]
                for record in records:
                    try:
                        values = codec.decode_dict(TOPICS[name], record.value)
                    except CodecError:
                        continue
                    if name == "labels":
                        values |= {
                            "kafka_partition": record.partition,
                            "kafka_offset": record.offset,
                            "timestamp": values["timestamp"] or record.timestamp * 1000,
                        }
                        values["session_id"] = values["session_id"] or (record.key or b"").decode("utf-8", "replace")
                    found[name].append(values)
            left = {p for p in left if await consumer.position(p) < ends[p]}
    finally:
        await consumer.stop()
    return found


def show(
    found: Sequence[Difference],
    changes: Sequence[Changed],
    texts: dict[tuple[str, str, int], str],
    versions: tuple[str, str],
    most: int,
    console: Console,
) -> None:
    console.print(f"A {versions[0]}\nB {versions[1]}\n", highlight=False)
    drawn = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for name in ("measure", "modality", "task", "level", "pairs", "sessions", "A", "B", "B - A [95 %]", ""):
        drawn.add_column(name, justify="right" if name in ("pairs", "sessions", "A", "B") else "left")
    for d in found:
        beyond = "" if d.low <= 0 <= d.high else " *"
        drawn.add_row(
            *map(
                Text,
                (
                    d.measure,
                    d.modality,
                    d.task,
                    d.level,
                    f"{d.pairs:,}",
                    f"{d.sessions:,}",
                    cell(d.a),
                    cell(d.b),
                    f"{d.difference:+.4g} [{d.low:+.4g}, {d.high:+.4g}]{beyond}",
                    d.told,
                ),
            )
        )
    console.print(drawn)
    console.print(
        f"\n{len(changes):,} stretches of items changed" + (f", the first {most}:" if len(changes) > most else ":" if changes else ""),
        highlight=False,
    )
    for c in changes[:most]:
        modality, session, task, level, item = c.key
        where = "whole session" if item < 0 else f"item {item}" + (f" to {item + c.items - 1}" if c.items > 1 else "")
        text = ("" if modality == "tokens" else " ").join(
            texts.get((modality, session, i), "") for i in range(max(item, 0), max(item, 0) + c.items)
        )
        told = f"{session} {task}{'/' + level if level else ''} {where}: A {c.a.label}, B {c.b.label}" + (
            f", truth {c.truth}" if c.truth else ""
        )
        console.print(Text("  " + _printable(told)), highlight=False)
        if item >= 0 and text.strip():
            console.print(Text("    " + _printable(text.strip())[:SHOWN_TEXT], style="dim"), highlight=False)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m sinks.compare", description="Two versions on the same sessions, from their topics.")
    parser.add_argument("--kafka", required=True, metavar="HOST:PORT")
    parser.add_argument("--prefix-a", required=True)
    parser.add_argument("--prefix-b", required=True)
    parser.add_argument("--changes", type=int, default=SHOWN_CHANGES)
    parser.add_argument("--model-a", default="A", help="what A was called")
    parser.add_argument("--model-b", default="B")
    parser.add_argument("--keep-in", type=Path, metavar="DIR", help="data folder whose console shows it")
    parser.add_argument("--json", action="store_true")
    flags = parser.parse_args(argv)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    async def both() -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        return await read(flags.kafka, flags.prefix_a), await read(flags.kafka, flags.prefix_b)

    try:
        read_a, read_b = asyncio.run(both())
    except KafkaError as problem:
        print(f"error: Kafka at {flags.kafka}: {problem or type(problem).__name__}", file=sys.stderr)
        return 1
    a, b = (compare_pairs.side(r["predictions"], r["boundaries"]) for r in (read_a, read_b))
    truth = compare_pairs.truths(read_a["labels"], (a, b))
    found, changes = compare_pairs.differences(a, b, truth), compare_pairs.changed(a, b, truth)
    texts = {(r["modality"], r["session_id"], r["token_position"]): r["token_text"] for r in read_a["input-stream"]}
    told = comparisons.made((a.version, b.version), (flags.model_a, flags.model_b), found, changes, texts, datetime.now(UTC))
    if flags.keep_in:
        kept = comparisons.keep(flags.keep_in, told)
        print(f"kept: {kept}; the console shows it under Evaluation, Two versions", file=sys.stderr)
    if flags.json:
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=250)
        show(found, changes, texts, (a.version, b.version), flags.changes, console)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
