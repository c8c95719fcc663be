"""What a registry says of a schema id is that record's fault or the moment's, never the end of the worker."""

import json

import httpx
import pytest

from schemas.codec import Codec, schema_text
from schemas.errors import UnknownSchemaError
from schemas.registry import Registry, RegistryUnreachableError

RECORD = b"\0\0\0\0\7x"


def registry(status: int, body: object) -> Registry:
    made = Registry("http://registry")
    content = body if isinstance(body, str) else json.dumps(body)
    made._client = httpx.Client(base_url="http://registry", transport=httpx.MockTransport(lambda _: httpx.Response(status, text=content)))
    return made


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"error_code": 40403}),
        (422, {"error_code": 42201}),
        (200, "<html>not a registry</html>"),
        (200, []),
        (200, {"id": 7}),
        (200, {"schema": None}),
        (200, {"schema": 'syntax = "proto3"; message A {}', "schemaType": "PROTOBUF"}),
        (200, {"schema": '{"type": "object"}', "schemaType": "JSON"}),
        (200, {"schema": '{"type": "object"}'}),
        (200, {"schema": '{"type": "record"}'}),
        (200, {"schema": '"nobody.Knows"'}),
        (200, {"schema": "7"}),
    ],
)
def test_a_schema_that_is_not_ours_to_read_is_the_records_fault(status: int, body: object) -> None:
    with pytest.raises(UnknownSchemaError):
        Codec(registry(status, body)).decode_dict("tokens", RECORD)


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_a_registry_that_does_not_answer_now_is_asked_again(status: int) -> None:
    with pytest.raises(RegistryUnreachableError):
        Codec(registry(status, {})).decode_dict("tokens", RECORD)


def test_an_avro_schema_is_read() -> None:
    assert registry(200, {"schema": schema_text("tokens")}).schema(7)["type"] == "record"
