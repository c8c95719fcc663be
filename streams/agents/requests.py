"""Topic requests -> predictions: what can be said of a session now.

A request lies on the partition of its session, so this worker holds the session, whatever its modality. The answers are partial predictions
that name the request; the session is not changed. Their ids and place are the request's: repeated after a crash, when the session has gone
on, they are still the same rows. Next: streams/lane.py (`answer`)
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from schemas.errors import RecordError, StrataError
from schemas.events import Event, PredictionMade, RequestEvent, event_id, trace_id_of
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


def of_request(event: Event, read: Read) -> Event:
    """An answer under the ids and the place of its request."""
    assert isinstance(event, PredictionMade)
    place = read.place
    identity = ("request", place.topic, place.partition, place.offset, event.modality, event.task)
    return msgspec.structs.replace(
        event,
        event_id=event_id("predictions", *identity),
        prediction_id=event_id(*identity),
        trace_id=read.trace.trace_id if read.trace else trace_id_of(place.topic, place.partition, place.offset),
        kafka_topic=place.topic,
        kafka_partition=place.partition,
        kafka_offset=place.offset,
    )


async def answer_all(side: Side, lanes: Mapping[str, Lane], read: Read) -> list[Outgoing]:
    """The answers of all modalities to one request; a failure where there is none."""
    partition, outgoing = side.partition_of(read), list[Outgoing]()
    for lane in lanes.values():
        try:
            events = await lane.answer(read.session_id, partition, read.contents.name, read.contents.text or None)
        except StrataError:
            raise
        except Exception as problem:  # what this session makes the model run into: the requests after it have theirs
            return side.failed(read, problem)
        outgoing += side.records([of_request(event, read) for event in events], read)
    if not outgoing:
        unknown = UnknownSessionError(
            f"session {read.session_id!r} has nothing to say on {read.contents.text or 'any task'}; send its records first"
        )
        outgoing = side.failed(read, unknown)
    return outgoing


def register(app: App, topic: str, side: Side, lanes: Mapping[str, Lane]) -> None:
    """Let `app` run the agent; `lanes` are those of all modalities."""

    @batch_agent(app, topic)
    async def requests(stream: Any) -> None:
        """Each request -> answers of its session -> published, acked."""
        async for step in decode_ahead(gather(stream), side.decode):
            await side.advance(step, lambda read: answer_all(side, lanes, read))
