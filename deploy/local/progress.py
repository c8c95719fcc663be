"""What the stack is doing, on standard error: a spinner for people, plain lines for logs.

Knows how to show; leaves what to whoever calls it.
"""

import sys
import time
from collections.abc import Callable
from typing import TextIO

from rich.console import Console
from rich.status import Status


class Progress:
    """Lines that stay, and one line that changes (`doing`, `count`)."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self._live = self._console.is_terminal
        self._status: Status | None = None
        self._clock, self._begun, self._last = clock, clock(), ""
        self._shown: dict[str, int] = {}

    def line(self, text: str) -> None:
        """Say something that stays."""
        if self._live:
            self._console.print(text, markup=False)
        else:
            self._console.print(f"[{self._clock() - self._begun:6.1f} s] {text}", markup=False)

    def doing(self, text: str) -> None:
        """Say what takes a while now."""
        if not self._live:
            if text != self._last:
                self.line(text)
            self._last = text
        elif self._status is None:
            self._status = self._console.status(text)
            self._status.start()
        else:
            self._status.update(text)

    def count(self, what: str, done: int, total: int) -> None:
        """Say how far something is; without a terminal only every quarter of it."""
        text = f"{what}: {done} of {total}"
        quarter = 4 * done // max(total, 1)
        if self._live or self._shown.get(what) != quarter:
            self._shown[what] = quarter
            self.doing(text)

    def done(self) -> None:
        """Nothing takes a while any more."""
        if self._status is not None:
            self._status.stop()
            self._status = None
