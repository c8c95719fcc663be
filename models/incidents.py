"""Incidents of a session: unusual points of its series that belong together are one thing with a start, an end and a peak.

Opened by a point that is rarer than its series' false alarms may be; joined by other series that move meanwhile, or moved just before;
closed when all were quiet for as long as a dozen of their points takes. One is open at a time. Knows points as positions, times and
digits; leaves how rare is rare enough to models/false_alarms.py.
Next: models/metric_model.py
"""

import math
from datetime import UTC, datetime
from typing import Any

import msgspec

from models.false_alarms import score_of
from models.steps import Answer

QUIET_POINTS = 12
"""Points without anything unusual after which it is over."""
CONTINUES = 2.0
"""Digits of a point that keeps an incident of its series open."""
MAX_MEMBERS, MAX_MOVES = 50, 16
TOLD_AGAIN = 0.5
"""Digits by which the peak must rise to be told again."""


class Move(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An unusual point."""

    series: str
    position: int
    at_us: int
    digits: float


class Member(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One series' part in an incident."""

    first: Move
    peak: Move


class Incident(msgspec.Struct, frozen=True, array_like=True):
    """An open incident."""

    members: tuple[Member, ...]
    """In the order in which they moved."""
    last: Move
    hold_us: int
    """So long it stays open without an unusual point."""
    told: float = 0.0
    """Digits of the peak when it was told last."""

    @property
    def start(self) -> Move:
        return self.members[0].first

    @property
    def peak(self) -> Move:
        return max((m.peak for m in self.members), key=lambda peak: peak.digits)


def joins_at(n_series: int) -> float:
    """Digits at which a series joins: by chance one does so in every tenth incident, however many series there are."""
    return 1.0 + math.log10(QUIET_POINTS * max(n_series, 1))


def is_over(incident: Incident, at_us: int) -> bool:
    """Whether a point at that time comes too late to belong to it."""
    return at_us - incident.last.at_us > incident.hold_us


def opened(move: Move, every_us: float, before: tuple[Move, ...]) -> Incident:
    """An incident that begins with this point, or with what moved just before it."""
    hold_us = int(QUIET_POINTS * every_us)
    near = [m for m in before if 0 <= move.at_us - m.at_us <= hold_us and m.position < move.position]
    found = Incident((Member(near[0], near[0]),), near[0], hold_us) if near else Incident((Member(move, move),), move, hold_us)
    for one in (*near[1:], move) if near else ():
        found = with_move(found, one, every_us)
    return found


def with_move(incident: Incident, move: Move, every_us: float) -> Incident:
    """The incident with one unusual point more, of a member or of a series that joins by it."""
    members = list(incident.members)
    at = next((n for n, m in enumerate(members) if m.first.series == move.series), None)
    if at is None:
        if len(members) < MAX_MEMBERS:
            members.append(Member(move, move))
    elif move.digits > members[at].peak.digits:
        members[at] = Member(members[at].first, move)
    last = move if move.at_us >= incident.last.at_us else Move(move.series, move.position, incident.last.at_us, move.digits)
    return Incident(tuple(members), last, max(incident.hold_us, int(QUIET_POINTS * every_us)), incident.told)


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
