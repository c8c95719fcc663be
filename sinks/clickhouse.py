"""ClickHouse: opening it, asking and inserting, and telling errors that pass from rows that never fit.

Knows the embedded engine and a server as one thing, through clickhouse-connect; leaves inserting once to deduplication.py, columns to
rows.py and when to try again to consumer.py.

Next: sinks/deduplication.py
"""

import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from schemas.errors import SettingError
from sinks.errors import EngineBusyError, RowsRefusedError, UnavailableError
from sinks.rows import COLUMNS

log = logging.getLogger(__name__)
DATABASE = "strata"
MEMORY = ":memory:"
SETTINGS = {
    "max_partitions_per_insert_block": 0,  # a batch of old logs may hold many months
    "max_query_size": 64 * 1024 * 1024,  # a look-up names the batch's sessions
    "max_insert_threads": 1,
}
REFUSALS = {
    6: "CANNOT_PARSE_TEXT",
    26: "CANNOT_PARSE_QUOTED_STRING",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    33: "CANNOT_READ_ALL_DATA",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    53: "TYPE_MISMATCH",
    69: "ARGUMENT_OUT_OF_BOUND",
    70: "CANNOT_CONVERT_TYPE",
    72: "CANNOT_PARSE_NUMBER",
    117: "INCORRECT_DATA",
    128: "TOO_LARGE_ARRAY_SIZE",
    131: "TOO_LARGE_STRING_SIZE",
    190: "SIZES_OF_ARRAYS_DONT_MATCH",
    321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    376: "CANNOT_PARSE_UUID",
    407: "DECIMAL_OVERFLOW",
    469: "VIOLATED_CONSTRAINT",
}
"""Codes that speak of the values sent. Any other error may pass, and is tried again: nothing is dropped because of it."""
STD_EXCEPTION = 1001
"""The code of what its libraries say, the one that reads Avro among them: an int of more than 32 bits."""


@dataclass(frozen=True)
class Address:
    """Which ClickHouse."""

    path: str | None = None
    """Folder of the embedded engine; None for a server."""
    host: str = ""
    port: int = 8123
    secure: bool = False
    user: str = "default"
    password: str = ""
    database: str = DATABASE

    def __str__(self) -> str:
        return f"chdb://{self.path}" if self.path else f"clickhouse://{self.user}@{self.host}:{self.port}/{self.database}"


def address(dsn: str, data_dir: Path) -> Address:
    """The ClickHouse a DSN names. Raises SettingError."""
    parts = urlsplit(dsn)
    if parts.scheme == "chdb":
        place = dsn.removeprefix("chdb:").removeprefix("//").split("?")[0]
        return Address(
            MEMORY if place in ("memory", MEMORY) else str(Path(place).resolve() if place else (data_dir / "clickhouse").resolve())
        )
    if parts.scheme not in ("clickhouse", "clickhouses", "http", "https") or not parts.hostname:
        raise SettingError(f"STRATA_CLICKHOUSE_DSN: got {dsn!r}, wanted chdb:// or clickhouse://user:password@host:8123/strata")
    secure = parts.scheme in ("clickhouses", "https")
    user, password = unquote(parts.username or "default"), unquote(parts.password or "")
    return Address(
        None, parts.hostname, parts.port or (8443 if secure else 8123), secure, user, password, parts.path.strip("/") or DATABASE
    )


@dataclass(frozen=True)
class Answer:
    """What a SELECT gave."""

    columns: tuple[str, ...]
    rows: list[tuple]


class ClickHouse:
    """One ClickHouse, with a client for each thread that asks."""

    def __init__(self, at: Address, create: bool = True):
        """Creates the folder and the database, unless `create` is False (a reader may not). Raises EngineBusyError, UnavailableError."""
        self.at = at
        self._local = threading.local()
        self._clients: list[Client] = []
        self._lock = threading.Lock()
        if not create:
            return
        if at.path and at.path != MEMORY:
            Path(at.path).mkdir(parents=True, exist_ok=True)
        first = self._connect(None)
        try:
            first.command(f"CREATE DATABASE IF NOT EXISTS `{at.database}`")
            self._client()  # before the first is closed: the embedded engine would stop with it
        except ClickHouseError as problem:
            raise sorted_error(problem) from problem
        finally:
            first.close()

    def _connect(self, database: str | None) -> Client:
        at = self.at
        try:
            if at.path:
                return clickhouse_connect.get_client(interface="chdb", path=at.path, database=database, settings=SETTINGS)
            return clickhouse_connect.get_client(
                host=at.host,
                port=at.port,
                secure=at.secure,
                username=at.user,
                password=at.password,
                database=database or "__default__",
                settings=SETTINGS,
                autogenerate_session_id=False,
                send_receive_timeout=60,
            )
        except Exception as problem:  # clickhouse-connect raises its own errors, urllib3's and the engine's RuntimeError here
            if at.path:
                raise EngineBusyError(
                    f"the embedded ClickHouse cannot open {at.path}: {first_line(problem)}; stop the other process that uses the folder "
                    "(`strata status` shows it), or choose another STRATA_DATA_DIR"
                ) from problem
            raise UnavailableError(
                f"ClickHouse at {at}: {first_line(problem)}; is it running, and are user and password right?"
            ) from problem

    def _client(self) -> Client:
        client: Client | None = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = self._connect(self.at.database)
            with self._lock:
                self._clients.append(client)
        return client

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None) -> object:
        """Run a statement that returns nothing; `parameters` fill its {name:Type}. Raises UnavailableError, RowsRefusedError."""
        try:
            return self._client().command(sql, parameters=_given(parameters), settings=_given(settings))
        except Exception as problem:
            raise sorted_error(problem) from problem

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple]:
        """The rows of a SELECT. Raises UnavailableError."""
        return self.ask(sql, parameters).rows

    def ask(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Answer:
        """The rows of a SELECT with the names of their columns; `parameters` fill its {name:Type}. Raises UnavailableError."""
        try:
            found = self._client().query(sql, parameters=_given(parameters))
            return Answer(tuple(found.column_names), [tuple(row) for row in found.result_rows])
        except Exception as problem:
            raise sorted_error(problem) from problem

    def insert(self, table: str, block: bytes, token: str, form: str = "ArrowStream") -> None:
        """Insert one block of rows, in a format that ClickHouse reads. Raises UnavailableError, RowsRefusedError."""
        try:
            self._client().raw_insert(table, list(COLUMNS[table]), block, settings={"insert_deduplication_token": token}, fmt=form)
        except Exception as problem:
            raise sorted_error(problem) from problem

    def close(self) -> None:
        """Close every client; the embedded engine stops with the last."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        self._local = threading.local()


def _given(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return dict(values) if values else None


def sorted_error(problem: Exception) -> UnavailableError | RowsRefusedError:
    """An error of ClickHouse or of the way there, as one that another try can cure or one that it cannot."""
    code = getattr(problem, "code", None)
    refused = isinstance(problem, DatabaseError) and (code in REFUSALS or (code == STD_EXCEPTION and "avro::Exception" in str(problem)))
    return RowsRefusedError(first_line(problem)) if refused else UnavailableError(f"{type(problem).__name__}: {first_line(problem)}")


def first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0][:1000]


def listed(values: Iterable[str]) -> str:
    return ", ".join(map(quoted, sorted(values)))


def quoted(value: Any) -> str:
    """A string literal of SQL."""
    text = str(value).encode("utf-8", "replace").decode()
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0") + "'"
