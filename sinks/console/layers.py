"""One live session as its strata: what each layer holds, and how one record of an output topic changes it.

Knows records and spans; leaves which sessions are shown to board.py. `apply` is idempotent: a record that comes twice (after a crash of
the worker) changes nothing, because what it says has a place of its own (position, span, offset).
Next: sinks/console/board.py
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from schemas.events import BoundaryFound, InputRead, PredictionMade

LEVELS = ("sentence", "paragraph", "topic")
WHOLE = ("document", "session")
"""`output.level` of an answer about a whole session."""
SEVERITIES = ("debug", "informational", "notice", "warning", "error", "critical", "alert", "emergency")
LOUD = 4
"""Index of the first severity worth telling: error."""
KEPT = {"sentence": 400, "paragraph": 200, "topic": 80, "items": 400, "tail": 400, "words": 40}
"""What a session's drawing holds of each, the newest; older ones are only counted."""
LATE_ITEMS = 3
"""A boundary decided so many items after its place was a second look."""
KEPT_OFFSETS = 1000


@dataclass(frozen=True)
class Happening:
    """Something worth a line of its own."""

    kind: str
    """failure, anomaly, topic, label, correction, severity, ended, paragraph, sentence."""
    key: str
    session_id: str
    modality: str
    text: str
    position: int
    score: float | None = None
    prediction_id: str = ""
    trace_id: str = ""


@dataclass
class Topic:
    """A segment and what it is called now."""

    start: int
    end: int
    label: str
    confidence: float | None
    final: bool
    changes: int = 0
    """How often its label became another one."""
    revision: int = -1
    prediction_id: str = ""


@dataclass
class Series:
    """One series of a metrics session: its last points, and what was forecast for them."""

    unit: str
    points: dict[int, list[Any]] = field(default_factory=dict)
    """Position -> [value, low, high, score, is anomaly]"""


@dataclass
class Layers:
    """A session as its viewers see it; grows with every record."""

    session_id: str
    modality: str
    begun_s: float
    changed_s: float = 0.0
    version: int = 0
    """Of the board, when it last changed."""
    reached: int = 0
    """Position after the last item."""
    tail: str = ""
    words: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT["words"]))
    """The last items of a text or conversation as they were said."""
    starts: dict[str, dict[int, float]] = field(default_factory=lambda: {level: {} for level in LEVELS})
    """Level -> position of a segment's first item -> confidence."""
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LEVELS, 0))
    offsets: dict[int, int] = field(default_factory=dict)
    """Kafka's offset of the last items -> position: tells which item decided an event, however late it comes here."""
    seen: dict[tuple[str, int], None] = field(default_factory=dict)
    """(level, text offset) of the last boundaries: two may have one position, where a piece holds a boundary inside."""
    late: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=40))
    """(position, items later) of boundaries found at a second look."""
    topics: dict[int, Topic] = field(default_factory=dict)
    document: Topic | None = None
    ended_s: float | None = None
    speakers: list[str] = field(default_factory=list)
    turns: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=KEPT["items"]))
    """(position, speaker) of a conversation."""
    lines: dict[int, list[Any]] = field(default_factory=dict)
    """Position -> [severity, template, score, is anomaly] of a log's last lines."""
    templates: dict[str, str] = field(default_factory=dict)
    series: dict[str, Series] = field(default_factory=dict)
    of_position: dict[int, str] = field(default_factory=dict)
    """Position -> name of its series, of the last points."""
    anomalies: int = 0
    failures: int = 0
    latency_ms: float = 0.0

    @property
    def key(self) -> str:
        return f"{self.modality}/{self.session_id}"


def read(layers: Layers, record: InputRead) -> bool:
    """Add an input record. False when it was there already."""
    if record.token_position < layers.reached:
        return False
    layers.reached = record.token_position + 1
    layers.offsets[record.kafka_offset] = record.token_position
    _forget(layers.offsets, KEPT_OFFSETS)
    text = record.token_text
    if layers.modality == "metrics":
        name = record.metadata.get("name", "")
        series = layers.series.setdefault(name, Series(record.metadata.get("unit", "")))
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        _at(series.points, record.token_position, 5)[0] = value if value - value == 0 else None
        layers.of_position[record.token_position] = name
        _forget(series.points, KEPT["items"])
        _forget(layers.of_position, 4 * KEPT["items"])
    elif layers.modality == "logs":
        _at(layers.lines, record.token_position, 4)
        _forget(layers.lines, KEPT["items"])
        layers.tail = text[: KEPT["tail"]]
    elif layers.modality == "chat":
        speaker = record.metadata.get("speaker", "")
        if speaker not in layers.speakers:
            layers.speakers.append(speaker)
        layers.turns.append((record.token_position, layers.speakers.index(speaker)))
        layers.tail = f"{speaker}: {text}"[: KEPT["tail"]]
        layers.words.append(one_line(text)[:60])
    else:
        layers.words.append(one_line(text)[:30])
        layers.tail = (layers.tail + text)[-KEPT["tail"] :]
    return True


def found(layers: Layers, record: BoundaryFound) -> list[Happening]:
    """Add a boundary; a topic's also begins a paragraph and a sentence, in events of their own."""
    level, position = record.boundary_type, record.position
    if level not in layers.starts:
        return []
    starts, place = layers.starts[level], (level, record.text_offset)
    if place in layers.seen:
        return []
    layers.seen[place] = None
    if len(layers.seen) > 2 * KEPT["sentence"]:
        del layers.seen[next(iter(layers.seen))]
    starts[position] = record.confidence
    layers.counts[level] += 1
    if len(starts) > KEPT[level]:
        del starts[min(starts)]
    late = layers.offsets.get(record.kafka_offset, position) - position
    told = f"{record.confidence:.0%} by {record.detected_by}"
    if late >= LATE_ITEMS and layers.modality != "chat":
        layers.late.append((position, late))
        told += f", seen {late} items later"
    after = one_line(record.context_after)[:80]
    return [_tell(layers, level, f"{told}: {after}" if after else told, position, record.confidence, trace_id=record.trace_id)]


def answered(layers: Layers, record: PredictionMade) -> list[Happening]:
    """Add an answer, or a revision of one."""
    layers.latency_ms = record.latency_ms
    output: dict[str, Any] = msgspec.json.decode(record.output) if record.output not in ("", "{}") else {}
    final, whole = record.prediction_type == "final", output.get("level") in WHOLE
    if layers.modality in ("logs", "metrics"):
        whole = whole or (final and record.task == "anomaly" and record.span_start == 0 and record.span_end > 1)
        if whole:
            return _whole(layers, record, final)
        return _line(layers, record, output) if layers.modality == "logs" else _point(layers, record, output)
    if record.task != "topic" or record.label is None:
        return []
    return _whole(layers, record, final) if whole else _topic(layers, record, final)


def _topic(layers: Layers, record: PredictionMade, final: bool) -> list[Happening]:
    """A label of a segment replaces the one before of the same segment."""
    assert record.label is not None
    known = layers.topics.get(record.span_start)
    if known and (known.final or record.revision <= known.revision):
        return []
    changed = known is not None and known.label != record.label
    layers.topics[record.span_start] = Topic(
        record.span_start,
        record.span_end,
        record.label,
        record.confidence,
        final,
        (known.changes if known else 0) + changed,
        record.revision,
        record.prediction_id,
    )
    if len(layers.topics) > KEPT["topic"]:
        del layers.topics[min(layers.topics)]
    if changed and known:
        text = f"{known.label} → {percent(record.label, record.confidence)}"
        return [_tell(layers, "correction", text, record.span_start, record.confidence, record.prediction_id, record.trace_id)]
    if known and not final:
        return []
    text = percent(record.label, record.confidence) + ("" if final else ", so far")
    return [_tell(layers, "label", text, record.span_start, record.confidence, record.prediction_id, record.trace_id)]


def _whole(layers: Layers, record: PredictionMade, final: bool) -> list[Happening]:
    known = layers.document
    if known and known.final and record.span_end <= known.end:
        return []
    label = record.label or ""
    confidence = record.confidence if record.value is None else record.value
    layers.document = Topic(0, record.span_end, label, confidence, final, 0, record.revision, record.prediction_id)
    if not final:
        return []
    layers.ended_s = layers.changed_s
    unit = {"tokens": "pieces", "chat": "turns", "logs": "lines", "metrics": "points"}.get(layers.modality, "items")
    text = f"{record.span_end:,} {unit}, as a whole {percent(label, confidence)}"
    return [_tell(layers, "ended", text, record.span_end, confidence, record.prediction_id, record.trace_id)]


def _line(layers: Layers, record: PredictionMade, output: dict[str, Any]) -> list[Happening]:
    if record.span_start < layers.reached - KEPT["items"]:
        return []
    line = _at(layers.lines, record.span_start, 4)
    if record.task == "template" and record.label:
        layers.templates[record.label], line[1] = str(output.get("template", "")), record.label
    elif record.task == "severity" and record.label in SEVERITIES:
        level = SEVERITIES.index(record.label)
        repeated, line[0] = line[0] == level, level
        if level >= LOUD and not repeated:
            text = f"{record.label}: {one_line(layers.tail)[:120]}" if record.span_start == layers.reached - 1 else record.label
            return [_tell(layers, "severity", text, record.span_start, None, record.prediction_id, record.trace_id)]
    elif record.task == "anomaly" and line[2] is None:
        return _scored(layers, record, line, 2, f"line {record.span_start}")
    return []


def _point(layers: Layers, record: PredictionMade, output: dict[str, Any]) -> list[Happening]:
    name = str(output.get("series") or layers.of_position.get(record.span_start, ""))
    if record.span_start < layers.reached - KEPT["items"]:
        return []
    series = layers.series.setdefault(name, Series(""))
    point = _at(series.points, record.span_start, 5)
    if record.task == "forecast":
        point[1:3] = _number(output.get("low")), _number(output.get("high"))
    elif record.task == "anomaly" and point[3] is None:
        seen = "" if point[0] is None else f", value {point[0]:.4g} {series.unit}".rstrip()
        return _scored(layers, record, point, 3, f"{name}{seen}")
    return []


def _scored(layers: Layers, record: PredictionMade, item: list[Any], place: int, about: str) -> list[Happening]:
    """The score of one line or point, kept from `place` on in what is known of it; told when it is called an anomaly."""
    flagged = record.label == "anomaly"
    item[place : place + 2] = record.value, flagged
    if not flagged:
        return []
    layers.anomalies += 1
    text = f"{about}, score {record.value or 0.0:.2f}"
    return [_tell(layers, "anomaly", text, record.span_start, record.value, record.prediction_id, record.trace_id)]


def snapshot(layers: Layers) -> dict[str, Any]:
    """All a page needs to draw the session: whole in itself, so that a lost one is made good by the next."""
    drawn: dict[str, Any] = {
        "key": layers.key,
        "id": layers.session_id,
        "modality": layers.modality,
        "items": layers.reached,
        "tail": layers.tail,
        "ended": layers.ended_s is not None,
        "failures": layers.failures,
        "anomalies": layers.anomalies,
        "latency_ms": round(layers.latency_ms, 1),
        "document": _named(layers.document) if layers.document else None,
    }
    if layers.modality in ("tokens", "chat"):
        drawn |= {level: sorted(starts) for level, starts in layers.starts.items()}
        drawn |= {"counts": layers.counts, "late": list(layers.late), "labels": [_named(layers.topics[s]) for s in sorted(layers.topics)]}
        drawn["words"] = list(layers.words)[-12:] if layers.modality == "chat" else list(layers.words)
        if layers.modality == "chat":
            drawn |= {"turns": [speaker for _, speaker in layers.turns], "speakers": layers.speakers}
    elif layers.modality == "logs":
        names = {label: n for n, label in enumerate(layers.templates)}
        drawn["from"] = min(layers.lines, default=0)
        drawn["lines"] = [[line[0], names.get(line[1], -1), line[2], line[3]] for _, line in sorted(layers.lines.items())]
        drawn["templates"] = len(names)
    else:
        shown = list(layers.series.items())[:3]
        drawn["series"] = [
            {"name": name, "unit": one.unit, "points": [[at, *point] for at, point in sorted(one.points.items())]} for name, one in shown
        ]
        drawn["n_series"] = len(layers.series)
    return drawn


def _named(topic: Topic) -> list[Any]:
    return [topic.start, topic.end, topic.label, topic.confidence, topic.final, topic.changes, topic.prediction_id]


def _tell(
    layers: Layers, kind: str, text: str, position: int, score: float | None, prediction_id: str = "", trace_id: str = ""
) -> Happening:
    return Happening(kind, layers.key, layers.session_id, layers.modality, text, position, score, prediction_id, trace_id)


def _at(places: dict[int, list[Any]], position: int, width: int) -> list[Any]:
    """What is known of one item; an answer may come before the item itself, since the topics are read side by side."""
    return places.setdefault(position, [*[None] * (width - 1), False])


def _forget(places: dict[int, Any], kept: int) -> None:
    """Drop the oldest beyond `kept`."""
    while len(places) > kept:
        del places[next(iter(places))]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def percent(label: str, confidence: float | None) -> str:
    """`plan 91 %`"""
    return label if confidence is None else f"{label} {confidence:.0%}".replace("%", " %").strip()


def one_line(text: str) -> str:
    """White space made single spaces."""
    return " ".join(text.split())


def ordered(happenings: Iterable[Happening]) -> list[Happening]:
    """The weightiest first; of one weight in the order they came."""
    return sorted(happenings, key=lambda h: WEIGHT.get(h.kind, len(WEIGHT)))


WEIGHT = {
    kind: weight
    for weight, kind in enumerate(("failure", "anomaly", "correction", "topic", "label", "ended", "severity", "paragraph", "sentence"))
}
