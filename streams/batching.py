"""Batches: all new records of a partition travel through Faust as one event.

Knows Faust's consumer: what is in flight, which offset may be committed, which step may begin. A batch whose partition was taken
away or sought is stale: its ack changes nothing, and its records come again. Leaves fetching to polling.py, rebalances to
rebalance.py and what an agent takes at once to gathering.py.
Next: streams/gathering.py
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, cast

from aiokafka.errors import ConsumerStoppedError
from faust.transport.drivers.aiokafka import Consumer, Transport
from faust.types import TP, ConsumerMessage

from streams.polling import BatchThread, Record

log = logging.getLogger(__name__)

FIRST_BATCH, MOST_BATCH = 128, 4000
"""Records of a topic's batches before its agent knows how many it can take (streams/gathering.py), and at most, as of a changelog."""
MAX_IN_FLIGHT = 4
"""Batches of a partition delivered and not yet acked; beyond it the partition is not polled: the back-pressure."""
BODY_GRACE_S = 8.0
"""How long a rebalance waits for steps at work; must stay below the rebalance timeout."""
STOP_GRACE_S = 4.0
"""How long a stop does."""
COMMIT_S = 4.0
"""How long the commit after that may take."""


class Batch:
    """All new records of one partition from one poll, in offset order."""

    __slots__ = ("__weakref__", "acked", "consumer", "message", "partition", "received_s", "records", "stale", "topic")

    def __init__(self, topic: str, partition: int, records: list[Record], received_s: float = 0.0):
        self.topic = topic
        self.partition = partition
        self.records = records
        self.received_s = received_s or time.monotonic()
        """When the poll returned, monotonic clock."""
        self.acked = False
        self.stale = False
        """The partition was revoked or sought since: these records come again, here or elsewhere."""
        self.message: ConsumerMessage | None = None
        self.consumer: Any = None

    def ack(self) -> None:
        """Allow the commit of these records. Call it after outputs and state are durable; a stale batch ignores it."""
        if self.message is None:
            self.acked = True
        else:
            self.message.ack(self.consumer)

    @property
    def first_offset(self) -> int:
        return self.records[0].offset

    @property
    def last_offset(self) -> int:
        return self.records[-1].offset

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        return f"<Batch {self.topic}-{self.partition} {len(self.records)} records from {self.first_offset}>"


class BatchConsumer(Consumer):
    """Faust's consumer, one event per partition and poll. Nothing is committed past a batch that is not acked."""

    _thread: BatchThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.in_flight: dict[TP, deque[Batch]] = {}
        """Delivered and not acked, oldest first; an acked batch stays while an older one is not."""
        self.committable: dict[TP, int] = {}
        self.working: set[object] = set()
        """Steps that agents are in."""
        self.batch_records: dict[str, int] = {}
        """Topic -> records that make a batch of it, as its agent can take them; written by the main loop, read by the consumer's thread."""
        self._step_ended = asyncio.Event()
        self.streaming = False
        """Between the end of a recovery and the next revoke: batches may be handed out and state may be written."""
        self.epoch = 0
        """Grows at each revoke: what a step began in another epoch it may not store."""
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> BatchThread:
        return BatchThread(self, loop=self.loop, beacon=self.beacon)

    # -- fetching

    async def _drain_messages(self, fetcher: Any) -> None:
        """Poll and deliver until stopped."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                if not self.flow_active:
                    await self.can_resume_flow.wait()
                await self._poll_once()
        except (ConsumerStoppedError, asyncio.CancelledError):
            if not self.app.should_stop:  # else Faust's fetcher takes it for a crash when it comes in a rebalance
                raise

    async def _poll_once(self) -> None:
        """One poll; none is under way when `not_waiting_next_records` is set."""
        self.not_waiting_next_records.clear()
        try:
            taken = await self._thread.poll()
        finally:
            self.not_waiting_next_records.set()
        for tp, (records, next_offset) in taken.items():
            # records that arrive after the flow stopped are dropped: their seek always comes before the flow resumes
            if self.flow_active or self._is_changelog_tp(tp):
                self._deliver(tp, records, next_offset)

    def _deliver(self, tp: TP, records: list[Record], next_offset: int) -> None:
        if self._is_changelog_tp(tp):
            cast(Any, self.app.tables).recovery.apply(tp, records, next_offset)
            return
        channels = cast(Any, self.app.topics)._tp_index.get(tp)
        if not records or not channels:
            return
        batch = Batch(tp.topic, tp.partition, records)
        last = records[-1]
        batch.message = message = ConsumerMessage(
            tp.topic, tp.partition, last.offset, last.timestamp / 1000.0, last.timestamp_type, None, None, cast(Any, batch), None,
            0, 0, tp, generation_id=self.app.consumer_generation_id,
        )  # fmt: skip
        batch.consumer = self
        message.incref(len(channels))
        self.in_flight.setdefault(tp, deque()).append(batch)
        for channel in channels:
            channel.queue.force_put_nowait(self.app.create_event(None, cast(Any, batch), None, message))

    def has_room(self, tp: Any) -> bool:
        """Whether more records of the partition may be taken. Called from the consumer's thread."""
        return tp in self._active_partitions and len(self.in_flight.get(tp, ())) < MAX_IN_FLIGHT

    def most_records(self, tp: Any) -> int:
        """Records of one batch of the partition. Called from the consumer's thread."""
        return MOST_BATCH if self._is_changelog_tp(tp) else min(MOST_BATCH, self.batch_records.get(tp.topic, FIRST_BATCH))

    def pause_partitions(self, tps: Iterable[TP]) -> None:
        tps = set(tps)
        super().pause_partitions(tps)
        self._thread.set_paused(tps, True)

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        tps = set(tps)
        super().resume_partitions(tps)
        self._thread.set_paused(tps, False)

    def stop_flow(self) -> None:
        super().stop_flow()
        self._thread.wake()

    # -- acks and commits

    def ack(self, message: Any) -> bool:
        """Note that a batch is done; its offset may be committed once all before it are."""
        batch, message.acked = cast(Batch | None, message.value), True
        if batch is None:
            return False
        batch.acked = True
        message.value = None  # else a cycle keeps the records in memory
        flight = self.in_flight.get(message.tp)
        if batch.stale or not flight:
            return False
        starved = len(flight) >= MAX_IN_FLIGHT
        while flight and flight[0].acked:
            self.committable[message.tp] = flight.popleft().last_offset + 1
        if starved:
            self._thread.wake()
        return True

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Any:
        return [tp for tp in self.committable if topics is None or tp in topics or tp.topic in topics]

    def _new_offset(self, tp: TP) -> int | None:
        return self.committable.get(tp)

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        did_commit = await super()._commit_offsets(offsets, start_new_transaction)
        if not did_commit:  # Faust notes them as committed all the same: the next interval tries again
            for tp in offsets:
                self._committed_offset.pop(tp, None)
        return did_commit

    async def verify_all_partitions_active(self) -> None:
        """Nothing: watchdog.py does this from what the broker says."""

    # -- seeks, revokes, stops

    def forget(self, tps: Iterable[TP]) -> None:
        """Make what is in flight stale: these records will come again."""
        for tp in tps:
            self.committable.pop(tp, None)
            for batch in self.in_flight.pop(tp, ()):
                batch.stale = True
                if batch.message is not None:
                    batch.message.value = None

    async def perform_seek(self) -> None:
        """Seek the source partitions to their committed offsets; those without one to the reset policy's."""
        sources = {tp for tp in self.assignment() if not self._is_changelog_tp(tp)}
        self.forget(sources)
        offsets = await self._thread.call_thread(self._thread.seek_streams, sources, self.epoch)
        self._committed_offset.update(offsets)

    async def _seek(self, partition: TP, offset: int) -> None:
        self.forget([partition])
        await super()._seek(partition, offset)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._thread.heard_s = time.monotonic()
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Steps at work end and are committed while the partitions are still ours; all else in flight becomes stale."""
        await super().on_partitions_revoked(revoked)
        self.epoch += 1
        self.forget(list(self.in_flight))

    async def wait_empty(self) -> None:
        """Wait for the steps at work, for BODY_GRACE_S at most, and commit. Faust waits for all that is queued, without end."""
        self.streaming = False
        deadline = time.monotonic() + (STOP_GRACE_S if self.app.should_stop else BODY_GRACE_S)
        while self.working and (left := deadline - time.monotonic()) > 0:
            self._step_ended.clear()
            try:
                await asyncio.wait_for(self._step_ended.wait(), left)
            except TimeoutError:
                log.warning("a step is still at work; its batches will be repeated")
        try:
            await asyncio.wait_for(self.commit(), COMMIT_S)
        except TimeoutError:
            log.warning("the last commit was not answered within %.0f s; some batches will be repeated", COMMIT_S)

    def owns(self, tp: TP) -> bool:
        return bool(self._thread._ensure_consumer()._subscription.is_assigned(tp))

    def unread(self, tp: TP, reached: int) -> bool:
        """Whether records of a partition wait at the broker, or here from offset `reached` on; also while that is not known."""
        assignment = self._thread._ensure_consumer()._subscription.subscription.assignment
        if assignment is None or tp not in assignment.tps:
            return True
        state, flight = assignment.state_value(tp), self.in_flight.get(tp)
        if self._thread.holds(tp):
            return True
        if state._position is None or state.highwater is None or state._position < state.highwater:
            return True
        return flight is not None and len(flight) > 0 and flight[-1].last_offset >= reached

    def log_end(self, tp: TP) -> int | None:
        """End of a partition's log when its records were last fetched; None before that, since the partition came."""
        assignment = self._thread._ensure_consumer()._subscription.subscription.assignment
        return assignment.state_value(tp).highwater if assignment is not None and tp in assignment.tps else None

    async def heard(self) -> bool:
        """Whether the group has heard of this worker within the session timeout; waits for the next heartbeat when not.

        False when a rebalance comes first: a worker that was suspended for long may have been replaced without knowing.
        """
        while time.monotonic() - self._thread.heard_s > self.app.conf.broker_session_timeout:
            if not self.streaming:
                return False
            await asyncio.sleep(0.05)
        return True

    def begin_step(self, who: object) -> bool:
        """Whether an agent may start a step now; it must end it."""
        if self.streaming:
            self.working.add(who)
        return self.streaming

    def end_step(self, who: object) -> None:
        self.working.discard(who)
        self._step_ended.set()

    def halt(self) -> None:
        """Hand out nothing any more: an agent failed, and what it did not finish must be replayed in order."""
        self.streaming = False
        self.working.clear()
        self._step_ended.set()
        self.stop_flow()


class BatchTransport(Transport):
    """Set as `app.transport`."""

    Consumer = BatchConsumer
