"""Replay buffer: a fixed number of lines that stand for all that a tenant ever said, so that learning the new does not erase the old.

One half is a reservoir (every line has the same chance to be in it), the other is drawn by surprise: what was rare when it came is
what a model forgets first. A share is never replayed: it judges updates. All draws are functions of the line's number, so the
same lines in the same order give the same buffer, whatever happened between them. Leaves when to learn to models/learner.py.
Source: Vitter 1985 (reservoir), Efraimidis and Spirakis 2006 (weighted reservoir). Next: models/quarantine.py
"""

import heapq
import math
from collections.abc import Iterator

import msgspec

from models import lesson_codec
from models.learnable import Lesson

HELD_OUT = 10
"""One line of so many is never replayed."""
LEAST_WEIGHT = 0.01
"""Of a line that surprised nobody."""


class _Row(msgspec.Struct, array_like=True, frozen=True):
    capacity: int
    seen: int
    even: list[int]
    """Numbers of the lines in the reservoir."""
    odd: list[tuple[float, int]]
    """Draws and numbers of those kept by surprise."""
    lessons: bytes
    """Of both halves, in this order."""


class ReplayBuffer:
    """Lines of one tenant."""

    def __init__(self, capacity: int = 1000):
        self.capacity = capacity
        self.seen = 0
        """Lines that were offered so far."""
        self._even: list[tuple[int, Lesson]] = []
        self._odd: list[tuple[float, int, Lesson]] = []  # a heap: the least draw first; no two lines have one number

    def add(self, lesson: Lesson) -> None:
        """Offer the next line."""
        number, half = self.seen, self.capacity // 2
        self.seen += 1
        if number < half:
            self._even.append((number, lesson))
        elif (place := _draw(number, 1) % (number + 1)) < half:
            self._even[place] = (number, lesson)
        weight = max(lesson.surprise, 0.0) + LEAST_WEIGHT
        entry = (math.log((_draw(number, 2) + 1) / 2.0**64) / weight, number, lesson)
        if len(self._odd) < self.capacity - half:
            heapq.heappush(self._odd, entry)
        elif entry[0] > self._odd[0][0]:
            heapq.heapreplace(self._odd, entry)

    def __len__(self) -> int:
        return len(self._even) + len(self._odd)

    def numbered(self) -> Iterator[tuple[int, Lesson]]:
        """Each line once, oldest first, with its number."""
        both = dict(self._even) | {number: lesson for _, number, lesson in self._odd}
        yield from sorted(both.items(), key=lambda pair: pair[0])

    def replayed(self, most: int, seed: int) -> list[Lesson]:
        """Up to `most` lines to learn from again, drawn by `seed`; none that are held out."""
        drawn = sorted((_draw(number, seed * 2 + 5), number, lesson) for number, lesson in self.numbered() if not is_held_out(number))
        return [lesson for _, _, lesson in drawn[:most]]

    def held_out(self) -> list[Lesson]:
        """Lines that are never learned from again."""
        return [lesson for number, lesson in self.numbered() if is_held_out(number)]

    def pack(self) -> bytes:
        row = _Row(
            self.capacity,
            self.seen,
            [number for number, _ in self._even],
            [(draw, number) for draw, number, _ in self._odd],
            lesson_codec.encode([lesson for _, lesson in self._even] + [lesson for _, _, lesson in self._odd]),
        )
        return msgspec.msgpack.encode(row)

    @classmethod
    def unpack(cls, data: bytes) -> "ReplayBuffer":
        row = msgspec.msgpack.decode(data, type=_Row)
        lessons = lesson_codec.decode(row.lessons)
        buffer = cls(row.capacity)
        buffer.seen = row.seen
        buffer._even = list(zip(row.even, lessons[: len(row.even)], strict=True))
        buffer._odd = [(*pair, lesson) for pair, lesson in zip(row.odd, lessons[len(row.even) :], strict=True)]
        return buffer


def is_held_out(number: int) -> bool:
    return _draw(number, 3) % HELD_OUT == 0


def _draw(number: int, salt: int) -> int:
    """64 bits for a line's number (splitmix64)."""
    mask = 0xFFFFFFFFFFFFFFFF
    x = (number * 0x9E3779B97F4A7C15 + salt * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)
