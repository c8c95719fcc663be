"""Topic tokens -> input-stream, boundaries, predictions, model-state, performance, failures.

The data path of live text. What is special about tokens is `contents`; the way is the same for all modalities, told in streams/lane.py.
Next: streams/reading.py (bytes -> records), then streams/lane.py
"""

from typing import Any

from schemas.errors import FieldError
from schemas.events import TokenEvent
from streams.delivery import App, batch_agent, decode_ahead, gather
from streams.idle import IDLE_TICK_S
from streams.lane import Lane
from streams.session import Contents, named

MAX_POSITION = 2**53 - 1
"""Largest whole number that every JSON reader keeps; positions after it must still fit into 64 bits."""


def contents(event: TokenEvent, received_us: int) -> Contents:
    """A piece of text: the model reads it as it is. Raises FieldError for a position that no session can have reached."""
    if event.position is not None and event.position > MAX_POSITION:
        raise FieldError(f"position {event.position}, wanted at most {MAX_POSITION}; number a session's records from 0, or send null")
    return Contents(
        shown=event.text,
        text=event.text,
        timestamp_us=event.timestamp,
        metadata=named(event.metadata, source=event.source, user_id=event.user_id),
        position=event.position,
        ends_session=event.end_of_session,
    )


def register(app: App, topic: str, lane: Lane) -> None:
    """Let `app` run the agent."""

    @batch_agent(app, topic)
    async def tokens(stream: Any) -> None:
        """All new records of all partitions -> one model step -> published, stored, acked."""
        async for step in decode_ahead(gather(stream, idle_s=IDLE_TICK_S, waited_s=lane.waited_s), lane.decode):
            await lane.advance(step)
