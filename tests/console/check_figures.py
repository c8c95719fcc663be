"""Every figure of a running console's Evaluation page against the oracles of tests/sinks: `python -m tests.console.check_figures URL --clickhouse-http-port N`.

Reads the raw rows over ClickHouse's HTTP interface and the answers from the console's API, while nothing is being written. Exit status 1 where a view is
empty or a figure is not the oracle's. A view that needs what a stack does not have (labels, thumbs, failures) is told as empty.
"""

import argparse
import json
import sys
import time
import urllib.parse
import urllib.request
from typing import Any

from sinks import questions
from tests.sinks import figure_oracles
from tests.sinks.figure_oracles import ORACLES, Stored

COLUMNS = {
    "predictions": "prediction_id, prediction_type, task, revision, position, span_start, span_end, label, confidence, value, output, latency_ms",
    "labels": "task, label, value, prediction_id, position, span_end, toUnixTimestamp64Micro(event_timestamp) AS event_timestamp",
    "boundaries": "boundary_type, position, detected_by",
    "input_stream": "token_id, token_text, token_position",
    "model_state": "state_type, representation",
    "performance": "metric_name, metric_value, unit",
    "failures": "failure_id, failure_type",
}
COMMON = "toUnixTimestamp64Micro(timestamp) AS timestamp, session_id, modality, model_version, kafka_topic, kafka_partition, kafka_offset"
PLAIN = {
    "output_format_json_quote_64bit_integers": "0",
    "output_format_json_quote_denormals": "0",
    "default_format": "JSONEachRow",
    "database": "strata",
}


def ask(port: int, sql: str) -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{port}/?{urllib.parse.urlencode(PLAIN)}"
    with urllib.request.urlopen(urllib.request.Request(url, sql.encode()), timeout=120) as answer:
        return [json.loads(line) for line in answer.read().splitlines()]


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def raw(port: int) -> Stored:
    rows: dict[str, Any] = {table: ask(port, f"SELECT {COMMON}, {columns} FROM {table}") for table, columns in COLUMNS.items()}
    hashes = ask(port, "SELECT DISTINCT token_id AS t, toString(sipHash64(token_id) % 64) AS h FROM input_stream")
    return Stored(**rows, hash_of_token={row["t"]: row["h"] for row in hashes})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--clickhouse-http-port", type=int, default=8123)
    parser.add_argument("--tries", type=int, default=6, help="ten seconds apart: what is new is summed up within that")
    chosen = parser.parse_args()
    left = sorted(ORACLES)
    for attempt in range(chosen.tries):
        stored, found, shown = raw(chosen.clickhouse_http_port), {}, {}
        for name in left:
            told = get(f"{chosen.url}/api/v1/evaluation/questions/{name}")
            shown[name] = len(told["rows"])
            if differing := figure_oracles.disagreements(name, told["chart"], told["rows"], stored, questions.about):
                found[name] = differing
        for name in left:
            if name not in found:
                print(f"{name}: {shown[name]} rows, the oracle's figures", flush=True)
        left = sorted(found)
        if not left or attempt + 1 == chosen.tries:
            break
        time.sleep(10)
    for differing in found.values():
        print("\n".join(differing[:8]))
    counts = {table: len(getattr(stored, table)) for table in COLUMNS}
    print(f"{len(ORACLES) - len(left)} of {len(ORACLES)} questions agree, on {counts}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
