"""Lines as they were judged -> records of the lessons topic, one per step and tenant; and back.

Knows what a record holds; leaves when it is sent to lane.py and what is learned to teaching.py. The key is the tenant, so one learner
hears all of a tenant, whichever worker judged it.
Next: streams/agents/lessons.py
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from models import lesson_codec
from models.learnable import Lesson
from models.learner import Heard
from streams.publisher import Outgoing
from streams.session import Place


class LessonsRecord(msgspec.Struct, array_like=True, frozen=True):
    """What one step has for a tenant's learner."""

    tenant: str
    place: Place
    """Of the last line: what the events of an update name as their cause."""
    times: list[tuple[int, int]]
    """Event time, microseconds, and how many of the lessons have it, in order."""
    lessons: bytes

    def heard(self) -> list[Heard]:
        lessons, n, found = lesson_codec.decode(self.lessons), 0, list[Heard]()
        for event_us, count in self.times:
            found += [Heard(lesson, event_us) for lesson in lessons[n : n + count]]
            n += count
        return found


encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(LessonsRecord).decode


class Said(NamedTuple):
    """What one session's lines of a step have to teach."""

    tenant: str
    place: Place
    """Of the last line."""
    event_us: int
    lessons: Sequence[Lesson]


def records(topic: str, said: Iterable[Said], now_us: int) -> list[Outgoing]:
    """One record per tenant. No line is later than `now_us`, the wall clock: a line's writer cannot put a learner's clock forward."""
    of: dict[str, list[Said]] = {}
    for one in said:
        if one.lessons:
            of.setdefault(one.tenant, []).append(one)
    made = []
    for tenant, some in of.items():
        times = [(min(one.event_us, now_us), len(one.lessons)) for one in some]
        lessons = lesson_codec.encode([lesson for one in some for lesson in one.lessons])
        made.append(Outgoing(topic, None, tenant.encode("utf-8", "replace"), encode(LessonsRecord(tenant, some[-1].place, times, lessons))))
    return made
