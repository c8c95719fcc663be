"""Metric sessions: every point gets an anomaly score decided by that point, and a forecast of the next one.

Knows the series of one session by name, the least recently met let go; leaves the detector to models/series.py.
Next: streams/pipeline.py
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np

from models import series as detector
from models.steps import Answer, Item, ItemResult, StepResult, Work

MAX_SERIES = 256
"""Series of a session that are remembered, about 1 KB each."""


@dataclass(slots=True)
class MetricState:
    """The series of a session, least recently met first, and what was worst in it."""

    series: dict[str, bytes] = field(default_factory=dict)
    """Packed rows of STATE."""
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
            verdicts = read_all(state, work.items)
            return StepResult(state, tuple([conclude(state, item, verdict) for item, verdict in zip(work.items, verdicts, strict=True)]))
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
        return _encode(MetricRow(2, list(state.series.items()), **{name: getattr(state, name) for name in _COUNTERS}))

    def unpack(self, data: bytes) -> MetricState:
        row = _decode(data)
        if row.layout != 2:
            raise ValueError(
                f"metric state of layout {row.layout}, this version reads 2; run the version that wrote it or reset the session"
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


def read_all(state: MetricState, items: Sequence[Item]) -> np.ndarray:
    """The items' verdicts, VERDICT (n,). Changes `state`: the series met are the newest, the oldest beyond MAX_SERIES are let go."""
    found = np.zeros(len(items), detector.VERDICT)
    for at in range(0, len(items), MAX_SERIES):
        part = items[at : at + MAX_SERIES]  # so that none is let go whose points are being read
        slots = {name: n for n, name in enumerate({item.name: None for item in part})}
        rows = detector.unpack_many([state.series.pop(name, b"") for name in slots])
        values, times = np.array([item.value for item in part], np.float64), np.array([item.timestamp_us for item in part], np.int64)
        found[at : at + len(part)] = detector.read_many(rows, np.array([slots[item.name] for item in part]), values, times)
        order = dict.fromkeys(reversed([item.name for item in part]))
        state.series |= dict(zip(slots, detector.pack_many(rows), strict=True))
        for name in reversed(order):
            state.series[name] = state.series.pop(name)
        while len(state.series) > MAX_SERIES:
            del state.series[next(iter(state.series))]
    return found


def conclude(state: MetricState, item: Item, verdict: np.void) -> ItemResult:
    """One point: anomaly and forecast, in this order; the session's own when it ends here. Changes `state`."""
    start, end = item.position, item.position + 1
    value = float(verdict["score"])
    low, high = verdict["next_90"].tolist()
    label = "anomaly" if value >= detector.UNUSUAL else "normal"
    state.end, state.points, state.is_closed = max(state.end, end), state.points + 1, False
    state.anomalies += label == "anomaly"
    if value > state.worst:
        state.worst, state.worst_at, state.worst_series = value, start, item.name
    findings: tuple[Answer, ...] = (
        Answer("anomaly", start, end, True, label, value=value, output={"series": item.name, "reason": detector.VIEWS[verdict["view"]]}),
        Answer("forecast", start, end, True, value=float(verdict["next"]), output={"series": item.name, "low": low, "high": high}),
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
