"""What the writer cannot store: the record to `dead-letter` with Kafka Connect's headers, and a failure event.

Knows headers and the event; leaves trying again to consumer.py. Ids are computed from the record's place: sent twice, it is one row.
"""

import json

from aiokafka import AIOKafkaProducer

from schemas.codec import CONTENT_TYPES, encoder
from schemas.dead_letter import connect_headers
from schemas.events import Micros, StepFailed, event_id, trace_id_of
from schemas.topics import DEAD_LETTER
from schemas.trace import Header, read
from sinks.errors import RowsRefusedError
from sinks.rows import Record

STAGES = {True: "VALUE_CONVERTER", False: "TASK_PUT"}


def headers(record: Record, problem: Exception, unreadable: bool) -> list[Header]:
    """The record's own headers, unchanged, then Connect's for the reason."""
    reasons = connect_headers(record.topic, record.partition, record.offset, "strata-sink", STAGES[unreadable], problem)
    return [*record.headers, *reasons, ("strata-recovery-action", b"dead_letter")]


def event(record: Record, problem: Exception, unreadable: bool) -> StepFailed:
    """The failure, as it will be read from the topic `failures`."""
    place = (record.topic, record.partition, record.offset)
    context, key = read(record.headers), (record.key or b"")[:200].decode("utf-8", "replace")
    told = {"stage": "decode" if unreadable else "insert", "key": key, "bytes": str(len(record.value or b""))}
    return StepFailed(
        event_id=event_id("sink-failure", *place),
        timestamp=Micros(record.timestamp * 1000),
        session_id=(record.key or b"").decode("utf-8", "replace"),
        modality="",
        model_version="",
        trace_id=context.trace_id if context else trace_id_of(*place),
        kafka_topic=record.topic,
        kafka_partition=record.partition,
        kafka_offset=record.offset,
        failure_id=event_id("sink-failed", *place),
        failure_type=type(problem).__name__,
        exception=str(problem)[:4000],
        stack_trace="",
        context=json.dumps(told),
        recovery_action="dead_letter",
        recovery_success=True,
    )


async def bury(producer: AIOKafkaProducer, prefix: str, encoding: str, record: Record, problem: Exception) -> None:
    """Send both and wait until they are kept; no failure event for a failure event, which would go round for ever. Raises KafkaError."""
    unreadable, failures = not isinstance(problem, RowsRefusedError), prefix + "failures"
    kept = headers(record, problem, unreadable)
    await producer.send_and_wait(prefix + DEAD_LETTER.name, record.value, record.key, record.partition, headers=kept)
    if record.topic != failures:
        failed = event(record, problem, unreadable)
        told = [("content-type", CONTENT_TYPES[encoding]), ("event-id", failed.event_id.encode())]
        await producer.send_and_wait(failures, encoder("failures", encoding)(failed), record.key, record.partition, headers=told)
