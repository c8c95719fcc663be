"""What may be committed of batches, and of which partition no more is asked for; needs no broker."""

import random
from typing import Any

import pytest

from streams import batching
from streams.batching import MAX_IN_FLIGHT
from tests.streams.unconnected_worker import TOKENS, UnconnectedWorker


async def test_only_offsets_below_every_unacked_batch_may_be_committed(worker: UnconnectedWorker) -> None:
    for seed in range(200):
        draw = random.Random(seed)
        worker.consumer.forget(TOKENS)
        sizes = [draw.randint(1, 5) for _ in range(draw.randint(1, 12))]
        starts = [sum(sizes[:i]) * 2 for i in range(len(sizes))]  # offsets with gaps, as compaction leaves them
        batches = [worker.deliver(TOKENS[0], start, size) for start, size in zip(starts, sizes, strict=True)]
        waiting = list(batches)
        while waiting:
            waiting.pop(draw.randrange(len(waiting))).ack()
            done = next((i for i, b in enumerate(batches) if b in waiting), len(batches))
            expected = {TOKENS[0]: batches[done - 1].last_offset + 1} if done else {}
            assert worker.committable() == expected


async def test_an_ack_counts_once(worker: UnconnectedWorker) -> None:
    first, second = worker.deliver(TOKENS[0], 0), worker.deliver(TOKENS[0], 1)
    first.ack()
    first.ack()
    assert worker.committable() == {TOKENS[0]: 1}
    second.ack()
    assert worker.committable() == {TOKENS[0]: 2}


async def test_a_batch_from_before_a_seek_changes_nothing(worker: UnconnectedWorker) -> None:
    old = worker.deliver(TOKENS[0], 10)
    worker.consumer.forget([TOKENS[0]])
    again = worker.deliver(TOKENS[0], 10)
    old.ack()
    assert old.stale
    assert worker.committable() == {}
    again.ack()
    assert worker.committable() == {TOKENS[0]: 11}


async def test_a_commit_that_failed_is_tried_again(worker: UnconnectedWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(self: Any, offsets: Any, start: bool = True) -> bool:
        self._committed_offset.update(offsets)  # as Faust does, refused or not
        return False

    monkeypatch.setattr(batching.Consumer, "_commit_offsets", refused)
    worker.deliver(TOKENS[0], 0).ack()
    await worker.consumer._commit_offsets(worker.committable())
    assert worker.committable() == {TOKENS[0]: 1}


async def test_a_partition_is_not_polled_while_its_batches_pile_up(worker: UnconnectedWorker) -> None:
    held = [worker.deliver(TOKENS[0], i) for i in range(MAX_IN_FLIGHT)]
    assert not worker.consumer.has_room(TOKENS[0])
    assert worker.consumer.has_room(TOKENS[1])
    held[1].ack()  # not the oldest: nothing is freed
    assert not worker.consumer.has_room(TOKENS[0])
    held[0].ack()
    assert worker.consumer.has_room(TOKENS[0])
    assert worker.wakes == 2  # the poll looks again
