"""Batches: all new records of a partition travel through Faust as one event.

Knows aiokafka's fetcher and Faust's consumer: what is polled, what is in flight, which offset may be committed. A batch whose
partition was taken away or sought is stale: its ack changes nothing, and its records come again. Leaves rebalances to
rebalance.py and what an agent does with a batch to delivery.py.
Next: streams/delivery.py
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, cast

import aiokafka
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import ConsumerStoppedError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport, ensure_aiokafka_TP
from faust.types import TP, ConsumerMessage

log = logging.getLogger(__name__)

MAX_IN_FLIGHT = 4
"""Batches of a partition delivered and not yet acked; beyond it the partition is not polled: the back-pressure."""
MAX_BATCH_BYTES = 1 << 20
"""A batch ends with the record that reaches it; one record may be larger."""
FETCH_WAIT_MS = 250
"""How long the broker may hold a fetch back when nothing is new: a partition that gets room again waits at most so long."""
LINGER_S = 0.004
"""Polls are at least so far apart while records keep coming; the first record after a pause does not wait."""
FETCH_MAX_BYTES = 32 << 20
BODY_GRACE_S = 8.0
"""How long a rebalance or a stop waits for steps at work; must stay below the rebalance timeout."""


class Record(Protocol):
    """One raw record, as aiokafka parsed it."""

    offset: int
    timestamp: int
    """Milliseconds since the epoch."""
    timestamp_type: int
    """0 set by the producer, 1 by the broker's append."""
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


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


class BatchThread(AIOKafkaConsumerThread):
    """The consumer's thread: polls aiokafka and seeks; everything here runs in the thread's own event loop, unless it says otherwise."""

    consumer: "BatchConsumer"
    _waiter: asyncio.Future | None = None
    _taken_s = 0.0
    heard_s = float("inf")
    """When the last heartbeat that succeeded was sent, monotonic clock."""

    def _create_worker_consumer(self, transport: Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        consumer._fetch_max_bytes = max(FETCH_MAX_BYTES, self.app.conf.consumer_max_fetch_size)
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        # a fetch waits so long for records of the one before to be taken; else 100 ms, by each partition without room
        consumer = self._ensure_consumer()
        consumer._fetcher._prefetch_backoff = LINGER_S
        beat = consumer._coordinator._do_heartbeat

        async def heartbeat() -> bool:
            sent_s = time.monotonic()
            if succeeded := await beat():
                self.heard_s = sent_s
            return succeeded

        consumer._coordinator._do_heartbeat = heartbeat

    async def poll(self) -> dict[TP, tuple[list[Record], int]]:
        """Wait for records of partitions that have room; {} once the flow is stopped. Called from the main loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._poll(), self.thread_loop))

    def wake(self) -> None:
        """Make the poll look again: the flow stopped, or a partition got room. Called from the main loop."""
        try:
            self.thread_loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            pass  # the thread's loop is closed: nobody polls

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _poll(self) -> dict[TP, tuple[list[Record], int]]:
        fetcher = self._ensure_consumer()._fetcher
        with fetcher._subscriptions.fetch_context():
            while self.consumer.flow_active:
                if fetcher._closed:
                    raise ConsumerStoppedError()
                if fetcher._subscriptions.reassignment_in_progress:
                    await fetcher._subscriptions.wait_for_assignment()
                elif fetcher._records and (pause := self._taken_s + LINGER_S - time.monotonic()) > 0:
                    await asyncio.sleep(pause)
                elif taken := self._take(fetcher):
                    self._taken_s = time.monotonic()
                    return taken
                else:
                    self._waiter = fetcher._create_fetch_waiter()
                    await self._waiter
        return {}

    def _take(self, fetcher: Any) -> dict[TP, tuple[list[Record], int]]:
        """What was fetched of partitions that have room: records and the offset after them."""
        taken: dict[TP, tuple[list[Record], int]] = {}
        for tp in list(fetcher._records):
            if not self.consumer.has_room(tp):
                if not fetcher._subscriptions.is_assigned(tp):
                    del fetcher._records[tp]
                continue
            result = fetcher._records[tp]
            if isinstance(result, FetchResult):
                taken[TP(*tp)] = _drain(result, tp, self.app.conf.broker_max_poll_records or 4000)
                if result.has_more():
                    continue
            elif taken:
                break  # an error: raised by the next poll
            del fetcher._records[tp]
            fetcher._notify(fetcher._wait_consume_future)
            if not isinstance(result, FetchResult):
                result.check_raise()
        return taken

    async def seek_streams(self, tps: Iterable[TP]) -> Mapping[TP, int | None]:
        """Seek partitions to their committed offsets, and those without one to where the reset policy says. Returns the offsets."""
        consumer = self._ensure_consumer()
        places = [ensure_aiokafka_TP(tp) for tp in tps]
        found = await consumer._coordinator.fetch_committed_offsets(places)
        offsets: dict[TP, int | None] = {}
        for place in places:
            offset = found[place].offset if place in found else -1
            offsets[TP(*place)] = offset if offset >= 0 else None
            if offset >= 0:
                consumer._fetcher.seek_to(place, offset)
        if fresh := [place for place in places if offsets[TP(*place)] is None]:
            await consumer._fetcher.request_offset_reset(fresh, consumer._fetcher._default_reset_strategy)
        return offsets

    def set_paused(self, tps: Iterable[TP], paused: bool) -> None:
        """Pause or resume fetching itself, which Faust leaves running. Called from the main loop."""
        self.thread_loop.call_soon_threadsafe(self._set_paused, [ensure_aiokafka_TP(tp) for tp in tps], paused)

    def _set_paused(self, tps: list[Any], paused: bool) -> None:
        if self._consumer is None:
            return
        for tp in self._consumer.assignment().intersection(tps):
            (self._consumer.pause if paused else self._consumer.resume)(tp)
        self._wake()


def _drain(result: FetchResult, tp: Any, max_records: int) -> tuple[list[Record], int]:
    """FetchResult.getall with a limit of bytes, and without its copy of each record."""
    source = result._partition_records
    records: list[Record] = []
    if source is None or not result.check_assignment(tp):
        return records, -1
    source._consumer_record = _as_it_is
    size = 0
    for record in source:
        records.append(record)
        size += len(record.value or b"")
        if size >= MAX_BATCH_BYTES or len(records) >= max_records:
            result._update_position()
            return records, source.next_fetch_offset
    result._update_position()
    result._partition_records = None
    return records, source.next_fetch_offset


def _as_it_is(tp: Any, record: Record) -> Record:
    return record


class BatchConsumer(Consumer):
    """Faust's consumer, one event per partition and poll. Nothing is committed past a batch that is not acked."""

    _thread: BatchThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.in_flight: dict[TP, deque[Batch]] = {}
        """Delivered and not acked, oldest first; an acked batch stays while an older one is not."""
        self.committable: dict[TP, int] = {}
        self.working: set[object] = set()
        """Steps that agents are in."""
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
        """Poll and deliver until stopped. One poll at a time: none is under way when the flow has stopped."""
        while not (self.should_stop or fetcher.should_stop):
            if not self.flow_active:
                await self.can_resume_flow.wait()
            self.not_waiting_next_records.clear()
            try:
                taken = await self._thread.poll()
            except ConsumerStoppedError:
                if self.app.should_stop:
                    return
                raise
            finally:
                self.not_waiting_next_records.set()
            for tp, (records, next_offset) in taken.items():
                # what arrives after the flow stopped is dropped: a seek always comes before the flow resumes
                if self.flow_active:
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
        batch, message.acked = cast(Batch, message.value), True
        if batch.acked:
            return False
        batch.acked = True
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

    async def perform_seek(self) -> None:
        """Seek the source partitions to their committed offsets; those without one to the reset policy's."""
        sources = {tp for tp in self.assignment() if not self._is_changelog_tp(tp)}
        self.forget(sources)
        offsets = await self._thread.call_thread(self._thread.seek_streams, sources)
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
        deadline = time.monotonic() + BODY_GRACE_S
        while self.working and (left := deadline - time.monotonic()) > 0:
            self._step_ended.clear()
            try:
                await asyncio.wait_for(self._step_ended.wait(), left)
            except TimeoutError:
                log.warning("a step is still at work after %.0f s; its batches will be repeated", BODY_GRACE_S)
        await self.commit_and_end_transactions()

    def owns(self, tp: TP) -> bool:
        return bool(self._thread._ensure_consumer()._subscription.is_assigned(tp))

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
        self.stop_flow()


class BatchTransport(Transport):
    """Set as `app.transport`."""

    Consumer = BatchConsumer
