"""A worker that is not connected: its consumer is given batches by hand, and one agent waits for them.

Knows what a consumer sees of an agent; leaves fetching to test_polling.py and a real broker to delivery_processes.py.
"""

from types import SimpleNamespace
from typing import Any

from faust.types import TP

from streams.batching import Batch, BatchConsumer
from streams.delivery import App

TOKENS = [TP("tokens", p) for p in range(3)]


class Rec(SimpleNamespace):
    """A raw record."""


def records(first: int, count: int) -> list[Any]:
    return [Rec(offset=first + i, timestamp=1000, timestamp_type=0, key=b"k", value=b"v", headers=[]) for i in range(count)]


class Channel:
    """What the conductor knows of an agent's stream."""

    def __init__(self, app: App):
        self.queue = app.FlowControlQueue(maxsize=16)


class UnconnectedWorker:
    """One consumer, with one agent's channel."""

    def __init__(self, app: App):
        self.app = app
        self.consumer: BatchConsumer = app.consumer  # type: ignore[assignment]
        self.channel = Channel(app)
        self.wakes = 0
        self.consumer._thread.wake = self._wake  # type: ignore[method-assign]
        app.topics._acking_topics.add("tokens")  # type: ignore[attr-defined]
        for tp in TOKENS:
            app.topics._tp_index[tp].add(self.channel)  # type: ignore[attr-defined]
        self.consumer._active_partitions.update(TOKENS)
        self.consumer.streaming = True

    def _wake(self) -> None:
        self.wakes += 1

    def deliver(self, tp: TP, first: int, count: int = 1) -> Batch:
        self.consumer._deliver(tp, records(first, count), first + count)
        return self.consumer.in_flight[tp][-1]

    def committable(self) -> dict[TP, int]:
        return self.consumer._filter_committable_offsets(self.consumer._filter_tps_with_pending_acks())

    def stream(self) -> Any:
        return SimpleNamespace(channel=self.channel, app=self.app)
