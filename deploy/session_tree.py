"""One session as a tree, read from the tables: topics, paragraphs, sentences (or turns, templates, points) and what was said of them.

Knows the tables of the contract and how spans and offsets nest; leaves the connection to clickhouse_http.py, looks to session_drawing.py.
Next: deploy/session_drawing.py
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deploy.clickhouse_http import ClickHouse
from schemas.errors import StrataError

WHOLE = ("document", "session")
LEVELS = ("topic", "paragraph", "sentence")
Row = Mapping[str, Any]


class NoSuchSessionError(StrataError):
    """Nothing is stored under this id."""


@dataclass(frozen=True)
class Judgement:
    """An answer for a span."""

    task: str
    span_start: int
    span_end: int
    label: str | None
    confidence: float | None
    value: float | None
    final: bool
    output: dict[str, Any] = field(default_factory=dict)


@dataclass
class Segment:
    """A topic, paragraph, sentence or turn."""

    level: str
    start: int
    """Position of its first item."""
    end: int
    """Position after its last item."""
    text: str = ""
    confidence: float | None = None
    """Of the boundary it begins with; None for the first."""
    detected_by: str = ""
    label: Judgement | None = None
    surprise: Judgement | None = None
    states: int = 0
    """Representations sampled of exactly this span's beginning."""
    children: list["Segment"] = field(default_factory=list)


@dataclass
class Group:
    """Log lines of one template, or points of one series."""

    name: str
    text: str
    items: int = 0
    severities: Counter[str] = field(default_factory=Counter)
    values: list[float] = field(default_factory=list)


@dataclass
class ItemNote:
    """An item that stood out."""

    position: int
    text: str
    label: str
    value: float | None


@dataclass
class SessionTree:
    """All that is known of one session in one modality."""

    session_id: str
    modality: str
    items: int
    first: str
    last: str
    ended: bool
    document: list[Judgement] = field(default_factory=list)
    """Answers about the whole session."""
    topics: list[Segment] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    notes: list[ItemNote] = field(default_factory=list)
    states: dict[str, int] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    latency_ms: dict[str, float] = field(default_factory=dict)
    predictions: dict[str, int] = field(default_factory=dict)


def load(clickhouse: ClickHouse, session_id: str) -> list[SessionTree]:
    """The session's trees, one for each modality that has it. Raises NoSuchSessionError, with names that are near."""
    mine = "FROM {table} WHERE session_id = {{id:String}}"

    def rows(columns: str, table: str, order: str) -> list[dict[str, Any]]:
        return clickhouse.rows(f"SELECT {columns} {mine.format(table=table)} ORDER BY {order}", id=session_id)

    inputs = rows("modality, token_position, token_text, metadata, toString(timestamp) AS at", "input_stream", "modality, token_position")
    failures = rows(
        "modality, failure_type, exception, recovery_action, recovery_success, toString(timestamp) AS at", "failures", "timestamp"
    )
    if not inputs and not failures:
        raise NoSuchSessionError(_not_found(clickhouse, session_id))
    found = {
        "inputs": inputs,
        "failures": failures,
        "boundaries": rows(
            "modality, boundary_type, position, text_offset, confidence, detected_by", "boundaries", "text_offset, position"
        ),
        "predictions": rows(
            "modality, prediction_id, prediction_type, task, revision, span_start, span_end, label, confidence, value, output, latency_ms",
            "predictions",
            "span_start, revision",
        ),
        "states": rows("modality, state_type, span_start, span_end", "model_state", "span_start"),
    }
    modalities = sorted({r["modality"] for r in [*inputs, *failures]})
    return [build(session_id, m, {k: [r for r in v if r["modality"] == m] for k, v in found.items()}) for m in modalities]


def _not_found(clickhouse: ClickHouse, session_id: str) -> str:
    near = clickhouse.rows(
        "SELECT session_id FROM (SELECT DISTINCT session_id FROM input_stream) "
        "ORDER BY positionCaseInsensitive(session_id, {id:String}) = 0, editDistance(session_id, {id:String}), session_id LIMIT 5",
        id=session_id,
    )
    names = ", ".join(r["session_id"] for r in near)
    return f"no session {session_id!r} is stored; " + (f"near: {names}. `strata sessions` lists them" if names else "nothing is stored yet")


def build(session_id: str, modality: str, rows: Mapping[str, Sequence[Row]]) -> SessionTree:
    """Rows of one session and modality -> its tree."""
    inputs, answers = rows["inputs"], judgements(rows["predictions"])
    document = [a for a in answers if a.output.get("level") in WHOLE]
    tree = SessionTree(
        session_id,
        modality,
        len(inputs),
        inputs[0]["at"] if inputs else "",
        inputs[-1]["at"] if inputs else "",
        any(a.final for a in document),
        [a for a in document if a.final] or document[-1:],
        states=dict(Counter(r["state_type"] for r in rows["states"])),
        failures=[{k: r[k] for k in ("failure_type", "exception", "recovery_action", "recovery_success", "at")} for r in rows["failures"]],
        latency_ms=quantiles([float(r["latency_ms"]) for r in rows["predictions"]]),
        predictions=dict(Counter(r["task"] for r in rows["predictions"])),
    )
    parts = [a for a in answers if a.output.get("level") not in WHOLE]
    states = Counter((r["state_type"], int(r["span_start"])) for r in rows["states"])
    if modality == "tokens":
        tree.topics = text_segments(inputs, rows["boundaries"])
        attach(tree.topics, parts, states)
    elif modality == "chat":
        tree.topics = chat_segments(inputs, rows["boundaries"])
        attach(tree.topics, parts, states)
    elif modality == "logs":
        tree.groups = log_groups(parts)
        tree.notes = notes(inputs, parts)
    else:
        tree.groups = series_groups(inputs)
        tree.notes = notes(inputs, parts)
    return tree


def judgements(rows: Iterable[Row]) -> list[Judgement]:
    """The last word on each span: its final answer, else its last partial one."""
    last: dict[str, Row] = {}
    for row in rows:
        known = last.get(row["prediction_id"])
        if known is None or (row["prediction_type"] == "final", row["revision"]) >= (
            known["prediction_type"] == "final",
            known["revision"],
        ):
            last[row["prediction_id"]] = row
    found = [
        Judgement(
            r["task"],
            int(r["span_start"]),
            int(r["span_end"]),
            r["label"],
            r["confidence"],
            r["value"],
            r["prediction_type"] == "final",
            json.loads(r["output"] or "{}"),
        )
        for r in last.values()
    ]
    return sorted(found, key=lambda a: (a.span_start, a.span_end, a.task))


def text_segments(inputs: Sequence[Row], boundaries: Sequence[Row]) -> list[Segment]:
    """Topics with their paragraphs with their sentences, cut where the boundaries' text offsets are."""
    text, items = "".join(r["token_text"] for r in inputs), len(inputs)
    starts: dict[str, dict[int, Row | None]] = {level: {0: None} for level in LEVELS}
    for row in boundaries:
        for level in LEVELS[LEVELS.index(row["boundary_type"]) :]:  # a topic also begins a paragraph and a sentence
            if level == row["boundary_type"] or row["text_offset"] not in starts[level]:
                starts[level][int(row["text_offset"])] = row

    def cut(level: str, begin: int, end: int, last_item: int) -> list[Segment]:
        offsets = sorted(o for o in starts[level] if begin <= o < end or o == begin)
        rows = [starts[level][o] for o in offsets]
        positions = [int(r["position"]) if r else 0 for r in rows]
        segments = []
        for n, (offset, row) in enumerate(zip(offsets, rows, strict=True)):
            stop = offsets[n + 1] if n + 1 < len(offsets) else end
            stop_item = positions[n + 1] if n + 1 < len(offsets) else last_item
            own = row is not None and row["boundary_type"] == level
            segment = Segment(level, positions[n], max(stop_item, positions[n]), text[offset:stop])
            if row is not None and own:
                segment.confidence, segment.detected_by = float(row["confidence"]), row["detected_by"]
            below = LEVELS.index(level) + 1
            if below < len(LEVELS):
                segment.children = cut(LEVELS[below], offset, stop, stop_item)
            segments.append(segment)
        return segments

    return cut("topic", 0, max(len(text), 1), items) if inputs else []


def chat_segments(inputs: Sequence[Row], boundaries: Sequence[Row]) -> list[Segment]:
    """Topics with their turns."""
    starts: dict[int, Row | None] = {0: None} | {int(r["position"]): r for r in boundaries if r["boundary_type"] == "topic"}
    topics = []
    ordered = sorted(starts)
    for begin, end in zip(ordered, [*ordered[1:], max((int(r["token_position"]) + 1 for r in inputs), default=0)], strict=True):
        row = starts[begin]
        topic = Segment("topic", begin, end)
        if row is not None:
            topic.confidence, topic.detected_by = float(row["confidence"]), row["detected_by"]
        for turn in inputs:
            position = int(turn["token_position"])
            if begin <= position < end:
                speaker = turn["metadata"].get("speaker", "")
                topic.children.append(
                    Segment("turn", position, position + 1, f"{speaker}: {turn['token_text']}" if speaker else turn["token_text"])
                )
        topics.append(topic)
    return topics


def attach(topics: Sequence[Segment], answers: Sequence[Judgement], states: Counter[tuple[str, int]]) -> None:
    """Put labels to topics, surprise to sentences, sampled states to all, by where their spans begin. Changes the segments."""
    labels = {a.span_start: a for a in answers if a.task == "topic"}
    surprises: dict[int, list[Judgement]] = defaultdict(list)
    for answer in answers:
        if answer.task == "surprise":
            surprises[answer.span_start].append(answer)

    def visit(segment: Segment) -> None:
        segment.states = states.get((segment.level, segment.start), 0)
        if segment.level == "topic":
            segment.label = labels.get(segment.start)
        if segment.level == "sentence" and surprises.get(segment.start):
            segment.surprise = surprises[segment.start].pop(0)
        for child in segment.children:
            visit(child)

    for topic in topics:
        visit(topic)


def log_groups(answers: Sequence[Judgement]) -> list[Group]:
    """Lines by template, the most frequent first; the template's text is the last one, the most general."""
    severity = {a.span_start: a.label or "" for a in answers if a.task == "severity"}
    groups: dict[str, Group] = {}
    for answer in answers:
        if answer.task == "template" and answer.label is not None:
            group = groups.setdefault(answer.label, Group(answer.label, ""))
            group.items += 1
            group.text = str(answer.output.get("template", group.text))
            if answer.span_start in severity:
                group.severities[severity[answer.span_start]] += 1
    return sorted(groups.values(), key=lambda g: -g.items)


def series_groups(inputs: Sequence[Row]) -> list[Group]:
    """Points by series."""
    groups: dict[str, Group] = {}
    for row in inputs:
        name = row["metadata"].get("name", "")
        group = groups.setdefault(name, Group(name, row["metadata"].get("unit", "")))
        group.items += 1
        group.values.append(float(row["token_text"]))
    return list(groups.values())


def notes(inputs: Sequence[Row], answers: Sequence[Judgement]) -> list[ItemNote]:
    """Items that were called an anomaly."""
    texts = {int(r["token_position"]): r["token_text"] for r in inputs}
    flagged = [a for a in answers if a.task == "anomaly" and a.label == "anomaly"]
    return [ItemNote(a.span_start, texts.get(a.span_start, ""), "anomaly", a.value) for a in flagged]


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """p50 and p99; empty without values."""
    ordered = sorted(values)
    return {"p50": ordered[len(ordered) // 2], "p99": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]} if ordered else {}
