"""Questions to ClickHouse over its HTTP interface, the embedded engine's or a server's.

Knows addresses, formats and how an answer says that it failed; leaves what is asked to session_tree.py and demo.py.
Next: sinks/http_interface.py
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

from schemas.errors import SettingError, StrataError

DATABASE = "strata"


class QueryError(StrataError):
    """ClickHouse answered that it cannot do this."""


class UnreachableError(StrataError):
    """Nobody answers at the address."""

    retriable = True


@dataclass(frozen=True)
class Address:
    """Where ClickHouse's HTTP interface is."""

    url: str
    user: str = ""
    password: str = ""
    database: str = DATABASE


@dataclass(frozen=True)
class Answer:
    """What came back."""

    body: bytes
    format: str
    """The format of the body; empty when the server does not say."""
    elapsed_s: float


def address(dsn: str | None, http_port: int, host: str = "127.0.0.1") -> Address:
    """The interface that belongs to a DSN: a server's own, or for chdb:// (or none) the one the writer serves on `http_port`.

    Raises SettingError.
    """
    if not dsn or dsn.startswith("chdb:"):
        return Address(f"http://{host}:{http_port}")
    parts = urlsplit(dsn)
    schemes = {"clickhouse": "http", "http": "http", "clickhouses": "https", "https": "https"}
    if parts.scheme not in schemes or not parts.hostname:
        raise SettingError(f"STRATA_CLICKHOUSE_DSN: got {dsn!r}, wanted chdb:// or clickhouse://user:password@host:8123/strata")
    scheme = schemes[parts.scheme]
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    url = f"{scheme}://{name}:{parts.port or (8443 if scheme == 'https' else 8123)}"
    return Address(url, unquote(parts.username or ""), unquote(parts.password or ""), parts.path.strip("/") or DATABASE)


class ClickHouse:
    """One address, asked again and again."""

    def __init__(self, at: Address, timeout_s: float = 60.0):
        self.at = at
        headers = {"X-ClickHouse-User": at.user, "X-ClickHouse-Key": at.password} if at.user else {}
        self._client = httpx.Client(base_url=at.url, headers=headers, timeout=httpx.Timeout(timeout_s, connect=3.0), trust_env=False)

    def ask(self, sql: str, default_format: str = "TabSeparated", parameters: Mapping[str, object] | None = None) -> Answer:
        """Run one statement. A FORMAT in it wins over `default_format`. Raises QueryError, UnreachableError."""
        params = {"database": self.at.database, "default_format": default_format, "wait_end_of_query": "1"}
        params |= {f"param_{name}": _escaped(str(value)) for name, value in (parameters or {}).items()}
        try:
            answer = self._client.post("/", params=params, content=sql.encode("utf-8", "replace"))
        except httpx.TimeoutException as problem:
            raise UnreachableError(
                f"ClickHouse at {self.at.url} did not answer in time ({type(problem).__name__}); ask for less, or look at `strata status`"
            ) from problem
        except httpx.TransportError as problem:
            raise UnreachableError(f"no ClickHouse answers at {self.at.url}; start it with `strata up`") from problem
        failed = answer.headers.get("X-ClickHouse-Exception-Code")
        if answer.status_code != 200 or failed:
            raise QueryError(answer.text.strip() or f"ClickHouse answered with HTTP status {answer.status_code}")
        return Answer(answer.content, answer.headers.get("X-ClickHouse-Format", ""), answer.elapsed.total_seconds())

    def rows(self, sql: str, **parameters: object) -> list[dict[str, Any]]:
        """The rows of a SELECT, 64-bit integers as numbers."""
        body = self.ask(sql, "JSONEachRow", parameters).body
        return [json.loads(line) for line in body.splitlines() if line]

    def close(self) -> None:
        self._client.close()


def _escaped(value: str) -> str:
    """A query parameter as the interface reads it: like a field of TabSeparated."""
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
