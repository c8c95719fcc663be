"""Topic requests -> predictions: what can be said of a session now.

A request lies on the partition of its session, so this worker holds the session, whatever its modality. The answers are partial predictions
that name the request; the session is not changed. Next: streams/lane.py (`answer`)
"""

from collections.abc import Mapping
from typing import Any

from schemas.errors import RecordError
from schemas.events import RequestEvent
from streams.delivery import App, batch_agent, decode_ahead, gather
from streams.lane import Lane
from streams.publisher import Outgoing
from streams.session import Contents, Read
from streams.side import Side


class UnknownSessionError(RecordError):
    """A request for a session of which nothing was read."""


def contents(event: RequestEvent, received_us: int) -> Contents:
    """What is asked: the task in `text`, the request's id in `name`."""
    return Contents(shown=event.request_id, text=event.task or "", timestamp_us=event.timestamp, metadata={}, name=event.request_id)


def register(app: App, topic: str, side: Side, lanes: Mapping[str, Lane]) -> None:
    """Let `app` run the agent; `lanes` are those of all modalities."""

    async def answer(read: Read) -> list[Outgoing]:
        partition, outgoing = side.partition_of(read), list[Outgoing]()
        for lane in lanes.values():
            events = await lane.answer(read.session_id, partition, read.contents.name, read.contents.text or None)
            outgoing += side.records(events, read)
        if not outgoing:
            problem = UnknownSessionError(
                f"session {read.session_id!r} has nothing to say on {read.contents.text or 'any task'}; send its records first"
            )
            outgoing = side.failed(read, problem)
        return outgoing

    @batch_agent(app, topic)
    async def requests(stream: Any) -> None:
        """Each request -> answers of its session -> published, acked."""
        async for step in decode_ahead(gather(stream), side.decode):
            await side.advance(step, answer)
