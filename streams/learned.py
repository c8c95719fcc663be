"""Versions that were learned, as every worker sees them: the learning table's changelog, read to its end and then followed.

A version is in the changelog before anybody can hear of it, so whoever hears of one finds it again after any crash, on any worker.
Knows rows of versions and a consumer without a group; leaves making them to teaching.py and which of them judges to versions.py.
Next: streams/versions.py
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from models.learnable import Learnable
from models.model_version import from_bytes, to_bytes
from schemas.errors import StrataError

log = logging.getLogger(__name__)

PREFIX = b"version\0"
HOT = 8
"""Models kept ready."""
PATIENCE_S = 10.0
"""How long a version that a row names may take to arrive here."""
AGAIN_S = 2.0
"""After Kafka failed the reader."""


class VersionGoneError(StrataError):
    """A version that a row names was deleted: its records waited longer than versions are kept."""


class VersionRow(msgspec.Struct, array_like=True, frozen=True):
    """One version in the learning table."""

    base: str
    """The shipped version it began from; another release does not read its weights."""
    tenant: str
    name: str
    weights: bytes
    """See models/model_version.py."""


def key_of(tenant: str, name: str) -> bytes:
    return PREFIX + tenant.encode("utf-8", "replace") + b"\0" + name.encode("utf-8", "replace")


def pack(base: str, tenant: str, model: Learnable) -> bytes:
    """A version's row."""
    return msgspec.msgpack.encode(VersionRow(base, tenant, model.version, to_bytes(model)))


def unpack(base: Learnable, data: bytes) -> Learnable:
    """The model of a row that began from `base`."""
    row = msgspec.msgpack.decode(data, type=VersionRow)
    return from_bytes(base, row.weights, row.name)


class Learned:
    """Which versions there are, and their models."""

    def __init__(self, bootstrap: str, topic: str, base: Learnable):
        self.base = base
        self._bootstrap = bootstrap
        self._topic = topic
        self._newest: dict[str, str] = {}
        self._rows: dict[str, bytes] = {}  # of the newest version of each tenant
        self._known: set[str] = set()
        self._models: OrderedDict[str, Learnable] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._arrived = asyncio.Event()

    async def ready(self) -> None:
        """Wait until all that was there at the start is read. Starts the reader when it does not run."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._follow())
        await self._ready.wait()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def newest(self, tenant: str) -> str:
        """Name of the tenant's newest version; empty where nothing was learned."""
        return self._newest.get(tenant, "")

    def is_at_hand(self, name: str) -> bool:
        """Whether a version, or the newest in place of one that is gone, can be had without reading the table."""
        return name not in self._known or name in self._models or name in self._newest.values()

    async def has_by_now(self, name: str) -> bool:
        """Whether a version is kept; the shipped one always is. Waits for one that may be on its way from another worker."""
        if not name or name in self._known:
            return True
        if not name.startswith(self.base.version + "+"):
            return False  # of another release
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while name not in self._known and asyncio.get_running_loop().time() < deadline:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), 0.2)
            except TimeoutError:
                pass
        return name in self._known

    async def model(self, tenant: str, name: str) -> Learnable:
        """A version's model. Raises VersionGoneError."""
        if not name:
            return self.base
        found = self._models.get(name)
        if found is None:
            data = self._rows.get(tenant) if self.newest(tenant) == name else await self._fetch(tenant, name)
            if data is None:
                raise VersionGoneError(f"version {name} is not in {self._topic} any more; its lines are judged by the newest one")
            found = self._models[name] = unpack(self.base, data)
        self._models.move_to_end(name)
        while len(self._models) > HOT:
            self._models.popitem(last=False)
        return found

    def note(self, key: bytes, value: bytes | None) -> None:
        """Take one record of the changelog."""
        if not key.startswith(PREFIX):
            return
        tenant, _, name = key[len(PREFIX) :].decode().partition("\0")
        if value is None:
            self._known.discard(name)
            return
        if msgspec.msgpack.decode(value, type=VersionRow).base != self.base.version:
            return
        self._known.add(name)
        self._newest[tenant], self._rows[tenant] = name, value
        self._arrived.set()

    async def _fetch(self, tenant: str, name: str) -> bytes | None:
        """A version that is not the newest, read from the beginning: after a crash or when a partition moved, so seldom."""
        if not await self.has_by_now(name):
            return None
        key, found = key_of(tenant, name), None
        async for records in read(self._bootstrap, self._topic):
            for record in records:
                if record.key == key:
                    found = record.value
        return found

    async def _follow(self) -> None:
        while True:
            try:
                async for records in read(self._bootstrap, self._topic, forever=True, at_end=self._ready.set):
                    for record in records:
                        self.note(record.key or b"", record.value)
            except KafkaError as problem:
                log.warning("learned versions cannot be read: %r; trying again", problem)
                await asyncio.sleep(AGAIN_S)


async def read(
    bootstrap: str,
    topic: str,
    partition: int | None = None,
    begin: int | None = None,
    end: int | None = None,
    forever: bool = False,
    at_end: Callable[[], None] = lambda: None,
) -> AsyncIterator[list[Any]]:
    """Records of a topic, or of one partition from `begin` to before `end`, as polled; until what was there is read, or `forever`."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, max_partition_fetch_bytes=16 << 20, fetch_max_wait_ms=500
    )
    await consumer.start()
    try:
        numbers = (
            [partition]
            if partition is not None
            else sorted((await consumer._client._wait_on_metadata(topic) and consumer.partitions_for_topic(topic)) or ())
        )
        places = [TopicPartition(topic, n) for n in numbers]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        begins = await consumer.beginning_offsets(places)
        for place in places:
            consumer.seek(place, max(begins[place], begin or 0))
        if end is not None:
            ends = {place: min(end, ends[place]) for place in places}
        told = False
        while True:
            if not told and all([await consumer.position(place) >= ends[place] for place in places]):
                told = True
                at_end()
                if not forever:
                    return
            for place, records in (await consumer.getmany(timeout_ms=500)).items():
                yield records if forever else [r for r in records if r.offset < ends[place]]
    finally:
        await consumer.stop()
