"""Header names that are no UTF-8: Kafka takes any bytes for them, aiokafka reads no record after such a one, and its worker would stop.

Knows aiokafka's record batches; a batch with such a name is read once more, slowly, with the odd bytes of its names as `\\xff`. All other
batches are read as ever. Leaves what a record says to reading.py. Next: streams/polling.py
"""

import struct
from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

_LENGTH_AT, _OVERHEAD = 8, 12
"""Of a batch: its base offset, then its length as 4 bytes, then so many bytes."""


class Records:
    """What one fetch brought of a partition; takes the place of aiokafka's MemoryRecords."""

    def __init__(self, data: bytes):
        self._records: Any = MemoryRecords(data)
        self._data = data
        self._at = 0

    def size_in_bytes(self) -> int:
        return int(self._records.size_in_bytes())

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def next_batch(self) -> "RecordBatch | None":
        batch = self._records.next_batch()
        if batch is None:
            return None
        begin = self._at
        self._at += _OVERHEAD + struct.unpack_from(">i", self._data, begin + _LENGTH_AT)[0]
        return RecordBatch(batch, memoryview(self._data)[begin : self._at])


class RecordBatch:
    """One batch: aiokafka's, and its bytes in case that it cannot be read."""

    def __init__(self, batch: Any, data: memoryview):
        self._batch = batch
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        read = 0
        try:
            for record in self._batch:
                yield record
                read += 1
        except UnicodeDecodeError:
            yield from _leniently(self._data, read)


class _Names(bytearray):
    """The bytes of a batch, whose pieces are decoded without an error: aiokafka decodes nothing but header names."""

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return _Names(found) if isinstance(key, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return bytes(self).decode(encoding, "backslashreplace")


def _leniently(data: memoryview, skip: int) -> Iterator[Any]:
    batch: Any = _DefaultRecordBatchPy(data)
    batch._maybe_uncompress()
    batch._buffer = _Names(batch._buffer)
    for number, record in enumerate(batch):
        if number >= skip:
            yield record


def accept_any() -> None:
    """Let every consumer of this process read such records."""
    fetcher.MemoryRecords = Records  # type: ignore[misc,assignment]
