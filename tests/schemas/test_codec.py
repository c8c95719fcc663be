"""Every record survives every encoding, and the bytes are those of the specification and of Avro's Java library."""

import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import codec, errors
from schemas.codec import Codec, crc64_avro, encoder, micros, rfc3339, schema_text
from schemas.events import RECORDS, ChatEvent, LabelEvent, LogEvent, MetricEvent, Micros, RequestEvent, TokenEvent

JAVA = Path(__file__).parent / "java"
text = st.text(st.characters(exclude_categories=["Cs"]))
moment = st.integers(-(2**62), 2**62).map(Micros)
maps = st.dictionaries(text, text, max_size=3)
FIELDS = {
    "str": text,
    "int": st.integers(-(2**31), 2**31 - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False, width=32),
    "bool": st.booleans(),
}


def values(kind: type) -> st.SearchStrategy:
    """Any record of a struct type."""
    fields = {}
    for field in msgspec.structs.fields(kind):
        name = str(field.type)
        if field.name in codec.TIMES:
            own: st.SearchStrategy = moment
        elif "dict" in name:
            own = maps
        elif "tuple" in name:
            own = st.lists(FIELDS["float"], max_size=4).map(tuple)
        else:
            own = next(s for n, s in FIELDS.items() if n in name)
        optional = "None" in name and field.name != "timestamp"
        fields[field.name] = st.none() | own if optional else own
    return st.builds(kind, **fields)


def plain(record: object) -> dict:
    """A record's fields; Avro gives arrays back as lists."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in msgspec.structs.asdict(record).items()}


@pytest.mark.parametrize("name", RECORDS)
def test_decode_of_encode_is_the_record(name: str) -> None:
    @given(values(RECORDS[name]))
    def law(record: object) -> None:
        decoded = Codec().decode(name, encoder(name)(record))
        assert plain(decoded) == plain(record)

    law()


@pytest.mark.parametrize("name", RECORDS)
def test_json_says_the_same_as_avro(name: str) -> None:
    @given(values(RECORDS[name]))
    def law(record: object) -> None:
        years = all(-62_000_000_000 < (getattr(record, t, None) or 0) / 1e6 < 250_000_000_000 for t in codec.TIMES)
        if years:
            assert Codec().decode(name, encoder(name, "json")(record)) == record

    law()


def test_avsc_files_and_structs_have_the_same_fields() -> None:
    for name, kind in RECORDS.items():
        in_file = [f["name"] for f in json.loads(schema_text(name))["fields"]]
        assert set(in_file) == {f.name for f in msgspec.structs.fields(kind)}, name
        assert all(f["doc"] for f in json.loads(schema_text(name))["fields"]), name


def test_fingerprint_of_the_specification() -> None:
    # Avro's own test data: "int" has 0x7275d51a3f395c8f, which goes on the wire least significant byte first
    assert crc64_avro("int") == bytes.fromhex("7275d51a3f395c8f")[::-1]


@pytest.mark.parametrize("line", (JAVA / "single_object.txt").read_text().splitlines())
def test_bytes_equal_those_of_avro_java(line: str) -> None:
    name, expected = line.split(" ")
    record = Codec().decode(name, bytes.fromhex(expected))
    assert encoder(name)(record).hex() == expected
    assert record.session_id


def test_java_records_are_read_with_their_values() -> None:
    lines = dict(line.split(" ") for line in (JAVA / "single_object.txt").read_text().splitlines())
    read = {name: Codec().decode(name, bytes.fromhex(data)) for name, data in lines.items()}
    assert read["tokens"] == TokenEvent("naïve café ", "visit-1", Micros(1767323045123456), 7, "mic", None, False, {"lang": "en"})
    assert read["logs"] == LogEvent("<34>Oct 11 22:14:15 mymachine su: 'su root' failed", "host-a", None, None, True, {})
    assert read["chat"] == ChatEvent("A", "hi", "c", Micros(0), "user")
    assert read["metrics"] == MetricEvent("cpu", -0.25, "svc", Micros(1), "1", False, {"core": "0"})
    assert read["labels"] == LabelEvent("topic", "s", Micros(-1), "hotel", None, None, 3, 9, Micros(5))
    assert read["requests"] == RequestEvent("r-1", "s", Micros(2), None)


class OneSchema:
    """A registry with one schema under id 7."""

    def __init__(self, schema: str):
        self.text = schema

    def schema(self, schema_id: int) -> dict:
        if schema_id != 7:
            raise errors.UnknownSchemaError(f"schema id {schema_id} is not there")
        return json.loads(self.text)


def test_confluent_wire_format_is_resolved_to_our_schema() -> None:
    theirs = {"type": "record", "name": "Piece", "fields": [{"name": "text", "type": "string"}, {"name": "session_id", "type": "string"}]}
    theirs["fields"].append({"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"}})
    theirs["name"], theirs["namespace"] = "TokenEvent", "strata"
    record = b"\0\0\0\0\7" + b"\x04hi" + b"\x02s" + b"\x02"
    assert Codec(OneSchema(json.dumps(theirs))).decode("tokens", record) == TokenEvent("hi", "s", Micros(1))
    ours = encoder("tokens", "confluent", 7)(TokenEvent("hi", "s", Micros(1)))
    assert ours[:5] == b"\0\0\0\0\7"
    assert Codec(OneSchema(schema_text("tokens"))).decode("tokens", ours) == TokenEvent("hi", "s", Micros(1))


GOOD = encoder("tokens")(TokenEvent("hello ", "s", Micros(5)))


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        (b"", errors.UnknownEncodingError, "empty value"),
        (None, errors.UnknownEncodingError, "empty value"),
        (b"hello", errors.UnknownEncodingError, "68 65"),
        (b"{", errors.InvalidJsonError, "truncated"),
        (b'{"text": 3}', errors.InvalidJsonError, "$.text"),
        (b'{"session_id": "s"}', errors.InvalidJsonError, "`text`"),
        (b'{"text": "\\ud800"}', errors.InvalidJsonError, "tokens"),
        (b'{"text": "\xff"}', errors.InvalidJsonError, "tokens"),
        (b'{"text": "x", "timestamp": "yesterday"}', errors.InvalidJsonError, "yesterday"),
        (b'{"text": "x", "timestamp": 1e300}', errors.InvalidJsonError, "64 bits"),
        (b'{"text": "x", "timestamp": true}', errors.InvalidJsonError, "RFC 3339"),
        (b'{"text": "x", "position": "7"}', errors.InvalidJsonError, "$.position"),
        (b"{" * 100_000, errors.InvalidJsonError, "tokens"),
        (GOOD[:-3], errors.TruncatedRecordError, "do not hold"),
        (GOOD[:10], errors.TruncatedRecordError, "do not hold"),
        (GOOD + b"x", errors.TruncatedRecordError, "left over"),
        (b"\xc3\x01" + b"01234567" + GOOD[10:], errors.UnknownSchemaError, "fingerprint"),
        (b"\xc3\x01", errors.UnknownSchemaError, "fingerprint"),
        (b"\0\0\0", errors.UnknownSchemaError, "registry"),
    ],
)
def test_bad_bytes_get_a_clear_error(value: bytes | None, error: type[Exception], says: str) -> None:
    with pytest.raises(error) as caught:
        Codec().decode("tokens", value)
    assert says in str(caught.value)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_by_name(value: bytes) -> None:
    for prefix in (b"", GOOD[:10], b"{"):
        try:
            Codec().decode("tokens", prefix + value)
        except errors.CodecError:
            pass


def test_not_a_number_is_no_json() -> None:
    for number in (b"NaN", b"Infinity", b"1e999"):
        with pytest.raises(errors.InvalidJsonError):
            Codec().decode("metrics", b'{"session_id":"s","name":"cpu","value":' + number + b"}")


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)))
def test_rfc3339_text_is_exact_to_the_microsecond(when: datetime) -> None:
    assert rfc3339(micros(when.isoformat())) == when.isoformat(timespec="microseconds").replace("+00:00", "Z")


def test_times_are_text_or_seconds() -> None:
    assert micros("2026-01-02T03:04:05.000006Z") == micros("2026-01-02T04:04:05.000006+01:00") == micros("2026-01-02T03:04:05.000006")
    assert micros(1.5) == 1_500_000
    assert micros(-3) == -3_000_000
