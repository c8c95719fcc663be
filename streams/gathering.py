"""Steps: what an agent works on at once, and decoding of the next while it does.

Knows an agent's queue of batches and when a step may begin; leaves fetching to batching.py and the work to agents.
Next: streams/lane.py
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar, cast

from streams.batching import Batch, BatchConsumer

T = TypeVar("T")
STEP_S = 0.15
"""What a step should be worked on at most: a record waits for the step before its own and for its own."""
LEAST_RECORDS, MOST_RECORDS = 256, 16_000
"""Of a step, however slow and however fast. It begins with the least: where what is slow is not the records, fewer would make it no faster."""

step_epoch: ContextVar[int | None] = ContextVar("step_epoch", default=None)
"""BatchConsumer.epoch when the step that runs here began; None outside of steps."""


class StepSize:
    """How many records a step may have: as many as are worked on for about STEP_S. Small steps answer soon, large ones cost less a record."""

    def __init__(self) -> None:
        self.records = LEAST_RECORDS

    def note(self, n_records: int, work_s: float) -> None:
        """Learn from a step: its work, without what it waited for. One that was not full says nothing of what a larger one would take."""
        wanted = n_records * STEP_S / max(work_s, 1e-6)
        if wanted > self.records:
            wanted = min(wanted, 2 * self.records) if 2 * n_records >= self.records else self.records
        self.records = min(MOST_RECORDS, max(LEAST_RECORDS, int(wanted)))


class Gather:
    """Steps of batches; see `gather`."""

    def __init__(self, stream: Any, idle_s: float | None, waited_s: Callable[[], float]):
        self.queue: asyncio.Queue[Any] = stream.channel.queue
        self.consumer = cast(BatchConsumer, stream.app.consumer)
        self.waiting: deque[Batch] = deque()
        self.size = StepSize()
        self._waited_s = waited_s
        self._began_s, self._at_work = 0.0, list[Batch]()
        self._idle_s = idle_s
        if idle_s is not None:
            asyncio.get_running_loop().call_later(idle_s, self._tick)

    def _tick(self) -> None:
        assert self._idle_s is not None
        if self.queue.empty():
            cast(Any, self.queue).force_put_nowait(None)
        asyncio.get_running_loop().call_later(self._idle_s, self._tick)

    async def take(self) -> list[Batch]:
        """Wait for one batch, and take all others that are there. [] is a tick of idle_s.

        Raises StopAsyncIteration when the app stops: Faust throws it into the queue.
        """
        events = [await self.queue.get()]
        while not self.queue.empty():
            events.append(self.queue.get_nowait())
        return [event.value for event in events if event is not None]

    def _worked_s(self) -> float:
        """A clock that stands while a step waits."""
        return time.monotonic() - self._waited_s()

    def begin_step(self, step: Sequence[Batch]) -> bool:
        """Whether this step may begin now."""
        step_epoch.set(self.consumer.epoch)
        self._began_s, self._at_work = self._worked_s(), list(step)
        return self.consumer.begin_step(self)

    def end_step(self) -> None:
        self.consumer.end_step(self)
        if self._at_work:
            self.size.note(sum(map(len, self._at_work)), self._worked_s() - self._began_s)
            for batch in self._at_work:  # two make a step, so that one is fetched while the other is at work
                self.consumer.batch_records[batch.topic] = self.size.records // 2
        self._at_work = []

    def __aiter__(self) -> "Gather":
        return self

    async def __anext__(self) -> list[Batch]:
        self.end_step()
        while True:
            taken = [] if self.waiting else await self.take()
            tick = not taken and not self.waiting
            self.waiting.extend(taken)
            step = _share(self.waiting, self.size.records, lambda batch: batch)
            if (step or tick) and self.begin_step(step):
                return step


def gather(stream: Any, idle_s: float | None = None, waited_s: Callable[[], float] = lambda: 0.0) -> Gather:
    """Steps: wait for one batch, take all others that are already there, so that one model step serves all partitions.

    idle_s: give [] about so often while nothing comes. A step has as many records as take about STEP_S; a larger batch is a
    step of its own. waited_s: seconds for which steps have waited for others so far: were they counted, a slow broker would make steps small.
    """
    return Gather(stream, idle_s, waited_s)


async def decode_ahead(gathered: Gather, decode: Callable[[Batch], T]) -> AsyncGenerator[list[tuple[Batch, T]], None]:
    """The same steps with `decode` of each batch, which runs as batches arrive, while the body works on those before."""
    waiting: deque[tuple[Batch, T]] = deque()
    arrived = asyncio.Event()
    tick = False

    async def read() -> None:  # ends with StopAsyncIteration, or with what `decode` raised
        nonlocal tick
        try:
            while True:
                taken = await gathered.take()
                tick = not taken
                for batch in taken:
                    waiting.append((batch, decode(batch)))
                    arrived.set()
                    await asyncio.sleep(0)
                arrived.set()
        finally:
            arrived.set()

    reader = asyncio.get_running_loop().create_task(read())
    try:
        while True:
            if not waiting:
                arrived.clear()
                if not reader.done():
                    await arrived.wait()
            if reader.done():
                if isinstance(problem := reader.exception(), StopAsyncIteration):
                    return
                raise problem or RuntimeError("the reader ended")
            only_tick, tick = tick and not waiting, False
            step = _share(waiting, gathered.size.records, lambda pair: pair[0])
            if (step or only_tick) and gathered.begin_step([batch for batch, _ in step]):
                yield step
                gathered.end_step()
    finally:
        reader.cancel()


def _share(waiting: deque[T], max_records: int, batch_of: Callable[[T], Batch]) -> list[T]:
    """Take the oldest that are not stale, as many as a step may have."""
    step: list[T] = []
    count = 0
    while waiting:
        batch = batch_of(waiting[0])
        if not batch.stale:
            count += len(batch)
            if step and count > max_records:
                break
            step.append(waiting[0])
        waiting.popleft()
    return step
