"""When a point counts as new, and how far apart the points of a series come.

A point older than the newest is late: it is scored and not learned. A clock that was set back is believed once PATIENCE points in a row
were late; of two clocks at odds, whose points alternate, the one ahead is learned. The same value at the same time is a repetition.
Next: models/series_point.py
"""

from models.series_compile import compiled

PATIENCE = 30
FARTHEST_US = 4 * 10**18
"""Times beyond (the year 128,000) are read as this one: differences stay within 64 bits."""
DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000


@compiled
def is_late(s, x, at_us):
    """Whether the point is not to be learned. Changes the row's count of late points."""
    if s.points == 0 or at_us > s.last_us or (at_us == s.last_us and x != s.last):
        s.n_late = 0
        return False
    if at_us < s.last_us:
        s.n_late += 1
        if s.n_late >= PATIENCE:
            s.n_late = 0
            return False
    return True


@compiled
def keep_time(s, at_us):
    """The usual distance between points; a gap counts as at most four of them."""
    if s.points == 0:
        s.first_us = at_us
    else:
        passed = float(min(max(at_us - s.last_us, 0), DAY_US))
        if passed > 0.0:
            if s.step_us > 0.0:
                s.step_us += (min(passed, 4.0 * s.step_us) - s.step_us) * max(1.0 / (s.points + 1.0), 0.05)
            else:
                s.step_us = passed
    s.last_us = at_us
