"""Topic labels: truths that arrive later. Their rows are the writer's; here they are checked and brought to their session's partition.

An unreadable label goes to the dead letters with a failure, a wrongly keyed one is sent on; sinks/ reads the topic itself.
Next: sinks/consumer.py
"""

from typing import Any

from schemas.events import LabelEvent
from streams.delivery import App, batch_agent, decode_ahead, gather
from streams.publisher import Outgoing
from streams.session import Contents, Read
from streams.side import Side


def contents(event: LabelEvent, received_us: int) -> Contents:
    """A label has nothing for a model."""
    return Contents(shown=event.task, text="", timestamp_us=event.timestamp, metadata={})


def register(app: App, topic: str, side: Side) -> None:
    """Let `app` run the agent."""

    async def nothing(read: Read) -> list[Outgoing]:
        return []

    @batch_agent(app, topic)
    async def labels(stream: Any) -> None:
        """Each label -> checked, forwarded where it is misplaced, acked."""
        async for step in decode_ahead(gather(stream), side.decode):
            await side.advance(step, nothing)
