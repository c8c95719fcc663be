"""What the output topics have said so far, session by session: what the live view shows.

Knows records of the output topics and how they add up; leaves Kafka to demo.py and looks to live_view.py.
Next: deploy/live_view.py
"""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import msgspec

from schemas.events import BoundaryFound, InputRead, PredictionMade, StepFailed

TAIL_CHARS = 4000
LOUD = ("emergency", "alert", "critical", "error")
WHOLE = ("document", "session")
"""`output.level` of an answer about a whole session."""


@dataclass(frozen=True)
class Happening:
    """Something worth a line."""

    at_s: float
    session_id: str
    modality: str
    kind: str
    """sentence, paragraph, topic, label, severity, anomaly, template, ended, failure."""
    text: str


@dataclass
class SessionView:
    """One session as the viewer has seen it; grows with every record."""

    session_id: str
    modality: str
    begun_s: float
    items: int = 0
    reached: int = 0
    """Position after the last item."""
    chars: int = 0
    """Characters of text so far."""
    tail: str = ""
    """The last of them, no more than TAIL_CHARS."""
    marks: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=200))
    """(text offset, kind) of boundaries, in the order of offsets."""
    boundaries: Counter[str] = field(default_factory=Counter)
    waiting: list[BoundaryFound] = field(default_factory=list)
    """Boundaries whose text has not come yet: the topics are read side by side."""
    early: list[PredictionMade] = field(default_factory=list)
    """Answers about items that have not come yet."""
    sentence_start: int = 0
    topics: dict[int, tuple[str, float | None]] = field(default_factory=dict)
    """First item of a topic -> its label; the last is the one being read."""
    document: tuple[str, float | None] | None = None
    turns: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=20))
    lines: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=20))
    severities: dict[int, str] = field(default_factory=dict)
    """Of the last lines, by position."""
    severity_counts: Counter[str] = field(default_factory=Counter)
    templates: dict[str, str] = field(default_factory=dict)
    template_at: dict[int, str] = field(default_factory=dict)
    values: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=600))
    scores: dict[int, float] = field(default_factory=dict)
    flagged: deque[int] = field(default_factory=lambda: deque(maxlen=600))
    anomalies: int = 0
    unit: str = ""
    ended_s: float | None = None
    records: Counter[str] = field(default_factory=Counter)
    """Different records seen of it, by their class."""

    @property
    def labels(self) -> list[tuple[str, float | None]]:
        """Topics one after the other."""
        return [self.topics[start] for start in sorted(self.topics)]


class LiveState:
    """All sessions, rates and latencies; `apply` adds one record and says what is worth telling."""

    def __init__(self, budget_ms: float = 50.0):
        self.budget_ms = budget_ms
        self.sessions: dict[str, SessionView] = {}
        self.items = self.failures = 0
        self.boundaries: Counter[str] = Counter()
        self.latencies: deque[float] = deque(maxlen=3000)
        self.predictions = self.over_budget = 0
        self.arrivals: deque[tuple[float, int]] = deque(maxlen=60)
        self.news: deque[Happening] = deque(maxlen=100)
        self.event_ids: dict[str, set[str]] = {}
        """Class of record -> ids seen: a record that comes twice counts once."""

    def apply(self, record: Any, now_s: float) -> list[Happening]:
        """Add one record of an output topic. Returns what happened, in order."""
        ids = self.event_ids.setdefault(type(record).__name__, set())
        if record.event_id in ids:
            return []
        ids.add(record.event_id)
        key = f"{record.modality}/{record.session_id}"
        session = self.sessions.get(key)
        if session is None:
            session = self.sessions[key] = SessionView(record.session_id, record.modality, now_s)
        session.records[type(record).__name__] += 1
        if isinstance(record, InputRead):
            told = self._input(session, record, now_s)
        elif isinstance(record, BoundaryFound):
            session.waiting.append(record)
            told = self._settle(session, now_s)
        elif isinstance(record, PredictionMade):
            self.predictions += 1
            self.latencies.append(record.latency_ms)
            self.over_budget += record.latency_ms > self.budget_ms
            session.early.append(record)
            told = self._answers(session, now_s)
        elif isinstance(record, StepFailed):
            self.failures += 1
            text = f"{record.failure_type}: {record.recovery_action} {'worked' if record.recovery_success else 'did not help'}"
            told = [Happening(now_s, session.session_id, session.modality, "failure", text)]
        else:
            told = []
        self.news.extend(h for h in told if h.kind not in ("sentence", "paragraph"))
        return told

    def _input(self, session: SessionView, record: InputRead, now_s: float) -> list[Happening]:
        self.items += 1
        second = int(now_s)
        if self.arrivals and self.arrivals[-1][0] == second:
            self.arrivals[-1] = (second, self.arrivals[-1][1] + 1)
        else:
            self.arrivals.append((second, 1))
        session.items += 1
        session.reached = max(session.reached, record.token_position + 1)
        if session.modality == "metrics":
            session.values.append((record.token_position, float(record.token_text)))
            session.unit = record.metadata.get("unit", "")
        elif session.modality == "logs":
            session.lines.append((record.token_position, record.token_text))
        else:
            if session.modality == "chat":
                session.turns.append((record.metadata.get("speaker", ""), record.token_text))
            session.chars += len(record.token_text)
            session.tail = (session.tail + record.token_text)[-TAIL_CHARS:]
        return self._settle(session, now_s) + (self._answers(session, now_s) if session.early else [])

    def _settle(self, session: SessionView, now_s: float) -> list[Happening]:
        """Place the boundaries whose text has come."""
        ready = [b for b in session.waiting if b.text_offset <= session.chars]
        session.waiting = [b for b in session.waiting if b.text_offset > session.chars]
        told = []
        order = {"sentence": 0, "paragraph": 1, "topic": 2}
        for found in sorted(ready, key=lambda b: (b.text_offset, order.get(b.boundary_type, 3))):
            session.boundaries[found.boundary_type] += 1
            self.boundaries[found.boundary_type] += 1
            session.marks.append((found.text_offset, found.boundary_type))
            if found.boundary_type == "sentence":
                told.append(self._sentence(session, found.text_offset, now_s))
            elif found.boundary_type == "topic":
                text = f"at {found.position}, {found.confidence:.0%} by {found.detected_by}: {one_line(found.context_after)[:60]}"
                told.append(Happening(now_s, session.session_id, session.modality, "topic", text))
            else:
                text = f"at {found.position}, {found.confidence:.0%} by {found.detected_by}"
                told.append(Happening(now_s, session.session_id, session.modality, found.boundary_type, text))
        return told

    def _sentence(self, session: SessionView, end: int, now_s: float) -> Happening:
        tail_start = session.chars - len(session.tail)
        text = session.tail[max(session.sentence_start - tail_start, 0) : max(end - tail_start, 0)]
        session.sentence_start = end
        return Happening(now_s, session.session_id, session.modality, "sentence", one_line(text))

    def _answers(self, session: SessionView, now_s: float) -> list[Happening]:
        """Take the answers whose items have come; a line without a terminal then shows the item it is about."""
        overdue = len(session.early) > 100  # the items were not sampled, or read before the view began
        ready = [a for a in session.early if overdue or a.span_end <= session.reached]
        session.early = [] if overdue else [a for a in session.early if a.span_end > session.reached]
        return [happening for record in ready for happening in self._prediction(session, record, now_s)]

    def _prediction(self, session: SessionView, record: PredictionMade, now_s: float) -> list[Happening]:
        final, told = record.prediction_type == "final", []
        output: dict[str, Any] = msgspec.json.decode(record.output) if record.output not in ("", "{}") else {}
        whole = output.get("level") in WHOLE or (final and record.span_start == 0 and record.span_end > 1 and record.task == "anomaly")
        tell = (now_s, session.session_id, session.modality)
        if record.task == "topic" and record.label is not None and not whole:
            told += self._topic(session, record, final, now_s)
        elif record.task == "severity" and record.label:
            session.severities[record.span_start] = record.label
            session.severity_counts[record.label] += 1
            if record.label in LOUD:
                text = next((t for p, t in reversed(session.lines) if p == record.span_start), "")
                told.append(Happening(*tell, "severity", f"{record.label}: {one_line(text)}".removesuffix(": ")))
        elif record.task == "template" and record.label:
            if record.label not in session.templates:
                told.append(Happening(*tell, "template", f"{record.label}: {one_line(str(output.get('template', '')))}"))
            session.templates[record.label] = str(output.get("template", ""))
            session.template_at[record.span_start] = record.label
        elif record.task == "anomaly" and not whole and record.value is not None:
            session.scores[record.span_start] = record.value
            if record.label == "anomaly":
                session.anomalies += 1
                session.flagged.append(record.span_start)
                value = next((v for p, v in reversed(session.values) if p == record.span_start), None)
                seen = "" if value is None else f"value {value:.4g} {session.unit}, "
                told.append(Happening(*tell, "anomaly", f"{seen}score {record.value:.2f} at {record.span_start}"))
        if whole and final:
            told += self._ended(session, record, now_s)
        return told

    def _topic(self, session: SessionView, record: PredictionMade, final: bool, now_s: float) -> list[Happening]:
        """A label of the segment being read replaces the one before of the same segment."""
        assert record.label is not None
        answer, before = (record.label, record.confidence), session.topics.get(record.span_start)
        session.topics[record.span_start] = answer
        if not final and before is not None and before[0] == record.label:
            return []
        return [Happening(now_s, session.session_id, session.modality, "label", f"{percent(answer)}{'' if final else ', so far'}")]

    def _ended(self, session: SessionView, record: PredictionMade, now_s: float) -> list[Happening]:
        told = []
        if session.ended_s is None and session.modality == "tokens" and session.sentence_start < session.chars:
            told.append(self._sentence(session, session.chars, now_s))
        if session.ended_s is not None:
            return []
        session.ended_s = now_s
        if record.label is not None:
            session.document = (record.label, record.confidence)
        unit = {"tokens": "pieces", "chat": "turns", "logs": "lines", "metrics": "points"}.get(session.modality, "items")
        about = f"{percent(session.document)}" if session.document else f"score {record.value or 0:.2f}"
        told.append(Happening(now_s, session.session_id, session.modality, "ended", f"{record.span_end} {unit}, as a whole {about}"))
        return told

    def rate(self, now_s: float, over_s: int = 5) -> float:
        """Items read per second, over the last full seconds."""
        last = int(now_s)
        return sum(n for second, n in self.arrivals if last - over_s <= second < last) / over_s

    def quantiles(self) -> tuple[float, float] | None:
        """Median and 99th percentile of the latest latencies, milliseconds."""
        if not self.latencies:
            return None
        ordered = sorted(self.latencies)
        return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]

    def forget_ended(self, before_s: float) -> None:
        """Drop sessions that ended long ago and the ids of their records, so that an endless demo stays small."""
        self.event_ids.clear()
        self.sessions = {k: s for k, s in self.sessions.items() if s.ended_s is None or s.ended_s >= before_s}


def percent(answer: tuple[str, float | None]) -> str:
    """`plan 91 %`"""
    label, confidence = answer
    return label if confidence is None else f"{label} {confidence:.0%}".replace("%", " %")


def one_line(text: str) -> str:
    """White space made single spaces."""
    return " ".join(text.split())
