"""Make the sample streams of this folder from the converted public data sets.

Knows which excerpts were chosen and how their text was tidied; leaves playing them to deploy/replay.py. README.md names sources,
licences and changes. Run: python deploy/samples/make.py --data DIR (the folder that holds text/, chat/, multimodal/, metrics/).
"""

import argparse
import csv
import gzip
import itertools
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

VISIT = "aci_dev_D2N070"
NOTES = ("aci_dev_D2N070", "aci_dev_D2N068")
MEETING, MEETING_TURNS = "qmsum_Committee_education_0", (12, 23)
DIALOGUES = ("16_00041", "9_00041", "13_00042", "14_00104", "20_00018")
SMALL_TALK = ("tiage_validation_6",)
LOG_WINDOWS = (
    ("verification-code", "ts-verification-code-service-7b6dc75c45-2z9p2", 1674985774, "wrong return value"),
    ("food", "ts-food-service-f5756978c-k8vqf", 1674984609, "wrong return value"),
    ("contacts", "ts-contacts-service-866bd68c97-xcqfx", 1674981784, "wrong return value"),
)
FORECAST_EVERY = 10
"""Points from one to the next whose value is told as the truth of the forecast before it."""
SERIES = (
    ("rds-cpu", "realAWSCloudwatch/rds_cpu_utilization_e47b3b.csv", "cpu_utilization", "%", 546, 1046),
    ("ec2-cpu", "realAWSCloudwatch/ec2_cpu_utilization_ac20cd.csv", "cpu_utilization", "%", 3170, 3670),
)
HERE = Path(__file__).parent


def read_jsonl(path: Path) -> dict[str, dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return {row["id"]: row for row in map(json.loads, lines)}


def tidy(text: str) -> str:
    """Undo the spaces a tokenizer left: `hi , logan .` -> `hi, logan.`, `did n't` -> `didn't`."""
    text = re.sub(r"\s+([.,?!;:])", r"\1", text.strip())
    return re.sub(r"(\w) (n't|'s|'m|'re|'ve|'ll|'d)\b", r"\1\2", text).lstrip(". ")


def tokens(data: Path) -> Iterable[dict[str, Any]]:
    visits, meetings = read_jsonl(data / "text/aci_bench.jsonl.gz"), read_jsonl(data / "text/qmsum_meetings.jsonl.gz")
    for note in NOTES:
        yield {"name": "note", "source": f"ACI-Bench {note}, note", "rate": 24, "text": visits[note]["note"].strip() + "\n"}
    turns = [(t["speaker"].capitalize(), tidy(t["text"])) for t in visits[VISIT]["turns"]]
    text = "".join(f"{speaker}: {said}\n\n" for speaker, said in turns if said)
    yield {"name": "visit", "source": f"ACI-Bench {VISIT}, transcript", "rate": 24, "text": text}
    first, last = MEETING_TURNS
    spoken = meetings[MEETING]["turns"][first:last]
    text = "".join(f"{t['speaker'].removesuffix(' AM')}: {t['text'].strip()}\n\n" for t in spoken)
    yield {"name": "meeting", "source": f"QMSum {MEETING}, turns {first} to {last - 1}", "rate": 24, "text": text}


def chat(data: Path) -> Iterable[dict[str, Any]]:
    tasks, talks = read_jsonl(data / "chat/sgd_multi.jsonl.gz"), read_jsonl(data / "chat/tiage.jsonl.gz")
    for name, source, rows in (("booking", "SGD", [tasks[i] for i in DIALOGUES]), ("smalltalk", "TIAGE", [talks[i] for i in SMALL_TALK])):
        for row in rows:
            speakers = {"user": "customer", "agent": "agent"} if source == "SGD" else {"user": "ann", "agent": "ben"}
            items = [{"speaker": speakers[t["role"]], "role": t["role"], "text": t["text"]} for t in row["turns"]]
            yield {"name": name, "source": f"{source} {row['id']}", "rate": 0.7, "truths": services(row.get("topic", [])), "items": items}


def services(topics: list[str]) -> list[dict[str, Any]]:
    """Which turns are about which service."""
    spans, at = [], 0
    for topic, turns in itertools.groupby(topics):
        n = len(list(turns))
        spans.append({"task": "topic", "label": topic, "position": at, "span_end": at + n})
        at += n
    return spans


def logs(data: Path) -> Iterable[dict[str, Any]]:
    with gzip.open(data / "multimodal/nezha_trainticket_2023-01-29/logs.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        rows = sorted(csv.DictReader(lines), key=lambda r: int(r["t_ms"]))
    for name, pod, fault, kind in LOG_WINDOWS:
        window = [r for r in rows if r["pod"] == pod and -60_000 <= int(r["t_ms"]) - fault * 1000 < 120_000]
        start = int(window[0]["t_ms"])
        items = [{"after_ms": int(r["t_ms"]) - start, "raw": r["message"]} for r in window]
        source = f"Nezha TrainTicket 2023-01-29, {pod}, fault `{kind}` after {fault * 1000 - start} ms"
        yield {"name": name, "source": source, "rate": 3, "truths": [{"task": "anomaly", "label": "anomaly"}], "items": items}


def metrics(data: Path) -> Iterable[dict[str, Any]]:
    windows = json.loads((data / "metrics/nab/labels/combined_windows.json").read_text())
    for name, series, metric, unit, first, last in SERIES:
        with gzip.open(data / "metrics/nab/data" / f"{series}.gz", "rt", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))[first:last]
        moments = [datetime.fromisoformat(r["timestamp"]).replace(tzinfo=UTC).timestamp() for r in rows]
        items = [{"after_ms": round((t - moments[0]) * 1000), "value": float(r["value"])} for t, r in zip(moments, rows, strict=True)]
        labelled = [[sum(r["timestamp"] < w[:19] for r in rows) for w in window] for window in windows[series]]
        inside = [w for w in labelled if w[0] < len(rows) and w[1] > 0]
        edges = sorted({0, len(rows), *(edge for w in inside for edge in w)})
        truths = [
            {"task": "anomaly", "label": "anomaly" if [a, b] in inside else "normal", "position": a, "span_end": b}
            for a, b in itertools.pairwise(edges)
        ]
        truths += [
            {"task": "forecast", "position": n - 1, "value": items[n]["value"]} for n in range(FORECAST_EVERY, len(items), FORECAST_EVERY)
        ]
        source = f"NAB {series}, rows {first} to {last - 1}"
        yield {"name": name, "source": source, "rate": 14, "metric": metric, "unit": unit, "truths": truths, "items": items}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the converted data sets")
    data = parser.parse_args().data
    for name, make in (("tokens", tokens), ("logs", logs), ("chat", chat), ("metrics", metrics)):
        lines = [json.dumps(sample, ensure_ascii=False, separators=(",", ":")) + "\n" for sample in make(data)]
        (HERE / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{name}.jsonl: {len(lines)} sessions, {sum(map(len, lines)):,} characters")


if __name__ == "__main__":
    main()
