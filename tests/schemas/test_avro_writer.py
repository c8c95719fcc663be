"""The functions made for our schemas write what fastavro writes, byte for byte."""

import io
import json
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.avro_writer import COMMON, SMALL, number, writer
from schemas.codec import encoder, schema_text
from schemas.events import RECORDS, Event
from tests.schemas.test_codec import values


def by_fastavro(schema: Any, fields: dict) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema, named_schemas={}), fields)
    return out.getvalue()


def plain(schema: Any) -> Any:
    """A schema whose times are integers, as our records have them."""
    if isinstance(schema, dict):
        return {k: plain(v) for k, v in schema.items() if k != "logicalType"}
    return [plain(s) for s in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize("name", RECORDS)
def test_every_record_has_the_bytes_that_fastavro_writes(name: str) -> None:
    schema, encode = plain(json.loads(schema_text(name))), encoder(name)

    @given(values(RECORDS[name]))
    def law(record: Any) -> None:
        if any(record_time(record, t) is None and t in required(schema) for t in ("timestamp", "event_timestamp")):
            return
        assert encode(record)[10:] == by_fastavro(schema, msgspec.structs.asdict(record))

    law()


def record_time(record: Any, name: str) -> Any:
    return getattr(record, name, 0)


def required(schema: dict) -> set[str]:
    return {f["name"] for f in schema["fields"] if not isinstance(f["type"], list)}


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(COMMON)), min_size=1, max_size=12), values(RECORDS["failures"]))
def test_events_of_one_input_record_share_their_beginning_and_no_others_do(changes: list[tuple[int, str]], event: Any) -> None:
    """The part that all events of a record share is written once: each change of it must be seen, in any event type."""
    schemas = {name: plain(json.loads(schema_text(name))) for name in ("failures", "boundaries")}
    encoders = {name: encoder(name) for name in schemas}
    boundary = RECORDS["boundaries"](
        boundary_type="topic", position=1, text_offset=2, confidence=0.5, detected_by="rule",
        **{name: getattr(event, name) for name in Event.__struct_fields__},
    )  # fmt: skip
    for add, field in changes:
        for name, record in (("failures", event), ("boundaries", boundary)):
            assert encoders[name](record)[10:] == by_fastavro(schemas[name], msgspec.structs.asdict(record))
        old = getattr(event, field)
        new = old + "x" * add if isinstance(old, str) else old ^ add
        event, boundary = msgspec.structs.replace(event, **{field: new}), msgspec.structs.replace(boundary, **{field: new})


@given(st.integers(-(2**63), 2**63 - 1) | st.sampled_from([1 << n for n in range(62)]) | st.integers(-SMALL - 2, SMALL + 2))
def test_any_number_has_the_bytes_that_fastavro_writes(value: int) -> None:
    assert number(value) == by_fastavro("long", value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_a_number_beyond_64_bits_is_refused(value: int) -> None:
    with pytest.raises(OverflowError, match="beyond 64 bits"):
        number(value)


def test_a_type_that_cannot_be_written_is_named() -> None:
    with pytest.raises(ValueError, match="field price of type bytes"):
        writer({"fields": [{"name": "price", "type": {"type": "bytes", "logicalType": "decimal"}}]}, b"")
