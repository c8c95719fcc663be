"""Buckets of OTLP histograms, explicit and exponential, as one kind: ascending finite edges and a count between each two.

Knows the data model's bucket rules; leaves what is estimated from buckets to models/metric_points.py.
Source: OpenTelemetry specification, metrics data model (Histogram, ExponentialHistogram).
"""

import math
from typing import Any

from schemas.accumulation import MAX_BUCKETS

LARGEST = 1e300
MOST_GIVEN = 4096
"""Buckets of one point that are read at all; no instrument has so many."""
Buckets = tuple[tuple[float, ...], tuple[float, ...]]
"""Edges and counts; ((), ()) where a histogram tells none."""


def explicit(point: Any) -> Buckets:
    """A HistogramDataPoint's. The outermost, which have no edge, end at the least and greatest value seen where the point tells them."""
    if len(point.explicit_bounds) > MOST_GIVEN:
        return (), ()
    bounds, counts = [_finite(b) for b in point.explicit_bounds], [float(c) for c in point.bucket_counts]
    if not bounds or len(counts) != len(bounds) + 1 or any(math.isnan(b) for b in bounds) or bounds != sorted(bounds):
        return (), ()
    least = point.min if point.HasField("min") else 0.0 if bounds[0] > 0.0 else bounds[0]
    greatest = point.max if point.HasField("max") else bounds[-1]
    edges = (_edge(least, bounds[0], min), *bounds, _edge(greatest, bounds[-1], max))
    return _coarser(edges, tuple(counts))


def exponential(point: Any) -> Buckets:
    """An ExponentialHistogramDataPoint's: bucket i of scale s lies between 2 ** (i / 2**s) and the next; zeros have one of their own."""
    if len(point.positive.bucket_counts) + len(point.negative.bucket_counts) > MOST_GIVEN:
        return (), ()
    step = 2.0 ** -min(max(point.scale, -10), 20)
    parts: list[tuple[float, float, float]] = []  # low, high, count
    negative, positive, zero = point.negative, point.positive, abs(_finite(point.zero_threshold))
    for place in range(len(negative.bucket_counts) - 1, -1, -1):
        index = negative.offset + place
        parts.append((-_power((index + 1) * step), -_power(index * step), float(negative.bucket_counts[place])))
    if point.zero_count:
        parts.append((-zero if parts else 0.0, zero, float(point.zero_count)))
    for place, count in enumerate(positive.bucket_counts):
        index = positive.offset + place
        parts.append((_power(index * step), _power((index + 1) * step), float(count)))
    while parts and not parts[0][2]:
        parts.pop(0)
    while parts and not parts[-1][2]:
        parts.pop()
    if not parts:
        return (), ()
    edges, counts = [parts[0][0]], list[float]()
    for low, high, count in parts:
        if low > edges[-1]:
            edges.append(low)
            counts.append(0.0)
        edges.append(max(high, edges[-1]))
        counts.append(count)
    return _coarser(tuple(edges), tuple(counts))


def _coarser(edges: tuple[float, ...], counts: tuple[float, ...]) -> Buckets:
    """Neighbours made one until there are no more than MAX_BUCKETS."""
    while len(counts) > MAX_BUCKETS:
        edges = (*edges[: len(counts) : 2], edges[-1])
        counts = tuple(counts[n] + (counts[n + 1] if n + 1 < len(counts) else 0.0) for n in range(0, len(counts), 2))
    return edges, counts


def _edge(seen: float, bound: float, outermost: Any) -> float:
    return float(bound if math.isnan(seen) else outermost(_finite(seen), bound))


def _power(exponent: float) -> float:
    return float(2.0 ** min(max(exponent, -990.0), 990.0))


def _finite(value: float) -> float:
    return value if math.isnan(value) else min(max(value, -LARGEST), LARGEST)
