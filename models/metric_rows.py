"""A metric session as bytes: whole, or as a small head and two rows for each series, of which only those that changed are written.

    base   name, and the detector's state as it was once every TAIL_POINTS points
    tail   all else, and the points since: the detector reads them again when the row is loaded, to the same bits

A point costs a tail of some hundred bytes in place of a state of a few KB. Knows bytes; leaves where they are kept to streams/sessions.py.
Next: models/metric_model.py
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from models import series as detector
from models.false_alarms import Alarm, Pace
from models.incidents import Incident, Move
from models.metric_points import Counters
from models.metric_series import POINT, MetricSeries, in_order

LAYOUT = 3
BASE, TAIL = b"b", b"t"


@dataclass(slots=True)
class MetricState:
    """A metric session between two steps."""

    young: dict[str, MetricSeries] = field(default_factory=dict)
    settled: dict[str, MetricSeries] = field(default_factory=dict)
    """Series by name, least recently met first."""
    end: int = 0
    """Position after the last point: the session's number of items."""
    points: int = 0
    anomalies: int = 0
    peaks: tuple[Move, ...] = ()
    """The most unusual point of each of the series that had the worst, worst first."""
    is_closed: bool = False
    incident: Incident | None = None
    incidents: int = 0
    """Opened so far."""
    moves: tuple[Move, ...] = ()
    """Unusual points of late."""
    told: tuple[int, str, float] = (0, "", 0.0)
    """Incidents, worst series and its digits when the session's answer was given last."""
    evicted: int = 0
    """Series let go so far."""

    @property
    def series(self) -> dict[str, MetricSeries]:
        return self.young | self.settled


class Head(msgspec.Struct, array_like=True, frozen=True):
    """MetricState without its series; `layout` tells another one."""

    layout: int
    end: int
    points: int
    anomalies: int
    peaks: tuple[Move, ...]
    is_closed: bool
    incident: Incident | None
    incidents: int
    moves: tuple[Move, ...]
    told: tuple[int, str, float]
    evicted: int


class Base(msgspec.Struct, array_like=True, frozen=True):
    """A series' detector after `reads` points."""

    name: str
    born_at: int
    reads: int
    detector: bytes


class Tail(msgspec.Struct, array_like=True, frozen=True):
    """A series but for its detector."""

    reads: int
    seen_at: int
    counters: Counters
    pace: Pace
    alarm: Alarm
    expected: float
    tail_from: int
    tail: bytes


class Whole(msgspec.Struct, array_like=True, frozen=True):
    """A session in one piece."""

    head: Head
    series: list[tuple[Base, Tail]]


_encode = msgspec.msgpack.Encoder().encode
_head, _whole = msgspec.msgpack.Decoder(Head).decode, msgspec.msgpack.Decoder(Whole).decode
_base, _tail = msgspec.msgpack.Decoder(Base).decode, msgspec.msgpack.Decoder(Tail).decode
_FIELDS = tuple(name for name in Head.__struct_fields__ if name != "layout")


class MetricStateError(ValueError):
    """Bytes that are no state of this version."""

    retriable = False


def pack(state: MetricState) -> bytes:
    """All of a session: the same state gives the same bytes, however it came about."""
    series = [
        (Base(s.name, s.born_at, s.reads, s.detector), _tail_of(s, s.reads, b"")) for s in (*state.young.values(), *state.settled.values())
    ]
    return _encode(Whole(_head_of(state), series))


def unpack(data: bytes) -> MetricState:
    """Raises MetricStateError."""
    whole = _whole(data)
    found = [_series_of(slot, base, tail, base.detector) for slot, (base, tail) in enumerate(whole.series)]
    return _state_of(whole.head, found)


def pack_head(state: MetricState) -> bytes:
    """What is written at every store."""
    return _encode(_head_of(state))


def pack_rows(state: MetricState, stored: MetricState | None) -> dict[bytes, bytes]:
    """Rows of the series that are not as they are in `stored`, the state that was written last."""
    found: dict[bytes, bytes] = {}
    if stored is None:
        stored = MetricState()
    for home, other in ((state.young, stored.young), (state.settled, stored.settled)):
        for name, one in home.items():
            old = other.get(name) or stored.young.get(name)
            if old is one:
                continue
            key = one.slot.to_bytes(4, "big")
            is_based = old is not None and (old.slot, old.born_at) == (one.slot, one.born_at) and old.tail_from == one.tail_from
            if not is_based and one.tail and one.tail_from:  # the detector has gone on since: write it as it is
                found[key + BASE] = _encode(Base(name, one.born_at, one.reads, one.detector))
            elif not is_based:
                found[key + BASE] = _encode(Base(name, one.born_at, one.tail_from, one.detector if one.tail_from else b""))
            found[key + TAIL] = _encode(_tail_of(one, one.tail_from, one.tail))
    return found


def unpack_rows(head: bytes, rows: Mapping[bytes, bytes]) -> MetricState:
    """The state that was stored as these. Series of another version's detector begin anew. Raises MetricStateError."""
    bases, tails, slots = list[Base](), list[Tail](), list[int]()
    for key, data in rows.items():
        if key[4:] == BASE and (tail := rows.get(key[:4] + TAIL)) is not None:
            bases.append(_base(data))
            tails.append(_tail(tail))
            slots.append(int.from_bytes(key[:4], "big"))
    read = _read_again(bases, tails)
    return _state_of(_head(head), [_series_of(*one) for one in zip(slots, bases, tails, read, strict=True)])


def _read_again(bases: list[Base], tails: list[Tail]) -> list[bytes]:
    """The detectors after the points of their tails."""
    try:
        states = detector.unpack_many([base.detector for base in bases])
    except detector.SeriesStateError:
        return [b"" for _ in bases]
    which, times, values = list[int](), list[int](), list[float]()
    for n, (base, tail) in enumerate(zip(bases, tails, strict=True)):
        for at_us, value in list(POINT.iter_unpack(tail.tail))[base.reads - tail.tail_from :]:
            which.append(n)
            times.append(at_us)
            values.append(value)
    if which:
        detector.read_many(states, np.array(which), np.array(values), np.array(times))
    return [packed if tail.reads else b"" for packed, tail in zip(detector.pack_many(states), tails, strict=True)]


def _state_of(head: Head, series: Iterable[MetricSeries]) -> MetricState:
    if head.layout != LAYOUT:
        raise MetricStateError(
            f"metric state of layout {head.layout}, this version reads {LAYOUT}; run the version that wrote it or reset the session"
        )
    young, settled = in_order(list(series))
    return MetricState(young, settled, **{name: getattr(head, name) for name in _FIELDS})


def _head_of(state: MetricState) -> Head:
    return Head(LAYOUT, **{name: getattr(state, name) for name in _FIELDS})


def _tail_of(one: MetricSeries, tail_from: int, tail: bytes) -> Tail:
    return Tail(one.reads, one.seen_at, one.counters, one.pace, one.alarm, one.expected, tail_from, tail)


def _series_of(slot: int, base: Base, tail: Tail, packed: bytes) -> MetricSeries:
    fields: dict[str, Any] = {name: getattr(tail, name) for name in Tail.__struct_fields__}
    return MetricSeries(slot=slot, name=base.name, born_at=base.born_at, detector=packed, **fields)
