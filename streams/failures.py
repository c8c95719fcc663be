"""Errors -> failure events and dead letters, with what was done about them.

Knows recovery actions and Kafka Connect's dead-letter headers; leaves the recovery itself to inference.py and sending to emit.py.
"""

import traceback
from dataclasses import dataclass

import msgspec

from schemas import origin
from schemas.dead_letter import connect_headers
from schemas.events import Micros, StepFailed, event_id, trace_id_of
from schemas.trace import Header
from streams.session import Place

SHOWN_BYTES = 200
"""First bytes of a record shown in a failure's context."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One error of one record or session."""

    error: Exception
    place: Place
    session_id: str
    modality: str
    timestamp_us: int
    action: str
    """accept, use_kafka_time, forward, retry, rebuild_cache, reset_window or dead_letter."""
    success: bool
    stage: str = "decode"
    trace_id: str = ""
    key: bytes | None = None
    value: bytes | None = None
    with_stack: bool = False
    index: int = 0
    """Tells failures of one place apart."""


def to_event(failure: Failure, model_version: str) -> StepFailed:
    """The row of a failure. The same failure of the same record has the same id."""
    place, name = failure.place, type(failure.error).__name__
    identity = (place.topic, place.partition, place.offset, place.index, failure.session_id, name, failure.index)
    context = {"stage": failure.stage}
    if failure.value is not None:
        shown = failure.value[:SHOWN_BYTES].decode("utf-8", "replace")
        context |= {"key": (failure.key or b"")[:SHOWN_BYTES].decode("utf-8", "replace"), "bytes": str(len(failure.value)), "begins": shown}
    return StepFailed(
        event_id=event_id("failures", *identity, failure.action),
        timestamp=Micros(failure.timestamp_us),
        session_id=failure.session_id,
        modality=failure.modality,
        model_version=model_version,
        trace_id=failure.trace_id or trace_id_of(place.topic, place.partition, place.offset),
        kafka_topic=place.topic,
        kafka_partition=place.partition,
        kafka_offset=place.offset,
        failure_id=event_id("failure", *identity),
        failure_type=name,
        exception=_writable(str(failure.error)[:4000]),
        stack_trace=_writable("".join(traceback.format_exception(failure.error))[-8000:]) if failure.with_stack else "",
        context=msgspec.json.encode(context).decode(),
        recovery_action=failure.action,
        recovery_success=failure.success,
    )


def dead_letter_headers(failure: Failure, headers: tuple[Header, ...]) -> list[Header]:
    """The record's own headers, unchanged, then Connect's names for the reason, then ours for attempt and outcome.

    A forwarded copy's origin is not the record's own: sent in anew, the record would be taken for one that was applied.
    """
    place = failure.place
    letter_id = event_id("dead-letter", place.topic, place.partition, place.offset, place.index, failure.index)
    reasons = connect_headers(place.topic, place.partition, place.offset, "strata", failure.stage, failure.error)
    own = [header for header in headers if header[0] != origin.NAME]
    return [*own, *reasons, ("event-id", letter_id.encode()), ("strata-recovery-action", failure.action.encode())]


def _writable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
