"""Sessions as the tables know them: the list, and one session whole: items, strata, every revision, attention, failures.

Knows the tables of the contract and how revisions and spans nest; leaves asking to tables.py and looks to the templates. What is made of
rows is pure.
Next: sinks/console/pages.py
"""

import asyncio
import itertools
import json
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sinks.console.layers import WHOLE
from sinks.console.tables import Row, Tables

MOST_ITEMS = 5000
"""Items of a session drawn on its page; the newest."""
LIST = """
SELECT session_id, modality, count() AS items, max(timestamp) AS last, min(timestamp) AS first, any(model_version) AS model_version,
       argMax(substringUTF8(token_text, 1, 160), token_position) AS tail
FROM input_stream
WHERE ({search:String} = '' OR positionCaseInsensitiveUTF8(session_id, {search:String}) > 0)
  AND ({modality:String} = '' OR modality = {modality:String})
GROUP BY session_id, modality
ORDER BY last DESC, session_id
LIMIT {limit:UInt32} OFFSET {offset:UInt32}
"""
OF_SESSIONS = """
SELECT session_id, modality, countIf(prediction_type = 'final' AND label = 'anomaly' AND span_end = span_start + 1) AS anomalies,
       argMaxIf(label, (revision, span_end), task = 'topic' AND JSONExtractString(output, 'level') = 'document') AS document,
       quantile(0.95)(latency_ms) AS p95
FROM predictions WHERE session_id IN {ids:Array(String)} GROUP BY session_id, modality
"""
FAILED = (
    "SELECT session_id, modality, count() AS failures FROM failures WHERE session_id IN {ids:Array(String)} GROUP BY session_id, modality"
)
ITEMS = """
SELECT * FROM (
    SELECT modality, token_position AS position, token_text AS text, buffer_size, metadata, timestamp AS at, trace_id, kafka_topic, kafka_partition, kafka_offset
    FROM input_stream WHERE session_id = {id:String} ORDER BY modality, position DESC LIMIT {most:UInt32} BY modality
) ORDER BY modality, position
"""
BOUNDARIES = """
SELECT modality, boundary_type AS level, position, text_offset AS offset, confidence, detected_by, kafka_offset, context_after, trace_id
FROM boundaries WHERE session_id = {id:String} ORDER BY offset, position
"""
PREDICTIONS = """
SELECT modality, prediction_id, prediction_type = 'final' AS final, task, revision, position, span_start, span_end, label, confidence, value,
       output, latency_ms, model_version, kafka_offset, trace_id, timestamp AS at
FROM predictions WHERE session_id = {id:String} ORDER BY span_start, span_end, prediction_id, revision LIMIT {most:UInt32}
"""
STATES = """
SELECT modality, state_type AS level, span_start, span_end, attention_weights AS attention, length(representation) AS width, kafka_offset, timestamp AS at
FROM model_state WHERE session_id = {id:String} AND notEmpty(attention_weights) ORDER BY span_end DESC, kafka_offset DESC LIMIT 1 BY modality, level
"""
FAILURES = """
SELECT modality, failure_id, failure_type, exception, stack_trace, recovery_action, recovery_success, timestamp AS at, trace_id
FROM failures WHERE session_id = {id:String} ORDER BY at LIMIT 200
"""
LABELS = """
SELECT task, label, value, prediction_id, position, span_end, timestamp AS at FROM labels WHERE session_id = {id:String} ORDER BY at DESC LIMIT 200
"""
TRACED = """
WITH mine AS (SELECT trace_id, max(latency_ms) AS latency_ms FROM predictions WHERE session_id = {id:String} GROUP BY trace_id)
SELECT trace_id, latency_ms FROM mine WHERE trace_id IN (SELECT TraceId FROM otel_traces_trace_id_ts WHERE TraceId IN (SELECT trace_id FROM mine))
ORDER BY latency_ms DESC, trace_id LIMIT 8
"""


@dataclass
class Prediction:
    """One answer with all its revisions, the last one first in its own fields."""

    prediction_id: str
    task: str
    level: str
    """document or session where it speaks of the whole."""
    span_start: int
    span_end: int
    label: str | None
    confidence: float | None
    value: float | None
    final: bool
    latency_ms: float
    trace_id: str
    model_version: str
    output: dict[str, Any]
    revisions: list[Row] = field(default_factory=list)

    @property
    def changes(self) -> int:
        """How often the label became another one."""
        labels = [r["label"] for r in self.revisions]
        return sum(a != b for a, b in itertools.pairwise(labels))


@dataclass
class Segment:
    """A stretch of one level, in items."""

    start: int
    end: int
    confidence: float | None = None
    detected_by: str = ""
    late: int = 0
    """Items read after its first one before it was found."""
    text: str = ""
    prediction: Prediction | None = None


@dataclass
class View:
    """One session in one modality, as its page shows it."""

    session_id: str
    modality: str
    items: list[Row]
    first: int
    """Position of the first item shown."""
    n_items: int
    ended: bool
    document: Prediction | None
    levels: dict[str, list[Segment]]
    predictions: list[Prediction]
    attention: list[dict[str, Any]]
    failures: list[Row]
    model_version: str

    def outline(self) -> list[tuple[Segment, list[tuple[int, list[Segment]]]]]:
        """Each topic with its paragraphs (begin, sentences). A paragraph that a topic begins inside of stands in both, with the sentences of each."""
        topics, paragraphs, sentences = (self.levels.get(level, []) for level in ("topic", "paragraph", "sentence"))
        begins, starts = [p.start for p in paragraphs], [s.start for s in sentences]
        made = []
        for topic in topics:
            inside = paragraphs[max(bisect_right(begins, topic.start) - 1, 0) : bisect_left(begins, topic.end)]
            cut = [(max(p.start, topic.start), min(p.end, topic.end)) for p in inside]
            made.append(
                (topic, [(begin, sentences[bisect_left(starts, begin) : bisect_left(starts, end)]) for begin, end in cut if begin < end])
            )
        return made

    def items_of(self, segment: Segment) -> list[Row]:
        """The items of a stretch."""
        at = [int(r["position"]) for r in self.items]
        return self.items[bisect_left(at, segment.start) : bisect_left(at, segment.end)]


async def find(tables: Tables, search: str = "", modality: str = "", limit: int = 50, offset: int = 0) -> list[Row]:
    """Sessions, the last that spoke first."""
    found = await tables.ask(LIST, search=search, modality=modality, limit=limit, offset=offset)
    if not found:
        return []
    ids = list({r["session_id"] for r in found})
    answers, failures = await asyncio.gather(tables.ask(OF_SESSIONS, ids=ids), tables.ask(FAILED, ids=ids))
    said = {(r["session_id"], r["modality"]): r for r in answers}
    failed = {(r["session_id"], r["modality"]): r["failures"] for r in failures}
    nothing: Row = {"anomalies": 0, "document": None, "p95": None}
    for row in found:
        key = (row["session_id"], row["modality"])
        told = said.get(key, nothing)
        row |= {k: told[k] for k in nothing} | {"failures": failed.get(key, 0)}
    return found


async def load(tables: Tables, session_id: str) -> list[View]:
    """The session in each modality it has; empty when nothing is stored under this id."""
    asked = {
        "items": tables.ask(ITEMS, id=session_id, most=MOST_ITEMS),
        "failures": tables.ask(FAILURES, id=session_id),
        "boundaries": tables.ask(BOUNDARIES, id=session_id),
        "predictions": tables.ask(PREDICTIONS, id=session_id, most=40_000),
        "states": tables.ask(STATES, id=session_id),
    }
    rows = dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))
    items, failures = rows["items"], rows["failures"]
    if not items and not failures:
        return []
    modalities = sorted({r["modality"] for r in (*items, *failures)})
    return [build(session_id, m, {name: [r for r in some if r["modality"] == m] for name, some in rows.items()}) for m in modalities]


def build(session_id: str, modality: str, rows: Mapping[str, Sequence[Row]]) -> View:
    """Rows of one session and modality -> what its page shows."""
    items = list(rows["items"])
    predictions = gather(rows["predictions"])
    whole = [p for p in predictions if p.level in WHOLE or _is_whole(p, modality)]
    parts = [p for p in predictions if p not in whole]
    n_items = int(items[-1]["position"]) + 1 if items else 0
    first = int(items[0]["position"]) if items else 0
    ended = [p for p in whole if p.final]
    return View(
        session_id,
        modality,
        items,
        first,
        n_items,
        any(p.span_end >= n_items for p in ended),
        (ended or whole or [None])[-1],  # type: ignore[list-item]
        segments(items, rows["boundaries"], parts) if modality in ("tokens", "chat") else {},
        parts,
        [attention(state, items) for state in sorted(rows["states"], key=lambda s: ORDER.index(s["level"]) if s["level"] in ORDER else 9)],
        list(rows["failures"]),
        next((p.model_version for p in reversed(predictions)), ""),
    )


ORDER = ("token", "sentence", "paragraph", "topic", "document")


def _is_whole(p: Prediction, modality: str) -> bool:
    return modality in ("logs", "metrics") and p.task == "anomaly" and p.final and p.span_start == 0 and p.span_end > 1


def gather(rows: Sequence[Row]) -> list[Prediction]:
    """Revisions -> answers, in the order of their spans; the last word of each is its final one, else its last."""
    revisions: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        revisions[row["prediction_id"]].append(row)
    found = []
    for prediction_id, mine in revisions.items():
        mine.sort(key=lambda r: (bool(r["final"]), r["revision"]))
        last = mine[-1]
        output = json.loads(last["output"] or "{}")
        shown = [
            {
                k: r[k]
                for k in ("revision", "label", "confidence", "value", "final", "latency_ms", "span_end", "kafka_offset", "trace_id", "at")
            }
            for r in mine
        ]
        found.append(
            Prediction(
                prediction_id,
                last["task"],
                str(output.get("level", "")),
                int(last["span_start"]),
                int(last["span_end"]),
                last["label"],
                last["confidence"],
                last["value"],
                bool(last["final"]),
                float(last["latency_ms"]),
                last["trace_id"],
                last["model_version"],
                output,
                shown,
            )
        )
    return sorted(found, key=lambda p: (p.span_start, p.span_end, p.task))


def segments(items: Sequence[Row], boundaries: Sequence[Row], answers: Sequence[Prediction]) -> dict[str, list[Segment]]:
    """Level -> its segments, with their text; cut where the boundaries are, by text where a piece holds a boundary inside."""
    if not items:
        return {}
    first, end = int(items[0]["position"]), int(items[-1]["position"]) + 1
    by_offset = {int(r["kafka_offset"]): int(r["position"]) for r in items}
    texts = {int(r["position"]): r["text"] for r in items}
    chat = items[0]["modality"] == "chat"
    labels = {p.span_start: p for p in answers if p.task == "topic"}
    surprises: dict[int, list[Prediction]] = defaultdict(list)
    for p in answers:
        if p.task == "surprise":
            surprises[p.span_start].append(p)
    made: dict[str, list[Segment]] = {}
    for level in ("sentence", "paragraph", "topic"):
        if chat and level != "topic":
            continue
        rows = {int(b["position"]): b for b in boundaries if b["level"] == level and first < int(b["position"]) < end}
        starts = [first, *sorted(rows)]
        made[level] = []
        for start, stop in zip(starts, [*starts[1:], end], strict=True):
            row = rows.get(start)
            decided = by_offset.get(int(row["kafka_offset"]), start) if row else start
            joined = " ".join("".join(texts.get(p, "") + ("\n" if chat else "") for p in range(start, stop)).split())
            segment = Segment(start, stop, text=joined[:600])
            if row:
                segment.confidence, segment.detected_by, segment.late = row["confidence"], row["detected_by"], max(decided - start, 0)
            segment.prediction = (
                labels.get(start) if level == "topic" else next(iter(surprises.get(start, ())), None) if level == "sentence" else None
            )
            made[level].append(segment)
    return made


def attention(state: Row, items: Sequence[Row]) -> dict[str, Any]:
    """The last sampled attention of a level; that over the window's tokens is summed over each item, found by how the window grew.

    A word's tokens are counted where the word was complete, so a weight may stand a word further than it was read.
    """
    weights = [float(w) for w in state["attention"]]
    shown: dict[str, Any] = {
        "level": state["level"],
        "start": state["span_start"],
        "end": state["span_end"],
        "weights": weights,
        "items": [],
    }
    if state["level"] != "token":
        return shown
    before = [r for r in items if int(r["position"]) < int(state["span_end"])]
    left, per_item = len(weights), []
    for row, previous in zip(reversed(before), [*reversed(before[:-1]), None], strict=True):
        grown = int(row["buffer_size"]) - (int(previous["buffer_size"]) if previous else 0)
        if grown < 0 or left <= 0:  # the window was cut here: what is older has no item of its own any more
            break
        taken = min(grown, left)
        per_item.append([int(row["position"]), row["text"], sum(weights[left - taken : left])])
        left -= taken
    shown["items"], shown["older"] = per_item[::-1], sum(weights[:left])
    return shown
