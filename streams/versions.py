"""Which version judges which line: a row per partition and tenant says from which offset on, written before anything it decided is published.

So a line that is read again after a crash, here or on another worker, is judged by the version that judged it before, to the bit. A newer
version takes over only from an offset that no worker can have judged: behind all that Kafka held when the partition came here.
Knows schedules and their rows; leaves weights to learned.py and the step to lane.py.
Next: streams/inference.py
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import faust
import msgspec

from models.learnable import Learnable
from streams import changelog
from streams.learned import Learned

PREFIX = b"judged\0"
DEFAULT_TENANT = "default"
"""Of sessions whose first line names none."""
MAX_SCHEDULES = 1024
"""Tenants of a partition whose schedules are kept ready."""


class Schedule(msgspec.Struct, frozen=True, array_like=True):
    """Switches of one partition and tenant, in order: (first offset, version). Before the first switch the shipped version judges."""

    switches: tuple[tuple[int, str], ...] = ()

    def at(self, offset: int) -> str:
        """The version that judges the line at an offset."""
        name = ""
        for first, version in self.switches:
            if first > offset:
                break
            name = version
        return name

    @property
    def last(self) -> str:
        return self.switches[-1][1] if self.switches else ""

    def switched(self, first: int, version: str) -> "Schedule":
        """From `first` on another version judges."""
        return Schedule((*[s for s in self.switches if s[0] < first], (first, version)))

    def without(self, delivered: int) -> "Schedule":
        """Without switches that no replay can need: all lines below `delivered` are stored."""
        needed = [n for n, (first, _) in enumerate(self.switches) if first <= delivered]
        return Schedule(self.switches[needed[-1] :]) if needed else self


@dataclass
class _Place:
    """What is known of one partition."""

    schedules: dict[str, Schedule]
    free_from: int | None = None
    """First offset that nobody can have judged before this worker."""
    delivered: int = 0
    """Offset before which all is stored."""


class Versions:
    """The schedules of the partitions this worker has."""

    def __init__(self, table: faust.Table, learned: Learned, log_end: Callable[[int], int | None]):
        """log_end(partition): end of the log of the input's partition as the broker last said it; None while it has not."""
        self._table = table
        self.learned = learned
        self._log_end = log_end
        self._places: dict[int, _Place] = {}
        self._unstored: defaultdict[int, set[str]] = defaultdict(set)

    def moved(self, partitions: Iterable[int]) -> None:
        """Partitions came or went: what is known of them must be read anew."""
        for partition in partitions:
            self._places.pop(partition, None)
            self._unstored.pop(partition, None)

    async def ready(self) -> None:
        await self.learned.ready()

    def take_up(self, partition: int, tenant: str, first: int) -> None:
        """Let the tenant's newest version judge from offset `first` on, the next that this worker takes, where nobody can have judged it."""
        place = self._place(partition)
        schedule = self._schedule(place, partition, tenant)
        newest = self.learned.newest(tenant)
        if not newest or newest == schedule.last or place.free_from is None or first < place.free_from:
            return
        place.schedules[tenant] = schedule.without(place.delivered).switched(first, newest)
        self._unstored[partition].add(tenant)

    async def judges(self, partition: int, tenant: str, offsets: Sequence[int]) -> list[str]:
        """For each line the version that judges it; empty for the shipped one. The newest where that one is gone. offsets: ascending."""
        schedule = self._schedule(self._place(partition), partition, tenant)
        if not any(offsets[0] < first <= offsets[-1] for first, _ in schedule.switches):
            return [await self.kept(tenant, schedule.at(offsets[0]))] * len(offsets)
        return [await self.kept(tenant, schedule.at(offset)) for offset in offsets]

    async def kept(self, tenant: str, name: str) -> str:
        """A version that a row names; the newest where that one is gone."""
        return name if await self.learned.has_by_now(name) else self.learned.newest(tenant)

    async def model(self, tenant: str, name: str) -> Learnable:
        """A version's model. Raises VersionGoneError."""
        return await self.learned.model(tenant, name)

    async def store(self) -> None:
        """Make the switches durable; to be awaited before what they decided is published."""
        unstored, self._unstored = self._unstored, defaultdict(set)
        for partition, tenants in unstored.items():
            place = self._places.get(partition)
            if place is not None:
                rows: dict[bytes, bytes | None] = {
                    PREFIX + t.encode("utf-8", "replace"): msgspec.msgpack.encode(place.schedules[t]) for t in tenants
                }
                await changelog.store(self._table, partition, rows)

    def delivered(self, partition: int, next_offset: int) -> None:
        """All lines before an offset are stored."""
        if (place := self._places.get(partition)) is not None:
            place.delivered = max(place.delivered, next_offset)

    def _place(self, partition: int) -> _Place:
        place = self._places.get(partition)
        if place is None:
            place = self._places[partition] = _Place({})
        if place.free_from is None:
            place.free_from = self._log_end(partition)
        return place

    def _schedule(self, place: _Place, partition: int, tenant: str) -> Schedule:
        schedule = place.schedules.get(tenant)
        if schedule is None:
            key = PREFIX + tenant.encode("utf-8", "replace")
            data = changelog.load(self._table, partition, [key]).get(key)
            schedule = msgspec.msgpack.decode(data, type=Schedule) if data else Schedule()
            if len(place.schedules) >= MAX_SCHEDULES:  # read again when it is wanted; none on its way into the table is dropped
                for other in [t for t in place.schedules if t not in self._unstored[partition]][: MAX_SCHEDULES // 2]:
                    del place.schedules[other]
            place.schedules[tenant] = schedule
        return schedule
