"""Session tables in batches: read from RocksDB, written to the changelog first and to RocksDB after.

Knows Faust's tables, their changelog topics and RocksDB files; leaves what a row means to session.py. The store is never ahead of
the changelog: the rows and the changelog's offset are one RocksDB write, made after Kafka has acknowledged the rows.
Next: streams/rebalance.py (recovery)
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import faust
from faust.stores.rocksdb import Store
from faust.types import TP
from rocksdict import WriteBatch

from schemas.errors import StrataError

ROCKSDB_OPTIONS = {"write_buffer_size": 4 << 20, "block_cache_size": 16 << 20, "max_open_files": 256}
"""Per partition; rocksdict's own default is a block cache of 2 GiB each."""


class NotOursError(StrataError):
    """The partition was revoked: its new owner replays the input, so nothing may be written here any more."""

    retriable = True


def load(table: faust.Table, partition: int, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    """The rows that exist, by key: one RocksDB multi-get. Raises NotOursError."""
    wanted = list(dict.fromkeys(keys))
    found = _database(table, partition).get(wanted) if wanted else []
    return {key: value for key, value in zip(wanted, found, strict=True) if value is not None}


def rows(table: faust.Table, partition: int) -> Iterator[tuple[bytes, bytes]]:
    """All rows of a partition, as they are when it begins. Raises NotOursError."""
    for key, value in _database(table, partition).items():
        if key != Store.offset_key:
            yield key, value


def rows_under(table: faust.Table, partition: int, prefix: bytes) -> dict[bytes, bytes]:
    """The rows whose keys begin with `prefix`, by the rest of their keys. Raises NotOursError."""
    found: dict[bytes, bytes] = {}
    for key, value in _database(table, partition).items(from_key=prefix):
        if not key.startswith(prefix):
            break
        found[key[len(prefix) :]] = value
    return found


async def store(table: faust.Table, partition: int, new: Mapping[bytes, bytes | None]) -> None:
    """Replace rows; None deletes one. Neighbours whose keys are the same up to a NUL are written together or not at all.

    Returns when changelog and RocksDB have them. Raises NotOursError, PublishError.
    """
    if not new:
        return
    app = cast(Any, table.app)
    topic = table.changelog_topic.get_topic_name()
    lock = app.changelog_locks.setdefault((topic, partition), asyncio.Lock())
    async with lock:  # the offset in RocksDB may not run ahead of rows that another task is writing
        _check_ours(table, partition, await app.consumer.heard())
        offset = await app.publisher.write_changelog(topic, partition, new.items())
        write(_database(table, partition), new.items(), offset)


def write(database: Any, new: Any, offset: int) -> None:
    """Rows and the changelog's offset as one RocksDB write. new: pairs of key and value or None."""
    batch = WriteBatch(raw_mode=True)
    for key, value in new:
        if value is None:
            batch.delete(key)
        else:
            batch.put(key, value)
    batch.put(Store.offset_key, b"%d" % offset)
    database.write(batch)


def _database(table: faust.Table, partition: int) -> Any:
    _check_ours(table, partition)
    return cast(Any, table.data)._db_for_partition(partition)


def _check_ours(table: faust.Table, partition: int, heard: bool = True) -> None:
    app = cast(Any, table.app)
    place = TP(table.changelog_topic.get_topic_name(), partition)
    if not (heard and app.may_write(place)):
        raise NotOursError(f"partition {partition} of table {table.name} is not assigned to this worker (any more); its records come again")
