"""An event on its way to a table tells its place as fastavro reads it, and bytes that are no whole record are refused."""

import io
import json
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import Codec, encoder, events_container, schema_text
from schemas.errors import CodecError
from schemas.events import RECORDS, Event
from tests.schemas.test_codec import plain, values

EVENTS = [name for name, kind in RECORDS.items() if issubclass(kind, Event)]
UUID = "0123abcd-0000-8000-a000-00000000000f"


@pytest.mark.parametrize("name", EVENTS)
def test_place_and_bytes_of_any_event(name: str) -> None:
    @given(values(RECORDS[name]), st.sampled_from([UUID, UUID.upper(), "odd"]), st.integers(0, 2**53))
    def law(record: Any, event_id: str, moment: int) -> None:
        record = type(record)(**plain(record) | {"event_id": event_id, "timestamp": moment})
        data = encoder(name)(record)
        event = Codec().event(name, data)
        assert event[:-1] == (event_id.lower(), record.session_id, record.kafka_topic, record.kafka_partition, record.kafka_offset)
        assert plain(Codec().decode(name, data[:10] + event.content)) | {"event_id": event_id} == plain(record)

    law()


@pytest.mark.parametrize("name", EVENTS)
def test_what_fastavro_refuses_is_refused_and_what_it_reads_is_read(name: str) -> None:
    """Bytes cut off, added, or changed at one place."""

    @settings(max_examples=50)
    @given(values(RECORDS[name]), st.integers(0, 2**53), st.data())
    def law(record: Any, moment: int, data: Any) -> None:
        whole = encoder(name)(type(record)(**plain(record) | {"event_id": UUID, "timestamp": moment}))
        at = data.draw(st.integers(10, len(whole) - 1))
        for changed in (whole[:at], whole + b"\0", whole[:at] + bytes([data.draw(st.integers(0, 255))]) + whole[at + 1 :]):
            assert reads(lambda d: Codec().event(name, d), changed) == reads(lambda d: Codec().decode_dict(name, d), changed)

    law()


def reads(read: Any, data: bytes) -> bool:
    try:
        read(data)
    except CodecError:
        return False
    return True


@pytest.mark.parametrize("name", EVENTS)
def test_a_container_holds_the_events(name: str) -> None:
    @settings(max_examples=20)
    @given(st.lists(values(RECORDS[name]), min_size=1, max_size=3))
    def law(records: list[Any]) -> None:
        named = [type(r)(**plain(r) | {"event_id": UUID, "timestamp": 5}) for r in records]
        events = [Codec().event(name, encoder(name)(r)) for r in named]
        found: list[Any] = list(fastavro.reader(io.BytesIO(events_container(name, events))))
        assert all(str(f["event_id"]) == UUID for f in found)
        assert [f["session_id"] for f in found] == [r.session_id for r in records]
        assert list(found[0]) == [f["name"] for f in json.loads(schema_text(name))["fields"]]

    law()
