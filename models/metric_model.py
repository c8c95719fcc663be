"""Metric sessions: every point gets an anomaly score decided by that point, and a forecast of what comes; what belongs together is an incident.

A step is three passes: each session finds its points' series and values; the detector reads all of them, of all sessions, in one call; each
session concludes. Knows the order; leaves values to metric_points.py, series to metric_series.py, answers to metric_answers.py.
Next: models/metric_answers.py
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from models import metric_rows as rows
from models import series as detector
from models.metric_answers import Verdict, close, conclude, session_answer
from models.metric_points import look
from models.metric_rows import MetricState
from models.metric_series import Book, Met
from models.metric_settings import MetricSettings, check
from models.steps import Answer, ItemResult, Notice, StepResult, Work


@dataclass(slots=True)
class Plan:
    """One session's step, before the detector has read."""

    state: MetricState
    book: Book
    met: list[Met]


class MetricModel:
    """SessionModel of the `metrics` topic; holds no session. Its state is kept as rows (streams/sessions.py)."""

    version = "metrics-2"

    def __init__(self, settings: MetricSettings | None = None) -> None:
        self._settings = settings or MetricSettings()
        check(self._settings)

    def step(self, works: Sequence[Work]) -> list[StepResult]:
        # 1. whose points these are, and what they show
        plans: list[Plan | Exception] = []
        for work in works:
            try:
                plans.append(self._plan(work))
            except Exception as error:  # this session's data alone: the caller records it and goes on
                plans.append(error)
        # 2. one call for all series of all sessions
        found = read_all([one for plan in plans if isinstance(plan, Plan) for one in plan.met if not one.reason])
        # 3. what it means
        results, at = list[StepResult](), 0
        for work, plan in zip(works, plans, strict=True):
            if isinstance(plan, Exception):
                results.append(StepResult(work.state, error=plan))
                continue
            n_read = sum(not one.reason for one in plan.met)
            mine, at = found[at : at + n_read], at + n_read
            try:
                results.append(self._conclude(plan, mine))
            except Exception as error:
                results.append(StepResult(work.state, error=error))
        return results

    def _plan(self, work: Work) -> Plan:
        state = replace(work.state) if work.state is not None else MetricState()
        book = Book(state.young, state.settled, self._settings.max_series)
        met = []
        for item in work.items:
            series, gone = book.meet(item.name, item.position, item.timestamp_us)
            one = Met(item, series, len(book), series.pace)
            met.append(one)
            one.value = float(item.value)
            if item.accumulated is not None:
                seen, series.counters = look(series.counters, item.accumulated, one.value, item.timestamp_us)
                one.value, one.reason = seen.value, seen.reason
            if not one.reason:
                if not math.isfinite(one.value):
                    raise ValueError(
                        f"series {item.name}: value {one.value}, wanted a finite number; leave the point out where there is none"
                    )
                book.note_read(series, item.timestamp_us, one.value)
            if gone:
                state.evicted += 1
                one.notice = let_go(state.evicted, gone, len(book))
        return Plan(state, book, met)

    def _conclude(self, plan: Plan, verdicts: Sequence[Verdict]) -> StepResult:
        state, read, items = plan.state, iter(verdicts), list[ItemResult]()
        for one in plan.met:
            findings = conclude(state, one, None if one.reason else next(read), self._settings)
            if one.notice is not None:
                findings.append(one.notice)
            items.append(ItemResult(one.item.position, findings=tuple(findings)))
        state.young, state.settled = plan.book.closed()
        return StepResult(state, tuple(items))

    def close(self, work: Work) -> StepResult:
        if work.state is None or work.state.is_closed or not work.state.end:
            return StepResult(work.state)
        state = replace(work.state)
        return StepResult(state, (ItemResult(state.end - 1, findings=tuple(close(state))),))

    def answer(self, work: Work) -> tuple[Answer, ...]:
        """The session's anomaly as it would be were it to end now."""
        if work.state is None or not work.state.end:
            return ()
        whole = session_answer(work.state, is_final=False)
        return (msgspec.structs.replace(whole, output={k: v for k, v in whole.output.items() if k != "level"}),)

    def pack(self, state: Any) -> bytes:
        return rows.pack(state)

    def unpack(self, data: bytes) -> MetricState:
        return rows.unpack(data)

    def pack_head(self, state: Any) -> bytes:
        return rows.pack_head(state)

    def pack_rows(self, state: Any, stored: Any) -> Mapping[bytes, bytes]:
        return rows.pack_rows(state, stored)

    def unpack_rows(self, head: bytes, stored: Mapping[bytes, bytes]) -> MetricState:
        return rows.unpack_rows(head, stored)

    def weight(self, state: Any) -> int:
        return 1 + len(state.young) + len(state.settled) if state is not None else 1

    def drop(self, session: str) -> None:
        """Nothing is cached outside the state."""

    def rebuild(self, session: str, state: Any) -> None:
        """Nothing is cached outside the state."""

    def reset(self, state: Any) -> MetricState:
        """The series are forgotten; counters and the worst point stay."""
        return replace(state, young={}, settled={}, moves=(), incident=None) if state is not None else MetricState()

    def cache_bytes(self) -> int:
        return 0


def read_all(met: Sequence[Met]) -> list[Verdict]:
    """The detector's verdicts on points of any sessions, in their order. Changes the series."""
    if not met:
        return []
    places = {id(one.series): one.series for one in met}
    rows_of = {key: n for n, key in enumerate(places)}
    states = detector.unpack_many([series.detector for series in places.values()])
    found = detector.read_many(
        states,
        np.array([rows_of[id(one.series)] for one in met], np.int64),
        np.array([one.value for one in met], np.float64),
        np.array([one.item.timestamp_us for one in met], np.int64),
    )
    for series, packed in zip(places.values(), detector.pack_many(states), strict=True):
        series.detector = packed
    return [Verdict(*row) for row in zip(*(found[name].tolist() for name in Verdict.__struct_fields__), strict=True)]


def let_go(count: int, name: str, most: int) -> Notice | None:
    """Said of the first series let go, the second, the fourth, ...: a flood of them is not a flood of rows."""
    if count & (count - 1):
        return None
    return Notice(
        "SeriesLetGo",
        f"{count} series were let go so far, now {name[:200]}: this session has more than the {most} that are remembered, and one that "
        "comes again begins anew; leave attributes out that never repeat, or raise [metrics] max_series",
    )
