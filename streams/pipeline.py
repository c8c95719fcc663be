"""What a model found -> events: thresholds, partial and final, revisions, boundaries, ids.

Knows what a finding means for users; leaves bytes and topics to emit.py. `conclude` is pure, and its ids depend on the session and its
records alone: the same records give the same events after any crash.
Next: streams/emit.py
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from models.steps import Answer, Boundary, ItemResult, LevelState, Notice, StepResult
from schemas.events import (
    BoundaryFound,
    Event,
    InputRead,
    PerformanceMeasured,
    PredictionMade,
    StateSampled,
    StepFailed,
    event_id,
    trace_id_of,
)
from streams.config import StreamConfig
from streams.sampling import is_sampled
from streams.session import Accepted, OpenAnswer, Place, SessionState

encode_json = msgspec.json.Encoder(order="deterministic").encode


class Cause(msgspec.Struct, frozen=True, gc=False):
    """The record that decided, as its events name it."""

    session_id: str
    modality: str
    model_version: str
    place: Place
    timestamp_us: int
    trace_id: str = ""
    arrived_ms: float = 0.0
    """Wall clock when it was polled, milliseconds."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the step took that this session shared, milliseconds."""

    now_ms: float
    """Wall clock."""
    decode_ms: float = 0.0
    wait_ms: float = 0.0
    step_ms: float = 0.0
    batch_sessions: int = 1
    cache_mb: float = 0.0


def conclude(
    state: SessionState,
    cause_of: Callable[[int], Cause],
    accepted: list[Accepted],
    result: StepResult,
    timing: Timing,
    config: StreamConfig,
) -> tuple[SessionState, list[list[Event]]]:
    """Events of one session's step, a list per item, in the order they were decided; and its state with the open answers counted on.

    `accepted[i]` was caused by `cause_of(i)`, which is asked where there is something to tell; `result.items[i]` tells what it decided.
    """
    all_events: list[list[Event]] = []
    answers, sampling = dict(state.answers), config.sampling
    session_id = cause_of(0).session_id if accepted else ""
    for number, (one, found) in enumerate(zip(accepted, result.items, strict=True)):
        events: list[Event] = []
        all_events.append(events)
        position = one.item.position
        shows_input = is_sampled(sampling.input_stream, session_id, position)
        measures = one.wants_performance and is_sampled(sampling.performance, session_id, position)
        if not (shows_input or measures or found.findings):
            continue
        cause = cause_of(number)
        common = common_fields(cause)
        if shows_input:
            events.append(_input_read(cause, one, found, common))
        events += _findings(cause, found, answers, timing, config, common)
        if measures:
            events += _performance(cause, position, result, timing, common)
    return msgspec.structs.replace(state, answers=answers), all_events


def conclude_idle(
    state: SessionState, cause: Cause, result: StepResult, timing: Timing, config: StreamConfig
) -> tuple[SessionState, list[Event]]:
    """Events of a session closed for silence: as if its last record had ended it."""
    answers, events = dict(state.answers), []
    for found in result.items:
        events += _findings(cause, found, answers, timing, config, common_fields(cause))
    return msgspec.structs.replace(state, answers=answers, is_open=False), events


def answer_request(cause: Cause, request_id: str, found: Iterable[Answer], timing: Timing) -> list[Event]:
    """Answers to a record of topic `requests`: partial, one prediction_id a request and task, the request named in metadata."""
    events: list[Event] = []
    for answer in found:
        prediction_id = event_id("request", cause.modality, cause.session_id, request_id, answer.task)
        made = _prediction(cause, answer, prediction_id, 0, "partial", "{}", timing, common_fields(cause))
        events.append(msgspec.structs.replace(made, metadata={"request_id": request_id}))
    return events


def common_fields(cause: Cause) -> dict:
    """What every event of a record begins with."""
    place = cause.place
    return {
        "timestamp": cause.timestamp_us,
        "session_id": cause.session_id,
        "modality": cause.modality,
        "model_version": cause.model_version,
        "trace_id": cause.trace_id or trace_id_of(place.topic, place.partition, place.offset),
        "kafka_topic": place.topic,
        "kafka_partition": place.partition,
        "kafka_offset": place.offset,
    }


def latency_ms(cause: Cause, now_ms: float) -> float:
    """Kafka's time of the record to now; from its arrival here where Kafka's time is no append time (a producer's old or future clock)."""
    waited = now_ms - cause.place.timestamp_ms
    return waited if 0 <= waited < 86_400_000 else max(0.0, now_ms - cause.arrived_ms)


def _input_read(cause: Cause, one: Accepted, found: ItemResult, common: dict) -> InputRead:
    return InputRead(
        event_id=event_id("input_stream", cause.modality, cause.session_id, one.item.position),
        token_id=found.first_token_id,
        token_text=one.text,
        token_position=one.item.position,
        buffer_size=found.buffer_tokens,
        metadata=one.metadata,
        **common,
    )


def _findings(
    cause: Cause, found: ItemResult, answers: dict[str, OpenAnswer], timing: Timing, config: StreamConfig, common: dict
) -> list[Event]:
    events: list[Event] = []
    buffer_state = encode_json({"tokens": found.buffer_tokens}).decode()
    for number, finding in enumerate(found.findings):
        if isinstance(finding, Boundary):
            events.append(_boundary(cause, finding, common))
        elif isinstance(finding, LevelState):
            events.append(_level_state(cause, finding, number, timing, common))
        elif isinstance(finding, Notice):
            events.append(_notice(cause, found.position, finding, number, common))
        elif (event := _answer(cause, finding, answers, buffer_state, timing, config, common)) is not None:
            events.append(event)
    return events


def _answer(
    cause: Cause, answer: Answer, answers: dict[str, OpenAnswer], buffer_state: str, timing: Timing, config: StreamConfig, common: dict
) -> PredictionMade | None:
    """A revision of an answer; None where it is held back. `answers` counts the revisions, in place."""
    level = answer.output.get("level", "")
    slot = f"{answer.task}/{level}" if level else answer.task
    if not answer.is_final and not (config.prediction.emit_partial and config.prediction.mode == "continuous"):
        return None
    open_answer = answers.get(slot)
    revision = open_answer.revision if open_answer and open_answer.start == answer.span_start else 0
    if not answer.is_final and answer.confidence is not None and answer.confidence < config.prediction.confidence_threshold:
        return None
    # a whole session's answer is named by its end too: a session that goes on after its end is closed again, with a longer span
    named = (open_answer.named if open_answer and open_answer.named >= 0 else answer.span_end) if level else -1
    end = named if level else ""
    prediction_id = event_id("prediction", cause.modality, cause.session_id, answer.task, level, answer.span_start, end)
    if answer.is_final:
        answers.pop(slot, None)
    else:
        answers[slot] = OpenAnswer(answer.span_start, revision + 1, named)
    if not is_sampled(config.sampling.predictions, prediction_id):
        return None
    return _prediction(cause, answer, prediction_id, revision, "final" if answer.is_final else "partial", buffer_state, timing, common)


def _prediction(
    cause: Cause, answer: Answer, prediction_id: str, revision: int, kind: str, buffer_state: str, timing: Timing, common: dict
) -> PredictionMade:
    return PredictionMade(
        event_id=event_id("predictions", prediction_id, revision),
        prediction_id=prediction_id,
        prediction_type=kind,
        task=answer.task,
        revision=revision,
        position=max(answer.span_start, answer.span_end - 1),
        span_start=answer.span_start,
        span_end=answer.span_end,
        label=answer.label,
        confidence=answer.confidence,
        value=answer.value,
        output=encode_json(answer.output).decode() if answer.output else "{}",
        buffer_state=buffer_state,
        latency_ms=latency_ms(cause, timing.now_ms),
        **common,
    )


def _boundary(cause: Cause, found: Boundary, common: dict) -> BoundaryFound:
    return BoundaryFound(
        event_id=event_id("boundaries", cause.modality, cause.session_id, found.kind, found.text_offset, found.position),
        boundary_type=found.kind,
        position=found.position,
        text_offset=found.text_offset,
        confidence=found.confidence,
        detected_by=found.detected_by,
        context_before=found.context_before,
        context_after=found.context_after,
        **common,
    )


def _level_state(cause: Cause, found: LevelState, number: int, timing: Timing, common: dict) -> StateSampled:
    return StateSampled(
        event_id=event_id("model_state", cause.modality, cause.session_id, found.level, found.span_start, found.span_end, number),
        state_type=found.level,
        span_start=found.span_start,
        span_end=found.span_end,
        representation=found.representation,
        attention_weights=found.attention_weights,
        cache_size_mb=timing.cache_mb,
        **common,
    )


def _notice(cause: Cause, position: int, found: Notice, number: int, common: dict) -> StepFailed:
    identity = (cause.modality, cause.session_id, position, found.kind, number)
    return StepFailed(
        event_id=event_id("failures", *identity),
        failure_id=event_id("failure", *identity),
        failure_type=found.kind,
        exception=found.text,
        context=encode_json({"stage": "step", "position": position}).decode(),
        recovery_action="accept",
        recovery_success=True,
        **common,
    )


def _performance(cause: Cause, position: int, result: StepResult, timing: Timing, common: dict) -> list[Event]:
    measured = {
        "latency_ms": (latency_ms(cause, timing.now_ms), "ms"),
        "decode_ms": (timing.decode_ms, "ms"),
        "wait_ms": (timing.wait_ms, "ms"),
        "encode_ms": (result.encode_ms, "ms"),
        "update_ms": (result.update_ms, "ms"),
        "step_ms": (timing.step_ms, "ms"),
        "cache_size_mb": (timing.cache_mb, "MB"),
    }
    context = encode_json({"position": position, "batch_sessions": timing.batch_sessions, "cache_hit": result.cache_hit}).decode()
    return [
        PerformanceMeasured(
            event_id=event_id("performance", cause.modality, cause.session_id, position, name),
            metric_name=name,
            metric_value=value,
            unit=unit,
            context=context,
            **common,
        )
        for name, (value, unit) in measured.items()
    ]
