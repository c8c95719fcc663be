"""Polling: the thread that fetches records, so that heartbeats go on whatever the main loop does.

Knows aiokafka's fetcher: what was fetched, pausing, seeking, and when the next fetch may start. Leaves what is in flight and what may
be committed to batching.py.
Next: streams/batching.py
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import aiokafka
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import ConsumerStoppedError, IllegalStateError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Transport, ensure_aiokafka_TP
from faust.types import TP

from streams import header_names

MAX_BATCH_BYTES = 1 << 20
"""A batch ends with the record that reaches it; one record may be larger."""
FETCH_WAIT_MS = 250
"""How long the broker may hold a fetch back when nothing is new: a partition that gets room again waits at most so long."""
LINGER_S = 0.004
"""A fetch follows the answer of the one before after so long, and brings all that came meanwhile; the first after a pause is at once."""
FETCH_MAX_BYTES = 32 << 20


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


class BatchThread(AIOKafkaConsumerThread):
    """The consumer's thread: polls aiokafka and seeks; everything here runs in the thread's own event loop, unless it says otherwise."""

    consumer: Any
    """BatchConsumer: says whether the flow is on and which partitions have room."""
    _waiter: asyncio.Future | None = None
    heard_s = float("inf")
    """When the last heartbeat that succeeded was sent, monotonic clock."""

    def _create_worker_consumer(self, transport: Transport) -> aiokafka.AIOKafkaConsumer:
        header_names.accept_any()
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        consumer._fetch_max_bytes = max(FETCH_MAX_BYTES, self.app.conf.consumer_max_fetch_size)
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        # aiokafka's own is 100 ms, which every partition without room would cost all the others
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
                elif taken := self._take(fetcher):
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
                records, next_offset = _drain(result, tp, self.app.conf.broker_max_poll_records or 4000)
                if next_offset >= 0:
                    taken[TP(*tp)] = records, next_offset
                if result.has_more():
                    continue
            elif taken:
                break  # an error: raised by the next poll
            del fetcher._records[tp]
            if not result.calculate_backoff():  # else the fetcher looks again by itself, LINGER_S after the answer
                fetcher._notify(fetcher._wait_consume_future)
            if not isinstance(result, FetchResult):
                result.check_raise()
        return taken

    async def seek_streams(self, tps: Iterable[TP], epoch: int) -> Mapping[TP, int | None]:
        """Seek partitions to their committed offsets, and those without one to where the reset policy says. Returns the offsets.

        Raises IllegalStateError when they are not assigned any more, or not in the same epoch.
        """
        consumer = self._ensure_consumer()
        places = [ensure_aiokafka_TP(tp) for tp in tps]
        found = await consumer._coordinator.fetch_committed_offsets(places)
        if self.consumer.epoch != epoch or not consumer.assignment().issuperset(places):
            raise IllegalStateError("partitions were revoked before they could be sought")
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
