"""Records of the output topics as a worker would write them, with what a test does not care about filled in."""

import itertools
from typing import Any

from schemas.events import BoundaryFound, InputRead, Micros, PredictionMade, StepFailed, event_id

NUMBER = itertools.count()


def common(session: str, modality: str, offset: int) -> dict[str, Any]:
    return {
        "event_id": event_id("test", next(NUMBER)),
        "timestamp": Micros(1_700_000_000_000_000 + offset),
        "session_id": session,
        "modality": modality,
        "model_version": "m-1",
        "trace_id": f"{offset:032x}",
        "kafka_topic": modality,
        "kafka_partition": 0,
        "kafka_offset": offset,
    }


def item(position: int, text: str = "word ", session: str = "s", modality: str = "tokens", **metadata: str) -> InputRead:
    return InputRead(
        **common(session, modality, position), token_id=1, token_text=text, token_position=position, buffer_size=position, metadata=metadata
    )


def boundary(level: str, position: int, decided: int | None = None, session: str = "s", modality: str = "tokens") -> BoundaryFound:
    return BoundaryFound(
        **common(session, modality, position if decided is None else decided),
        boundary_type=level,
        position=position,
        text_offset=position * 5,
        confidence=0.9,
        detected_by="model",
    )


def answer(
    task: str, start: int, end: int, label: str | None = None, revision: int = 0, final: bool = True, session: str = "s",
    modality: str = "tokens", **fields: Any,
) -> PredictionMade:  # fmt: skip
    fields = {"confidence": 0.8 if label else None, "latency_ms": 12.0, **fields}
    return PredictionMade(
        **common(session, modality, end - 1),
        prediction_id=f"{session}-{task}-{start}-{fields.get('output', '')}",
        prediction_type="final" if final else "partial",
        task=task,
        revision=revision,
        position=end - 1,
        span_start=start,
        span_end=end,
        label=label,
        **fields,
    )


def failure(session: str = "s", modality: str = "tokens") -> StepFailed:
    return StepFailed(
        **common(session, modality, 0),
        failure_id="f",
        failure_type="StepError",
        exception="no",
        recovery_action="retry",
        recovery_success=True,
    )
