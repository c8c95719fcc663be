"""Records in and out as frozen values, and the ids they can be found by.

Knows fields and computable ids; leaves bytes to codec.py and topic names to topics.py. The .avsc files in schemas/avro say what
each field means; tests/schemas/test_events.py holds both to be the same.
Next: schemas/codec.py
"""

from functools import lru_cache
from hashlib import blake2b

import msgspec

MODALITIES = ("tokens", "logs", "chat", "metrics")
ROLES = frozenset({"user", "assistant", "agent", "system", "customer"})
"""Names of speakers that are roles too, where a chat is given as plain text."""


class Micros(int):
    """A moment as microseconds since the epoch, UTC; in JSON RFC 3339 text or a number of seconds."""


class TokenEvent(msgspec.Struct, frozen=True):
    """A piece of live text."""

    text: str
    session_id: str = ""
    timestamp: Micros | None = None
    position: int | None = None
    source: str | None = None
    user_id: str | None = None
    end_of_session: bool = False
    metadata: dict[str, str] = {}


class LogEvent(msgspec.Struct, frozen=True):
    """One log line."""

    raw: str
    session_id: str = ""
    timestamp: Micros | None = None
    source: str | None = None
    end_of_session: bool = False
    metadata: dict[str, str] = {}


class ChatEvent(msgspec.Struct, frozen=True):
    """One utterance."""

    speaker: str
    text: str
    session_id: str = ""
    timestamp: Micros | None = None
    role: str | None = None
    end_of_session: bool = False
    metadata: dict[str, str] = {}


class MetricEvent(msgspec.Struct, frozen=True):
    """One point of a series."""

    name: str
    value: float
    session_id: str = ""
    timestamp: Micros | None = None
    unit: str | None = None
    end_of_session: bool = False
    attributes: dict[str, str] = {}


class LabelEvent(msgspec.Struct, frozen=True):
    """A truth that arrived later."""

    task: str
    session_id: str = ""
    timestamp: Micros | None = None
    label: str | None = None
    value: float | None = None
    prediction_id: str | None = None
    position: int | None = None
    span_end: int | None = None
    event_timestamp: Micros | None = None


class RequestEvent(msgspec.Struct, frozen=True):
    """Ask for a prediction now."""

    request_id: str
    session_id: str = ""
    timestamp: Micros | None = None
    task: str | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What all outputs share; a row of each table begins with it."""

    event_id: str
    timestamp: Micros
    session_id: str
    modality: str
    model_version: str
    trace_id: str
    kafka_topic: str
    kafka_partition: int
    kafka_offset: int


class InputRead(Event, frozen=True, kw_only=True):
    """An input record as it was read."""

    token_id: int
    token_text: str
    token_position: int
    buffer_size: int
    metadata: dict[str, str] = {}


class StateSampled(Event, frozen=True, kw_only=True):
    """The representation of a span."""

    state_type: str
    span_start: int
    span_end: int
    representation: tuple[float, ...]
    attention_weights: tuple[float, ...] = ()
    cache_size_mb: float = 0.0
    metadata: dict[str, str] = {}


class PredictionMade(Event, frozen=True, kw_only=True):
    """An answer of a model."""

    prediction_id: str
    prediction_type: str
    task: str
    revision: int
    position: int
    span_start: int
    span_end: int
    label: str | None = None
    confidence: float | None = None
    value: float | None = None
    output: str = "{}"
    buffer_state: str = "{}"
    latency_ms: float = 0.0
    metadata: dict[str, str] = {}


class BoundaryFound(Event, frozen=True, kw_only=True):
    """A new segment begins."""

    boundary_type: str
    position: int
    text_offset: int
    confidence: float
    detected_by: str
    context_before: str = ""
    context_after: str = ""


class PerformanceMeasured(Event, frozen=True, kw_only=True):
    """One measurement of the worker."""

    metric_name: str
    metric_value: float
    unit: str
    context: str = "{}"


class StepFailed(Event, frozen=True, kw_only=True):
    """Something could not be done, and what was done about it."""

    failure_id: str
    failure_type: str
    exception: str
    stack_trace: str = ""
    context: str = "{}"
    recovery_action: str
    recovery_success: bool


InputRecord = TokenEvent | LogEvent | ChatEvent | MetricEvent | LabelEvent | RequestEvent
RECORDS: dict[str, type] = {
    "tokens": TokenEvent,
    "logs": LogEvent,
    "chat": ChatEvent,
    "metrics": MetricEvent,
    "labels": LabelEvent,
    "requests": RequestEvent,
    "input_stream": InputRead,
    "model_state": StateSampled,
    "predictions": PredictionMade,
    "boundaries": BoundaryFound,
    "performance": PerformanceMeasured,
    "failures": StepFailed,
}
"""Name of the schema file (and of the table, for outputs) -> record."""


def event_id(*parts: object) -> str:
    """UUID (version 8) that is a function of `parts` alone, in order."""
    h = blake2b("\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{h[:8]}-{h[8:12]}-8{h[13:16]}-a{h[17:20]}-{h[20:]}"


@lru_cache(maxsize=16_384)  # asked for two or three times within a step
def trace_id_of(topic: str, partition: int, offset: int) -> str:
    """The trace of a record whose producer sent none: 32 hex digits computed from its place."""
    return blake2b(f"trace\x1f{topic}\x1f{partition}\x1f{offset}".encode(), digest_size=16).hexdigest()
