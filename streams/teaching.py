"""Learners at work: lessons in, versions out, beside the way of the lines and never in it.

The order is that of the lanes: publish what happened, store the version with its learner, ack. A version is in the changelog, acknowledged,
before any lane can take it up. A learner's row says which lesson it was made of last; after a crash the lessons since are read
again from their topic. Updates run in a thread of their own, for cpu_share of the time; while one runs, lessons wait in Kafka. The thread
has no lower priority than the others: preempted with the interpreter's lock in its hand, it would hold up the event loop.
Knows rows, time and threads; leaves what is learned to models/learner.py and what judges to versions.py.
Next: streams/learned.py
"""

import asyncio
import logging
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any

import faust
import msgspec
import zstandard

from models.learnable import Learnable
from models.learner import Drift, Heard, Learner, LearningSettings, Update
from models.model_version import name_of
from streams import changelog
from streams.batching import Batch
from streams.learned import Learned, key_of, pack, unpack
from streams.lessons import LessonsRecord, decode
from streams.publisher import Outgoing

log = logging.getLogger(__name__)

PREFIX = b"learner\0"
HOT = 16
"""Learners in memory; another is read from its row, and the lessons since from their topic."""
KEPT_S = 600.0
"""How long a version is kept after the next one: a partition whose worker died is taken over, and its lines judged again, long before."""


class LearnerRow(msgspec.Struct, array_like=True, frozen=True):
    """One tenant's learner in the learning table."""

    base: str
    current: str
    previous: str
    next_offset: int
    """Of the lessons topic: all before it are learned or held."""
    kept: list[tuple[str, int]]
    """Older versions and when each was succeeded, seconds."""
    learner: bytes
    """zstd."""


@dataclass
class _Student:
    """A learner in memory."""

    partition: int
    learner: Learner[Any]
    current: Learnable
    previous: Learnable | None
    next_offset: int
    cause: LessonsRecord | None = None
    """The lessons heard last."""
    kept: list[tuple[str, int]] = field(default_factory=list)
    since_s: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Happened:
    """What is to be told: an update or a drift of a tenant."""

    tenant: str
    what: Update[Any] | Drift
    version: str
    """What judges from now on; for a drift, what judged."""
    cause: LessonsRecord | None
    event_us: int
    took_ms: float = 0.0
    cpu_ms: float = 0.0


class Teaching:
    """All learners of a worker."""

    def __init__(
        self,
        settings: LearningSettings,
        learned: Learned,
        table: faust.Table,
        lessons: Callable[[int, int, int], Any],
        publish: Callable[[Iterable[Outgoing]], Any],
        tell: Callable[[Happened, int], list[Outgoing]],
        executor: Executor,
        goes_on: Callable[[], bool] = lambda: True,
    ):
        """goes_on(): whether steps may go on; not while partitions move. lessons(partition, begin, end): records of the lessons topic, as polled. tell(what, partition): the records of the events."""
        self._settings, self._learned, self._table = settings, learned, table
        self._lessons, self._publish, self._tell, self._executor = lessons, publish, tell, executor
        self._goes_on = goes_on
        self._students: OrderedDict[str, _Student] = OrderedDict()
        self._tenants: defaultdict[int, set[str]] = defaultdict(set)
        self._free_at = 0.0
        self._cpu_s = 0.0

    def moved(self, partitions: Iterable[int]) -> None:
        """Partitions came or went: their learners are read anew."""
        gone = set(partitions)
        for tenant in [t for t, s in self._students.items() if s.partition in gone]:
            del self._students[tenant]
        for partition in gone:
            self._tenants.pop(partition, None)

    async def advance(self, step: Sequence[Batch]) -> None:
        """Take the lessons of a step; on a tick of nothing, make the updates that are due."""
        await self._learned.ready()
        for batch in step:
            for record in batch.records:
                if not self._goes_on():  # a rebalance waits for this step; the rest comes again
                    return
                await self._take(batch.partition, record.offset, record.value)
            batch.ack()  # what a learner's row does not know yet is read again from the topic
        for student in list(self._students.values()):
            if student.learner.is_due and time.monotonic() >= self._free_at:
                await self._update(student)

    async def _take(self, partition: int, offset: int, value: bytes | None) -> None:
        try:
            record = decode(value or b"")
            heard = record.heard()
        except (msgspec.MsgspecError, IndexError) as problem:  # of another release: nothing depends on a lesson
            log.warning("lessons at %d/%d cannot be read: %s; left out", partition, offset, problem)
            return
        student = await self._student(partition, record.tenant, offset)
        if student is None or offset < student.next_offset:
            return
        await self._hear(student, record, heard, offset)
        if student.learner.is_full or (student.learner.is_due and time.monotonic() >= self._free_at):
            await self._update(student)

    async def _hear(self, student: _Student, record: LessonsRecord, heard: Sequence[Heard], offset: int, tells: bool = True) -> None:
        learner = student.learner
        drifts = await self._run(lambda: [drift for one in heard for drift in learner.hear(one)])
        student.next_offset, student.cause = offset + 1, record
        happened = [Happened(learner.tenant, drift, student.current.version, record, learner.clock_us) for drift in drifts]
        if happened and tells:
            await self._publish([o for one in happened for o in self._tell(one, student.partition)])

    async def _update(self, student: _Student) -> None:
        """Make a version, tell of it, store it: from then on lanes take it up."""
        learner, began, base, cpu_s = student.learner, time.monotonic(), self._learned.base, self._cpu_s
        made, rows = await self._run(lambda: _update(student, base.version))
        cpu_s, took_s = self._cpu_s - cpu_s, time.monotonic() - began
        self._free_at = began if learner.is_full else began + cpu_s / self._settings.cpu_share
        happened = Happened(learner.tenant, made, student.current.version, student.cause, learner.clock_us, took_s * 1000, cpu_s * 1000)
        await self._publish(self._tell(happened, student.partition))
        await changelog.store(self._table, student.partition, rows)

    async def _student(self, partition: int, tenant: str, offset: int) -> _Student | None:
        """The tenant's learner, as its row says and the lessons since; None where the partition has its most tenants."""
        student = self._students.get(tenant)
        if student is None:
            key = PREFIX + tenant.encode("utf-8", "replace")
            data = changelog.load(self._table, partition, [key]).get(key)
            if partition not in self._tenants:
                self._tenants[partition] = {
                    k[len(PREFIX) :].decode() for k, _ in changelog.rows(self._table, partition) if k.startswith(PREFIX)
                }
            tenants = self._tenants[partition]
            if tenant not in tenants and len(tenants) >= self._settings.max_tenants:
                return None
            tenants.add(tenant)
            if data:
                student = self._restored(partition, tenant, data)
                await self._catch_up(student, offset)
            else:  # a row at once: what comes from here on is found again
                student = _Student(partition, Learner(tenant, self._settings), self._learned.base, None, offset)
                await changelog.store(self._table, partition, {key: _row(student, self._learned.base.version)})
            self._students[tenant] = student
            while len(self._students) > HOT:
                self._students.popitem(last=False)
        self._students.move_to_end(tenant)
        return student

    def _restored(self, partition: int, tenant: str, data: bytes) -> _Student:
        row = msgspec.msgpack.decode(data, type=LearnerRow)
        learner: Learner[Any] = Learner.unpack(tenant, self._settings, zstandard.decompress(row.learner))
        student = _Student(partition, learner, self._learned.base, None, row.next_offset, kept=list(row.kept))
        if row.base != self._learned.base.version:
            learner.begin_again()  # another release's weights: what the buffer holds is learned by the new one
            student.kept = []
            return student
        student.current = self._version(student, row.current) or self._learned.base
        student.previous = self._version(student, row.previous) if row.previous else None
        return student

    def _version(self, student: _Student, name: str) -> Learnable | None:
        """A version of a tenant's, from the table: under the same partition as its learner."""
        if name == self._learned.base.version:
            return self._learned.base
        key = key_of(student.learner.tenant, name)
        data = changelog.load(self._table, student.partition, [key]).get(key)
        return unpack(self._learned.base, data) if data else None

    async def _catch_up(self, student: _Student, offset: int) -> None:
        """The lessons after the row and before this one, which were acked and are in no row."""
        if student.next_offset >= offset:
            return
        async for records in self._lessons(student.partition, student.next_offset, offset):
            for record in records:
                if record.offset < student.next_offset:
                    continue
                try:
                    found = decode(record.value or b"")
                    if found.tenant == student.learner.tenant:
                        await self._hear(student, found, found.heard(), record.offset, tells=False)
                except (msgspec.MsgspecError, IndexError):
                    continue

    async def _run(self, call: Callable[[], Any]) -> Any:
        """In the learners' thread; its time counts for cpu_share."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: self._counted(call))

    def _counted(self, call: Callable[[], Any]) -> Any:
        started = time.thread_time()
        try:
            return call()
        finally:
            self._cpu_s += time.thread_time() - started


def _update(student: _Student, base: str) -> tuple[Update[Any], dict[bytes, bytes | None]]:
    """Let the learner make its next version, name it, and give the rows to store. Changes `student`."""
    learner = student.learner
    made = learner.update(student.current, student.previous)
    if made.action == "taught" or (made.action == "rolled_back" and made.model.version == base):
        name = name_of(base, f"{learner.tenant}.{learner.updates}", made.model)
        subject = name if made.action == "taught" else made.subject
        made = replace(made, model=made.model.with_tensors(made.model.tensors(), name), subject=subject)
    rows: dict[bytes, bytes | None] = {}
    if made.action != "refused":
        rows |= _forgotten(student, made.model.version)
        student.previous = student.current if made.action == "taught" else None
        student.current = made.model
        rows[key_of(learner.tenant, made.model.version)] = pack(base, learner.tenant, made.model)
    rows[PREFIX + learner.tenant.encode("utf-8", "replace")] = _row(student, base)
    return made, rows


def _forgotten(student: _Student, successor: str) -> dict[bytes, bytes | None]:
    """Tombstones of versions that no replay can need any more; notes that the current one is succeeded."""
    now = int(time.time())
    student.kept.append((student.current.version, now))
    if time.monotonic() - student.since_s < KEPT_S:  # after a stop of any length, what it interrupted is judged again first
        return {}
    old = [name for name, since in student.kept if now - since > KEPT_S]
    student.kept = [(name, since) for name, since in student.kept if now - since <= KEPT_S]
    return {key_of(student.learner.tenant, name): None for name in old if name != successor}


def _row(student: _Student, base: str) -> bytes:
    previous = student.previous.version if student.previous is not None else ""
    return msgspec.msgpack.encode(
        LearnerRow(
            base, student.current.version, previous, student.next_offset, student.kept, zstandard.compress(student.learner.pack(), 1)
        )
    )
