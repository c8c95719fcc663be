"""Quarantine: lines that were judged anomalous wait an hour of event time before they may be learned, and then a few at a time.

So a flood of anomalous lines is still anomalous when somebody looks. What was once held is suspect for as long, however it is
judged meanwhile. Everything is bounded: a flood of one kind fills its own few places, a flood of many kinds the
quarantine and no more. Time is the tenant's event time, an argument. Next: models/learner.py
"""

from collections import Counter
from collections.abc import Hashable

import msgspec

from models import lesson_codec
from models.learnable import Lesson

MAX_SUSPECTS = 4096


class _Row(msgspec.Struct, array_like=True, frozen=True):
    since_us: list[int]
    lessons: bytes
    dropped: int


class Quarantine:
    """Held lines of one tenant."""

    def __init__(self, hold_us: int, capacity: int = 1000, of_a_kind: int = 20):
        """hold_us: event time a line waits, microseconds. of_a_kind: lines of one kind that are held; more are dropped."""
        self._hold_us = hold_us
        self._capacity = capacity
        self._of_a_kind = of_a_kind
        self._held: list[tuple[int, Lesson]] = []  # longest held first
        self._kinds: Counter[Hashable] = Counter()
        self._suspects: dict[Hashable, int] = {}  # kind -> since when; longest first
        self.dropped = 0
        """Lines that found no place: they are never learned."""

    def __len__(self) -> int:
        return len(self._held)

    def is_suspect(self, lesson: Lesson, clock_us: int) -> bool:
        """Whether such a line was held less than an hour ago."""
        since = self._suspects.get(kind_of(lesson))
        return since is not None and clock_us - since < self._hold_us

    def hold(self, lesson: Lesson, clock_us: int) -> None:
        """Take a line that was judged anomalous, or is suspect."""
        kind = kind_of(lesson)
        since = self._suspects.get(kind)
        if since is None or clock_us - since >= self._hold_us:
            self._suspects.pop(kind, None)
            self._suspects[kind] = clock_us
            if len(self._suspects) > MAX_SUSPECTS:
                del self._suspects[next(iter(self._suspects))]
        if len(self._held) >= self._capacity or self._kinds[kind] >= self._of_a_kind:
            self.dropped += 1
            return
        self._held.append((clock_us, lesson))
        self._kinds[kind] += 1

    def release(self, clock_us: int, most: int, of_a_kind: int) -> list[Lesson]:
        """Let go of up to `most` lines that waited long enough, `of_a_kind` of one kind; the longest held first."""
        out: list[Lesson] = []
        kept: list[tuple[int, Lesson]] = []
        given: Counter[Hashable] = Counter()
        for since, lesson in self._held:
            kind = kind_of(lesson)
            if clock_us - since < self._hold_us or len(out) >= most or given[kind] >= of_a_kind:
                kept.append((since, lesson))
                continue
            given[kind] += 1
            self._kinds[kind] -= 1
            out.append(lesson)
        self._kinds = +self._kinds
        self._held = kept
        return out

    def pack(self) -> bytes:
        """What is held; suspects are those of which a line is held, told again by what is."""
        return msgspec.msgpack.encode(
            _Row([since for since, _ in self._held], lesson_codec.encode([lesson for _, lesson in self._held]), self.dropped)
        )

    def restore(self, data: bytes) -> "Quarantine":
        """Take over what was packed; for a new quarantine."""
        row = msgspec.msgpack.decode(data, type=_Row)
        self._held = list(zip(row.since_us, lesson_codec.decode(row.lessons), strict=True))
        self._kinds = Counter(kind_of(lesson) for _, lesson in self._held)
        for since, lesson in self._held:
            self._suspects.setdefault(kind_of(lesson), since)
        self.dropped = row.dropped
        return self


def kind_of(lesson: Lesson) -> Hashable:
    """What two lines that are unusual in the same way share: the template after the one before; at an end, what the session held."""
    return lesson.whole or (lesson.before[-1:], lesson.text)
