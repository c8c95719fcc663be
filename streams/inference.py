"""One model step for many sessions, off the event loop; and what is done when a session's own data makes it fail.

Knows models by their SessionModel protocol; leaves what the output means to pipeline.py. A failing session never touches the others:
it is stepped again alone, item by item, through the recovery actions, and an item nothing helps is skipped to the dead letters.
Next: streams/concluding.py
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from models.learnable import Learnable, Lesson
from models.steps import Answer, ItemResult, RowModel, SessionModel, StepResult, Work


@dataclass(frozen=True, slots=True)
class Recovery:
    """One action taken for one item that failed."""

    position: int
    error: Exception
    action: str
    """retry, rebuild_cache, reset_window or dead_letter."""
    success: bool


@dataclass(frozen=True, slots=True)
class Stepped:
    """A session's result, which is never an error, and what it took to get it."""

    result: StepResult
    recoveries: tuple[Recovery, ...] = ()


LONG_STEP_S, STILL_S = 5.0, 30.0
"""A step that runs for longer is asked whether it goes on; it does when its model advanced within STILL_S."""


class Inference:
    """The models of all modalities behind one executor thread: a step sees each cache from one thread only."""

    def __init__(self, models: Mapping[str, SessionModel], executor: Executor):
        self._models = models
        self._rows = {name: model for name, model in models.items() if isinstance(model, RowModel)}
        self._executor = executor
        self._began: float | None = None

    def goes_on(self, now: float) -> bool:
        """A step has run for long and its model still advances: a text of a megabyte, not a fault. now: monotonic clock."""
        advanced = max((getattr(model, "advanced_at", 0.0) for model in self._models.values()), default=0.0)
        return self._began is not None and now - self._began > LONG_STEP_S and now - advanced < STILL_S

    def version(self, modality: str) -> str:
        return self._models[modality].version

    def learnable(self, modality: str) -> Learnable | None:
        """What of a model is taught while lines stream in, as it was shipped; None for one that is not."""
        return getattr(self._models[modality], "learnable", None)

    async def step(self, modality: str, works: Sequence[Work]) -> tuple[list[Stepped], float]:
        """Step all sessions at once; returns one Stepped per work, in order, and the milliseconds the step took."""
        return await self._run(lambda: _timed(lambda: step_all(self._models[modality], works)))

    async def close(self, modality: str, works: Sequence[Work]) -> list[Stepped]:
        """Close idle sessions."""
        return await self._run(lambda: [_close(self._models[modality], work) for work in works])

    async def answer(self, modality: str, work: Work) -> tuple[Answer, ...]:
        """What the model would say of the session as it is, changing nothing."""
        return await self._run(lambda: self._models[modality].answer(work))

    def pack(self, modality: str, state: Any, stored: Any) -> tuple[bytes, Mapping[bytes, bytes]]:
        """A state's bytes; where its model keeps rows, its head and the rows that changed since `stored`, the state written last.

        Of a session of which the model knows nothing, as when what it knew cannot be read, no bytes.
        """
        if state is None:
            return b"", {}
        if (model := self._rows.get(modality)) is not None:
            return model.pack_head(state), model.pack_rows(state, stored)
        return self._models[modality].pack(state), {}

    def unpack(self, modality: str, data: bytes, rows: Mapping[bytes, bytes]) -> Any:
        if not data:
            return None
        model = self._rows.get(modality)
        return self._models[modality].unpack(data) if model is None else model.unpack_rows(data, rows)

    def keeps_rows(self, modality: str) -> bool:
        """Whether sessions of this modality are more than one row."""
        return modality in self._rows

    def weight(self, modality: str, state: Any) -> int:
        """How many sessions this one counts as, of those that are kept unpacked."""
        model = self._rows.get(modality)
        return 1 if model is None else model.weight(state)

    def drop(self, modality: str, sessions: Sequence[str]) -> None:
        """Forget the caches of sessions that left this worker, after the step at work and before any later one."""
        for session in sessions:
            self._executor.submit(self._models[modality].drop, session)

    def cache_mb(self, modality: str) -> float:
        return self._models[modality].cache_bytes() / 1e6

    async def _run(self, call: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: self._timed_call(call))

    def _timed_call(self, call: Callable[[], Any]) -> Any:
        """In the executor's thread, where one call runs at a time."""
        self._began = monotonic()
        try:
            return call()
        finally:
            self._began = None


def step_all(model: SessionModel, works: Sequence[Work]) -> list[Stepped]:
    """All sessions in one step; those that fail again alone."""
    try:
        results = model.step(works) if works else []
    except Exception:  # not one session's data, or the model could not tell whose: find it one by one
        return [_step_alone(model, work) for work in works]
    return [Stepped(r) if r.error is None else recover(model, w) for w, r in zip(works, results, strict=True)]


def recover(model: SessionModel, work: Work) -> Stepped:
    """Item by item: retry, rebuild the cache, reset the window; an item that still fails is skipped."""
    state, items, recoveries, last = work.state, list[ItemResult](), list[Recovery](), StepResult(work.state)
    lessons: list[Lesson] = []
    for item in work.items:
        one = replace(work, state=state, items=(item,))
        result = _try(model, one)
        for action, prepare in (("retry", _same), ("rebuild_cache", _rebuilt), ("reset_window", _reset)):
            if result.error is None:
                break
            error = result.error
            try:
                result = _try(model, prepare(model, one))
            except Exception as problem:  # the preparation itself failed: the next action may help
                result = StepResult(state, error=problem)
            recoveries.append(Recovery(item.position, error, action, result.error is None))
        if result.error is not None:
            recoveries.append(Recovery(item.position, result.error, "dead_letter", True))
            closing = StepResult(state)
            if item.ends_session:
                closed = _close(model, replace(work, state=state, items=()))
                closing, also = closed.result, [replace(recovery, position=item.position) for recovery in closed.recoveries]
                recoveries += also
            findings = tuple(f for i in closing.items for f in i.findings)
            result = replace(closing, items=(ItemResult(item.position, -1, findings),))
        state, last = result.state, result
        items += result.items
        lessons += result.lessons
    return Stepped(replace(last, state=state, items=tuple(items), lessons=tuple(lessons)), tuple(recoveries))


def joined(first: Stepped, second: Stepped) -> Stepped:
    """Two steps of one session, one after the other, as one."""
    a, b = first.result, second.result
    both = replace(
        b,
        items=a.items + b.items,
        lessons=a.lessons + b.lessons,
        cache_hit=a.cache_hit and b.cache_hit,
        encode_ms=a.encode_ms + b.encode_ms,
        update_ms=a.update_ms + b.update_ms,
    )
    return Stepped(both, first.recoveries + second.recoveries)


def _step_alone(model: SessionModel, work: Work) -> Stepped:
    result = _try(model, work)
    return Stepped(result) if result.error is None else recover(model, work)


def _try(model: SessionModel, work: Work) -> StepResult:
    try:
        return model.step((work,))[0]
    except Exception as problem:
        return StepResult(work.state, error=problem)


def _close(model: SessionModel, work: Work) -> Stepped:
    """Close a session; where its own data forbids that, with an empty window; else as if it had said nothing more."""
    result = _try_close(model, work)
    if (problem := result.error) is None:
        return Stepped(result)
    try:
        result = _try_close(model, _reset(model, work))
    except Exception as also:  # the reset itself failed
        result = StepResult(work.state, error=also)
    succeeded = result.error is None
    return Stepped(result if succeeded else StepResult(work.state), (Recovery(-1, problem, "reset_window", succeeded),))


def _try_close(model: SessionModel, work: Work) -> StepResult:
    try:
        return model.close(work)
    except Exception as problem:
        return StepResult(work.state, error=problem)


def _same(model: SessionModel, work: Work) -> Work:
    return work


def _rebuilt(model: SessionModel, work: Work) -> Work:
    model.drop(work.session)
    model.rebuild(work.session, work.state)
    return work


def _reset(model: SessionModel, work: Work) -> Work:
    model.drop(work.session)
    return replace(work, state=model.reset(work.state))


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    started = monotonic()
    result = call()
    return result, (monotonic() - started) * 1000
