"""The way of one modality's records through a worker: accept, step, conclude, publish, store, ack.

Knows the order that makes a crash harmless; each step is another file's. Outputs are published before the state is stored, and the state
is stored before the batch is acked: a crash between two of them repeats work under the same ids.
Next: streams/session.py (accept), inference.py (step), concluding.py (conclude), emit.py (publish), sessions.py (store); idle.py
"""

import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from opentelemetry.sdk.trace import ReadableSpan

from models.steps import Work
from schemas.events import Event
from schemas.trace import TraceContext
from streams.batching import Batch
from streams.concluding import Concluding, Pending
from streams.config import StreamConfig
from streams.deliveries import Deliveries
from streams.emit import Emitter
from streams.failures import to_event
from streams.idle import Idle
from streams.inference import Inference, Stepped
from streams.judging import Asked, Judging
from streams.lessons import Said, records
from streams.pipeline import Timing, answer_request
from streams.publisher import Outgoing, Publisher
from streams.reading import Decoded, Forward, Reader
from streams.session import PositionError, Read, accept, is_replay
from streams.sessions import Session, Sessions, cache_name
from streams.tracing import Times, Tracer, to_otlp

SPANS_A_RECORD = 500
"""Of one OTLP request: thousands would outgrow a message."""


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
        self._deliveries = deliveries
        self.sessions = sessions
        self._reader = reader
        self._services = services
        self._concluding = Concluding(self._judging, services.inference, services.emitter, services.tracer, services.config)
        self._idle = Idle(
            sessions, self._judging, services.inference, self._concluding, services.publisher, unread, services.config.session_idle_s
        )

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
            if now_ms >= self._idle.due_ms:
                await self._close_idle(now_ms)

    async def _advance(self, step: Sequence[tuple[Batch, Decoded]]) -> None:
        polled_ns, decoded_ns = min(d.polled_ns for _, d in step), max(d.decoded_ns for _, d in step)
        # 1. accept: each record meets its session's state; a replay changes nothing
        pending, outgoing = self._accept_all(step)
        # 2. step: one model step for all sessions, off the event loop
        step_ns = time.time_ns()
        asked = [Asked(p.session, p.reads, [a.item for a in p.accepted]) for p in pending]
        judged, step_ms = await self._judging.step(asked)
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
        concluded, traced = self._concluding.conclude(pending, judged, timing, polled_ns)
        outgoing += concluded
        said = [
            Said(one.tenant, one.reads[-1].place, one.items[-1].timestamp_us, done.result.lessons)
            for one, done in zip(asked, stepped, strict=True)
        ]
        changed = [p.session for p in pending]
        self.sessions.keep(changed, timing.now_ms)
        self._idle.reached |= {batch.partition: batch.last_offset + 1 for batch, _ in step}

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
        """What is said of sessions that fell silent goes the same way."""
        if (closed := await self._idle.close(now_ms)) is None:
            return
        self.sessions.keep(closed.sessions, now_ms)
        await self._deliveries.finished()
        await self._services.publisher.publish(closed.outgoing)
        await self.sessions.store(closed.sessions)
        await self._publish_lessons(closed.said, now_ms)

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
            return answer_request(self._concluding.last_cause(session), request_id, wanted, Timing(now_ms=time.time_ns() / 1e6))

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
        outgoing += self._concluding.unreadable(self.sessions.found_bad())
        pending: dict[str, Pending] = {}
        for read in (read for _, decoded in step for read in decoded.reads):
            session = found[read.session_id]
            if is_replay(session.state, read):
                continue
            try:
                state, accepted = accept(session.state, read, self._services.config)
            except PositionError as problem:
                outgoing += self._concluding.refused(read, session.partition, problem)
                continue
            one = pending.get(read.session_id)
            if one is None:  # a copy: the stored session stays as it is until all this is published
                one = pending[read.session_id] = Pending(Session(session.id, session.partition, state, session.model_state))
                found[read.session_id] = one.session
            one.session.state = state
            one.reads.append(read)
            one.accepted.append(accepted)
        return list(pending.values()), outgoing

    async def _publish_lessons(self, said: Iterable[Said], now_ms: float) -> None:
        """What can be learned goes to the learners: after the store, so that a line is learned once or, in a crash, never."""
        if self._lessons is not None and (outgoing := records(self._lessons, said, int(now_ms * 1000))):
            await self._services.publisher.publish(outgoing)

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


def _stages(step_ns: int, stepped: Sequence[Stepped]) -> tuple[int, int]:
    """When the trunk and then the hierarchy were through, by what the results measured."""
    encode_ns = int(max((s.result.encode_ms for s in stepped), default=0.0) * 1e6)
    update_ns = int(sum(s.result.update_ms for s in stepped) * 1e6)
    return step_ns + encode_ns, step_ns + encode_ns + update_ns
