"""What came of a step for each session, as records: its events, the failures on the way, and which records are traced.

Knows the record that caused each of them, by which version and under which id; leaves which events there are to pipeline.py, how a
failure looks to failures.py, bytes to emit.py and when all this is published to lane.py.
Next: streams/pipeline.py
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from schemas.trace import TraceContext
from streams.bad_rows import BadRow, told
from streams.config import StreamConfig
from streams.emit import Emitter
from streams.failures import Failure, to_event
from streams.inference import Inference, Recovery, Stepped
from streams.judging import Judged, Judging
from streams.pipeline import Cause, Timing, conclude, conclude_idle
from streams.publisher import Outgoing
from streams.session import Accepted, Place, Read, TimestampError
from streams.sessions import Session
from streams.tracing import Tracer

DAY_MS = 86_400_000


@dataclass(slots=True)
class Pending:
    """One session's share of the batches being worked on."""

    session: Session
    reads: list[Read] = field(default_factory=list)
    accepted: list[Accepted] = field(default_factory=list)


class Concluding:
    """Of one modality."""

    def __init__(self, judging: Judging, inference: Inference, emitter: Emitter, tracer: Tracer, config: StreamConfig):
        self.modality = judging.modality
        self._judging = judging
        self._inference = inference
        self._emitter = emitter
        self._tracer = tracer
        self._config = config

    def conclude(
        self, pending: Sequence[Pending], judged: Sequence[Judged], timing: Timing, polled_ns: int
    ) -> tuple[list[Outgoing], list[tuple[Read, TraceContext]]]:
        """Records to publish for a step, and what of it is traced; sessions have their new state and model state then."""
        outgoing, traced = list[Outgoing](), list[tuple[Read, TraceContext]]()
        over = self._over_budget(pending, timing)
        for one, verdict in zip(pending, judged, strict=True):
            outgoing += self._conclude(one, verdict, timing, polled_ns, traced, one is over)
        return outgoing, traced

    def _conclude(
        self, one: Pending, judged: Judged, timing: Timing, polled_ns: int, traced: list[tuple[Read, TraceContext]], over: bool
    ) -> list[Outgoing]:
        """Those of one session. Adds to `traced`."""
        emitter, tracer, outgoing, stepped = self._emitter, self._tracer, list[Outgoing](), judged.stepped
        version, arrived_ms = self._inference.version(self.modality), polled_ns / 1e6
        assert len(judged.versions) == len(one.accepted)

        def cause_of(number: int) -> Cause:
            read, moment = one.reads[number], one.accepted[number].item.timestamp_us
            trace_id = read.trace.trace_id if read.trace else ""
            name = self._judging.name_of(judged.versions[number])
            return Cause(read.session_id, self.modality, name, read.place, moment, trace_id, arrived_ms)

        one.session.state = msgspec.structs.replace(one.session.state, version=judged.versions[-1])
        one.session.state, events = conclude(one.session.state, cause_of, one.accepted, stepped.result, timing, self._config)
        one.session.model_state = stepped.result.state
        for number, (read, accepted, its_events) in enumerate(zip(one.reads, one.accepted, events, strict=True)):
            sampled = (over and number == 0) or tracer.picks(read)
            if not (sampled or its_events or accepted.notices):
                continue
            context = tracer.context(read, sampled)
            if sampled:
                traced.append((read, context))
            outgoing += emitter.records(its_events, one.session.partition, context)
            for index, notice in enumerate(accepted.notices):
                action = "use_kafka_time" if isinstance(notice, TimestampError) else "accept"
                failure = self._failure(read, notice, action, accepted.item.timestamp_us, trace_id=context.trace_id, index=index)
                outgoing += emitter.records([to_event(failure, version)], one.session.partition, context)
        tries = Counter[int]()  # counted record by record: ids must not tell how records fell into batches
        for recovery in stepped.recoveries:
            outgoing += self._recovered(one, recovery, tries[recovery.position])
            tries[recovery.position] += 1
        return outgoing

    def closed(self, session: Session, stepped: Stepped, timing: Timing) -> tuple[Session, list[Outgoing]]:
        """A session that fell silent as it is once closed, and the records to publish for it."""
        cause = self.last_cause(session)
        state, events = conclude_idle(session.state, cause, stepped.result, timing, self._config)
        outgoing = self._emitter.records(events, session.partition)
        failures = [
            Failure(r.error, cause.place, session.id, self.modality, cause.timestamp_us, r.action, r.success, "close", with_stack=True)
            for r in stepped.recoveries
        ]
        outgoing += self._emitter.records([to_event(failure, cause.model_version) for failure in failures], session.partition)
        return Session(session.id, session.partition, state, stepped.result.state), outgoing

    def refused(self, read: Read, partition: int, problem: Exception) -> list[Outgoing]:
        """The failure row and the dead letter of a record that its session does not accept."""
        failure = self._failure(read, problem, "dead_letter", read.place.timestamp_ms * 1000)
        return self._emitter.refused(failure, partition, read.headers, self._inference.version(self.modality))

    def unreadable(self, rows: Sequence[BadRow]) -> list[Outgoing]:
        """What goes out for rows of sessions that could not be read."""
        prefix, version, now_us = self._config.topic_prefix, self._inference.version(self.modality), time.time_ns() // 1000
        return [out for bad in rows for out in told(bad, self._emitter, prefix, self.modality, version, now_us)]

    def last_cause(self, session: Session) -> Cause:
        """The session's last record, as the cause of what no record causes."""
        state = session.state
        place = Place(self._config.topic_prefix + self.modality, state.source_partition, state.source_offset, state.arrived_ms)
        return Cause(session.id, self.modality, self._judging.name_of(state.version), place, state.last_us)

    def _over_budget(self, pending: Sequence[Pending], timing: Timing) -> Pending | None:
        """The session whose first record waited longest, when the step is over budget: its trace is kept for the step."""
        slowest = min(pending, key=lambda p: p.reads[0].place.timestamp_ms, default=None)
        if slowest is None:
            return None
        budget, waited_ms = self._config.latency, timing.now_ms - slowest.reads[0].place.timestamp_ms
        return slowest if budget.max_per_token_ms < waited_ms < DAY_MS or timing.step_ms > budget.max_update_ms else None

    def _recovered(self, one: Pending, recovery: Recovery, number: int) -> list[Outgoing]:
        """The failure row of one recovery action, and the dead letter of an item that nothing helped."""
        at = next((i for i, a in enumerate(one.accepted) if a.item.position == recovery.position), len(one.reads) - 1)
        read, accepted = one.reads[at], one.accepted[at]
        failure = self._failure(
            read, recovery.error, recovery.action, accepted.item.timestamp_us, recovery.success, stage="step", with_stack=True, index=number
        )
        version = self._inference.version(self.modality)
        if recovery.action == "dead_letter":
            return self._emitter.refused(failure, one.session.partition, read.headers, version)
        return self._emitter.records([to_event(failure, version)], one.session.partition)

    def _failure(self, read: Read, error: Exception, action: str, timestamp_us: int, success: bool = True, **more) -> Failure:  # type: ignore[no-untyped-def]
        fields = {"stage": "accept", "key": read.key, "value": read.value} | more
        return Failure(error, read.place, read.session_id, self.modality, timestamp_us, action, success, **fields)
