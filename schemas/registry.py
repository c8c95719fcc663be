"""A Confluent-compatible schema registry: schemas by id, and our schemas registered under their subjects.

Knows the registry's REST interface; leaves bytes to codec.py. Answers are immutable, so each id is asked once.
"""

import json
from typing import Any

import httpx

from schemas.errors import StrataError, UnknownSchemaError

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
NOT_NOW = (401, 403, 408, 429)
"""Answers that speak of the asker or the moment, not of what was asked."""


class RegistryUnreachableError(StrataError):
    """The registry does not answer; another try can help."""

    retriable = True


class Registry:
    """Client of one registry; keeps every schema it was told."""

    def __init__(self, url: str, timeout_s: float = 5.0):
        self._client = httpx.Client(base_url=url.rstrip("/"), timeout=timeout_s, headers={"Accept": MEDIA_TYPE})
        self._schemas: dict[int, dict[str, Any]] = {}

    def schema(self, schema_id: int) -> dict[str, Any]:
        """The schema of an id. Raises UnknownSchemaError, or RegistryUnreachableError when asking again can help."""
        if schema_id not in self._schemas:
            answer = self._ask("GET", f"/schemas/ids/{schema_id}")
            if answer.status_code == 404:
                raise UnknownSchemaError(
                    f"schema id {schema_id} is not in the registry {self._client.base_url}; register it or write its right id"
                )
            self._schemas[schema_id] = self._avro(schema_id, answer)
        return self._schemas[schema_id]

    def _avro(self, schema_id: int, answer: httpx.Response) -> dict[str, Any]:
        """The schema in an answer: its id comes with a record, so what is wrong with it is wrong with that record."""
        try:
            told = answer.raise_for_status().json()
            if (kind := told.get("schemaType", "AVRO")) != "AVRO":
                raise UnknownSchemaError(
                    f"schema id {schema_id} of the registry is {kind}, wanted AVRO; write the record as Avro or as JSON"
                )
            return json.loads(told["schema"])
        except (httpx.HTTPStatusError, ValueError, KeyError, AttributeError, TypeError) as problem:
            raise UnknownSchemaError(
                f"schema id {schema_id}: the registry {self._client.base_url} gave no Avro schema: {problem}"
            ) from problem

    def register(self, topic: str, schema: str) -> int:
        """The id of `schema` under the subject of the topic's values; registers it where it is new."""
        answer = self._ask("POST", f"/subjects/{topic}-value/versions", json.dumps({"schema": schema}))
        if answer.status_code == 409:
            raise UnknownSchemaError(
                f"subject {topic}-value: the registry calls our schema incompatible: {answer.text[:200]}; check its compatibility mode"
            )
        return int(answer.raise_for_status().json()["id"])

    def _ask(self, method: str, path: str, content: str | None = None) -> httpx.Response:
        try:
            answer = self._client.request(method, path, content=content, headers={"Content-Type": MEDIA_TYPE})
        except httpx.TransportError as problem:
            raise RegistryUnreachableError(f"schema registry {self._client.base_url}: {problem}; is it running?") from problem
        if answer.status_code >= 500 or answer.status_code in NOT_NOW:
            raise RegistryUnreachableError(f"schema registry {self._client.base_url}: HTTP {answer.status_code} {answer.text[:200]}")
        return answer
