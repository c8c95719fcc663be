"""Counters and histograms -> the values a detector looks at: rates per second, and what was observed since the point before.

A counter is told by its start: a later start is a reset, an earlier one another source under the same name, and each goes on by itself.
Knows the last point of each counter of a series; leaves the series to models/metric_series.py.
Source of the quantile estimate: Prometheus, histogram_quantile (values spread evenly within a bucket).
Next: models/metric_series.py
"""

from collections.abc import Sequence

import msgspec

from models.steps import Accumulated

MAX_SOURCES = 4
"""Counters of one series that are told apart; a fifth replaces the one that was silent longest."""
FEW_BUCKETS = 32
"""A histogram with more has one source only: its row would be too large."""
LARGEST_RATE = 1e300


class Counter(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last point of one counter."""

    start_us: int
    at_us: int
    value: float
    edges: tuple[float, ...] = ()
    counts: tuple[float, ...] = ()


class Seen(msgspec.Struct, frozen=True, gc=False):
    """What a point shows: a value, or why none."""

    value: float = 0.0
    reason: str = ""


Counters = tuple[Counter, ...]
"""Of one series, the one heard last at the end."""


def look(counters: Counters, accumulated: Accumulated, value: float, at_us: int) -> tuple[Seen, Counters]:
    """What one point of a counter or histogram shows, and the counters after it."""
    if accumulated.temporality == "delta":
        return _delta(counters, accumulated, value, at_us)
    start_us = accumulated.start_us
    known = next((c for c in counters if c.start_us == start_us), None)
    new = Counter(start_us, at_us, value, accumulated.edges, accumulated.counts)
    if known is None:
        later = bool(counters) and start_us >= max(c.at_us for c in counters) and at_us > start_us
        after = (*counters, new)[-(MAX_SOURCES if len(new.counts) <= FEW_BUCKETS else 1) :]
        # begun since any point before: what it shows was all counted since then
        return (_since(Counter(start_us, start_us, 0.0), new, accumulated) if later else Seen(reason="first point of a counter")), after
    if at_us <= known.at_us:
        return Seen(reason="not after the counter's last point"), counters
    after = (*(c for c in counters if c is not known), new)
    if _fell(known, new, accumulated):
        known = Counter(start_us, known.at_us, 0.0)  # begun anew at a time nobody told, after its last point
    return _since(known, new, accumulated), after


def _delta(counters: Counters, accumulated: Accumulated, value: float, at_us: int) -> tuple[Seen, Counters]:
    """Counted since its own start; else, where it does not say, since the series' last point."""
    last = counters[-1].at_us if counters else 0
    start_us = accumulated.start_us or last
    after = (Counter(0, max(at_us, last), 0.0),)
    if not start_us:
        return Seen(reason="first point of a counter"), after
    if at_us <= start_us:
        return Seen(reason="not after the time it was counted from"), after
    return Seen(_rate(value, at_us - start_us)), after


def _since(known: Counter, new: Counter, accumulated: Accumulated) -> Seen:
    """What was counted between two points."""
    if accumulated.quantile is not None:
        counts = difference(new.edges, new.counts, known.edges, known.counts)
        found = quantile(new.edges, counts, accumulated.quantile)
        return Seen(found) if found is not None else Seen(reason="nothing observed since the point before")
    if accumulated.counts:  # a mean: its sum is mean times count
        count, before = new.counts[0], known.counts[0] if known.counts else 0.0
        if count <= before:
            return Seen(reason="nothing observed since the point before")
        mean = (new.value * count - known.value * before) / (count - before)
        return Seen(min(max(mean, -LARGEST_RATE), LARGEST_RATE)) if mean == mean else Seen(reason="sum beyond what a number holds")
    return Seen(_rate(new.value - known.value, new.at_us - known.at_us))


def _fell(known: Counter, new: Counter, accumulated: Accumulated) -> bool:
    if accumulated.quantile is not None or accumulated.counts:
        return sum(new.counts) < sum(known.counts)
    return new.value < known.value


def _rate(value: float, over_us: int) -> float:
    """Per second."""
    return min(max(value / over_us * 1e6 if abs(value) < LARGEST_RATE else value, -LARGEST_RATE), LARGEST_RATE)


def difference(
    edges: Sequence[float], counts: Sequence[float], known_edges: Sequence[float], known_counts: Sequence[float]
) -> tuple[float, ...]:
    """Counts of buckets less those known before, whose edges may be others: exact where every new edge was one, or lies outside."""
    if tuple(edges) == tuple(known_edges):
        return tuple(max(new - old, 0.0) for new, old in zip(counts, known_counts, strict=True))
    below = [_below(edge, known_edges, known_counts) for edge in edges]
    below[0] = 0.0  # what lay lower is not in these buckets
    return tuple(max(count - (high - low), 0.0) for count, low, high in zip(counts, below, below[1:], strict=False))


def _below(edge: float, edges: Sequence[float], counts: Sequence[float]) -> float:
    """How many were observed at or below `edge`."""
    total = 0.0
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        if high <= edge:
            total += count
        elif low < edge:
            total += count * ((edge - low) / (high - low))
    return total


def quantile(edges: Sequence[float], counts: Sequence[float], share: float) -> float | None:
    """Where `share` of the observations lie below; None when there are none."""
    total = sum(counts)
    if not total > 0.0:
        return None
    wanted, below = share * total, 0.0
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        if count and below + count >= wanted:
            return low + (high - low) * (max(wanted - below, 0.0) / count)  # a share first: widths are up to 2e300
        below += count
    return edges[-1]
