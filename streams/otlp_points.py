"""A point of an OTLP request as the record that its session's worker reads: quantiles estimated, accumulation in a header.

Knows what the copy carries; leaves the request to schemas/otlp_metrics.py and what was counted before to models/metric_points.py.
Next: streams/reading.py
"""

import msgspec

from models.metric_points import quantile
from models.steps import Accumulated
from schemas import accumulation
from schemas.errors import FieldError
from schemas.events import Micros
from schemas.otlp_metrics import OtlpPoint
from schemas.trace import Header

SHOWN_NAMES = 5


class NoRecordedValueError(FieldError):
    """Points whose flags say that there is no value."""


def finished(point: OtlpPoint, received_ms: int) -> tuple[OtlpPoint, list[Header]]:
    """The point with its value and time, and the headers that its copy gets."""
    how, value = point.accumulation, point.value
    if how is not None and how.quantile is not None:
        value = quantile(how.edges, how.counts, how.quantile) or 0.0
        how = how if how.temporality == "cumulative" else None  # of this point alone: nothing is left to subtract
    moment = point.timestamp if point.timestamp is not None else Micros(received_ms * 1000)
    return msgspec.structs.replace(point, value=value, timestamp=moment), [accumulation.write(how)] if how else []


def accumulated(headers: tuple[Header, ...]) -> Accumulated | None:
    """What a copy's header says, in the model's terms."""
    found = accumulation.read(headers)
    return Accumulated(found.temporality, found.start_us, found.quantile, found.edges, found.counts) if found else None


def skipped(names: list[str]) -> NoRecordedValueError:
    """Why points of a request are not among its records."""
    kinds = list(dict.fromkeys(names))
    shown = ", ".join(kinds[:SHOWN_NAMES]) + (f" and {len(kinds) - SHOWN_NAMES} more" if len(kinds) > SHOWN_NAMES else "")
    return NoRecordedValueError(
        f"{len(names)} points have the flag `no recorded value` ({shown}); skipped them: their source is gone or was not read, no number is lost"
    )
