"""Log sessions: every line gets its template, its severity and how unusual it is; a session gets its worst stretch.

Knows the order of one session's lines; leaves headers and times to streams/log_lines.py, which puts `source:severity` of
the header into Item.name. The anomaly score is a baseline: one minus how often this session met such novelty before.
Next: models/metric_model.py
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

import msgspec

from models.severity import SEVERITIES
from models.severity_model import shipped
from models.steps import Answer, Item, ItemResult, StepResult, Work
from models.templates import Mined, Miner, Row

WARM_UP = 50
"""Lines before anything can be unusual."""
MEMORY = 2000.0
"""Lines over which novelty is forgotten by 1/e: what was usual last week is no excuse today."""
MAX_TRANSITIONS = 1024
STRETCH = 5
"""Lines of a stretch, for the session's score."""
UNUSUAL = 0.99
"""A line at or above it is an anomaly: novelty that this session shows in less than one line of a hundred."""
NOTABLE = 0.1
"""A novelty rarer than this is named as a reason."""
UNUSUAL_SESSION = 0.95
"""So unusual on average are the lines of the worst stretch of an anomalous session."""
_NUMBER = {name: n for n, name in enumerate(SEVERITIES)}
_HEADER_CONFIDENCE = {"pri": 0.95, "header": 0.99}


@dataclass(slots=True)
class LogState:
    """What the lines of a session have shown so far."""

    miner: Miner = field(default_factory=Miner)
    end: int = 0
    """Position after the last line: the session's number of items."""
    lines: int = 0
    previous: str = ""
    """Group of the line before."""
    transitions: dict[int, None] = field(default_factory=dict)
    """Hashes of neighbouring groups met, least recently met first."""
    weight: float = 0.0
    """Lines in memory, faded; the same fading for the counts below."""
    new_groups: float = 0.0
    new_transitions: float = 0.0
    severities: tuple[float, ...] = (0.0,) * 8
    recent: tuple[float, ...] = ()
    """Scores of the last lines of a stretch."""
    worst_line: float = 0.0
    worst_stretch: float = 0.0
    worst_end: int = 0
    """Position after the worst stretch."""
    anomalies: int = 0
    is_closed: bool = False

    def copy(self) -> "LogState":
        return replace(self, miner=self.miner.copy(), transitions=self.transitions.copy())


class LogRow(msgspec.Struct, array_like=True, frozen=True):
    """LogState as bytes; `layout` tells an older one."""

    layout: int
    groups: list[Row]
    end: int
    lines: int
    previous: str
    transitions: list[int]
    weight: float
    new_groups: float
    new_transitions: float
    severities: tuple[float, ...]
    recent: tuple[float, ...]
    worst_line: float
    worst_stretch: float
    worst_end: int
    anomalies: int
    is_closed: bool


_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(LogRow).decode


class LogModel:
    """SessionModel of the `logs` topic; holds no session."""

    version = "logs-1"

    def step(self, works: Sequence[Work]) -> list[StepResult]:
        return [self._step(work) for work in works]

    def _step(self, work: Work) -> StepResult:
        try:
            state = work.state.copy() if work.state is not None else LogState()
            return StepResult(state, tuple([read(state, item) for item in work.items]))
        except Exception as error:  # this session's data alone: the caller records it and goes on
            return StepResult(work.state, error=error)

    def close(self, work: Work) -> StepResult:
        if work.state is None or work.state.is_closed or not work.state.end:
            return StepResult(work.state)
        state = work.state.copy()
        return StepResult(state, (ItemResult(state.end - 1, findings=(close(state),)),))

    def answer(self, work: Work) -> tuple[Answer, ...]:
        """The session's anomaly as it would be were it to end now."""
        if work.state is None or not work.state.end:
            return ()
        whole = close(work.state.copy())
        return (replace(whole, is_final=False, output={k: v for k, v in whole.output.items() if k != "level"}),)

    def pack(self, state: Any) -> bytes:
        values = {name: getattr(state, name) for name in LogRow.__struct_fields__ if name not in ("layout", "groups", "transitions")}
        return _encode(LogRow(layout=1, groups=state.miner.rows(), transitions=list(state.transitions), **values))

    def unpack(self, data: bytes) -> LogState:
        row = _decode(data)
        if row.layout != 1:
            raise ValueError(f"log state of layout {row.layout}, this version reads 1; run the version that wrote it or reset the session")
        values = {name: getattr(row, name) for name in LogRow.__struct_fields__ if name not in ("layout", "groups", "transitions")}
        return LogState(miner=Miner.restored(row.groups), transitions=dict.fromkeys(row.transitions), **values)

    def drop(self, session: str) -> None:
        """Nothing is cached outside the state."""

    def rebuild(self, session: str, state: Any) -> None:
        """Nothing is cached outside the state."""

    def reset(self, state: Any) -> LogState:
        """Groups and habits are forgotten; counters and the worst stretch stay."""
        return LogState(
            end=state.end, lines=state.lines, worst_line=state.worst_line, worst_stretch=state.worst_stretch, worst_end=state.worst_end,
            anomalies=state.anomalies, is_closed=state.is_closed,
        )  # fmt: skip

    def cache_bytes(self) -> int:
        return 0


def read(state: LogState, item: Item) -> ItemResult:
    """One line: template, severity and anomaly, in this order; the session's own when it ends here. Changes `state`."""
    start, end = item.position, item.position + 1
    mined = state.miner.learn(item.text)
    shown: dict[str, Any] = {"template": mined.group.shown, "parameters": mined.parameters}
    if mined.merged:
        shown["merged"] = list(mined.merged)
    severity, confidence, source = severity_of(item, mined.text)
    value, reason = unusual(state, mined, severity)
    label = "anomaly" if value >= UNUSUAL else "normal"
    state.end, state.lines, state.is_closed = max(state.end, end), state.lines + 1, False
    note_score(state, value, label == "anomaly")
    findings: tuple[Answer, ...] = (
        Answer("template", start, end, True, mined.group_id, output=shown),
        Answer("severity", start, end, True, SEVERITIES[severity], confidence, output={"source": source}),
        Answer("anomaly", start, end, True, label, value=value, output={"reason": reason}),
    )
    return ItemResult(start, findings=(*findings, close(state)) if item.ends_session else findings)


def severity_of(item: Item, masked: str) -> tuple[int, float, str]:
    """Number, confidence and source: what the line carries, as `source:name` or a bare name, else what its words say."""
    if item.name:
        source, _, name = item.name.rpartition(":")
        number = _NUMBER.get(name)
        if number is not None:
            return number, _HEADER_CONFIDENCE.get(source, 0.99), source or "header"
    return shipped().read(masked, item.text)


def unusual(state: LogState, mined: Mined, severity: int) -> tuple[float, str]:
    """How unusual the line is in its session, 0..1, and why; then the session has seen it."""
    step = crc32(f"{state.previous}{mined.group_id}".encode())
    is_step_new = bool(state.previous) and step not in state.transitions
    total = state.weight + 2.0
    chances = []
    if mined.is_new:
        chances.append(((state.new_groups + 1.0) / total, "unseen template"))
    elif is_step_new:
        chances.append(((state.new_transitions + 1.0) / total, "unseen transition"))
    if severity <= 4:
        chances.append(((sum(state.severities[: severity + 1]) + 1.0) / total, "rare severity"))
    is_warm = state.lines >= WARM_UP
    value = 1.0 - min(chances)[0] if chances and is_warm else 0.0
    reason = ", ".join([why for chance, why in chances if chance < NOTABLE])

    state.transitions.pop(step, None)
    state.transitions[step] = None
    if len(state.transitions) > MAX_TRANSITIONS:
        del state.transitions[next(iter(state.transitions))]
    state.previous = mined.group_id
    keep = 1.0 - 1.0 / MEMORY
    state.weight = state.weight * keep + 1.0
    state.new_groups = state.new_groups * keep + mined.is_new
    state.new_transitions = state.new_transitions * keep + is_step_new
    state.severities = tuple([count * keep + (level == severity) for level, count in enumerate(state.severities)])
    return value, reason if is_warm else "too few lines to judge"


def note_score(state: LogState, value: float, is_anomaly: bool) -> None:
    """Keep the worst line and the worst stretch."""
    state.recent = (*state.recent, value)[-STRETCH:]
    stretch = sum(state.recent) / STRETCH
    state.anomalies += is_anomaly
    state.worst_line = max(state.worst_line, value)
    if stretch > state.worst_stretch:
        state.worst_stretch, state.worst_end = stretch, state.end


def close(state: LogState) -> Answer:
    """The whole session, by its worst stretch. Changes `state`."""
    state.is_closed = True
    value = min(state.worst_stretch, 1.0)
    label = "anomaly" if value >= UNUSUAL_SESSION else "normal"
    output = {
        "reason": f"worst {STRETCH} lines end before position {state.worst_end}" if state.worst_end else "nothing unusual",
        "level": "session", "lines": state.lines, "anomalies": state.anomalies, "worst_line": state.worst_line,
    }  # fmt: skip
    return Answer("anomaly", 0, state.end, True, label, value=value, output=output)
