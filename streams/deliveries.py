"""One delivery on its way while the next step is thought about: the model does not wait for Kafka's acknowledgements.

Knows that deliveries follow each other, that a rebalance or a stop waits for one as for a step, and that its failure is the agent's; leaves
what is delivered to lane.py.
Next: streams/publisher.py, streams/changelog.py
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol


class Steps(Protocol):
    """What is asked of BatchConsumer."""

    def begin_step(self, who: object) -> bool: ...

    def end_step(self, who: object) -> None: ...


class Deliveries:
    """The deliveries of one agent, strictly one after the other."""

    def __init__(self, steps: Callable[[], Steps]):
        """`steps` gives the consumer, which exists only once the app has started."""
        self._steps = steps
        self._task: asyncio.Task[None] | None = None

    async def begin(self, deliver: Callable[[], Awaitable[None]]) -> None:
        """Wait for the delivery before, then start this one. Raises what the one before raised."""
        await self.finished()
        if self._steps().begin_step(self):
            self._task = asyncio.get_running_loop().create_task(self._run(deliver))
        else:  # partitions are moving: the step at work is waited for, so deliver within it
            await deliver()

    async def finished(self) -> None:
        """Wait for the delivery on its way, if there is one. Raises what it raised."""
        task, self._task = self._task, None
        if task is not None:
            await task

    async def _run(self, deliver: Callable[[], Awaitable[None]]) -> None:
        try:
            await deliver()
        finally:
            self._steps().end_step(self)
