"""Drift: has what is usual changed? Two detectors over a stream of numbers of 0 to 1, each a small state that packs to bytes.

Page-Hinkley sums how far values lie above their mean: quick on a jump, blind to what falls. ADWIN keeps a window of values in
buckets of doubling size and starts anew when two parts of it have means that differ by more than chance allows: slower,
with a bound on false alarms. Knows numbers alone; leaves what they are to models/learner.py.
Written here since river's import costs 0.9 s and 100 MB (scipy) and its detectors do not pack; tests/models/test_drift.py holds both to river's decisions.
Source: Page 1954, Hinkley 1971; Bifet and Gavalda 2007 (ADWIN2). Next: models/learner.py
"""

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec


class Detector(Protocol):
    """One detector."""

    @property
    def mean(self) -> float:
        """Of the values since the last drift."""
        ...

    def update(self, value: float) -> bool:
        """Take the next value; whether a drift is seen at it."""
        ...

    def pack(self) -> bytes: ...

    def restore(self, data: bytes) -> None: ...


@dataclass
class PageHinkley:
    """A rise of the mean."""

    threshold: float = 50.0
    """How far the sum may rise above its lowest: in units of the values, larger is slower and has fewer false alarms."""
    delta: float = 0.005
    """Rises smaller than this are none."""
    keep: float = 0.9999
    """Of the sum from value to value."""
    least: int = 30
    """Values before anything is said."""
    count: int = 0
    mean: float = 0.0
    total: float = 0.0
    lowest: float = math.inf

    def update(self, value: float) -> bool:
        self.count += 1
        self.mean += (value - self.mean) / self.count
        self.total = self.keep * self.total + value - self.mean - self.delta
        self.lowest = min(self.lowest, self.total)
        if self.count < self.least or self.total - self.lowest <= self.threshold:
            return False
        self.count, self.mean, self.total, self.lowest = 0, 0.0, 0.0, math.inf
        return True

    def pack(self) -> bytes:
        return msgspec.msgpack.encode((self.count, self.mean, self.total, self.lowest))

    def restore(self, data: bytes) -> None:
        self.count, self.mean, self.total, self.lowest = msgspec.msgpack.decode(data, type=tuple[int, float, float, float])


Bucket = tuple[float, float]
"""Sum of its values, and their squared distances from their mean."""


@dataclass
class Adwin:
    """A change of the mean, either way."""

    delta: float = 0.002
    """Chance of a false alarm at a cut."""
    clock: int = 32
    """Values from one look to the next."""
    of_a_size: int = 5
    """Buckets of one size; one more and two become one."""
    least: int = 5
    """Values of either part."""
    grace: int = 10
    sizes: int = 14
    """Buckets of 2^13 values are the largest: beyond some 80,000 values the oldest are forgotten."""
    rows: list[list[Bucket]] = field(default_factory=lambda: [[]])
    """rows[n]: buckets of 2^n values, the oldest first."""
    ticks: int = 0
    width: int = 0
    total: float = 0.0
    spread: float = 0.0
    """Squared distances from the mean, summed."""

    def update(self, value: float) -> bool:
        self._insert(value)
        self.ticks += 1
        if self.ticks % self.clock or self.width <= self.grace:
            return False
        if not self._cut():
            return False
        self.rows, self.ticks, self.width, self.total, self.spread = [[]], 0, 0, 0.0, 0.0  # one change is one alarm
        return True

    @property
    def mean(self) -> float:
        return self.total / self.width if self.width else 0.0

    def _insert(self, value: float) -> None:
        if self.width:
            self.spread += self.width * (value - self.total / self.width) ** 2 / (self.width + 1)
        self.width += 1
        self.total += value
        self.rows[0].append((value, 0.0))
        for n, row in enumerate(self.rows):
            if len(row) <= self.of_a_size:
                break
            size = 1 << n
            (a, va), (b, vb) = row[0], row[1]
            del row[:2]
            merged = (a + b, va + vb + (a - b) ** 2 / (2 * size))
            if n + 1 == len(self.rows):
                self.rows.append([])
            self.rows[n + 1].append(merged)
        if len(self.rows) > self.sizes:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        n = len(self.rows) - 1
        total, spread = self.rows[n].pop(0)
        size = 1 << n
        self.width -= size
        self.total -= total
        if self.width:
            self.spread = max(
                self.spread - spread - size * self.width * (total / size - self.total / self.width) ** 2 / (size + self.width), 0.0
            )
        else:
            self.spread = 0.0
        while len(self.rows) > 1 and not self.rows[-1]:
            self.rows.pop()

    def _cut(self) -> bool:
        """Whether some cut of the window shows two means."""
        n0, u0 = 0, 0.0
        allowance = math.log(2 * math.log(self.width) / self.delta) if self.width > 1 else math.inf
        variance = self.spread / self.width
        for n in range(len(self.rows) - 1, -1, -1):
            for place, (total, _) in enumerate(self.rows[n]):
                if n == 0 and place == len(self.rows[0]) - 1:
                    return False
                n0, u0 = n0 + (1 << n), u0 + total
                n1, u1 = self.width - n0, self.total - u0
                if n0 < self.least or n1 < self.least:
                    continue
                m = 1.0 / (n0 - self.least + 1) + 1.0 / (n1 - self.least + 1)
                if abs(u0 / n0 - u1 / n1) > math.sqrt(2 * m * variance * allowance) + 2 / 3 * allowance * m:
                    return True
        return False

    def pack(self) -> bytes:
        return msgspec.msgpack.encode((self.rows, self.ticks, self.width, self.total, self.spread))

    def restore(self, data: bytes) -> None:
        kind: Any = tuple[list[list[Bucket]], int, int, float, float]
        self.rows, self.ticks, self.width, self.total, self.spread = msgspec.msgpack.decode(data, type=kind)


class NeverFires:
    """The null detector: what it misses is what detecting is worth."""

    def update(self, value: float) -> bool:
        return False


class AlwaysFires:
    """Detects every change at once, and everything else too."""

    def update(self, value: float) -> bool:
        return True
