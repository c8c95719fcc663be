"""Steps: what an agent works on at once, and decoding of the next while it does.

Knows an agent's queue of batches and when a step may begin; leaves fetching to batching.py and the work to agents.
Next: streams/lane.py
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextvars import ContextVar
from typing import Any, TypeVar, cast

from streams.batching import Batch, BatchConsumer

T = TypeVar("T")
MAX_STEP_RECORDS = 4000

step_epoch: ContextVar[int | None] = ContextVar("step_epoch", default=None)
"""BatchConsumer.epoch when the step that runs here began; None outside of steps."""


class Gather:
    """Steps of batches; see `gather`."""

    def __init__(self, stream: Any, idle_s: float | None, max_records: int):
        self.queue: asyncio.Queue[Any] = stream.channel.queue
        self.consumer = cast(BatchConsumer, stream.app.consumer)
        self.waiting: deque[Batch] = deque()
        self.max_records = max_records
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

    def begin_step(self) -> bool:
        """Whether a step may begin now."""
        step_epoch.set(self.consumer.epoch)
        return self.consumer.begin_step(self)

    def end_step(self) -> None:
        self.consumer.end_step(self)

    def __aiter__(self) -> "Gather":
        return self

    async def __anext__(self) -> list[Batch]:
        self.end_step()
        while True:
            taken = [] if self.waiting else await self.take()
            tick = not taken and not self.waiting
            self.waiting.extend(taken)
            step = _share(self.waiting, self.max_records, lambda batch: batch)
            if (step or tick) and self.begin_step():
                return step


def gather(stream: Any, idle_s: float | None = None, max_records: int = MAX_STEP_RECORDS) -> Gather:
    """Steps: wait for one batch, take all others that are already there, so that one model step serves all partitions.

    idle_s: give [] about so often while nothing comes. max_records: of a step; a larger batch is a step of its own.
    """
    return Gather(stream, idle_s, max_records)


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
            step = _share(waiting, gathered.max_records, lambda pair: pair[0])
            if (step or only_tick) and gathered.begin_step():
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
