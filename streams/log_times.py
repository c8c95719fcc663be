"""Times of log lines: dates, clocks and zones as loggers write them -> microseconds since the epoch.

Knows calendars and the zone names that syslog, databases and `date` write; leaves where a time stands in a line to the other
log_*.py. A time without a zone is Local: read as UTC until someone knows better. Next: streams/log_syslog.py
"""

import re
from datetime import UTC, date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000
MONTHS = {name: n for n, name in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)}
ZONES = {
    "Z": 0, "UTC": 0, "GMT": 0, "WET": 0, "WEST": 1, "BST": 1, "CET": 1, "CEST": 2, "EET": 2, "EEST": 3, "SAST": 2, "MSK": 3, "IST": 5.5,
    "SGT": 8, "HKT": 8, "AWST": 8, "JST": 9, "KST": 9, "AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13,
    "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7, "AKST": -9, "AKDT": -8, "HST": -10, "BRT": -3,
}  # fmt: skip
"""Hours east of UTC. Of names that several zones share, the one that loggers write most: CST and IST as in Chicago and Delhi."""

CLOCK = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
ZONE_NAME = "|".join(sorted(ZONES, key=lambda name: -len(name)))
ZONE = rf"(?:[+-]\d\d(?::?\d\d)?|{ZONE_NAME})"
MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
DATE = re.compile(rf"(\d{{4}})[-/.](\d\d)[-/.](\d\d)[T _]({CLOCK})\s?({ZONE})?(?=[\s,\]|]|$)")
"""Year first, as RFC 3339 and most loggers; groups year, month, day, clock, zone."""


_OFFSET = re.compile(r"[+-]\d\d(?::?\d\d)?")
_QUARTER_US = 900_000_000


class Local(int):
    """Micros since the epoch of a time that named no zone, as if it were UTC."""

    def in_zone(self, zone: str) -> int:
        """The moment, if the clock was that of `zone`: an offset, a name of ZONES or of the IANA; UTC where it is none."""
        return self - _offset_us(zone, self // _QUARTER_US)


@lru_cache(maxsize=4096)
def _offset_us(zone: str, quarter: int) -> int:
    """What a zone's clock is ahead of UTC in this quarter of an hour of its own."""
    if _OFFSET.fullmatch(zone) or zone in ZONES:
        return zone_us(zone)
    try:
        offset = datetime.fromtimestamp(quarter * 900, UTC).replace(tzinfo=ZoneInfo(zone)).utcoffset()
    except (KeyError, ValueError, OSError, OverflowError):  # no such zone, or a time that no calendar has
        return 0
    return round(offset.total_seconds() * 1e6) if offset else 0


@lru_cache(maxsize=512)
def day_us(year: int, month: int, day: int) -> int | None:
    try:
        return (date(year, month, day).toordinal() - 719_163) * DAY_US
    except ValueError:
        return None


def clock_us(text: str) -> int | None:
    """hh:mm:ss with or without a fraction after `.` or `,`, in micros of the day."""
    hour, minute, second = int(text[0:2]), int(text[3:5]), int(text[6:8])
    if hour > 23 or minute > 59 or second > 60:
        return None
    return (hour * 3600 + minute * 60 + second) * 1_000_000 + int(text[9:15].ljust(6, "0") or 0)


@lru_cache(maxsize=256)
def zone_us(text: str | None) -> int:
    """Offset from UTC in micros: `+hh`, `+hhmm`, `+hh:mm` or a name; 0 for none and for what no zone can be."""
    if not text:
        return 0
    if text[0] not in "+-":
        return int(ZONES[text.upper()] * HOUR_US)
    minutes = int(text[1:3]) * 60 + (int(text[-2:]) if len(text) > 3 else 0)
    return (-1 if text[0] == "-" else 1) * minutes * 60_000_000 if minutes <= 18 * 60 else 0


def moment(year: int, month: int, day: int, clock: str, zone: str | None = None) -> int | None:
    start, rest = day_us(year, month, day), clock_us(clock)
    if start is None or rest is None:
        return None
    return start + rest - zone_us(zone) if zone else Local(start + rest)


def of_date(at: re.Match[str]) -> int | None:
    """The moment a match of DATE names."""
    return moment(int(at[1]), int(at[2]), int(at[3]), at[4], at[5])


def yearless(month: int, day: int, clock: str, received_us: int, zone: str | None = None) -> int | None:
    """The latest such moment not more than a day after the line was received: December read in January is last year's."""
    year = _year(received_us // DAY_US)
    for candidate in range(year + 1, year - 9, -1):  # a 29 February may be 8 years back
        found = moment(candidate, month, day, clock, zone)
        if found is not None and found <= received_us + DAY_US:
            return found
    return None


def dateless(clock: str, received_us: int) -> int | None:
    """A time of day, on the day of reception; on the day before when it would lie more than half a day ahead."""
    of_day = clock_us(clock)
    if of_day is None:
        return None
    found = received_us - received_us % DAY_US + of_day
    return Local(found if found <= received_us + DAY_US // 2 else found - DAY_US)


def of_number(number: float) -> int | None:
    """Seconds, millis, micros or nanos since the epoch, told apart by size."""
    for limit, factor in ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0), (1e20, 1e-3)):
        if 0 < number < limit:
            return int(number * factor)
    return None


@lru_cache(maxsize=64)
def _year(day_number: int) -> int:
    return date.fromordinal(min(max(day_number + 719_163, 1), 3_652_059)).year
