"""Metric sessions: every point gets an anomaly score decided by that point, and a forecast of the next one.

Knows the series of one session by name, the least recently met let go; leaves the detector to models/series.py.
Next: streams/pipeline.py
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from models import series as detector
from models.series import Series
from models.steps import Answer, Item, ItemResult, StepResult, Work

MAX_SERIES = 256
"""Series of a session that are remembered, about 1 KB each."""


@dataclass(slots=True)
class MetricState:
    """The series of a session, least recently met first, and what was worst in it."""

    series: dict[str, Series | bytes] = field(default_factory=dict)
    """Packed until its next point comes."""
    end: int = 0
    """Position after the last point: the session's number of items."""
    points: int = 0
    anomalies: int = 0
    worst: float = 0.0
    worst_at: int = -1
    worst_series: str = ""
    is_closed: bool = False


class MetricRow(msgspec.Struct, array_like=True, frozen=True):
    """MetricState as bytes; `layout` tells an older one."""

    layout: int
    series: list[tuple[str, bytes]]
    end: int
    points: int
    anomalies: int
    worst: float
    worst_at: int
    worst_series: str
    is_closed: bool


_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(MetricRow).decode
_COUNTERS = tuple(name for name in MetricRow.__struct_fields__ if name not in ("layout", "series"))


class MetricModel:
    """SessionModel of the `metrics` topic; holds no session."""

    version = "metrics-1"

    def step(self, works: Sequence[Work]) -> list[StepResult]:
        return [self._step(work) for work in works]

    def _step(self, work: Work) -> StepResult:
        try:
            state = replace(work.state, series=work.state.series.copy()) if work.state is not None else MetricState()
            own: set[str] = set()
            return StepResult(state, tuple([read(state, item, own) for item in work.items]))
        except Exception as error:  # this session's data alone: the caller records it and goes on
            return StepResult(work.state, error=error)

    def close(self, work: Work) -> StepResult:
        if work.state is None or work.state.is_closed or not work.state.end:
            return StepResult(work.state)
        state = replace(work.state)
        return StepResult(state, (ItemResult(state.end - 1, findings=(close(state),)),))

    def answer(self, work: Work) -> tuple[Answer, ...]:
        """The session's anomaly as it would be were it to end now."""
        if work.state is None or not work.state.end:
            return ()
        whole = close(replace(work.state))
        return (replace(whole, is_final=False, output={k: v for k, v in whole.output.items() if k != "level"}),)

    def pack(self, state: Any) -> bytes:
        rows = [(name, one if isinstance(one, bytes) else detector.pack(one)) for name, one in state.series.items()]
        return _encode(MetricRow(1, rows, **{name: getattr(state, name) for name in _COUNTERS}))

    def unpack(self, data: bytes) -> MetricState:
        row = _decode(data)
        if row.layout != 1:
            raise ValueError(
                f"metric state of layout {row.layout}, this version reads 1; run the version that wrote it or reset the session"
            )
        return MetricState(dict(row.series), **{name: getattr(row, name) for name in _COUNTERS})

    def drop(self, session: str) -> None:
        """Nothing is cached outside the state."""

    def rebuild(self, session: str, state: Any) -> None:
        """Nothing is cached outside the state."""

    def reset(self, state: Any) -> MetricState:
        """The series are forgotten; counters and the worst point stay."""
        return replace(state, series={})

    def cache_bytes(self) -> int:
        return 0


def own_series(state: MetricState, name: str, own: set[str]) -> Series:
    """The series to change, at the end of the order: a copy the first time in a step, since the old state stays as it was."""
    known = state.series.pop(name, None)
    if known is None:
        one = Series()
        if len(state.series) >= MAX_SERIES:
            oldest = next(iter(state.series))
            del state.series[oldest]
            own.discard(oldest)
    elif isinstance(known, bytes):
        one = detector.unpack(known)
    else:
        one = known if name in own else known.copy()
    own.add(name)
    state.series[name] = one
    return one


def read(state: MetricState, item: Item, own: set[str]) -> ItemResult:
    """One point: anomaly and forecast, in this order; the session's own when it ends here. Changes `state`."""
    start, end = item.position, item.position + 1
    verdict = detector.read(own_series(state, item.name, own), item.value, item.timestamp_us)
    label = "anomaly" if verdict.value >= detector.UNUSUAL else "normal"
    state.end, state.points, state.is_closed = max(state.end, end), state.points + 1, False
    state.anomalies += label == "anomaly"
    if verdict.value > state.worst:
        state.worst, state.worst_at, state.worst_series = verdict.value, start, item.name
    findings: tuple[Answer, ...] = (
        Answer("anomaly", start, end, True, label, value=verdict.value, output={"series": item.name, "reason": verdict.view}),
        Answer(
            "forecast", start, end, True, value=verdict.forecast, output={"series": item.name, "low": verdict.low, "high": verdict.high}
        ),
    )
    return ItemResult(start, findings=(*findings, close(state)) if item.ends_session else findings)


def close(state: MetricState) -> Answer:
    """The whole session, by its worst point. Changes `state`."""
    state.is_closed = True
    output = {
        "reason": f"worst point at position {state.worst_at}" if state.worst_at >= 0 else "nothing unusual",
        "level": "session", "series": state.worst_series, "points": state.points, "anomalies": state.anomalies,
    }  # fmt: skip
    return Answer("anomaly", 0, state.end, True, "anomaly" if state.anomalies else "normal", value=state.worst, output=output)
