"""Topic chat -> input-stream, boundaries, predictions, model-state, performance, failures.

The data path of conversations. An utterance is one item; who speaks goes to the model beside what is said.
Next: streams/reading.py (bytes -> records), then streams/lane.py
"""

from typing import Any

from schemas.events import ChatEvent
from streams.delivery import App, batch_agent, decode_ahead, gather
from streams.idle import IDLE_TICK_S
from streams.lane import Lane
from streams.session import Contents, named


def contents(event: ChatEvent, received_us: int) -> Contents:
    """An utterance; its role, where known, tells the model more than the speaker's name."""
    return Contents(
        shown=event.text,
        text=event.text,
        timestamp_us=event.timestamp,
        metadata=named(event.metadata, speaker=event.speaker, role=event.role),
        speaker=event.role or event.speaker,
        ends_session=event.end_of_session,
    )


def register(app: App, topic: str, lane: Lane) -> None:
    """Let `app` run the agent."""

    @batch_agent(app, topic)
    async def chat(stream: Any) -> None:
        """All new records of all partitions -> one model step -> published, stored, acked."""
        async for step in decode_ahead(gather(stream, idle_s=IDLE_TICK_S, waited_s=lane.waited_s), lane.decode):
            await lane.advance(step)
