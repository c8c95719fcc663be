"""Whether anybody looks: a console that nobody looks at reads nothing, and catches up when somebody comes.

Knows requests and open views; leaves what is read to feed.py. Reading all output topics costs as much as a third of the worker's work.
Next: sinks/console/feed.py
"""

import asyncio
import time
from collections.abc import Callable

AWAKE_S = 60.0
"""After the last look."""


class Attention:
    """Looks, and who waits for one."""

    def __init__(self, is_watched: Callable[[], bool], awake_s: float = AWAKE_S):
        """is_watched: a live view is open."""
        self._is_watched, self._awake_s = is_watched, awake_s
        self._looked_s = float("-inf")
        self._looked = asyncio.Event()

    def look(self) -> None:
        """Somebody looks now."""
        self._looked_s = time.monotonic()
        self._looked.set()

    def is_awake(self) -> bool:
        """Somebody looks, or did a moment ago."""
        if self._is_watched():
            self._looked_s = time.monotonic()
        return time.monotonic() - self._looked_s < self._awake_s

    async def awake(self) -> None:
        """Wait until somebody looks."""
        while not self.is_awake():
            self._looked.clear()
            await self._looked.wait()
