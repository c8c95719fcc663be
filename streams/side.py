"""The way of records that change no session: labels and requests. Decoded, forwarded where misplaced, dead letters where unreadable.

Knows the same order as lane.py: published before acked.
Next: streams/agents/labels.py, streams/agents/requests.py
"""

from collections.abc import Awaitable, Callable, Sequence

from schemas.events import Event
from streams.batching import Batch
from streams.emit import Emitter
from streams.failures import Failure
from streams.publisher import Outgoing, Publisher
from streams.reading import Decoded, Reader
from streams.session import Read


class Side:
    """The data path of one topic beside the streams."""

    def __init__(self, topic: str, reader: Reader, emitter: Emitter, publisher: Publisher):
        self._topic = topic
        self._reader = reader
        self._emitter = emitter
        self._publisher = publisher

    def decode(self, batch: Batch) -> Decoded:
        """A batch's records."""
        return self._reader.read_all(batch)

    async def advance(self, step: Sequence[tuple[Batch, Decoded]], handle: Callable[[Read], Awaitable[list[Outgoing]]]) -> None:
        """Handle each record, publish what comes of it, ack."""
        outgoing: list[Outgoing] = []
        for _, decoded in step:
            outgoing += [self._emitter.raw(self._topic, f.partition, f.key, f.value, f.headers) for f in decoded.forwards]
            for failure, partition, record in decoded.failures:
                outgoing += self._emitter.refused(failure, partition, tuple(record.headers or ()), "")
            for read in decoded.reads:
                outgoing += await handle(read)
        await self._publisher.publish(outgoing)
        for batch, _ in step:
            batch.ack()

    def partition_of(self, read: Read) -> int:
        """Where the record's session lives."""
        return self._reader.partition_of(read.session_id)

    def records(self, events: Sequence[Event], read: Read) -> list[Outgoing]:
        """Events as records on the session's partition."""
        return self._emitter.records(events, self.partition_of(read), read.trace)

    def failed(self, read: Read, problem: Exception) -> list[Outgoing]:
        """A readable record that cannot be served."""
        moment = read.place.timestamp_ms * 1000
        failure = Failure(
            problem, read.place, read.session_id, self._topic, moment, "dead_letter", True, "accept", key=read.key, value=read.value
        )
        return self._emitter.refused(failure, self.partition_of(read), read.headers, "")
