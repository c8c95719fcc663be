"""How unusual a point of one series must be to open an incident, so that ordinary points do it no more often than is wanted.

The score says how rare a point is, in digits: 3 is one in a thousand. From that and the time between points follow the digits that so
many false alarms a day come to. Where a series is stranger than its scores say, its alarms come too often; each asks RISE digits more of
the next, and so much is forgiven again in the time that one alarm is allowed. So no data, however strange, opens more incidents than
days times the allowed rate and some few, as RISE goes into the digits there are.
Knows one series; leaves what an incident is to models/incidents.py.
Next: models/incidents.py
"""

import math

import msgspec

from models.series import UNUSUAL

DAY_US = 86_400_000_000
TOP_SCORE = 1.0 - 1e-12
RISE = 1.0
"""Digits that an alarm asks more of the next one. With half of it, normal series of heavy tails open more than is allowed; with twice of
it, faults on the Numenta benchmark are missed that are found with this (docs/adr/0012-a-row-for-each-series-and-incidents.md)."""


def digits_of(score: float) -> float:
    """0.999 -> 3."""
    return -math.log10(1.0 - min(max(score, 0.0), TOP_SCORE))


def score_of(digits: float) -> float:
    """3 -> 0.999."""
    return 1.0 - 10.0**-digits


LEAST = digits_of(UNUSUAL)
"""Digits below which nothing opens an incident however rarely points come: those of the label."""
MOST = 4.0
"""Digits above which the rate's own digits do not go: a score has 6 at most, and alarms must be able to ask for more. What comes more
often than a point in ten thousand may alarm is held by what alarms ask for alone."""
GAP = 4.0
"""A longer pause, in usual times between points, counts as one so long: what is missing is not how often points come."""
SHORTEST_US = 1_000.0


class Pace(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How often one series' points come, in event time."""

    newest_us: int = 0
    every_us: float = 0.0
    """Mean time between points; 0 before there are two."""
    points: int = 0


class Alarm(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a series' alarms ask of the next: so many digits at that time, fewer later."""

    raised: float = RISE
    """A new series begins as if it had just alarmed."""
    since_us: int = 0


def asked(alarm: Alarm, pace: Pace, per_day: float) -> float:
    """Digits that alarms of late ask above the rate's own."""
    return max(alarm.raised - RISE * per_day * max(pace.newest_us - alarm.since_us, 0) / DAY_US, 0.0)


def needed(alarm: Alarm, pace: Pace, per_day: float) -> float:
    """Digits from which a point opens an incident; pace: with that point."""
    return min(max(math.log10(DAY_US / pace.every_us / per_day), LEAST), MOST) + asked(alarm, pace, per_day) if pace.every_us else math.inf


def alarmed(alarm: Alarm, pace: Pace, per_day: float) -> Alarm:
    """The series has opened an incident."""
    return Alarm(asked(alarm, pace, per_day) + RISE, pace.newest_us)


def after(pace: Pace, at_us: int) -> Pace:
    """One point later; a point that is not newer than all before is no new time."""
    if not pace.points:
        return Pace(at_us, 0.0, 1)
    gone_us, every_us = at_us - pace.newest_us, pace.every_us
    if gone_us <= 0:
        return Pace(pace.newest_us, every_us, pace.points + 1)
    gap_us = max(float(gone_us), SHORTEST_US)
    every_us = every_us + (min(gap_us, GAP * every_us) - every_us) * max(1.0 / pace.points, 0.05) if every_us else gap_us
    return Pace(at_us, every_us, pace.points + 1)
