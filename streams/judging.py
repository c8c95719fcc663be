"""One step in which every line is judged by its own version: which model each session's lines meet, and what came of them.

Knows that lines of one session may belong to two versions, which happens in replays; leaves which version it is to versions.py and the
step itself to inference.py. A modality that learns nothing has one version, the shipped one.
Next: streams/inference.py
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from models.steps import Item, Work
from streams.inference import Inference, Stepped, joined
from streams.session import Read
from streams.sessions import Session, cache_name
from streams.versions import DEFAULT_TENANT, Versions


@dataclass(frozen=True, slots=True)
class Asked:
    """One session's lines to be judged, in order."""

    session: Session
    reads: Sequence[Read]
    items: Sequence[Item]

    @property
    def tenant(self) -> str:
        return self.session.state.tenant or DEFAULT_TENANT


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of them."""

    stepped: Stepped
    versions: Sequence[str]
    """Of each line the learned version that judged it; empty for the shipped one."""


class Judging:
    """The step of one modality."""

    def __init__(self, modality: str, inference: Inference, versions: Versions | None = None):
        """versions: None where nothing is learned."""
        self.modality = modality
        self._inference = inference
        self.versions = versions

    def name_of(self, version: str) -> str:
        """What events call a version."""
        return version or self._inference.version(self.modality)

    async def step(self, asked: Sequence[Asked]) -> tuple[list[Judged], float]:
        """One Judged per session, in order, and the milliseconds it took."""
        if self.versions is None:
            works = [Work(cache_name(self.modality, a.session.id), a.session.model_state, a.items) for a in asked]
            stepped, step_ms = await self._inference.step(self.modality, works)
            return [Judged(s, [""] * len(a.items)) for a, s in zip(asked, stepped, strict=True)], step_ms
        versions = await self._versions(asked, self.versions)
        runs = [_runs(a.items, names) for a, names in zip(asked, versions, strict=True)]
        done: list[Stepped | None] = [None] * len(asked)
        total_ms = 0.0
        for n in range(max(map(len, runs), default=0)):  # one round, but for lines read again across a switch
            now = [i for i, r in enumerate(runs) if n < len(r)]
            works = [await self._work(asked[i], runs[i][n], done[i], self.versions) for i in now]
            stepped, step_ms = await self._inference.step(self.modality, works)
            total_ms += step_ms
            for i, one in zip(now, stepped, strict=True):
                before = done[i]
                done[i] = one if before is None else joined(before, one)
        return [Judged(d, names) for d, names in zip(done, versions, strict=True) if d is not None], total_ms

    def is_at_hand(self, session: Session) -> bool:
        """Whether the version that closes a session need not be fetched."""
        return self.versions is None or self.versions.learned.is_at_hand(session.state.version)

    async def knowledge(self, session: Session) -> tuple[str, Any]:
        """Version and model for what no line causes: a closing, an answer."""
        if self.versions is None:
            return "", None
        await self.versions.ready()
        tenant = session.state.tenant or DEFAULT_TENANT
        name = await self.versions.kept(tenant, session.state.version)
        return name, await self.versions.model(tenant, name) if name else None

    async def _versions(self, asked: Sequence[Asked], versions: Versions) -> list[list[str]]:
        await versions.ready()
        first: dict[tuple[int, str], int] = {}
        for a in asked:
            place = (a.session.partition, a.tenant)
            first[place] = min(first.get(place, a.reads[0].offset), a.reads[0].offset)
        for (partition, tenant), offset in first.items():
            versions.take_up(partition, tenant, offset)
        return [await versions.judges(a.session.partition, a.tenant, [read.offset for read in a.reads]) for a in asked]

    async def _work(self, asked: Asked, run: tuple[str, list[Item]], before: Stepped | None, versions: Versions) -> Work:
        name, items = run
        state = asked.session.model_state if before is None else before.result.state
        knowledge = await versions.model(asked.tenant, name) if name else None
        return Work(cache_name(self.modality, asked.session.id), state, items, knowledge)


def _runs(items: Sequence[Item], versions: Sequence[str]) -> list[tuple[str, list[Item]]]:
    """Neighbours of one version together."""
    return [(name, [item for _, item in run]) for name, run in groupby(zip(versions, items, strict=True), key=lambda pair: pair[0])]
