"""Log sessions: every line gets its template, its severity and how unusual it is; a session gets what it was as a whole.

Knows the order of one session's lines; what is normal is Systems, shared by all sessions and replaced while it learns.
Leaves headers and times to streams/log_lines.py, which puts `source:severity` of the header into Item.name.
Next: models/metric_model.py
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import numpy as np

from models import latent_pace, log_settings, log_state
from models.latent_lines import Lines
from models.latent_model import Verdict
from models.latent_systems import Systems
from models.latent_views import MOST
from models.learnable import CONTEXT, Lesson
from models.log_settings import LogSettings
from models.log_state import LESSON_CHARS, STRETCH, LogState
from models.log_traces import NONE, Open, begun, joined, kept
from models.severity import SEVERITIES
from models.severity_model import shipped
from models.steps import Answer, Item, ItemResult, StepResult, Work
from models.templates import Group, Mined

_NUMBER = {name: n for n, name in enumerate(SEVERITIES)}
_HEADER_CONFIDENCE = {"pri": 0.95, "header": 0.99}


class Event(NamedTuple):
    """What the shared model is told of a line, or of an end: the end of a session is an event without text."""

    text: str
    before: tuple[str, ...]
    severity: int
    gap_s: float
    rate: float

    def lesson(self, verdict: Verdict, system: int) -> Lesson:
        return Lesson(self.text, self.before, self.severity, self.gap_s, verdict.value, rate=self.rate, system=system)


def end_after(before: tuple[str, ...]) -> Event:
    return Event("", before, _NUMBER["informational"], 0.0, latent_pace.UNKNOWN)


class Draft(NamedTuple):
    """A line of which all is known but how unusual it is."""

    item: Item
    mined: Mined
    confidence: float
    source: str
    event: Event
    trace: Open | None = None
    """The record this line goes on with: it has its template and severity, and is no news."""

    def events(self) -> tuple[Event, ...]:
        """What is to be judged: the line, unless it goes on with an earlier one, and the session's end."""
        own = () if self.trace is not None else (self.event,)
        if not self.item.ends_session:
            return own
        return *own, end_after((*self.event.before, *[event.text for event in own])[-CONTEXT:])


class LogModel:
    """SessionModel of the `logs` topic; holds no session."""

    def __init__(self, normal: Systems | None = None, settings: LogSettings | None = None):
        """Raises ModelConfigError."""
        settings = settings or LogSettings()
        log_settings.check(settings)
        self.normal = normal if normal is not None else Systems.new(settings.trajectory, settings.density)
        """What judges sessions whose tenant has taught nothing; those of others bring theirs (Work.knowledge)."""
        self._sure = settings.deviations

    @property
    def version(self) -> str:
        return f"logs-4.{self.normal.version}"

    @property
    def learnable(self) -> Systems:
        """What tenants begin to teach."""
        return replace(self.normal, version=self.version)

    def step(self, works: Sequence[Work]) -> list[StepResult]:
        """Draft every session's lines, judge all that meet the same knowledge at once, then conclude each session in order."""
        drafted = [_draft(work) for work in works]
        normals = {id(normal): normal for normal in map(self._normal, works)}
        asked: dict[int, tuple[list[Event], list[int]]] = {key: ([], []) for key in normals}
        for work, found in zip(works, drafted, strict=True):
            if not isinstance(found, Exception):
                normal = self._normal(work)
                events, systems = asked[id(normal)]
                events += [event for draft in found[1] for event in draft.events()]
                systems += _systems(normal, *found)
        judged = {
            key: zip(normal.judge(_columns(asked[key][0]), asked[key][1]), asked[key][1], strict=True) for key, normal in normals.items()
        }
        results = []
        for work, found in zip(works, drafted, strict=True):
            if isinstance(found, Exception):
                results.append(StepResult(work.state, error=found))
            else:
                normal = self._normal(work)
                results.append(self._conclude(normal, *found, judged[id(normal)]))
        return results

    def _normal(self, work: Work) -> Systems:
        return work.knowledge if work.knowledge is not None else self.normal

    def _conclude(self, normal: Systems, state: LogState, drafts: Sequence[Draft], judged: Iterator[tuple[Verdict, int]]) -> StepResult:
        items, lessons = [], []
        for draft in drafts:
            start, end = draft.item.position, draft.item.position + 1
            state.end, state.lines, state.is_closed = max(state.end, end), state.lines + 1, False
            if draft.trace is None:
                verdict, state.system = next(judged)
                told = normal.told(verdict, state.system)
                is_anomaly = told.deviations >= self._sure
                state.note_line(draft.event.text, draft.item.timestamp_us)
                state.note_score(verdict.deviations, state.end, is_anomaly)
                lessons.append(draft.event.lesson(verdict, state.system))
                anomaly = _anomaly(start, end, is_anomaly, told)
            else:
                anomaly = Answer("anomaly", start, end, True, "normal", value=0.0, output={"reason": "", "trace": draft.trace.shown})
            findings: tuple[Answer, ...] = (*_line_answers(draft), anomaly)
            if draft.item.ends_session:
                whole, ends = self._close(normal, state, next(judged)[0])
                findings, lessons = (*findings, whole), [*lessons, *ends]
            items.append(ItemResult(start, findings=findings))
        return StepResult(state, tuple(items), lessons=tuple(lessons))

    def close(self, work: Work) -> StepResult:
        if work.state is None or work.state.is_closed or not work.state.end:
            return StepResult(work.state)
        state = work.state.copy()
        whole, lessons = self._closed_now(self._normal(work), state)
        return StepResult(state, (ItemResult(state.end - 1, findings=(whole,)),), lessons=lessons)

    def _closed_now(self, normal: Systems, state: LogState) -> tuple[Answer, tuple[Lesson, ...]]:
        return self._close(normal, state, normal.judge(_columns([end_after(state.before)]), [state.system])[0])

    def _close(self, normal: Systems, state: LogState, ending: Verdict) -> tuple[Answer, tuple[Lesson, ...]]:
        """The whole session, and what it teaches: its end as an event, then itself. Changes `state`. ending: the verdict on that event."""
        state.is_closed, state.traces = True, NONE
        worst = max(state.worst_line, ending.deviations)
        own = normal.judge_session(state.counts, worst, state.system)
        end = replace(end_after(state.before).lesson(ending, state.system), ends_session=True)
        lessons = (end, replace(end, surprise=own.value, whole=tuple(state.counts.items()), worst_line=min(worst / MOST, 1.0)))
        verdict = normal.told(own, state.system, is_session=True)
        answer = _anomaly(0, state.end, verdict.deviations >= self._sure, verdict)
        reasons = [*verdict.reasons, *(["unusual ending"] if ending.deviations >= self._sure else [])] or ["nothing unusual"]
        if state.worst_end:
            reasons.append(f"worst {STRETCH} lines end before position {state.worst_end}")
        output = {
            "reason": ", ".join(reasons), "level": "session", "lines": state.lines, "anomalies": state.anomalies,
            "worst_line": state.worst_line, "worst_stretch": state.worst_stretch,
        }  # fmt: skip
        return msgspec.structs.replace(answer, output=answer.output | output), lessons

    def answer(self, work: Work) -> tuple[Answer, ...]:
        """The session's anomaly as it would be were it to end now."""
        if work.state is None or not work.state.end:
            return ()
        whole, _ = self._closed_now(self._normal(work), work.state.copy())
        return (msgspec.structs.replace(whole, is_final=False, output={k: v for k, v in whole.output.items() if k != "level"}),)

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
        before, last_us, drafts, lines = state.before, state.last_us, [], state.lines
        for item in work.items:
            trace = joined(state.traces, item.text, item.speaker)
            if trace is not None:
                drafts.append(_goes_on(state, item, trace, before))
            else:
                mined = state.miner.learn(item.text)
                text = mined.group.shown[:LESSON_CHARS]
                gap_s = max(item.timestamp_us - last_us, 0) / 1e6 if before else 0.0
                rate = _rate(state, gap_s, lines) if before else latent_pace.UNKNOWN
                severity, confidence, source = severity_of(item, mined.text)
                drafts.append(Draft(item, mined, confidence, source, Event(text, before, severity, gap_s, rate)))
                before, last_us = (*before, text)[-CONTEXT:], item.timestamp_us
                trace = begun(item.position, item.text, item.speaker, severity, mined.group_id)
            lines += 1
            state.traces = NONE if item.ends_session else kept(state.traces, trace)
        return state, drafts
    except Exception as error:  # this session's data alone: the caller records it and goes on
        return error


def _rate(state: LogState, gap_s: float, lines: int) -> float:
    """The rate of a line that comes after `lines` others. Changes `state`."""
    state.usual_s = latent_pace.mean(state.usual_s, gap_s, lines, latent_pace.USUAL)
    state.pace_s = latent_pace.mean(state.pace_s, gap_s, lines, CONTEXT)
    return latent_pace.rate_of(state.pace_s, state.usual_s) if lines >= CONTEXT else latent_pace.UNKNOWN


def _goes_on(state: LogState, item: Item, trace: Open, before: tuple[str, ...]) -> Draft:
    """A line of a trace: the miner does not meet it."""
    group = state.miner.groups.get(trace.template) or Group("", (), 0)
    event = Event(group.shown[:LESSON_CHARS], before, trace.severity, 0.0, latent_pace.UNKNOWN)
    return Draft(item, Mined(trace.template, group, [], False), 0.9, "trace", event, trace)


def _systems(normal: Systems, state: LogState, drafts: Sequence[Draft]) -> list[int]:
    """Of each event of a session its system; an end's is that of the line before it."""
    lines = iter(normal.assigned(state.system, state.before, [draft.event.text for draft in drafts if draft.trace is None]))
    found, system = list[int](), state.system
    for draft in drafts:
        if draft.trace is None:
            system = next(lines)
            found.append(system)
        if draft.item.ends_session:
            found.append(system)
    return found


def _columns(events: Sequence[Event]) -> Lines:
    if not events:
        return Lines((), (), np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0))
    texts, before, severities, gaps_s, rates = zip(*events, strict=True)
    return Lines(texts, before, np.array(severities, np.int64), np.array(gaps_s, np.float32), np.array(rates))


def severity_of(item: Item, masked: str) -> tuple[int, float, str]:
    """Number, confidence and source: what the line carries, as `source:name` or a bare name, else what its words say."""
    if item.name:
        source, _, name = item.name.rpartition(":")
        number = _NUMBER.get(name)
        if number is not None:
            return number, _HEADER_CONFIDENCE.get(source, 0.99), source or "header"
    return shipped().read(masked, item.text)


def _line_answers(draft: Draft) -> tuple[Answer, Answer]:
    start, end, mined = draft.item.position, draft.item.position + 1, draft.mined
    shown: dict[str, Any] = {"template": mined.group.shown, "parameters": mined.parameters}
    if mined.merged:
        shown["merged"] = list(mined.merged)
    if draft.trace is not None:
        shown["trace"] = draft.trace.shown
    return (
        Answer("template", start, end, True, mined.group_id, output=shown),
        Answer("severity", start, end, True, SEVERITIES[draft.event.severity], draft.confidence, output={"source": draft.source}),
    )


def _anomaly(start: int, end: int, is_anomaly: bool, verdict: Verdict) -> Answer:
    """`value` is 0..1, linear in standard deviations; `output.reason` names the views that find it unusual, the loudest first."""
    output = {"reason": ", ".join(verdict.reasons), "deviations": round(verdict.deviations, 3)}
    return Answer("anomaly", start, end, True, "anomaly" if is_anomaly else "normal", value=verdict.value, output=output)
