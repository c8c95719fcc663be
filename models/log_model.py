"""Log sessions: every line gets its template, its severity and how unusual it is; a session gets what it was as a whole.

Knows the order of one session's lines; what is normal is a LatentModel, shared by all sessions and replaced while it learns.
Leaves headers and times to streams/log_lines.py, which puts `source:severity` of the header into Item.name.
Next: models/metric_model.py
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from models import log_state
from models.latent_model import LatentModel, Lines, Verdict
from models.latent_views import MOST, SURE
from models.learnable import CONTEXT, Lesson
from models.log_state import LESSON_CHARS, STRETCH, LogState
from models.severity import SEVERITIES, by_keywords
from models.steps import Answer, Item, ItemResult, StepResult, Work
from models.templates import Mined

_NUMBER = {name: n for n, name in enumerate(SEVERITIES)}
_HEADER_CONFIDENCE = {"pri": 0.95, "header": 0.99}


class Event(NamedTuple):
    """What the shared model is told of a line, or of an end: the end of a session is an event without text."""

    text: str
    before: tuple[str, ...]
    severity: int
    gap_s: float

    def lesson(self, verdict: Verdict) -> Lesson:
        return Lesson(self.text, self.before, self.severity, self.gap_s, verdict.value)


def end_after(before: tuple[str, ...]) -> Event:
    return Event("", before, _NUMBER["informational"], 0.0)


class Draft(NamedTuple):
    """A line of which all is known but how unusual it is."""

    item: Item
    mined: Mined
    confidence: float
    source: str
    event: Event

    def events(self) -> tuple[Event, ...]:
        if not self.item.ends_session:
            return (self.event,)
        return self.event, end_after((*self.event.before, self.event.text)[-CONTEXT:])


class LogModel:
    """SessionModel of the `logs` topic; holds no session."""

    def __init__(self, normal: LatentModel | None = None, sure: float = SURE):
        """sure: standard deviations at which a line or session is an anomaly."""
        self.normal = normal if normal is not None else LatentModel.new()
        """Replaced as a whole by who teaches: a step reads it once."""
        self._sure = sure

    @property
    def version(self) -> str:
        return f"logs-2.{self.normal.version}"

    def step(self, works: Sequence[Work]) -> list[StepResult]:
        """Draft every session's lines, judge all of them at once, then conclude each session in order."""
        normal = self.normal
        drafted = [_draft(work) for work in works]
        events = [event for found in drafted if not isinstance(found, Exception) for draft in found[1] for event in draft.events()]
        verdicts = iter(normal.judge(_columns(events)))
        results = []
        for work, found in zip(works, drafted, strict=True):
            if isinstance(found, Exception):
                results.append(StepResult(work.state, error=found))
            else:
                results.append(self._conclude(normal, *found, verdicts))
        return results

    def _conclude(self, normal: LatentModel, state: LogState, drafts: Sequence[Draft], verdicts: Iterator[Verdict]) -> StepResult:
        items, lessons = [], []
        for draft in drafts:
            start, end, verdict = draft.item.position, draft.item.position + 1, next(verdicts)
            is_anomaly = verdict.deviations >= self._sure
            state.end, state.lines, state.is_closed = max(state.end, end), state.lines + 1, False
            state.note_line(draft.event.text, draft.item.timestamp_us)
            state.note_score(verdict.deviations, state.end, is_anomaly)
            lessons.append(draft.event.lesson(verdict))
            findings: tuple[Answer, ...] = (*_line_answers(draft), _anomaly(start, end, is_anomaly, verdict))
            if draft.item.ends_session:
                whole, ends = self._close(normal, state, next(verdicts))
                findings, lessons = (*findings, whole), [*lessons, *ends]
            items.append(ItemResult(start, findings=findings))
        return StepResult(state, tuple(items), lessons=tuple(lessons))

    def close(self, work: Work) -> StepResult:
        if work.state is None or work.state.is_closed or not work.state.end:
            return StepResult(work.state)
        state = work.state.copy()
        whole, lessons = self._closed_now(state)
        return StepResult(state, (ItemResult(state.end - 1, findings=(whole,)),), lessons=lessons)

    def _closed_now(self, state: LogState) -> tuple[Answer, tuple[Lesson, ...]]:
        normal = self.normal
        return self._close(normal, state, normal.judge(_columns([end_after(state.before)]))[0])

    def _close(self, normal: LatentModel, state: LogState, ending: Verdict) -> tuple[Answer, tuple[Lesson, ...]]:
        """The whole session, and what it teaches: its end as an event, then itself. Changes `state`. ending: the verdict on that event."""
        state.is_closed = True
        worst = max(state.worst_line, ending.deviations)
        verdict = normal.judge_session(state.counts, worst)
        end = replace(end_after(state.before).lesson(ending), ends_session=True)
        lessons = (end, replace(end, surprise=verdict.value, whole=tuple(state.counts.items()), worst_line=min(worst / MOST, 1.0)))
        answer = _anomaly(0, state.end, verdict.deviations >= self._sure, verdict)
        reasons = [*verdict.reasons, *(["unusual ending"] if ending.deviations >= self._sure else [])] or ["nothing unusual"]
        if state.worst_end:
            reasons.append(f"worst {STRETCH} lines end before position {state.worst_end}")
        output = {
            "reason": ", ".join(reasons), "level": "session", "lines": state.lines, "anomalies": state.anomalies,
            "worst_line": state.worst_line, "worst_stretch": state.worst_stretch,
        }  # fmt: skip
        return replace(answer, output=answer.output | output), lessons

    def answer(self, work: Work) -> tuple[Answer, ...]:
        """The session's anomaly as it would be were it to end now."""
        if work.state is None or not work.state.end:
            return ()
        whole, _ = self._closed_now(work.state.copy())
        return (replace(whole, is_final=False, output={k: v for k, v in whole.output.items() if k != "level"}),)

    def pack(self, state: Any) -> bytes:
        return log_state.pack(state)

    def unpack(self, data: bytes) -> LogState:
        return log_state.unpack(data)

    def drop(self, session: str) -> None:
        """Nothing is cached outside the state."""

    def rebuild(self, session: str, state: Any) -> None:
        """Nothing is cached outside the state."""

    def reset(self, state: Any) -> LogState:
        """Templates and context are forgotten; counters and the worst stretch stay."""
        emptied: LogState = state.emptied()
        return emptied

    def cache_bytes(self) -> int:
        return 0


def _draft(work: Work) -> tuple[LogState, list[Draft]] | Exception:
    """The lines of one session but for their anomaly, and the state after mining them; what went wrong with this session otherwise."""
    try:
        state = work.state.copy() if work.state is not None else LogState()
        before, last_us, drafts = state.before, state.last_us, []
        for item in work.items:
            mined = state.miner.learn(item.text)
            text = mined.group.shown[:LESSON_CHARS]
            gap_s = max(item.timestamp_us - last_us, 0) / 1e6 if before else 0.0
            severity, confidence, source = severity_of(item)
            drafts.append(Draft(item, mined, confidence, source, Event(text, before, severity, gap_s)))
            before, last_us = (*before, text)[-CONTEXT:], item.timestamp_us
        return state, drafts
    except Exception as error:  # this session's data alone: the caller records it and goes on
        return error


def _columns(events: Sequence[Event]) -> Lines:
    if not events:
        return Lines((), (), np.zeros(0, np.int64), np.zeros(0, np.float32))
    texts, before, severities, gaps_s = zip(*events, strict=True)
    return Lines(texts, before, np.array(severities, np.int64), np.array(gaps_s, np.float32))


def severity_of(item: Item) -> tuple[int, float, str]:
    """Number, confidence and source: what the line carries, as `source:name` or a bare name, else what its words say."""
    if item.name:
        source, _, name = item.name.rpartition(":")
        number = _NUMBER.get(name)
        if number is not None:
            return number, _HEADER_CONFIDENCE.get(source, 0.99), source or "header"
    return by_keywords(item.text)


def _line_answers(draft: Draft) -> tuple[Answer, Answer]:
    start, end, mined = draft.item.position, draft.item.position + 1, draft.mined
    shown: dict[str, Any] = {"template": mined.group.shown, "parameters": mined.parameters}
    if mined.merged:
        shown["merged"] = list(mined.merged)
    return (
        Answer("template", start, end, True, mined.group_id, output=shown),
        Answer("severity", start, end, True, SEVERITIES[draft.event.severity], draft.confidence, output={"source": draft.source}),
    )


def _anomaly(start: int, end: int, is_anomaly: bool, verdict: Verdict) -> Answer:
    """`value` is 0..1, linear in standard deviations; `output.reason` names the views that find it unusual, the loudest first."""
    output = {"reason": ", ".join(verdict.reasons), "deviations": round(verdict.deviations, 3)}
    return Answer("anomaly", start, end, True, "anomaly" if is_anomaly else "normal", value=verdict.value, output=output)
