"""Sessions that fell silent: closed as if their last record had ended them.

Knows when to look and which version closes whom, and tells of rows that could not be read on the way; leaves whose silence is known to
sessions.py, what is said of it to concluding.py, and publishing and storing what they became to lane.py.
Next: streams/concluding.py
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from models.steps import Work
from streams.concluding import Concluding
from streams.inference import Inference
from streams.judging import Judging
from streams.lessons import Said
from streams.pipeline import Timing
from streams.publisher import Outgoing, Publisher
from streams.sessions import MOST_IDLE, Session, Sessions, cache_name
from streams.versions import DEFAULT_TENANT

FEW_VERSIONS = 4
"""So many versions of a model are fetched at once to close silent sessions."""
IDLE_TICK_S = 1.0
"""With nothing to read, how often to look for silent sessions."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Sessions as they are once closed, what is to be published for them, and what their ends have to teach."""

    sessions: Sequence[Session]
    outgoing: list[Outgoing]
    said: Sequence[Said]


class Idle:
    """The silent sessions of one modality."""

    def __init__(
        self,
        sessions: Sessions,
        judging: Judging,
        inference: Inference,
        concluding: Concluding,
        publisher: Publisher,
        unread: Callable[[int, int], bool],
        idle_s: float,
    ):
        """`unread(partition, offset)`: whether records wait, at the broker or here from that offset on. idle_s: of silence that end a session."""
        self._sessions = sessions
        self._judging = judging
        self._inference = inference
        self._concluding = concluding
        self._publisher = publisher
        self._unread = unread
        self._idle_s = idle_s
        self.due_ms = 0.0
        """When to look next, wall clock."""
        self.reached: dict[int, int] = {}
        """Partition -> offset after the last record that a step has taken."""

    async def close(self, now_ms: float) -> Closed | None:
        """Close those that are silent by now, in the model; None where nobody is."""
        self.due_ms = now_ms + self._idle_s * 100  # a tenth of the time, in ms
        # 1. who is silent, of the versions that are at hand
        silent = self._silent(now_ms)
        if bad := self._sessions.found_bad():
            await self._publisher.publish(self._concluding.unreadable(bad))  # before anything is stored in their place
        if not (idle := self._at_hand(silent, now_ms)):
            return None
        # 2. each by the version of its last line
        known = [await self._judging.knowledge(s) for s in idle]
        if late := [_as_of(s, name) for s, (name, _) in zip(idle, known, strict=True) if name != s.state.version]:
            await self._sessions.store(late)  # the version of their last line is gone: who closes them again must take the same one
            idle = [next((n for n in late if n.id == s.id), s) for s in idle]
        # 3. close them in the model, off the event loop
        modality = self._judging.modality
        works = [Work(cache_name(modality, s.id), s.model_state, (), k) for s, (_, k) in zip(idle, known, strict=True)]
        stepped = await self._inference.close(modality, works)
        timing, outgoing, closed = Timing(now_ms=time.time_ns() / 1e6), list[Outgoing](), list[Session]()
        for session, one in zip(idle, stepped, strict=True):
            ended, records = self._concluding.closed(session, one, timing)
            closed.append(ended)
            outgoing += records
        said = [
            Said(s.state.tenant or DEFAULT_TENANT, self._concluding.last_cause(s).place, s.state.last_us, one.result.lessons)
            for s, one in zip(closed, stepped, strict=True)
        ]
        return Closed(closed, outgoing, said)

    def _silent(self, now_ms: float) -> list[Session]:
        behind = list[int]()

        def unread(partition: int) -> bool:
            if found := self._unread(partition, self.reached.get(partition, 0)):
                behind.append(partition)
            return found

        idle = self._sessions.idle(now_ms, self._idle_s, unread)
        if behind or len(idle) >= MOST_IDLE:  # not all was seen
            self._look_again_soon(now_ms)
        return idle

    def _at_hand(self, idle: list[Session], now_ms: float) -> list[Session]:
        """Without those of versions beyond the first few that must be fetched: they follow soon."""
        far = list(dict.fromkeys(s.state.version for s in idle if not self._judging.is_at_hand(s)))[FEW_VERSIONS:]
        if not far:
            return idle
        self._look_again_soon(now_ms)
        return [s for s in idle if s.state.version not in far]

    def _look_again_soon(self, now_ms: float) -> None:
        self.due_ms = min(self.due_ms, now_ms + IDLE_TICK_S * 1000)


def _as_of(session: Session, version: str) -> Session:
    """The session as of another version."""
    return Session(session.id, session.partition, msgspec.structs.replace(session.state, version=version), session.model_state)
