"""What the consumer's thread takes of a partition: every record once, within its limits, whatever moves meanwhile; needs no broker."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import polling

PLACE = TP("tokens", 0)


class Polled:
    """One partition as the consumer's thread sees it: what aiokafka holds after fetches, what is collected, what is taken."""

    def __init__(self, first: int = 0, most: int = 1000) -> None:
        state = SimpleNamespace(paused=False, position=first, _position=first)
        state.consumed_to = self.move
        self.state = state
        self.assignment = SimpleNamespace(active=True, state_value=lambda tp: state)
        self.fetcher = SimpleNamespace(_records={}, _notify=lambda future: None, _wait_consume_future=None)
        self.has_room = True
        self.thread = polling.BatchThread.__new__(polling.BatchThread)
        self.thread.consumer = SimpleNamespace(has_room=lambda tp: self.has_room, most_records=lambda tp: most)
        self.thread._collected, self.thread._on_the_way, self.thread._taken = {}, set(), asyncio.Event()
        self.first = first

    def move(self, position: int) -> None:
        self.state.position = self.state._position = position

    def fetch(self, sizes: list[int], key: bytes = b"k") -> None:
        """A fetch from where the partition stands brings one record per size; only when the fetcher holds none, as aiokafka has it."""
        assert PLACE not in self.fetcher._records
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 64 << 20)
        for i, size in enumerate(sizes):
            builder.append(i, 1000 + i, key, b"x" * size, [("h", b"1")])
        raw = bytearray(builder.build())
        raw[0:8] = self.state.position.to_bytes(8, "big")  # the base offset is the broker's to set
        source = PartitionRecords(PLACE, MemoryRecords(bytes(raw)), [], self.state.position, None, None, False, 0)
        self.fetcher._records[PLACE] = FetchResult(PLACE, assignment=self.assignment, partition_records=source, backoff=0)

    def collect(self) -> None:
        self.thread._collect(self.fetcher)

    def take(self) -> list[Any]:
        return next((records for records, _ in self.thread._take().values()), [])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 400_000), min_size=1, max_size=12), st.booleans()), min_size=1, max_size=8),
    st.integers(1, 12),
)
def test_polls_give_every_record_once_within_the_limits(fetches: list[tuple[list[int], bool]], most: int) -> None:
    one, seen, taken = Polled(70, most), list[int](), list[list[Any]]()
    for sizes, polls in [*fetches, *[([], True)] * 60]:
        if sizes:
            while PLACE in one.fetcher._records:  # full: aiokafka fetches no more of the partition until it is taken
                taken.append(one.take())
                one.collect()
            one.fetch(sizes)
        one.collect()
        if polls:
            taken.append(one.take())
    for batch in taken:
        assert len(batch) <= most
        assert sum(len(r.value or b"") for r in batch[:-1]) < polling.MAX_BATCH_BYTES
        seen += [r.offset for r in batch]
    assert seen == list(range(70, 70 + sum(len(sizes) for sizes, _ in fetches)))
    assert one.state.position == 70 + len(seen)
    assert not one.thread._collected


def test_what_comes_while_the_main_loop_is_busy_leaves_the_fetcher_empty() -> None:
    """A partition whose records lie with aiokafka is left out of the next fetch, which then waits for the others (FETCH_WAIT_MS)."""
    one = Polled()
    one.has_room = False
    for _ in range(3):
        one.fetch([3, 3])
        one.collect()
        assert not one.fetcher._records
        assert one.take() == []
    assert one.thread.holds(PLACE)
    one.has_room = True
    assert [r.offset for r in one.take()] == [0, 1, 2, 3, 4, 5]


def test_a_record_keeps_key_value_headers_and_time() -> None:
    one = Polled()
    one.fetch([3], b"k0")
    one.collect()
    (record,) = one.take()
    assert (record.offset, record.timestamp, record.key, record.value, list(record.headers)) == (0, 1000, b"k0", b"xxx", [("h", b"1")])


def test_records_that_were_taken_are_held_until_the_main_loop_asks_for_more() -> None:
    """Until then a session they belong to is not silent."""
    one = Polled()
    one.fetch([3])
    one.collect()
    one.take()
    assert one.thread.holds(PLACE)
    one.thread._on_the_way.clear()  # what the next poll begins with
    assert not one.thread.holds(PLACE)


@pytest.mark.parametrize("collected", [False, True])
def test_nothing_is_taken_of_a_partition_that_was_sought_meanwhile(collected: bool) -> None:
    one = Polled()
    one.fetch([3, 3])
    if collected:
        one.collect()
    one.move(99)
    one.collect()
    assert one.take() == []
    assert one.state.position == 99


def test_nothing_is_taken_of_a_partition_that_left_meanwhile() -> None:
    one = Polled()
    one.fetch([3, 3])
    one.collect()
    one.assignment.active = False
    assert one.take() == []
    assert not one.thread.holds(PLACE)
