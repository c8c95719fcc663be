"""How far a stage is, on standard error: a bar for people, a line every few seconds for logs.

Knows how to show; leaves what is measured to loop.py. Next: models/training/loop.py
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

EVERY_S = 5.0
"""Between two lines of a log."""
WINDOW_S = 60.0
"""Speed and time left are of the last so many seconds: the first steps compile."""


class Teller:
    """Lines that stay, and the standing of the stage that runs."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic, silent: bool = False) -> None:
        self._console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True, quiet=silent)
        self._clock, self._silent, self._said = clock, silent, set[str]()
        self._bar: Progress | None = None
        self.begin("", 0, 0)

    def __call__(self, text: str) -> None:
        """Say something that stays."""
        stamp = "" if self._console.is_terminal else time.strftime("%H:%M:%S ")
        self._console.print(stamp + text, markup=False)

    def once(self, text: str) -> None:
        """Say something the first time only."""
        if text not in self._said:
            self._said.add(text)
            self(text)

    def begin(self, stage: str, done: int, total: int) -> None:
        """A stage of `total` steps goes on after `done`."""
        self.end()
        self._stage, self._total = stage, total
        self._seen: deque[tuple[float, int, float]] = deque([(self._clock(), done, 0.0)])
        self._tokens, self._told = 0.0, self._clock()
        self._means: dict[str, float] = {}
        if stage and self._console.is_terminal and not self._silent:
            columns = (TextColumn(stage), BarColumn(bar_width=24), TextColumn("{task.fields[standing]}"))
            self._bar = Progress(*columns, console=self._console, transient=True, refresh_per_second=4)
            self._task = self._bar.add_task(stage, total=total, completed=done, standing="")
            self._bar.start()

    def step(self, done: int, losses: Mapping[str, float], tokens: float) -> None:
        """One more step was made; told when it is time."""
        now = self._clock()
        self._tokens += tokens
        for name, value in losses.items():
            self._means[name] = 0.95 * self._means.get(name, value) + 0.05 * value
        if now - self._told < (0.5 if self._bar else EVERY_S) and done < self._total:
            return
        self._told = now
        self._seen.append((now, done, self._tokens))
        while len(self._seen) > 2 and now - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()
        standing = self.standing(now, done)
        if self._bar:
            self._bar.update(self._task, completed=done, standing=standing)
        else:
            self(f"{self._stage} {standing}")

    def standing(self, now: float, done: int) -> str:
        """Share done, steps, speed, losses, time left."""
        began, first, tokens = self._seen[0]
        passed = max(now - began, 1e-9)
        left = (self._total - done) * passed / max(done - first, 1)
        parts = [f"{done / max(self._total, 1):6.1%}", f"step {done:,} of {self._total:,}"]
        if self._tokens > tokens:
            parts.append(f"{(self._tokens - tokens) / passed:,.0f} tokens/s")
        parts += [f"{name} {value:.3f}" for name, value in self._means.items()]
        return "  ".join([*parts, f"{_span(left)} left"])

    def end(self) -> None:
        """The stage is over or stopped: take the bar away."""
        if self._bar:
            self._bar.stop()
        self._bar = None


def _span(seconds: float) -> str:
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours} h {m:02d} min" if hours else f"{m} min {s:02d} s" if m else f"{s} s"
