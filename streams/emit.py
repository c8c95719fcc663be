"""Events -> bytes on topics: encoding, headers, partition.

Knows which topic an event goes to and what its headers say; leaves deciding to pipeline.py and sending to publisher.py.
Next: streams/publisher.py, then the topic of the event, then sinks/consumer.py
"""

from collections.abc import Iterable

from schemas.codec import CONTENT_TYPES, encoder, schema_text
from schemas.events import BoundaryFound, Event, InputRead, PerformanceMeasured, PredictionMade, StateSampled, StepFailed
from schemas.registry import Registry
from schemas.topics import MAX_MESSAGE_BYTES
from schemas.trace import Header, TraceContext, write
from streams.failures import Failure, dead_letter_headers, to_event
from streams.publisher import Outgoing

TOPICS: dict[type[Event], tuple[str, str]] = {
    InputRead: ("input_stream", "input-stream"),
    PredictionMade: ("predictions", "predictions"),
    BoundaryFound: ("boundaries", "boundaries"),
    StateSampled: ("model_state", "model-state"),
    PerformanceMeasured: ("performance", "performance"),
    StepFailed: ("failures", "failures"),
}
"""Event -> (schema, topic)."""
CUT = "strata-cut-from-bytes"
"""Header of a dead letter that no topic could hold: how large its record was."""


class Emitter:
    """Turns events into records to send; one per worker."""

    def __init__(self, prefix: str, encoding: str, registry: Registry | None = None):
        """Registers the output schemas when a registry is given. Raises RegistryUnreachableError."""
        self._routes = {}
        for kind, (name, topic) in TOPICS.items():
            schema_id = registry.register(prefix + topic, schema_text(name)) if registry and encoding == "avro" else None
            self._routes[kind] = (prefix + topic, encoder(name, "confluent" if schema_id is not None else encoding, schema_id))
        self._content_type: Header = ("content-type", CONTENT_TYPES[encoding])
        self._prefix = prefix

    def records(self, events: Iterable[Event], partition: int, trace: TraceContext | None = None) -> list[Outgoing]:
        """One record per event, on the partition of their session."""
        parents = write(trace) if trace else []
        outgoing = []
        for event in events:
            topic, encode = self._routes[type(event)]
            headers = [self._content_type, ("event-id", event.event_id.encode()), *parents]
            outgoing.append(Outgoing(topic, partition, event.session_id.encode("utf-8", "replace"), encode(event), headers))
        return outgoing

    def refused(self, failure: Failure, partition: int, headers: tuple[Header, ...], model_version: str) -> list[Outgoing]:
        """The failure's row and the dead letter: original key, bytes and headers, with the reason."""
        return [*self.records([to_event(failure, model_version)], partition), self.letter(failure, partition, headers)]

    def letter(self, failure: Failure, partition: int, headers: tuple[Header, ...]) -> Outgoing:
        """The dead letter alone."""
        key, value, own = _cut(failure.key, failure.value, headers)
        return self.raw("dead-letter", partition, key, value, dead_letter_headers(failure, own))

    def raw(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: list[Header]) -> Outgoing:
        """A record whose bytes are ready: a dead letter, a forwarded record, a trace."""
        return Outgoing(self._prefix + topic, partition, key, value, headers)


def _cut(key: bytes | None, value: bytes | None, headers: tuple[Header, ...]) -> tuple[bytes | None, bytes | None, tuple[Header, ...]]:
    """The record as it is; its beginning where only compression made it fit into its topic: refused by the broker, it would stop the worker."""
    beside = len(key or b"") + sum(len(name) + len(text or b"") for name, text in headers)
    size = beside + len(value or b"")
    if size <= MAX_MESSAGE_BYTES:
        return key, value, headers
    if beside > MAX_MESSAGE_BYTES // 2:
        key, headers, beside = key and key[:1024], (), 1024
    return key, value and value[: MAX_MESSAGE_BYTES - beside], (*headers, (CUT, str(size).encode()))
