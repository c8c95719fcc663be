"""Record <-> bytes, in every encoding of the contract; told apart by the first bytes.

Knows Avro (single-object encoding and Confluent wire format) and JSON; leaves Kafka to streams and sinks, schema ids to
registry.py, OTLP to otlp.py. Only this file knows Avro.

    00 + 4-byte id      Confluent wire format          C3 01 + 8-byte fingerprint   Avro single-object encoding
    {                   JSON with the same names
"""

import io
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import fastavro
import msgspec
from fastavro.schema import fingerprint, to_parsing_canonical_form

from schemas.avro_events import container, reader
from schemas.avro_writer import writer
from schemas.errors import CodecError, InvalidJsonError, StrataError, TruncatedRecordError, UnknownEncodingError, UnknownSchemaError
from schemas.events import RECORDS, Micros

FOLDER = Path(__file__).parent / "avro"
SINGLE_OBJECT = b"\xc3\x01"
CONTENT_TYPES = {
    "avro": b"application/vnd.apache.avro+binary",
    "confluent": b"application/vnd.apache.avro+binary",
    "json": b"application/json",
}
OTLP_CONTENT_TYPE = b"application/x-protobuf"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIMES = {"timestamp", "event_timestamp"}
FIRST_US, LAST_US = -2208988800_000_000, 10413791999_999_999
"""What ClickHouse's DateTime64(6) holds: 1900-01-01 to 2299-12-31. A time beyond is stored as the nearest of them."""
UUID_CHARACTERS = 36
SECONDS = 2**63 / 1_000_000
"""What 64 bits of microseconds hold."""


class SchemaRegistry(Protocol):
    """What the codec needs of a registry: see registry.py."""

    def schema(self, schema_id: int) -> dict[str, Any]: ...


def schema_text(name: str, version: int | None = None) -> str:
    """The .avsc file of a record, as it is or as it was in `version`."""
    path = FOLDER / f"{name}.avsc" if version is None else FOLDER / "versions" / f"{name}.{version}.avsc"
    return path.read_text(encoding="utf-8")


def versions(name: str) -> list[int]:
    """Versions that were ever published; the last is the current one."""
    return sorted(int(p.name.split(".")[1]) for p in (FOLDER / "versions").glob(f"{name}.*.avsc"))


def crc64_avro(schema: Any) -> bytes:
    """The 8 fingerprint bytes of single-object encoding: CRC-64-AVRO of the canonical form, least significant byte first."""
    # fastavro prints the 8 bytes in the order they go on the wire (tests check the specification's value)
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


def _plain(schema: Any) -> Any:
    """A schema whose times are read as integers: fastavro's datetimes cost more and end in the year 9999."""
    if isinstance(schema, Mapping):
        return {k: _plain(v) for k, v in schema.items() if k != "logicalType"}
    return [_plain(s) for s in schema] if isinstance(schema, list) else schema


@cache
def _parsed(name: str, version: int | None = None) -> Any:
    return fastavro.parse_schema(_plain(json.loads(schema_text(name, version))), named_schemas={})


@cache
def _known(name: str) -> dict[bytes, tuple[Any, Any]]:
    """Fingerprint -> (writer's schema, reader's schema or None where they are the same)."""
    current = crc64_avro(json.loads(schema_text(name)))
    found = {crc64_avro(json.loads(schema_text(name, v))): (_parsed(name, v), _parsed(name)) for v in versions(name)}
    return found | {current: (_parsed(name), None)}


@cache
def _prefix(name: str) -> bytes:
    return SINGLE_OBJECT + crc64_avro(json.loads(schema_text(name)))


def micros(moment: str | float) -> Micros:
    """RFC 3339 text or a number of seconds -> microseconds since the epoch. Raises ValueError."""
    if type(moment) is float and -SECONDS < moment < SECONDS:  # first: what most producers send
        return Micros(round(moment * 1_000_000))
    if isinstance(moment, str):
        parsed = datetime.fromisoformat(moment)
        delta = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)) - EPOCH
        return Micros((delta.days * 86400 + delta.seconds) * 1_000_000 + delta.microseconds)
    if isinstance(moment, bool) or not isinstance(moment, int | float):
        raise ValueError(f"got {moment!r}, wanted RFC 3339 text or a number of seconds")
    if not abs(moment) < SECONDS:
        raise ValueError(f"got {moment!r} seconds, beyond what 64 bits of microseconds hold")
    return Micros(round(moment * 1_000_000))


def rfc3339(moment_us: int) -> str:
    """Microseconds since the epoch -> RFC 3339 text; years outside 1-9999 stay a number of seconds."""
    try:
        moment = datetime.fromtimestamp(moment_us // 1_000_000, UTC).replace(microsecond=moment_us % 1_000_000)
    except (ValueError, OverflowError, OSError):
        return str(moment_us / 1_000_000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _from_json(kind: type, value: Any) -> Any:
    return micros(value)


@cache
def _json_decoder(name: str) -> msgspec.json.Decoder:
    return msgspec.json.Decoder(RECORDS[name], dec_hook=_from_json)


class Stored(NamedTuple):
    """An event on its way to a table, with what tells whether it is there already."""

    event_id: str
    session_id: str
    kafka_topic: str
    kafka_partition: int
    kafka_offset: int
    content: Any
    """Avro bytes of an output event; the columns of a label."""


@cache
def _reader(name: str) -> tuple[bytes, Callable[[bytes], tuple[str, str, str, int, int, bool]]]:
    """What an event under the current schema begins with, and a function that reads its place."""
    return _prefix(name), reader(json.loads(schema_text(name)), len(_prefix(name)))


@cache
def _body_writer(name: str) -> Callable[[Any], bytes]:
    return writer(json.loads(schema_text(name)), b"")


def events_container(name: str, events: Iterable[Stored]) -> bytes:
    """Events of one kind as an Avro object container, as ClickHouse reads it."""
    return container(json.loads(schema_text(name)), [event.content for event in events])


def as_uuid(text: str) -> str:
    """An event id in the form with hyphens, where it is a UUID."""
    plain = text.replace("-", "")
    return f"{plain[:8]}-{plain[8:12]}-{plain[12:16]}-{plain[16:20]}-{plain[20:]}".lower() if len(plain) == 32 else text.lower()


def writable(value: Any) -> Any:
    """A value whose texts UTF-8 can write."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {writable(k): writable(v) for k, v in value.items()}
    return type(value)(map(writable, value)) if isinstance(value, list | tuple) else value


class Codec:
    """Reads any encoding of the contract and writes the one the settings name."""

    def __init__(self, registry: SchemaRegistry | None = None):
        self._registry = registry
        self._foreign: dict[int, Any] = {}

    def decode(self, name: str, value: bytes | None) -> Any:
        """The record of topic `name` in `value`. Raises CodecError."""
        if value and value[0] == 0x7B:
            return self._decode_json(name, value)
        return RECORDS[name](**self.decode_dict(name, value))

    def decode_dict(self, name: str, value: bytes | None) -> dict[str, Any]:
        """The same as a dict of plain values, times as integers. Raises CodecError."""
        if not value:
            raise UnknownEncodingError(f"{name}: empty value; wanted JSON or Avro. A tombstone means nothing on this topic")
        if value[:2] == SINGLE_OBJECT:
            found = _known(name).get(value[2:10])
            if found is None:
                raise UnknownSchemaError(f"{name}: fingerprint {value[2:10].hex()} is of no version of {name}.avsc; write with that schema")
            return _read_avro(name, value, 10, *found)
        if value[0] == 0:
            return self._decode_confluent(name, value)
        if value[0] == 0x7B:
            return msgspec.structs.asdict(self._decode_json(name, value))
        raise UnknownEncodingError(
            f"{name}: first bytes {value[:2].hex(' ')} are of no encoding; wanted '{{' (JSON), c3 01 (Avro) or 00 (Confluent)"
        )

    def event(self, name: str, value: bytes | None) -> "Stored":
        """An output event as it is stored: its place, and its bytes under the current schema without their prefix. Raises CodecError."""
        prefix, read = _reader(name)
        if value and value.startswith(prefix):
            try:
                event_id, session_id, topic, partition, offset, is_plain = read(value)
            except (IndexError, ValueError) as problem:
                reason = str(problem) or "they end within a field"
                raise TruncatedRecordError(f"{name}: {len(value)} bytes do not hold a whole record ({reason}); write it again") from problem
            if is_plain and len(event_id) == UUID_CHARACTERS:
                return Stored(event_id, session_id, topic, partition, offset, value[10:])
        fields = self.decode_dict(name, value)
        fields["timestamp"] = min(max(fields["timestamp"], FIRST_US), LAST_US)
        fields["event_id"] = as_uuid(fields["event_id"])
        try:
            body = _body_writer(name)(RECORDS[name](**fields))
        except UnicodeEncodeError:  # a lone surrogate: JSON can say it, UTF-8 cannot
            fields = writable(fields)
            body = _body_writer(name)(RECORDS[name](**fields))
        return Stored(**{field: fields[field] for field in Stored._fields[:-1]}, content=body)

    def _decode_json(self, name: str, value: bytes) -> Any:
        try:
            return _json_decoder(name).decode(value)
        except (ValueError, OverflowError, RecursionError) as problem:  # msgspec's errors are ValueErrors, as is bad UTF-8
            raise InvalidJsonError(f"{name}: {problem}; wanted the fields of {name}.avsc as JSON") from problem

    def _decode_confluent(self, name: str, value: bytes) -> dict[str, Any]:
        if self._registry is None:
            raise UnknownSchemaError(f"{name}: Confluent wire format, but no registry is known; set STRATA_SCHEMA_REGISTRY_URL")
        if len(value) < 5:
            raise TruncatedRecordError(f"{name}: {len(value)} bytes; the Confluent wire format begins with 5")
        schema_id = int.from_bytes(value[1:5], "big")
        if schema_id not in self._foreign:
            try:
                self._foreign[schema_id] = fastavro.parse_schema(_plain(self._registry.schema(schema_id)), named_schemas={})
            except StrataError:
                raise
            except Exception as problem:  # fastavro raises whatever a schema that is none runs into
                raise UnknownSchemaError(f"{name}: schema {schema_id} of the registry is not Avro: {problem}") from problem
        return _read_avro(name, value, 5, self._foreign[schema_id], _parsed(name))


def _read_avro(name: str, value: bytes, start: int, writer: Any, reader: Any) -> dict[str, Any]:
    body = io.BytesIO(value)
    body.seek(start)
    try:
        record: dict[str, Any] = fastavro.schemaless_reader(body, writer, reader)  # type: ignore[assignment]
    except fastavro.read.SchemaResolutionError as problem:
        raise UnknownSchemaError(f"{name}: its schema cannot be read as {name}.avsc: {problem}") from problem
    except Exception as problem:  # fastavro raises whatever the bytes run into: EOFError, IndexError, UnicodeDecodeError, ...
        reason = str(problem) or type(problem).__name__
        raise TruncatedRecordError(f"{name}: {len(value)} bytes do not hold a whole record ({reason}); write it again") from problem
    if body.tell() != len(value):
        raise TruncatedRecordError(f"{name}: {len(value) - body.tell()} bytes left over after the record; write one record a message")
    return record


def encoder(name: str, encoding: str = "avro", schema_id: int | None = None) -> Callable[[Any], bytes]:
    """A function from a record (or a dict of its fields) to bytes. `encoding`: avro, json, or confluent with its schema id."""
    if encoding == "json":
        return lambda record: msgspec.json.encode(_for_json(record))
    if encoding == "confluent" and schema_id is None:
        raise CodecError(f"{name}: the Confluent wire format needs a schema id; register the schema first")
    prefix = _prefix(name) if schema_id is None else b"\0" + schema_id.to_bytes(4, "big")
    write, kind = writer(json.loads(schema_text(name)), prefix), RECORDS[name]
    return lambda record: write(kind(**record) if isinstance(record, dict) else record)


def _for_json(record: Any) -> dict[str, Any]:
    fields = record if isinstance(record, dict) else msgspec.structs.asdict(record)
    return {k: rfc3339(v) if k in TIMES and v is not None else v for k, v in fields.items()}
