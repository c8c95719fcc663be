"""Topic metrics -> input-stream, predictions, performance, failures.

The data path of series. A series is the session, the name and the sorted attributes.
Next: streams/reading.py (bytes -> records), then streams/lane.py
"""

import math
from hashlib import blake2b
from typing import Any

from schemas.errors import FieldError
from schemas.events import MetricEvent
from streams.delivery import App, batch_agent, decode_ahead, gather
from streams.idle import IDLE_TICK_S
from streams.lane import Lane
from streams.session import Contents, named

MAX_SERIES_NAME = 512
"""Characters. A session remembers its series by name, a row each."""


def contents(event: MetricEvent, received_us: int) -> Contents:
    """A point. Raises FieldError for NaN and infinities: no detector can learn from them."""
    if not math.isfinite(event.value):
        raise FieldError(f"metric {event.name}: value {event.value}, wanted a finite number; leave the point out where there is none")
    return Contents(
        shown=repr(event.value),
        text="",
        timestamp_us=event.timestamp,
        metadata=named(event.attributes, name=event.name, unit=event.unit),
        name=series_name(event),
        value=event.value,
        ends_session=event.end_of_session,
    )


def series_name(event: MetricEvent) -> str:
    """Name and sorted attributes; the end of a long one is its hash, so that two series stay two."""
    name = event.name + "".join(f"|{key}={event.attributes[key]}" for key in sorted(event.attributes))
    if len(name) <= MAX_SERIES_NAME:
        return name
    digest = blake2b(name.encode("utf-8", "replace"), digest_size=16).hexdigest()
    return f"{name[: MAX_SERIES_NAME - len(digest) - 1]}#{digest}"


def register(app: App, topic: str, lane: Lane) -> None:
    """Let `app` run the agent."""

    @batch_agent(app, topic)
    async def metrics(stream: Any) -> None:
        """All new records of all partitions -> one model step -> published, stored, acked."""
        async for step in decode_ahead(gather(stream, idle_s=IDLE_TICK_S, waited_s=lane.waited_s), lane.decode):
            await lane.advance(step)
