"""Raw records of a poll -> records of sessions, forwards and failures.

Knows encodings by schemas.codec, keys and partitions; leaves state to session.py. Nothing here waits or changes anything.
Next: streams/session.py
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from aiokafka.partitioner import murmur2

from schemas import accumulation, otlp_logs, trace
from schemas import origin as origins
from schemas.codec import OTLP_CONTENT_TYPE, Codec, encoder
from schemas.errors import CodecError, FieldError, MissingSessionError, RecordTooLargeError, StrataError
from schemas.origin import Origin
from schemas.otlp import split
from schemas.otlp_metrics import OtlpPoint, Skipped
from schemas.trace import Header
from streams import otlp_points
from streams.batching import Batch, Record
from streams.failures import Failure
from streams.session import Contents, Place, Read

MAX_SESSION_ID = 1024
"""Characters; a longer one is no id but a mistake."""
MAX_SPLIT_BYTES = 64 << 20
"""Of the records of one OTLP request together: each repeats its resource's attributes, so a small request can hold a large multiple of itself."""


@dataclass(frozen=True, slots=True)
class Forward:
    """A record to send on to the partition of its session, in the same topic."""

    partition: int
    key: bytes
    value: bytes
    headers: list[Header]
    at_ms: int = 0
    """Kafka's time of the record it was, or was part of."""


@dataclass(slots=True)
class Decoded:
    """What the records of one batch are."""

    polled_ns: int
    """Wall clock, nanoseconds."""
    decoded_ns: int = 0
    reads: list[Read] = field(default_factory=list)
    forwards: list[Forward] = field(default_factory=list)
    failures: list[tuple[Failure, int, Record]] = field(default_factory=list)
    """With the partition the record lies on."""
    notices: list[tuple[Failure, int]] = field(default_factory=list)
    """What was odd about a record that was accepted all the same, with its partition."""


class Reader:
    """Decodes the records of one input topic."""

    def __init__(self, name: str, codec: Codec, contents: Callable[[Any, int], Contents], n_partitions: int, max_record_bytes: int):
        """`contents(record, received_us)` puts a record of this topic in the terms all modalities share."""
        self._name = name
        self._codec = codec
        self._contents = contents
        self._n_partitions = n_partitions
        self._max_record_bytes = max_record_bytes
        self._partitions: dict[str, int] = {}
        self._known: dict[str, tuple[int, bytes]] = {}
        """Session ids that were found valid -> partition and key."""
        self._encode = encoder(name)

    def read_all(self, batch: Batch) -> Decoded:
        """All records of a batch, in their order."""
        waited_s = time.monotonic() - batch.received_s
        decoded = Decoded(polled_ns=time.time_ns() - int(waited_s * 1e9))
        for record in batch.records:
            try:
                self._read(batch, record, decoded)
            except Exception as problem:  # whatever a record makes us run into: it must not stop the records after it
                if isinstance(problem, StrataError) and problem.retriable:
                    raise
                decoded.failures.append((self._failure(batch, record, problem), batch.partition, record))
        decoded.decoded_ns = time.time_ns()
        return decoded

    def _read(self, batch: Batch, record: Record, decoded: Decoded) -> None:
        value = record.value
        headers: tuple[Header, ...] = tuple(record.headers) if record.headers else ()
        size = len(value or b"") + len(record.key or b"") + sum(len(h[0]) + len(h[1] or b"") for h in headers)
        if size > self._max_record_bytes:
            raise RecordTooLargeError(f"{size} bytes, at most {self._max_record_bytes}; send it in pieces or raise STRATA_MAX_RECORD_BYTES")
        if headers and ("content-type", OTLP_CONTENT_TYPE) in headers and self._name in ("logs", "metrics"):
            self._split(batch, record, headers, decoded)
            return
        event: Any = self._codec.decode(self._name, value)
        session_id, key = event.session_id, record.key
        known = self._known.get(session_id)
        if known is None:
            session_id = _session_id(session_id, key)
            known = self._known[session_id] = (self.partition_of(session_id), session_id.encode())
        home, home_key = known
        if home != batch.partition or key != home_key:
            home_of = Origin(batch.partition, record.offset, record.timestamp)
            own = [h for h in headers if h[0] != origins.NAME]
            decoded.forwards.append(
                Forward(home, home_key, value or b"", [*own, origins.write(origins.read(headers) or home_of)], record.timestamp)
            )
            return
        source = origins.read(headers) if headers else None
        place = _place(batch, record, source)
        context = trace.read(headers) if headers else None
        contents = self._contents(event, place.timestamp_ms * 1000)
        if headers and self._name == "metrics" and (how := otlp_points.accumulated(headers)):
            contents = msgspec.structs.replace(contents, accumulated=how)
        decoded.reads.append(Read(session_id, place, record.offset, contents, source, context, key, value or b"", headers))

    def _split(self, batch: Batch, record: Record, headers: tuple[Header, ...], decoded: Decoded) -> None:
        """An OTLP request as single records, each to its session's partition. Raises RecordTooLargeError when they grow beyond bounds."""
        kept = [h for h in headers if h[0] not in ("content-type", origins.NAME, accumulation.NAME)]
        each = sum(len(name) + len(value or b"") for name, value in kept) + 100
        forwards, skipped, size = list[Forward](), list[Skipped](), 0
        for index, event in enumerate[Any](split(self._name, record.value or b"")):
            if isinstance(event, Skipped):
                skipped.append(event)
                continue
            more, own = list[Header](), kept
            if isinstance(event, OtlpPoint):
                event, more = otlp_points.finished(event, record.timestamp)
            elif traced := otlp_logs.headers_of(event.metadata):
                own = [*(h for h in kept if h[0] not in ("traceparent", "tracestate")), *traced]
            value = self._encode(event)
            size += len(value) + each + sum(len(text or b"") for _, text in more)
            if size > MAX_SPLIT_BYTES or index == origins.STEP:
                raise RecordTooLargeError(
                    f"an OTLP request of {len(record.value or b'')} bytes becomes {index + 1} records or more of {MAX_SPLIT_BYTES} bytes; "
                    "send smaller batches, or fewer attributes with each resource"
                )
            origin = origins.write(Origin(batch.partition, record.offset, record.timestamp, index))
            forwards.append(
                Forward(self.partition_of(event.session_id), event.session_id.encode(), value, [*own, origin, *more], record.timestamp)
            )
        decoded.forwards += forwards
        if skipped:
            reason = otlp_points.skipped([s.name for s in skipped])
            failure = replace(self._failure(batch, record, reason), action="accept", session_id=skipped[0].session_id)
            decoded.notices.append((failure, batch.partition))

    def partition_of(self, session_id: str) -> int:
        """Where Kafka's default partitioner puts the session."""
        found = self._partitions.get(session_id)
        if found is None:
            if len(self._partitions) > 100_000:  # a bound, not a policy: it is cheap to fill again
                self._partitions.clear()
                self._known.clear()
            found = self._partitions[session_id] = (murmur2(session_id.encode()) & 0x7FFFFFFF) % self._n_partitions
        return found

    def _failure(self, batch: Batch, record: Record, problem: Exception) -> Failure:
        place = _place(batch, record, origins.read(record.headers))
        session_id = (record.key or b"").decode("utf-8", "replace")[:MAX_SESSION_ID]
        stage = "decode" if isinstance(problem, CodecError) else "accept"
        return Failure(
            problem,
            place,
            session_id,
            self._name,
            place.timestamp_ms * 1000,
            "dead_letter",
            True,
            stage,
            key=record.key,
            value=record.value or b"",
            with_stack=not isinstance(problem, StrataError),
        )


def _place(batch: Batch, record: Record, source: Origin | None) -> Place:
    """Where the producer put the record: a copy sent twice is one record, what becomes of it has the same ids."""
    if source is None:
        return Place(batch.topic, batch.partition, record.offset, record.timestamp)
    return Place(batch.topic, source.partition, source.offset, source.timestamp_ms, source.index)


def _session_id(named: str, key: bytes | None) -> str:
    """The record's own session id, else its key."""
    if not named:
        try:
            named = (key or b"").decode()
        except UnicodeDecodeError as problem:
            raise MissingSessionError("no session_id, and the key is not UTF-8; set either to the session's name") from problem
    if not named:
        raise MissingSessionError("no session_id and no key; set either to the session's name")
    if len(named) > MAX_SESSION_ID or "\0" in named:
        raise FieldError(f"session_id of {len(named)} characters; wanted at most {MAX_SESSION_ID}, without NUL")
    return named
