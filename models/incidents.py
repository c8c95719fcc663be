"""Incidents of a session: unusual points of its series that belong together are one thing with a start, an end and a peak.

Opened by a point that is rarer than its series' false alarms may be; joined by other series that move meanwhile, or moved just before;
closed when all were quiet, and back where they were before they moved, for as long as a dozen of their points takes. A series that stays
elsewhere is taken to live there after a hundred. One is open at a time. Knows points as positions, times and digits; leaves how rare is
rare enough to models/false_alarms.py.
Next: models/metric_model.py
"""

import math
from datetime import UTC, datetime
from typing import Any

import msgspec

from models.false_alarms import LEAST, MOST, score_of
from models.steps import Answer

QUIET_POINTS = 12
"""Points without anything unusual after which it is over."""
CONTINUES = 2.0
"""Digits of a point that keeps an incident of its series open."""
AWAY_POINTS = 100
"""Points away from where a series was that keep an incident open, after the last one that could have opened it."""
MAX_MEMBERS, MAX_MOVES = 50, 16
TOLD_AGAIN = 0.5
"""Digits by which the peak must rise to be told again."""


class Move(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An unusual point."""

    series: str
    position: int
    at_us: int
    digits: float
    expected: float = 0.0
    """What the series was expected to be."""
    value: float = 0.0
    """What it was."""


class Member(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One series' part in an incident."""

    first: Move
    peak: Move


class Incident(msgspec.Struct, frozen=True, array_like=True):
    """An open incident."""

    members: tuple[Member, ...]
    """In the order in which they moved."""
    last: Move
    """Unusual, or away from where its series was."""
    hold_us: int
    """So long it stays open without one."""
    moved_us: int
    """When the last one was that could have opened it."""
    told: float = 0.0
    """Digits of the peak when it was told last."""

    @property
    def start(self) -> Move:
        return self.members[0].first

    @property
    def peak(self) -> Move:
        return max((m.peak for m in self.members), key=lambda peak: peak.digits)


def joins_at(n_series: int) -> float:
    """Digits at which a series joins: by chance one does so in every thirtieth incident; of many series, those whose points are the rarest."""
    return min(1.5 + math.log10(QUIET_POINTS * max(n_series, 1)), MOST)


def is_over(incident: Incident, at_us: int) -> bool:
    """Whether a point at that time comes too late to belong to it."""
    return at_us - incident.last.at_us > incident.hold_us


def opened(move: Move, every_us: float, before: tuple[Move, ...]) -> Incident:
    """An incident that begins with this point, or with what moved just before it."""
    hold_us = int(QUIET_POINTS * every_us)
    near = [m for m in before if 0 <= move.at_us - m.at_us <= hold_us and m.position < move.position]
    first, *more = (*near, move)
    found = Incident((Member(first, first),), first, hold_us, first.at_us)
    for one in more:
        found = with_move(found, one, every_us)
    return found


def is_away(incident: Incident, move: Move, every_us: float) -> bool:
    """Whether a member's point that is nothing unusual any more is still nearer to where the series went than to where it was."""
    member = next((m for m in incident.members if m.first.series == move.series), None)
    if member is None or not 0 <= move.at_us - incident.moved_us <= AWAY_POINTS * every_us:
        return False
    before = member.first
    return abs(move.value - before.expected) > abs(before.value - before.expected) / 2.0


def with_away(incident: Incident, move: Move) -> Incident:
    """The incident goes on by this point."""
    return msgspec.structs.replace(incident, last=move) if move.at_us >= incident.last.at_us else incident


def with_move(incident: Incident, move: Move, every_us: float) -> Incident:
    """The incident with one unusual point more, of a member or of a series that joins by it."""
    members = list(incident.members)
    at = next((n for n, m in enumerate(members) if m.first.series == move.series), None)
    if at is None:
        if len(members) < MAX_MEMBERS:
            members.append(Member(move, move))
    elif move.digits > members[at].peak.digits:
        members[at] = Member(members[at].first, move)
    last = move if move.at_us >= incident.last.at_us else msgspec.structs.replace(move, at_us=incident.last.at_us)
    hold_us, moved_us = max(incident.hold_us, int(QUIET_POINTS * every_us)), incident.moved_us
    if move.digits >= LEAST:
        moved_us = max(moved_us, move.at_us)
    return Incident(tuple(members), last, hold_us, moved_us, incident.told)


def answer(incident: Incident, is_final: bool) -> Answer:
    """What is told of it: by share of each series, its digits of all."""
    peak, order = incident.peak, [m.first.series for m in incident.members]
    total = sum(m.peak.digits for m in incident.members)
    output: dict[str, Any] = {
        "start": moment(incident.start.at_us),
        "end": moment(incident.last.at_us),
        "peak": moment(peak.at_us),
        "peak_position": peak.position,
        "peak_series": peak.series,
        "series": {
            m.first.series: {"since": moment(m.first.at_us), "position": m.first.position, "score": score_of(m.peak.digits),
                             "contribution": round(m.peak.digits / total, 4)}
            for m in incident.members
        },
        "order": order,
    }  # fmt: skip
    span_end = max(incident.last.position, *(m.peak.position for m in incident.members)) + 1
    return Answer("incident", incident.start.position, span_end, is_final, "anomaly", value=score_of(peak.digits), output=output)


def moment(at_us: int) -> str:
    """RFC 3339; a time that has no year of four digits as seconds."""
    try:
        found = datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(microsecond=at_us % 1_000_000)
    except (ValueError, OverflowError, OSError):
        return str(at_us / 1e6)
    return found.isoformat().replace("+00:00", "Z")
