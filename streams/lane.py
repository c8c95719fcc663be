"""The way of one modality's records through a worker: accept, step, conclude, publish, store, ack.

Knows the order that makes a crash harmless; each step is another file's. Outputs are published before the state is stored, and the state
is stored before the batch is acked: a crash between two of them repeats work under the same ids.
Next: streams/session.py (accept), inference.py (step), pipeline.py (conclude), emit.py (publish), sessions.py (store)
"""

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
from opentelemetry.sdk.trace import ReadableSpan

from models.steps import Work
from schemas.events import Event
from schemas.trace import TraceContext
from streams.bad_rows import told
from streams.batching import Batch
from streams.config import StreamConfig
from streams.deliveries import Deliveries
from streams.emit import Emitter
from streams.failures import Failure, to_event
from streams.inference import Inference, Recovery, Stepped
from streams.judging import Asked, Judged, Judging
from streams.lessons import Said, records
from streams.pipeline import Cause, Timing, answer_request, conclude, conclude_idle
from streams.publisher import Outgoing, Publisher
from streams.reading import Decoded, Forward, Reader
from streams.session import Accepted, Place, PositionError, Read, TimestampError, accept, is_replay
from streams.sessions import MOST_IDLE, Session, Sessions, cache_name
from streams.tracing import Times, Tracer, to_otlp
from streams.versions import DEFAULT_TENANT

DAY_MS = 86_400_000
SPANS_A_RECORD = 500
"""Of one OTLP request: thousands would outgrow a message."""
FEW_VERSIONS = 4
"""So many versions of a model are fetched at once to close silent sessions."""
IDLE_TICK_S = 1.0
"""With nothing to read, how often to look for silent sessions."""


@dataclass(slots=True)
class Pending:
    """One session's share of the batches being worked on."""

    session: Session
    reads: list[Read] = field(default_factory=list)
    accepted: list[Accepted] = field(default_factory=list)


@dataclass(frozen=True)
class Services:
    """What all lanes of a worker share."""

    config: StreamConfig
    inference: Inference
    emitter: Emitter
    publisher: Publisher
    tracer: Tracer
    export_spans: Callable[[Sequence[ReadableSpan]], None] = lambda spans: None
    """Also sends spans by OTLP, when that is configured."""


class Lane:
    """One modality's data path."""

    def __init__(
        self,
        modality: str,
        reader: Reader,
        sessions: Sessions,
        deliveries: Deliveries,
        services: Services,
        unread: Callable[[int, int], bool],
        judging: Judging | None = None,
        lessons: str | None = None,
    ):
        """`unread(partition, offset)`: whether records wait, at the broker or here from that offset on. lessons: topic of what can be learned."""
        self.modality = modality
        self._judging = judging or Judging(modality, services.inference)
        self._lessons = lessons
        self._unread = unread
        self._reached: dict[int, int] = {}
        """Partition -> offset after the last record that a step has taken."""
        self._deliveries = deliveries
        self.sessions = sessions
        self._reader = reader
        self._services = services
        self._idle_due_ms = 0.0

    def waited_s(self) -> float:
        """Seconds for which steps have waited for deliveries, all in all."""
        return self._deliveries.waited_s

    def decode(self, batch: Batch) -> Decoded:
        """A batch's records, while the step before is still running."""
        return self._reader.read_all(batch)

    async def advance(self, step: Sequence[tuple[Batch, Decoded]]) -> None:
        """Take the records of a step all the way. When it returns, what was decided is on its way; the next call waits for that to arrive."""
        async with self.sessions.lock:
            if step:
                await self._advance(step)
            else:
                await self._deliveries.finished()
            now_ms = time.time() * 1000
            if now_ms >= self._idle_due_ms:
                self._idle_due_ms = now_ms + self._services.config.session_idle_s * 100  # a tenth of the time, in ms
                await self._close_idle(now_ms)

    async def _advance(self, step: Sequence[tuple[Batch, Decoded]]) -> None:
        polled_ns, decoded_ns = min(d.polled_ns for _, d in step), max(d.decoded_ns for _, d in step)
        # 1. accept: each record meets its session's state; a replay changes nothing
        pending, outgoing = self._accept_all(step)
        # 2. step: one model step for all sessions, off the event loop
        step_ns = time.time_ns()
        judged, step_ms = await self._judging.step([Asked(p.session, p.reads, [a.item for a in p.accepted]) for p in pending])
        stepped = [one.stepped for one in judged]
        # 3. conclude: what was found becomes events
        timing = Timing(
            now_ms=time.time_ns() / 1e6,
            decode_ms=(decoded_ns - polled_ns) / 1e6,
            wait_ms=(step_ns - decoded_ns) / 1e6,
            step_ms=step_ms,
            batch_sessions=len(pending),
            cache_mb=self._services.inference.cache_mb(self.modality),
        )
        traced: list[tuple[Read, TraceContext]] = []
        over = self._over_budget(pending, timing)
        for one, verdict in zip(pending, judged, strict=True):
            outgoing += self._conclude(one, verdict, timing, polled_ns, traced, one is over)
        said = [
            Said(_tenant(one.session), one.reads[-1].place, one.accepted[-1].item.timestamp_us, done.result.lessons)
            for one, done in zip(pending, stepped, strict=True)
        ]
        changed = [p.session for p in pending]
        self.sessions.keep(changed, timing.now_ms)
        self._reached |= {batch.partition: batch.last_offset + 1 for batch, _ in step}

        # 4. publish, 5. store, 6. ack: in this order, while the next step is accepted and goes through the model
        publish_ns, published_ns, versions = 0, 0, self._judging.versions

        async def publish() -> None:
            nonlocal publish_ns, published_ns
            publish_ns = time.time_ns()
            if versions:
                await versions.store()  # first of all: who replays this must judge it alike
            await self._services.publisher.publish(outgoing)
            published_ns = time.time_ns()

        async def settle() -> None:
            times = Times(polled_ns, decoded_ns, step_ns, *_stages(step_ns, stepped), publish_ns, published_ns)
            await self._publish_spans(traced, times)
            await self.sessions.store(changed)
            await self._publish_lessons(said, timing.now_ms)
            for batch, _ in step:
                batch.ack()
                if versions:
                    versions.delivered(batch.partition, batch.last_offset + 1)

        await self._deliveries.begin(publish, settle)

    async def _close_idle(self, now_ms: float) -> None:
        """Close sessions that fell silent: as if their last record had ended them."""
        behind = list[int]()

        def unread(partition: int) -> bool:
            if found := self._unread(partition, self._reached.get(partition, 0)):
                behind.append(partition)
            return found

        idle = self.sessions.idle(now_ms, self._services.config.session_idle_s, unread)
        await self._services.publisher.publish(self._bad_rows())  # before anything is stored in their place
        if behind or len(idle) >= MOST_IDLE:  # not all was seen: look again soon
            self._idle_due_ms = min(self._idle_due_ms, now_ms + IDLE_TICK_S * 1000)
        far = list(dict.fromkeys(s.state.version for s in idle if not self._judging.is_at_hand(s)))[FEW_VERSIONS:]
        if far:  # each must be fetched: their sessions follow soon
            idle = [s for s in idle if s.state.version not in far]
            self._idle_due_ms = min(self._idle_due_ms, now_ms + IDLE_TICK_S * 1000)
        if not idle:
            return
        known = [await self._judging.knowledge(s) for s in idle]
        if late := [_as_of(s, name) for s, (name, _) in zip(idle, known, strict=True) if name != s.state.version]:
            await self.sessions.store(late)  # the version of their last line is gone: who closes them again must take the same one
            idle = [next((n for n in late if n.id == s.id), s) for s in idle]
        works = [Work(cache_name(self.modality, s.id), s.model_state, (), k) for s, (_, k) in zip(idle, known, strict=True)]
        stepped = await self._services.inference.close(self.modality, works)
        timing, outgoing, closed = Timing(now_ms=time.time_ns() / 1e6), list[Outgoing](), list[Session]()
        for session, one in zip(idle, stepped, strict=True):
            state, events = conclude_idle(session.state, self._last_cause(session), one.result, timing, self._services.config)
            closed.append(Session(session.id, session.partition, state, one.result.state))
            outgoing += self._services.emitter.records(events, session.partition)
            outgoing += self._badly_closed(session, one)
        self.sessions.keep(closed, now_ms)
        await self._deliveries.finished()
        await self._services.publisher.publish(outgoing)
        await self.sessions.store(closed)
        said = [
            Said(_tenant(s), self._last_cause(s).place, s.state.last_us, one.result.lessons) for s, one in zip(closed, stepped, strict=True)
        ]
        await self._publish_lessons(said, now_ms)

    async def answer(self, session_id: str, partition: int, request_id: str, task: str | None) -> list[Event]:
        """What can be said of a session now, as partial predictions; empty when this modality does not know it."""
        async with self.sessions.lock:
            session = self.sessions.load(partition, [session_id])[session_id]
            if session.state.next_position <= 0:  # nothing is known of it
                return []
            _, knowledge = await self._judging.knowledge(session)
            work = Work(cache_name(self.modality, session_id), session.model_state, (), knowledge)
            answers = await self._services.inference.answer(self.modality, work)
            wanted = [a for a in answers if task is None or a.task == task]
            return answer_request(self._last_cause(session), request_id, wanted, Timing(now_ms=time.time_ns() / 1e6))

    # the steps of `advance`

    def _accept_all(self, step: Sequence[tuple[Batch, Decoded]]) -> tuple[list[Pending], list[Outgoing]]:
        """Sessions with something new, in order of their first record; and what goes out for records that are not theirs."""
        emitter, outgoing, version = self._services.emitter, list[Outgoing](), self._services.inference.version(self.modality)
        found: dict[str, Session] = {}
        for forward in as_sent(decoded for _, decoded in step):
            outgoing.append(emitter.raw(self.modality, forward.partition, forward.key, forward.value, forward.headers))
        for batch, decoded in step:
            for failure, partition, record in decoded.failures:
                outgoing += emitter.refused(failure, partition, tuple(record.headers or ()), version)
            for failure, partition in decoded.notices:
                outgoing += emitter.records([to_event(failure, version)], partition)
            if new := {read.session_id for read in decoded.reads} - found.keys():
                found |= self.sessions.load(batch.partition, new)
        outgoing += self._bad_rows()
        pending: dict[str, Pending] = {}
        for read in (read for _, decoded in step for read in decoded.reads):
            session = found[read.session_id]
            if is_replay(session.state, read):
                continue
            try:
                state, accepted = accept(session.state, read, self._services.config)
            except PositionError as problem:
                failure = self._failure(read, problem, "dead_letter", read.place.timestamp_ms * 1000)
                outgoing += emitter.refused(failure, session.partition, read.headers, version)
                continue
            one = pending.get(read.session_id)
            if one is None:  # a copy: the stored session stays as it is until all this is published
                one = pending[read.session_id] = Pending(Session(session.id, session.partition, state, session.model_state))
                found[read.session_id] = one.session
            one.session.state = state
            one.reads.append(read)
            one.accepted.append(accepted)
        return list(pending.values()), outgoing

    def _conclude(
        self, one: Pending, judged: Judged, timing: Timing, polled_ns: int, traced: list[tuple[Read, TraceContext]], over: bool
    ) -> list[Outgoing]:
        """Records to publish for one session; its state and model state are the new ones then. Adds to `traced`."""
        services, outgoing, stepped = self._services, list[Outgoing](), judged.stepped
        version, arrived_ms = services.inference.version(self.modality), polled_ns / 1e6
        assert len(judged.versions) == len(one.accepted)

        def cause_of(number: int) -> Cause:
            read, moment = one.reads[number], one.accepted[number].item.timestamp_us
            trace_id = read.trace.trace_id if read.trace else ""
            name = self._judging.name_of(judged.versions[number])
            return Cause(read.session_id, self.modality, name, read.place, moment, trace_id, arrived_ms)

        one.session.state = msgspec.structs.replace(one.session.state, version=judged.versions[-1])
        one.session.state, events = conclude(one.session.state, cause_of, one.accepted, stepped.result, timing, services.config)
        one.session.model_state = stepped.result.state
        for number, (read, accepted, its_events) in enumerate(zip(one.reads, one.accepted, events, strict=True)):
            sampled = (over and number == 0) or services.tracer.picks(read)
            if not (sampled or its_events or accepted.notices):
                continue
            context = services.tracer.context(read, sampled)
            if sampled:
                traced.append((read, context))
            outgoing += services.emitter.records(its_events, one.session.partition, context)
            for index, notice in enumerate(accepted.notices):
                action = "use_kafka_time" if isinstance(notice, TimestampError) else "accept"
                failure = self._failure(read, notice, action, accepted.item.timestamp_us, trace_id=context.trace_id, index=index)
                outgoing += services.emitter.records([to_event(failure, version)], one.session.partition, context)
        tries = Counter[int]()  # counted record by record: ids must not tell how records fell into batches
        for recovery in stepped.recoveries:
            outgoing += self._recovered(one, recovery, tries[recovery.position])
            tries[recovery.position] += 1
        return outgoing

    def _bad_rows(self) -> list[Outgoing]:
        """What goes out for rows of sessions that could not be read."""
        prefix, version, now_us = (
            self._services.config.topic_prefix,
            self._services.inference.version(self.modality),
            time.time_ns() // 1000,
        )
        found = self.sessions.found_bad()
        return [out for bad in found for out in told(bad, self._services.emitter, prefix, self.modality, version, now_us)]

    async def _publish_lessons(self, said: Iterable[Said], now_ms: float) -> None:
        """What can be learned goes to the learners: after the store, so that a line is learned once or, in a crash, never."""
        if self._lessons is not None and (outgoing := records(self._lessons, said, int(now_ms * 1000))):
            await self._services.publisher.publish(outgoing)

    def _over_budget(self, pending: list[Pending], timing: Timing) -> Pending | None:
        """The session whose first record waited longest, when the step is over budget: its trace is kept for the step."""
        slowest = min(pending, key=lambda p: p.reads[0].place.timestamp_ms, default=None)
        if slowest is None:
            return None
        budget, waited_ms = self._services.config.latency, timing.now_ms - slowest.reads[0].place.timestamp_ms
        return slowest if budget.max_per_token_ms < waited_ms < DAY_MS or timing.step_ms > budget.max_update_ms else None

    def _recovered(self, one: Pending, recovery: Recovery, number: int) -> list[Outgoing]:
        """The failure row of one recovery action, and the dead letter of an item that nothing helped."""
        at = next((i for i, a in enumerate(one.accepted) if a.item.position == recovery.position), len(one.reads) - 1)
        read, accepted = one.reads[at], one.accepted[at]
        failure = self._failure(
            read, recovery.error, recovery.action, accepted.item.timestamp_us, recovery.success, stage="step", with_stack=True, index=number
        )
        version, emitter = self._services.inference.version(self.modality), self._services.emitter
        if recovery.action == "dead_letter":
            return emitter.refused(failure, one.session.partition, read.headers, version)
        return emitter.records([to_event(failure, version)], one.session.partition)

    def _badly_closed(self, session: Session, stepped: Stepped) -> list[Outgoing]:
        """The failure rows of a session that could not be closed as it was."""
        cause, emitter = self._last_cause(session), self._services.emitter
        failures = [
            Failure(r.error, cause.place, session.id, self.modality, cause.timestamp_us, r.action, r.success, "close", with_stack=True)
            for r in stepped.recoveries
        ]
        return emitter.records([to_event(failure, cause.model_version) for failure in failures], session.partition)

    def _failure(self, read: Read, error: Exception, action: str, timestamp_us: int, success: bool = True, **more) -> Failure:  # type: ignore[no-untyped-def]
        fields = {"stage": "accept", "key": read.key, "value": read.value} | more
        return Failure(error, read.place, read.session_id, self.modality, timestamp_us, action, success, **fields)

    def _last_cause(self, session: Session) -> Cause:
        """The session's last record, as the cause of what no record causes."""
        state = session.state
        place = Place(self._services.config.topic_prefix + self.modality, state.source_partition, state.source_offset, state.arrived_ms)
        return Cause(session.id, self.modality, self._judging.name_of(state.version), place, state.last_us)

    async def _publish_spans(self, traced: Iterable[tuple[Read, TraceContext]], times: Times) -> None:
        services = self._services
        spans = [span for read, context in traced for span in services.tracer.spans(read, context, times)]
        if spans:
            services.export_spans(spans)
            parts = (spans[n : n + SPANS_A_RECORD] for n in range(0, len(spans), SPANS_A_RECORD))
            await services.publisher.publish([services.emitter.raw("traces", 0, None, to_otlp(part), []) for part in parts])


def as_sent(batches: Iterable[Decoded]) -> Iterator[Forward]:
    """What is to be forwarded, by Kafka's time: what one producer spread over partitions comes together again; of one it stays in its order."""
    return heapq.merge(*(decoded.forwards for decoded in batches), key=lambda forward: forward.at_ms)


def _tenant(session: Session) -> str:
    return session.state.tenant or DEFAULT_TENANT


def _as_of(session: Session, version: str) -> Session:
    """The session as of another version."""
    return Session(session.id, session.partition, msgspec.structs.replace(session.state, version=version), session.model_state)


def _stages(step_ns: int, stepped: Sequence[Stepped]) -> tuple[int, int]:
    """When the trunk and then the hierarchy were through, by what the results measured."""
    encode_ns = int(max((s.result.encode_ms for s in stepped), default=0.0) * 1e6)
    update_ns = int(sum(s.result.update_ms for s in stepped) * 1e6)
    return step_ns + encode_ns, step_ns + encode_ns + update_ns
