"""Polling: the thread that fetches records, so that heartbeats and fetches go on whatever the main loop does.

Knows aiokafka's fetcher: what was fetched, pausing, seeking, and when the next fetch may start. What comes is collected here, partition by
partition, until the main loop takes it. Leaves what is in flight and what may be committed to batching.py.
Next: streams/batching.py
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
HOLD_S = 0.01
"""While records wait here for a busy main loop, the next fetch waits for it too, at most so long: it would only add to them."""
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


@dataclass(slots=True)
class Collected:
    """Records of one partition that were fetched and not taken yet."""

    assignment: Any
    """aiokafka's, under which they were fetched."""
    records: list[Record] = field(default_factory=list)
    size: int = 0
    """Of their values, bytes."""
    next_offset: int = -1
    """After the last of them: where the partition is read on."""

    def is_current(self, tp: TP) -> bool:
        """Whether they still come next: the partition was neither taken away nor sought since."""
        return bool(self.assignment.active) and self.assignment.state_value(tp)._position == self.next_offset


class BatchThread(AIOKafkaConsumerThread):
    """The consumer's thread: polls aiokafka and seeks; everything here runs in the thread's own event loop, unless it says otherwise."""

    consumer: Any
    """BatchConsumer: says whether the flow is on and which partitions have room."""
    _waiter: asyncio.Future | None = None
    heard_s = float("inf")
    """When the last heartbeat that succeeded was sent, monotonic clock."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._collected: dict[TP, Collected] = {}
        self._on_the_way: set[TP] = set()
        """Partitions whose records the main loop was given and has not delivered yet."""
        self._taken = asyncio.Event()

    def _create_worker_consumer(self, transport: Transport) -> aiokafka.AIOKafkaConsumer:
        header_names.accept_any()
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        consumer._fetch_max_bytes = max(FETCH_MAX_BYTES, self.app.conf.consumer_max_fetch_size)
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        consumer = self._ensure_consumer()
        fetcher, beat = consumer._fetcher, consumer._coordinator._do_heartbeat
        fetcher._prefetch_backoff = 0.0  # aiokafka's own is 100 ms, which every partition that is full here would cost all the others
        fetch, answered_s = fetcher._proc_fetch_request, 0.0

        async def fetch_and_collect(*request: Any) -> bool:
            """Collect what a fetch brings before the next one is made, busy as the main loop may be: a partition whose records lie with the
            fetcher is left out of the next fetch, and that one would wait FETCH_WAIT_MS for partitions where nothing happens."""
            nonlocal answered_s
            if self._collected:
                self._taken.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(HOLD_S):
                        await self._taken.wait()
            if (early_s := answered_s + LINGER_S - time.monotonic()) > 0:
                await asyncio.sleep(early_s)
            if has_new := await fetch(*request):
                self._collect(fetcher)
                answered_s = time.monotonic()
            return bool(has_new)

        fetcher._proc_fetch_request = fetch_and_collect

        async def heartbeat() -> bool:
            sent_s = time.monotonic()
            if succeeded := await beat():
                self.heard_s = sent_s
            return succeeded

        consumer._coordinator._do_heartbeat = heartbeat

    async def poll(self) -> dict[TP, tuple[list[Record], int]]:
        """Wait for records of partitions that have room; {} once the flow is stopped. Called from the main loop, one at a time."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._poll(), self.thread_loop))

    def holds(self, tp: TP) -> bool:
        """Whether records of a partition were fetched that the main loop has not delivered. Called from the main loop."""
        return tp in self._collected or tp in self._on_the_way

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
        self._on_the_way.clear()
        with fetcher._subscriptions.fetch_context():
            while self.consumer.flow_active:
                if fetcher._closed:
                    raise ConsumerStoppedError()
                if fetcher._subscriptions.reassignment_in_progress:
                    await fetcher._subscriptions.wait_for_assignment()
                    continue
                self._collect(fetcher)
                if taken := self._take():
                    return taken
                self._raise_errors(fetcher)
                self._waiter = fetcher._create_fetch_waiter()
                await self._waiter
        return {}

    def _collect(self, fetcher: Any) -> None:
        """Take over what was fetched, as much as makes one batch of each partition."""
        for tp in list(fetcher._records):
            result, place = fetcher._records[tp], TP(*tp)
            most = self.consumer.most_records(place)
            if not isinstance(result, FetchResult):
                continue  # an error: raised by a poll that has nothing else to give
            held = self._collected.get(place)
            if held is None or not held.is_current(place):
                held = self._collected[place] = Collected(result._assignment)  # before the position moves: see `holds`
            if len(held.records) < most and held.size < MAX_BATCH_BYTES:
                _drain(result, tp, held, most)
            if held.next_offset < 0:
                del self._collected[place]
            if result.has_more():
                continue
            del fetcher._records[tp]
            fetcher._notify(fetcher._wait_consume_future)

    def _take(self) -> dict[TP, tuple[list[Record], int]]:
        """What is collected of partitions that have room: records and the offset after them."""
        taken: dict[TP, tuple[list[Record], int]] = {}
        for place in list(self._collected):
            held = self._collected[place]
            if not held.is_current(place):
                del self._collected[place]
            elif self.consumer.has_room(place):
                self._on_the_way.add(place)
                del self._collected[place]
                taken[place] = held.records, held.next_offset
        if taken:
            self._taken.set()
        return taken

    def _raise_errors(self, fetcher: Any) -> None:
        """Raise what a fetch ran into."""
        for tp in list(fetcher._records):
            result = fetcher._records[tp]
            if not isinstance(result, FetchResult):
                del fetcher._records[tp]
                fetcher._notify(fetcher._wait_consume_future)
                result.check_raise()

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


def _drain(result: FetchResult, tp: Any, held: Collected, most: int) -> None:
    """FetchResult.getall into `held`, with a limit of bytes, and without its copy of each record."""
    source = result._partition_records
    if source is None or not result.check_assignment(tp):
        return
    source._consumer_record = _as_it_is
    for record in source:
        held.records.append(record)
        held.size += len(record.value or b"")
        if held.size >= MAX_BATCH_BYTES or len(held.records) >= most:
            break
    else:
        result._partition_records = None
    held.next_offset = source.next_fetch_offset
    result._assignment.state_value(tp).consumed_to(held.next_offset)


def _as_it_is(tp: Any, record: Record) -> Record:
    return record
