"""Is this worker doing its work? Readiness, and the end of a worker that is stuck.

A Faust worker can be 'ready' and stuck: its committed offset frozen while records wait. The watchdog compares what is committed with
what the broker has. Knows offsets and a file that says ready; leaves restarts to the supervisor.
Next: deploy/local/supervisor.py
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from faust.types import TP
from mode import Service

from schemas import ready as ready_file
from schemas.errors import StrataError
from streams.batching import BatchConsumer
from streams.running import exit_at_last

log = logging.getLogger(__name__)

CHECK_EVERY_S = 5.0
EXIT_GRACE_S = 15.0
"""How long a stuck worker may take to stop in order."""


class StuckError(StrataError):
    """Records wait, and nothing is committed: the worker stops and is started anew."""

    retriable = True


class Watchdog(Service):
    """Watches one app. `ready` and `reason` say how it is; `ready_file` exists while it is ready."""

    def __init__(self, app: Any, stop_after_s: float, ready_file: Path | None = None):
        """A worker is not ready after half of `stop_after_s` without progress, and stops after all of it."""
        super().__init__()
        self.app = app
        self.stop_after_s = stop_after_s
        self.ready = False
        self.reason = "starting"
        self.step_goes_on: Callable[[float], bool] = lambda now: False
        """Whether the model is at a long step and advances, at a time of the monotonic clock; set by who has the model."""
        self._ready_file = ready_file
        self._progress: dict[TP | None, tuple[object, float]] = {}
        """Partition -> what it was when it last moved, and when that was; None is the recovery."""

    @Service.task
    async def _watch(self) -> None:
        while not self.should_stop:
            await self.sleep(min(CHECK_EVERY_S, self.stop_after_s / 4))
            if not self.should_stop:
                await self.check(time.monotonic())

    async def on_stop(self) -> None:
        self._say(False, "stopping")

    def refresh(self) -> None:
        """Look again at what is known here, without asking the broker."""
        streaming = cast(BatchConsumer, self.app.consumer).streaming
        self._say(streaming, "" if streaming else "partitions are being assigned or tables recovered")

    async def check(self, now: float) -> None:
        """Ask the broker and compare. now: monotonic clock, seconds."""
        consumer = cast(BatchConsumer, self.app.consumer)
        if not consumer.streaming:
            self._progress = {None: self._moved(None, sum(v or 0 for v in self.app.tables.recovery.active_offsets.values()), now)}
        else:
            sources = [tp for tp in consumer.assignment() if not consumer._is_changelog_tp(tp)]
            try:
                ends = await asyncio.wait_for(consumer.highwaters(*sources), CHECK_EVERY_S)
            except Exception as problem:
                self._progress = {}  # a broker that is away is no fault of this worker
                self._say(False, f"Kafka does not answer: {problem!r}")
                return
            if not consumer.streaming:
                return
            waiting = (tp for tp in sources if _waits(consumer, tp, ends))
            self._progress = {tp: self._moved(tp, consumer._committed_offset[tp], now) for tp in waiting}
        self._judge(now)

    def _moved(self, tp: TP | None, state: object, now: float) -> tuple[object, float]:
        before = self._progress.get(tp)
        return before if before is not None and before[0] == state else (state, now)

    def _judge(self, now: float) -> None:
        tp, since = min(((tp, since) for tp, (_, since) in self._progress.items()), key=lambda pair: pair[1], default=(None, now))
        if self.step_goes_on(now):  # one long record holds all commits
            self._progress = {place: (state, now) for place, (state, _) in self._progress.items()}
            since = now
        frozen_s = now - since
        what = f"the committed offset of {tp.topic}-{tp.partition} ({self._progress[tp][0]})" if tp else "the recovery of tables"
        if frozen_s >= self.stop_after_s:
            self._stop_worker(
                StuckError(f"{what} has not moved for {frozen_s:.0f} s while records wait; the worker stops to be started anew")
            )
        elif frozen_s >= self.stop_after_s / 2:
            self._say(False, f"{what} has not moved for {frozen_s:.0f} s while records wait")
        else:
            self.refresh()

    def _say(self, ready: bool, reason: str) -> None:
        if (ready, reason) == (self.ready, self.reason):
            return
        if ready:
            log.info("ready")
        elif self.ready or "while records wait" in reason:
            log.warning("not ready: %s", reason)
        self.ready, self.reason = ready, reason
        if ready:
            ready_file.tell(self._ready_file)
        else:
            ready_file.forget(self._ready_file)

    def _stop_worker(self, problem: StuckError) -> None:
        self._say(False, str(problem))
        log.error("%s", problem)
        exit_at_last(EXIT_GRACE_S)
        cast(BatchConsumer, self.app.consumer).halt()
        self.app.add_future(self.app.crash(problem))


def _waits(consumer: BatchConsumer, tp: TP, ends: Mapping[TP, int]) -> bool:
    """Whether the partition has records that are not committed."""
    assignment = consumer._thread._ensure_consumer()._subscription.subscription.assignment
    position = assignment.state_value(tp)._position if assignment and tp in assignment.tps else None
    unread = position is not None and position < ends.get(tp, 0)
    # a partition that never had a record has nothing to commit, though nothing is committed
    uncommitted = tp in consumer.committable and consumer._should_commit(tp, consumer.committable[tp])
    return unread or bool(consumer.in_flight.get(tp)) or uncommitted
