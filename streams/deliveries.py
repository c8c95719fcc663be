"""Deliveries on their way while the next step is thought about: the model does not wait for Kafka's acknowledgements.

A delivery publishes, then settles (state, ack). It may publish while the one before settles, so that both wait for Kafka together; what is
settled is settled in order. Knows that a rebalance or a stop waits for deliveries as for a step, and that their failure is the agent's;
leaves what is delivered to lane.py.
Next: streams/publisher.py, streams/changelog.py
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

AT_ONCE = 2
"""One that publishes, one that settles."""


class Steps(Protocol):
    """What is asked of BatchConsumer."""

    def begin_step(self, who: object) -> bool: ...

    def end_step(self, who: object) -> None: ...


class Deliveries:
    """The deliveries of one agent, in order."""

    def __init__(self, steps: Callable[[], Steps]):
        """`steps` gives the consumer, which exists only once the app has started."""
        self._steps = steps
        self._tasks: deque[asyncio.Task[None]] = deque()
        self._published = asyncio.Event()
        """Set when the last one begun has published, or failed."""
        self.waited_s = 0.0
        """How long `begin` has waited for earlier ones, all in all."""

    async def begin(self, publish: Callable[[], Awaitable[None]], settle: Callable[[], Awaitable[None]]) -> None:
        """Wait until the one before has published, and the one before that has settled; then start this one. Raises what they raised."""
        began_s = time.monotonic()
        while len(self._tasks) >= AT_ONCE:
            await self._oldest()
        if self._tasks:
            await self._published.wait()
            if self._tasks[0].done():
                await self._oldest()
        self.waited_s += time.monotonic() - began_s
        who = object()
        if self._steps().begin_step(who):
            self._published = asyncio.Event()
            before = self._tasks[-1] if self._tasks else None
            self._tasks.append(asyncio.get_running_loop().create_task(self._run(publish, settle, before, self._published, who)))
        else:  # partitions are moving: the step at work is waited for, so deliver within it
            await self.finished()
            await publish()
            await settle()

    async def finished(self) -> None:
        """Wait for all deliveries on their way. Raises what the first that failed raised."""
        while self._tasks:
            await self._oldest()

    async def _oldest(self) -> None:
        await self._tasks.popleft()

    async def _run(
        self,
        publish: Callable[[], Awaitable[None]],
        settle: Callable[[], Awaitable[None]],
        before: asyncio.Task[None] | None,
        published: asyncio.Event,
        who: object,
    ) -> None:
        try:
            try:
                await publish()
            finally:
                published.set()
            if before is not None:
                await before  # its failure is this one's: nothing is settled past what was not
            await settle()
        finally:
            self._steps().end_step(who)
