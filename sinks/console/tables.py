"""Questions of the console to ClickHouse: SQL with bound parameters, rows out, nothing else.

Knows the HTTP interface and how a value travels beside the statement; leaves what is asked to the files that ask. No value is ever put
into SQL text: `ask` takes the text as it is written in this package and the values by name, as {name:Type}.
Next: sinks/http_interface.py
"""

from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from schemas.errors import StrataError
from sinks.console.config import ClickHouseAt

TIMEOUT_S = 20.0
LIMITS = {"max_execution_time": "15", "max_result_rows": "200000", "result_overflow_mode": "break", "readonly": "2"}
Row = dict[str, Any]


class AskError(StrataError):
    """ClickHouse answered that it cannot do this."""


class NoAnswerError(StrataError):
    """Nobody answers at the address, or not in time."""

    retriable = True


class Tables:
    """One ClickHouse, asked again and again over kept connections."""

    def __init__(self, at: ClickHouseAt, transport: httpx.AsyncBaseTransport | None = None):
        self.at = at
        headers = {"X-ClickHouse-User": at.user, "X-ClickHouse-Key": at.password} if at.user else {}
        self._client = httpx.AsyncClient(
            base_url=at.url, headers=headers, timeout=httpx.Timeout(TIMEOUT_S, connect=2.0), trust_env=False, transport=transport
        )

    async def ask(self, sql: str, **values: object) -> list[Row]:
        """The rows of a SELECT. Raises AskError, NoAnswerError."""
        params = {"database": self.at.database, "default_format": "JSONEachRow", "wait_end_of_query": "1", **LIMITS}
        params |= {"output_format_json_quote_64bit_integers": "0", "output_format_json_quote_denormals": "0"}
        params |= parameters(values)
        try:
            answer = await self._client.post("/", params=params, content=sql.encode())
        except httpx.TransportError as problem:
            what = "did not answer in time" if isinstance(problem, httpx.TimeoutException) else "does not answer"
            raise NoAnswerError(f"ClickHouse at {self.at.url} {what}; `strata status` tells whether the writer runs") from problem
        if answer.status_code != 200 or "X-ClickHouse-Exception-Code" in answer.headers:
            raise AskError(answer.text.strip()[:500] or f"ClickHouse answered with HTTP status {answer.status_code}")
        return [msgspec.json.decode(line) for line in answer.content.splitlines() if line]

    async def one(self, sql: str, **values: object) -> Row:
        """The first row; empty when there is none."""
        rows = await self.ask(sql, **values)
        return rows[0] if rows else {}

    async def close(self) -> None:
        await self._client.aclose()


def parameters(values: Mapping[str, object]) -> dict[str, str]:
    """Values as the interface wants them: fields of TabSeparated, arrays as literals."""
    return {f"param_{name}": _field(value) for name, value in values.items()}


def _field(value: object) -> str:
    if isinstance(value, list | tuple):
        return "[" + ",".join(_quoted(item) for item in value) + "]"
    return _escaped(str(value))


def _quoted(item: object) -> str:
    """An item of an array: in an array a text is quoted, and escaped once."""
    return str(item) if isinstance(item, int | float) else "'" + _escaped(str(item)).replace("'", "\\'") + "'"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r").replace("\0", "\\0")
