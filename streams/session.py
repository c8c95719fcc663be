"""Session state: what one session has said so far, and how one record changes it.

Knows positions, offsets and event time; leaves bytes to tables.py and tensors to models. `accept` is pure: state and record in,
state, item and notices out, so a replay decides the same.
Next: streams/inference.py
"""

import msgspec

from models.steps import Accumulated, Item
from schemas.errors import FieldError, RecordError
from schemas.origin import Origin
from schemas.trace import Header, TraceContext
from streams.config import StreamConfig
from streams.sampling import is_sampled

MAX_TENANT_CHARS = 64
UNNUMBERED = -1
"""Next position of a session whose row is lost: how many records it had is not known."""


class PositionError(RecordError):
    """A record whose explicit position was already read: repeated, or late after a gap."""


class SkippedPositionError(RecordError):
    """A record whose explicit position leaves a gap."""


class TimestampError(FieldError):
    """An event time that cannot be meant."""


class EmptyTextError(FieldError):
    """A record without text."""


class ControlCharacterError(FieldError):
    """A text with NUL in it."""


class OpenAnswer(msgspec.Struct, frozen=True, array_like=True):
    """An answer given in part: its span begins at `start`, `revision` is the next number."""

    start: int
    revision: int
    named: int = -1
    """Of a whole session: its end when the answer was first given, which names all its revisions."""


class SessionState(msgspec.Struct, frozen=True):
    """One row of a session table. Only what cannot be computed again."""

    next_position: int = 0
    applied: int = -1
    """Offset of the last record applied; what comes at or below it is a replay."""
    origins: dict[int, int] = {}
    """Source partition of forwarded records -> the last one applied (schemas/origin.py)."""
    last_us: int = 0
    """Event time of the last item, microseconds."""
    arrived_ms: int = 0
    """Kafka's time of the last record, milliseconds: what idleness counts from."""
    label_due_us: int = 0
    document_due_us: int = 0
    is_open: bool = False
    """Items were read since the session was last closed."""
    answers: dict[str, OpenAnswer] = {}
    """Task -> its answer in part."""
    source_partition: int = -1
    """Partition and offset of the last record, for events that no record causes."""
    source_offset: int = -1
    tenant: str = ""
    """Whose session it is, as its first line says; empty for nobody's in particular."""
    version: str = ""
    """The learned version that judged its last line; empty for the shipped one."""


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a record lies in Kafka, and when it got there; of a forwarded record, where its producer had put it."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    """Kafka's time."""
    index: int = 0
    """Number of the item within the record, for an OTLP request that held several."""


class Accepted(msgspec.Struct, frozen=True):
    """A record that changes its session."""

    item: Item
    text: str
    """What input_stream shows."""
    metadata: dict[str, str]
    notices: tuple[RecordError, ...] = ()
    """What was odd about it, though it was accepted."""
    wants_performance: bool = False


class Contents(msgspec.Struct, frozen=True, gc=False):
    """What a record says, in the terms all modalities share; made by each topic's agent."""

    shown: str
    """What input_stream shows: the piece, the raw line, the utterance, the value."""
    text: str
    """What the model reads."""
    timestamp_us: int | None
    metadata: dict[str, str]
    speaker: str = ""
    name: str = ""
    value: float = 0.0
    accumulated: Accumulated | None = None
    """metrics: what the value was counted over."""
    position: int | None = None
    ends_session: bool = False


class Read(msgspec.Struct, frozen=True, gc=False):
    """A record that could be read and lies on its session's partition."""

    session_id: str
    place: Place
    offset: int
    """Where this copy lies; `place.offset` unless it was forwarded."""
    contents: Contents
    origin: Origin | None = None
    trace: TraceContext | None = None
    key: bytes | None = None
    value: bytes = b""
    headers: tuple[Header, ...] = ()


def is_replay(state: SessionState, read: Read) -> bool:
    """Whether the session's state holds this record already."""
    origin = read.origin
    return read.offset <= state.applied or (origin is not None and origin.sequence <= state.origins.get(origin.partition, -1))


def accept(state: SessionState, read: Read, config: StreamConfig) -> tuple[SessionState, Accepted]:
    """Number and time one record. Raises PositionError when its position was read before: it is not applied."""
    place, contents, session_id = read.place, read.contents, read.session_id
    notices: list[RecordError] = []
    # 1. position
    given, position = contents.position, state.next_position
    if position == UNNUMBERED:  # beyond all that it can have had, if they were numbered here: one used again names events that are there
        position = read.offset if given is None else given
    if given is not None and given != position:
        if given < position:
            raise PositionError(f"position {given} was read before, expected {position}; send each position once, in order, or null")
        notices.append(
            SkippedPositionError(f"position {given}, expected {position}: items {position} to {given - 1} are missing; went on at {given}")
        )
        position = given
    # 2. event time
    moment, problem = _event_time(contents.timestamp_us, place, config)
    if problem:
        notices.append(problem)
    # 3. what is due, by event time alone: a replay and any split of the stream agree on it
    first = state.next_position in (0, UNNUMBERED)
    label_due = first or _is_due(moment, state.label_due_us, config.prediction.update_frequency_ms * 1000) or contents.ends_session
    document_due = not first and _is_due(moment, state.document_due_us, int(config.hierarchical_update.document_period_s * 1e6))
    performance_due = position % config.prediction.performance_every_items == 0
    if not contents.shown:
        notices.append(EmptyTextError("the text is empty; accepted as an item of no tokens"))
    elif "\0" in contents.shown:
        notices.append(ControlCharacterError("the text holds NUL; accepted unchanged"))
    item = Item(
        position=position,
        text=contents.text,
        timestamp_us=moment,
        speaker=contents.speaker,
        name=contents.name,
        value=contents.value,
        accumulated=contents.accumulated,
        wants_label=label_due and config.prediction.emit_partial and config.prediction.mode == "continuous",
        wants_state=is_sampled(config.sampling.model_state, session_id, position),
        wants_document=document_due,
        ends_session=contents.ends_session,
    )
    prediction = config.prediction
    new = SessionState(
        next_position=position + 1,
        applied=read.offset,
        origins=state.origins if read.origin is None else {**state.origins, read.origin.partition: read.origin.sequence},
        last_us=moment,
        arrived_ms=place.timestamp_ms,
        label_due_us=moment + prediction.update_frequency_ms * 1000 if label_due else state.label_due_us,
        document_due_us=moment + int(config.hierarchical_update.document_period_s * 1e6)
        if document_due or first
        else state.document_due_us,
        is_open=not contents.ends_session,
        answers=state.answers,
        source_partition=place.partition,
        source_offset=place.offset,
        tenant=_tenant(contents.metadata.get("tenant", "")) if first else state.tenant,
        version=state.version,
    )
    return new, Accepted(item, contents.shown, contents.metadata, tuple(notices) if notices else (), performance_due)


def is_idle(state: SessionState, now_ms: float, idle_s: float) -> bool:
    """Whether an open session has been silent for `idle_s` by the wall clock."""
    return state.is_open and now_ms - state.arrived_ms > idle_s * 1000


def _tenant(name: str) -> str:
    """As it can be a key: no NUL, nothing that UTF-8 cannot write."""
    return name[:MAX_TENANT_CHARS].replace("\0", " ").encode("utf-8", "replace").decode()


def _is_due(moment: int, due_us: int, period_us: int) -> bool:
    """Whether event time has come to what is due; or has gone back behind it, after a record from the future."""
    return moment >= due_us or moment < due_us - 2 * period_us


def _event_time(moment: int | None, place: Place, config: StreamConfig) -> tuple[int, TimestampError | None]:
    """The record's time, or Kafka's where it has none or none that can be meant."""
    kafka_us = place.timestamp_ms * 1000
    if moment is None:
        return kafka_us, None
    moment = int(moment)
    if moment < 0:
        return kafka_us, TimestampError(f"timestamp {moment / 1e6} s is before 1970; used Kafka's time")
    if moment - kafka_us > config.max_future_s * 1e6:
        ahead = (moment - kafka_us) / 1e6
        return kafka_us, TimestampError(
            f"timestamp is {ahead:.0f} s ahead of Kafka's, at most {config.max_future_s:.0f}; used Kafka's time"
        )
    return moment, None


def named(metadata: dict[str, str], **fields: str | None) -> dict[str, str]:
    """The producer's metadata with the record's further fields, where it has them."""
    for name, value in fields.items():
        if value is not None:
            metadata = {**metadata, name: value}
    return metadata
