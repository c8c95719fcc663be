"""Records whose header names are no UTF-8 are read, and so are those beside them."""

import pytest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from streams.header_names import Records


class Odd(str):
    """A name as another program writes it, in bytes that are no UTF-8."""

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"\xff\xfe"


def batch(names: list[str], compression: int) -> bytes:
    """A batch with one record a name, as a producer makes it."""
    builder = _DefaultRecordBatchBuilderPy(2, compression, 0, -1, -1, -1, 1 << 20)
    for offset, name in enumerate(names):
        headers = [(name, b"value"), ("after", None)] if name else []
        builder.append(offset, 1_767_000_000_000 + offset, b"key", b"text %d" % offset, headers)
    return bytes(builder.build())


def read(data: bytes) -> list[tuple]:
    records, found = Records(data), []
    while records.has_next():
        one = records.next_batch()
        assert one is not None
        assert one.validate_crc()
        found += [(r.offset, r.timestamp, r.key, r.value, r.headers) for r in one]
    return found


@pytest.mark.parametrize("compression", [0, 1])
def test_a_name_that_is_no_utf8_is_shown_and_costs_no_record(compression: int) -> None:
    good, bad = batch(["", "~~", "Grün", ""], compression), batch(["", Odd("~~"), "Grün", ""], compression)
    told = read(bad + good)
    assert [r[3] for r in told] == [b"text 0", b"text 1", b"text 2", b"text 3"] * 2
    assert [r[4] for r in told[:4]] == [[], [("\\xff\\xfe", b"value"), ("after", None)], [("Grün", b"value"), ("after", None)], []]
    assert [r[:4] for r in told[:4]] == [r[:4] for r in read(good)]


@pytest.mark.parametrize("compression", [0, 1])
def test_other_batches_are_read_as_aiokafka_reads_them(compression: int) -> None:
    data = batch(["", "a", "Grün"], compression)
    assert [r[4] for r in read(data + data)] == [[], [("a", b"value"), ("after", None)], [("Grün", b"value"), ("after", None)]] * 2
