"""Dead letters hold the record as it was, as far as a topic can hold it."""

import pytest

from schemas.errors import RecordTooLargeError
from schemas.topics import MAX_LETTER_BYTES, MAX_MESSAGE_BYTES
from streams.emit import CUT, Emitter
from streams.failures import Failure
from streams.session import Place


def letter(key: bytes | None, value: bytes | None, headers: tuple = ()):
    failure = Failure(
        RecordTooLargeError("x" * 9000), Place("tokens", 0, 5, 6), "s", "tokens", 6000, "dead_letter", True, key=key, value=value
    )
    return Emitter("", "avro").refused(failure, 0, headers, "v")[1]


def size(record) -> int:
    return len(record.key or b"") + len(record.value or b"") + sum(len(name) + len(value or b"") for name, value in record.headers)


def test_a_dead_letter_is_the_record_unchanged() -> None:
    for key, value, headers in ((b"k", b"v" * (MAX_MESSAGE_BYTES - 10), (("h", b"1"), ("n", None))), (None, None, ())):
        sent = letter(key, value, headers)
        assert (sent.key, sent.value, sent.headers[: len(headers)]) == (key, value, list(headers))
        assert size(sent) < MAX_LETTER_BYTES


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (b"k", b"v" * (40 << 20), (("h", b"1"),)),
        (b"k" * (20 << 20), b"v", ()),
        (None, b"v" * (9 << 20), (("h", b"1" * (30 << 20)), ("n", None))),
    ],
)
def test_of_a_record_that_only_compression_made_fit_the_beginning_is_kept(key: bytes | None, value: bytes, headers: tuple) -> None:
    sent = letter(key, value, headers)
    assert size(sent) < MAX_LETTER_BYTES
    assert value.startswith(sent.value)
    assert sent.value
    assert dict(sent.headers)[CUT] == b"%d" % (len(key or b"") + len(value) + sum(len(n) + len(v or b"") for n, v in headers))
