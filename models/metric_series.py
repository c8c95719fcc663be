"""The series of one session: found by name, the least recently met let go when there are too many.

A flood of names that come once each pushes out names like themselves, not the series that were learnt: first to go is a series that has
fallen silent, then the young as long as they are more than an eighth of all. Knows which series there are and what is remembered of each beside the detector's bytes;
leaves those to models/series.py and rows to models/metric_rows.py.
Next: models/metric_rows.py
"""

import itertools
import struct
from dataclasses import dataclass

import msgspec

from models.false_alarms import Alarm, Pace, after
from models.metric_points import Counters
from models.steps import Item, Notice

SETTLED = 30
"""Points after which a series is no longer young: its detector has warmed up."""
YOUNG_SHARE = 8
SILENT = 30.0
"""Usual times between its points after which a series is taken to have ended."""
LOOKED_AT = 16
"""Of the settled series, least recently met first, when one that ended is looked for."""
POINT = struct.Struct("<qd")
"""Time in microseconds and value."""
TAIL_POINTS = 16
"""Points after which the detector's state is written anew; until then the points are (docs/adr/0012-a-row-for-each-series.md)."""


class MetricSeries(msgspec.Struct, frozen=True, gc=False):
    """One series between two steps."""

    slot: int
    """Number of its row within the session."""
    name: str
    born_at: int = -1
    """Position of its first point: one that was let go and comes again is another."""
    detector: bytes = b""
    """Packed row of models.series.STATE."""
    reads: int = 0
    """Points the detector has read."""
    seen_at: int = -1
    """Position of its last point."""
    counters: Counters = ()
    pace: Pace = Pace()
    alarm: Alarm = Alarm()
    expected: float = 0.0
    """The forecast of its next point."""
    tail_from: int = 0
    """Points the detector had read when its state was written."""
    tail: bytes = b""
    """What it has read since, POINT each."""


class OpenSeries(msgspec.Struct):
    """One series within a step; made from a MetricSeries, and one again at its end."""

    slot: int
    name: str
    born_at: int
    detector: bytes
    reads: int
    seen_at: int
    counters: Counters
    pace: Pace
    alarm: Alarm
    expected: float
    tail_from: int
    tail: bytes
    new: list[tuple[int, float]] = []
    """What the detector reads in this step."""

    @classmethod
    def of(cls, one: MetricSeries) -> "OpenSeries":
        return cls(
            one.slot,
            one.name,
            one.born_at,
            one.detector,
            one.reads,
            one.seen_at,
            one.counters,
            one.pace,
            one.alarm,
            one.expected,
            one.tail_from,
            one.tail,
        )

    def settled(self) -> MetricSeries:
        """As it is after the step."""
        tail_from, tail = self.tail_from, self.tail + b"".join([POINT.pack(*point) for point in self.new])
        if len(tail) >= TAIL_POINTS * POINT.size:
            tail_from, tail = self.reads, b""
        return MetricSeries(
            self.slot,
            self.name,
            self.born_at,
            self.detector,
            self.reads,
            self.seen_at,
            self.counters,
            self.pace,
            self.alarm,
            self.expected,
            tail_from,
            tail,
        )


@dataclass(slots=True)
class Met:
    """A point and its series."""

    item: Item
    series: OpenSeries
    n_series: int
    """Of the session, with it."""
    pace: Pace
    """With this point."""
    value: float = 0.0
    """What the detector reads."""
    reason: str = ""
    """Why the detector does not read it; empty where it does."""
    notice: Notice | None = None


class Book:
    """The series of a session while it takes a step. The dicts it is made from stay as they are."""

    def __init__(self, young: dict[str, MetricSeries], settled: dict[str, MetricSeries], most: int):
        """Both least recently met first."""
        self._young: dict[str, MetricSeries | OpenSeries] = dict(young)
        self._settled: dict[str, MetricSeries | OpenSeries] = dict(settled)
        self._most = most
        self._open: dict[str, OpenSeries] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._settled)

    def meet(self, name: str, position: int, at_us: int) -> tuple[OpenSeries, str]:
        """The series that a point belongs to, now the most recently met; and the name of the one that had to go for it, or nothing."""
        gone, home = "", self._settled
        known = home.pop(name, None)
        if known is None:
            home = self._young
            known = home.pop(name, None)
        if known is None:
            slot, gone = self._room(at_us)
            known = MetricSeries(slot, name, position, alarm=Alarm(since_us=at_us))
        one = self._open.get(name)
        if one is None:
            assert isinstance(known, MetricSeries)
            one = self._open[name] = OpenSeries.of(known)
        home[name] = one
        one.seen_at, one.pace = position, after(one.pace, at_us)
        return one, gone

    def note_read(self, one: OpenSeries, at_us: int, value: float) -> None:
        """The detector will read this point in this step."""
        one.new.append((at_us, value))
        one.reads += 1
        if one.reads == SETTLED and self._young.get(one.name) is one:
            del self._young[one.name]
            self._settled[one.name] = one

    def closed(self) -> tuple[dict[str, MetricSeries], dict[str, MetricSeries]]:
        """Young and settled after the step, least recently met first."""
        return (
            {name: one if isinstance(one, MetricSeries) else one.settled() for name, one in self._young.items()},
            {name: one if isinstance(one, MetricSeries) else one.settled() for name, one in self._settled.items()},
        )

    def _room(self, at_us: int) -> tuple[int, str]:
        """A free slot, and whose it was."""
        if len(self) < self._most:
            return len(self), ""
        oldest = itertools.islice(self._settled.items(), LOOKED_AT)
        name = next((name for name, one in oldest if at_us - one.pace.newest_us > SILENT * one.pace.every_us), "")
        home = self._settled
        if not name:
            home = self._young if len(self._young) > self._most // YOUNG_SHARE or not self._settled else self._settled
            name = next(iter(home))
        victim = home.pop(name)
        self._open.pop(name, None)
        return victim.slot, name


def in_order(series: list[MetricSeries]) -> tuple[dict[str, MetricSeries], dict[str, MetricSeries]]:
    """Young and settled, least recently met first, of series in any order."""
    ordered = sorted(series, key=lambda one: one.seen_at)
    return {s.name: s for s in ordered if s.reads < SETTLED}, {s.name: s for s in ordered if s.reads >= SETTLED}
