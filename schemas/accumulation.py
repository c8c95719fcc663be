"""How a metric's point was accumulated, in a header of the copy that a request of many points becomes.

A counter's rate and what a histogram saw lately are told only by the point before, which the session's worker knows; the request comes to any
worker. The copy is an ordinary record of `metrics`; this header says what its value counts. Only OTLP points have it.
Next: models/metric_points.py
"""

from collections.abc import Iterable

import msgspec

from schemas.trace import Header

NAME = "strata-accumulation"
MAX_BUCKETS = 160
"""As many as an exponential histogram has by default; the session's row holds them."""
LATEST_US = 2**63 - 1


class Accumulation(msgspec.Struct, frozen=True, array_like=True):
    """What a point's value was counted over."""

    temporality: str
    """delta: since `start_us`, of this point alone; cumulative: since `start_us`, of all points."""
    start_us: int = 0
    """When counting began, microseconds; 0 where the producer does not say."""
    quantile: float | None = None
    """The value is this quantile of the buckets."""
    edges: tuple[float, ...] = ()
    """Of the buckets, ascending, one more than `counts`."""
    counts: tuple[float, ...] = ()
    """Observations in each bucket; with no edges, of all: the value is their mean."""


_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Accumulation).decode


def write(accumulation: Accumulation) -> Header:
    """The header of the copy."""
    return NAME, _encode(accumulation)


def read(headers: Iterable[Header]) -> Accumulation | None:
    """None where there is none, or what cannot be ours."""
    for name, value in headers:
        if name == NAME:
            try:
                found = _decode(value or b"")
            except (msgspec.DecodeError, ValueError):
                return None
            return found if is_possible(found) else None
    return None


def is_possible(one: Accumulation) -> bool:
    """Whether its numbers are of a counter or of buckets."""
    if one.temporality not in ("delta", "cumulative") or not 0 <= one.start_us <= LATEST_US or len(one.counts) > MAX_BUCKETS:
        return False
    if any(not 0.0 <= count < 2.0**64 for count in one.counts):  # NaN too
        return False
    if one.quantile is None:
        return not one.edges and len(one.counts) <= 1
    ascending = all(low <= high for low, high in zip(one.edges, one.edges[1:], strict=False))  # no NaN among them, if there are two
    return (
        0.0 <= one.quantile <= 1.0 and len(one.edges) == len(one.counts) + 1 >= 2 and ascending and all(abs(e) < 1e301 for e in one.edges)
    )
