"""What is said of a metric point, and of its session: anomaly and forecast of each point, incidents, the session as a whole.

Everything is decided by the points before and this one, in their order. Knows one session's state and the detector's verdicts; leaves
which series there are to metric_series.py.
Next: streams/pipeline.py
"""

from typing import Any

import msgspec

from models import incidents
from models import series as detector
from models.false_alarms import alarmed, digits_of, needed, score_of
from models.incidents import Incident, Move
from models.metric_rows import MetricState
from models.metric_series import Met
from models.metric_settings import MetricSettings
from models.steps import Answer, Boundary, LevelState, Notice

MAX_PEAKS = 16
"""Series that are named in the session's answer."""
Finding = Boundary | Answer | LevelState | Notice


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What models.series.VERDICT says of one point, as far as it is told."""

    score: float
    view: int
    late: int
    next: float
    next_50: list[float]
    next_90: list[float]
    hour: float
    hour_50: list[float]
    hour_90: list[float]


def conclude(state: MetricState, met: Met, verdict: Verdict | None, settings: MetricSettings) -> list[Finding]:
    """One point: its anomaly, its forecast, then what of incidents and session it changes; all that is open when it ends the session.

    verdict: None where the detector did not read the point. Changes `state` and the point's series.
    """
    item, start, end = met.item, met.item.position, met.item.position + 1
    state.end, state.points, state.is_closed = max(state.end, end), state.points + 1, False
    digits = digits_of(verdict.score) if verdict else 0.0
    found: list[Finding] = []
    if verdict is None:
        found.append(Answer("anomaly", start, end, True, "normal", value=0.0, output={"series": item.name, "reason": met.reason}))
    else:
        label = "anomaly" if verdict.score >= detector.UNUSUAL else "normal"
        state.anomalies += label == "anomaly"
        found += [
            Answer("anomaly", start, end, True, label, value=verdict.score, output={"series": item.name, "reason": why(verdict)}),
            Answer("forecast", start, end, True, value=verdict.next, output=forecast(item.name, verdict)),
        ]
    found += watch(state, met, digits, settings)
    if verdict is not None:
        met.series.expected = verdict.next
    if item.ends_session:
        found += close(state)
    elif item.wants_label and (running := changed(state)) is not None:
        found.append(running)
    return found


def why(verdict: Verdict) -> str:
    view = detector.VIEWS[verdict.view]
    return f"{view}, late".strip(", ") if verdict.late else view


def forecast(series: str, verdict: Verdict) -> dict[str, Any]:
    """`low` and `high` hold the next value nine times of ten."""
    return {
        "series": series, "low": verdict.next_90[0], "high": verdict.next_90[1], "interval_50": verdict.next_50,
        "hour": {"value": verdict.hour, "interval_50": verdict.hour_50, "interval_90": verdict.hour_90},
    }  # fmt: skip


def watch(state: MetricState, met: Met, digits: float, settings: MetricSettings) -> list[Finding]:
    """What the point does to incidents: end the one that is over, go on with one, join or open one."""
    found: list[Finding] = []
    item, series, pace, incident = met.item, met.series, met.pace, state.incident
    if incident is not None and incidents.is_over(incident, item.timestamp_us):
        found.append(incidents.answer(incident, True))
        incident = state.incident = None
    move = Move(item.name, item.position, item.timestamp_us, digits, series.expected, met.value)
    if digits < incidents.CONTINUES:
        if incident is not None and not met.reason and incidents.is_away(incident, move, pace.every_us):
            state.incident = incidents.with_away(incident, move)
        return found
    note_peak(state, move)
    joins = digits >= incidents.joins_at(met.n_series)
    if incident is None:
        if digits >= needed(series.alarm, pace, settings.max_false_alarms_per_day):
            series.alarm = alarmed(series.alarm, pace, settings.max_false_alarms_per_day)
            state.incidents += 1
            found.append(told(state, incidents.opened(move, pace.every_us, state.moves)))
    elif joins or any(m.first.series == move.series for m in incident.members):
        more = incidents.with_move(incident, move, pace.every_us)
        if len(more.members) > len(incident.members) or more.peak.digits >= incident.told + incidents.TOLD_AGAIN:
            found.append(told(state, more))
        else:
            state.incident = more
    if joins:
        state.moves = (*state.moves, move)[-incidents.MAX_MOVES :]
    return found


def told(state: MetricState, incident: Incident) -> Answer:
    """The incident as it is now, to be told. Changes `state`."""
    state.incident = msgspec.structs.replace(incident, told=incident.peak.digits)
    return incidents.answer(incident, False)


def note_peak(state: MetricState, move: Move) -> None:
    """Keep each series' most unusual point, of the series that had the worst. Changes `state`."""
    known = next((p for p in state.peaks if p.series == move.series), None)
    if known is not None and known.digits >= move.digits:
        return
    if known is None and len(state.peaks) >= MAX_PEAKS and state.peaks[-1].digits >= move.digits:
        return
    peaks = [p for p in state.peaks if p is not known] + [move]
    state.peaks = tuple(sorted(peaks, key=lambda p: -p.digits)[:MAX_PEAKS])  # stable: of equals the earlier stays in front


def changed(state: MetricState) -> Answer | None:
    """The session's answer so far, when it is another one than was given last. Changes `state`."""
    now = (state.incidents, state.peaks[0].series, state.peaks[0].digits) if state.peaks else (0, "", 0.0)
    if now[:2] == state.told[:2] and now[2] < state.told[2] + incidents.TOLD_AGAIN:
        return None
    state.told = now
    return session_answer(state, is_final=False)


def close(state: MetricState) -> list[Finding]:
    """The end of what is open, and the whole session. Changes `state`."""
    found: list[Finding] = [incidents.answer(state.incident, True)] if state.incident is not None else []
    state.is_closed, state.incident, state.told = True, None, (0, "", 0.0)
    return [*found, session_answer(state, is_final=True)]


def session_answer(state: MetricState, is_final: bool) -> Answer:
    """The whole session by its worst points: an anomaly when it had an incident; what each series contributed."""
    worst = state.peaks[0] if state.peaks else None
    total = sum(p.digits for p in state.peaks)
    output = {
        "reason": f"worst point at position {worst.position}" if worst else "nothing unusual",
        "level": "session", "series": worst.series if worst else "", "points": state.points, "anomalies": state.anomalies,
        "incidents": state.incidents, "contributions": {p.series: round(p.digits / total, 4) for p in state.peaks},
        "order": [p.series for p in sorted(state.peaks, key=lambda p: p.position)],
    }  # fmt: skip
    value = score_of(worst.digits) if worst else 0.0
    return Answer("anomaly", 0, state.end, is_final, "anomaly" if state.incidents else "normal", value=value, output=output)
