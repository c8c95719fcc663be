"""ClickHouse: opening it, inserting each event once, and telling errors that pass from rows that never fit.

Knows the embedded engine and a server as one thing, through clickhouse-connect; leaves what a row holds to rows.py and when to try again
to consumer.py.

Why a duplicate is never visible. Every event has an id that is a function of its input, and one writer owns a partition at a time.
- An insert is preceded by a look-up of the ids that may be there already; those are dropped. One insert of one partition is atomic.
- Crash between insert and commit: Kafka sends the records again, the look-up finds their ids. Of an insert over several months a part may
  have landed: the look-up goes by id, so the rest is added.
- The worker replays: the same ids come at new offsets of the output topic; the look-up goes by id and by the *input's* place, which is the same.
- An insert fails without an answer: what is known of its sessions is forgotten, the look-up before the next try sees what landed. Should
  the first try land after that look-up (a server that was slow), the block has the same insert_deduplication_token and is dropped.
- Last net: the tables are ReplacingMergeTree, ordered by a key that ends in the id.

Why the look-up is cheap. Events of a session come with growing input offsets. The highest one stored is remembered per session
(`Seen`), and a row beyond it is new without asking. Asked is for sessions not seen since the start, and for replays; by
session and range of offsets, which is the sorting key. Measured in docs/LOG.md.
Next: sinks/http_interface.py
"""

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from schemas.errors import SettingError
from sinks.errors import EngineBusyError, RowsRefusedError, UnavailableError
from sinks.rows import COLUMNS, Values, to_arrow

log = logging.getLogger(__name__)
DATABASE = "strata"
MEMORY = ":memory:"
SETTINGS = {
    "max_partitions_per_insert_block": 0,  # a batch of old logs may hold many months
    "max_query_size": 64 * 1024 * 1024,  # a look-up names the batch's sessions
    "max_insert_threads": 1,
}
SEEN_SESSIONS = 50_000
"""Per table; one takes about 200 bytes. A session that fell out is looked up again."""
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


class ClickHouse:
    """One ClickHouse, with a client for each thread that asks."""

    def __init__(self, at: Address):
        """Creates the folder and the database. Raises EngineBusyError, UnavailableError."""
        self.at = at
        self._local = threading.local()
        self._clients: list[Client] = []
        self._lock = threading.Lock()
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

    def command(self, sql: str) -> object:
        """Run a statement that returns nothing. Raises UnavailableError, RowsRefusedError."""
        try:
            return self._client().command(sql)
        except Exception as problem:
            raise sorted_error(problem) from problem

    def rows(self, sql: str) -> list[tuple]:
        """The rows of a SELECT. Raises UnavailableError."""
        try:
            return [tuple(row) for row in self._client().query(sql).result_rows]
        except Exception as problem:
            raise sorted_error(problem) from problem

    def insert(self, table: str, block: bytes, token: str) -> None:
        """Insert one Arrow stream. Raises UnavailableError, RowsRefusedError."""
        try:
            self._client().raw_insert(table, list(COLUMNS[table]), block, settings={"insert_deduplication_token": token}, fmt="ArrowStream")
        except Exception as problem:
            raise sorted_error(problem) from problem

    def close(self) -> None:
        """Close every client; the embedded engine stops with the last."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        self._local = threading.local()


def sorted_error(problem: Exception) -> UnavailableError | RowsRefusedError:
    """An error of ClickHouse or of the way there, as one that another try can cure or one that it cannot."""
    code = getattr(problem, "code", None)
    refused = isinstance(problem, DatabaseError) and code in REFUSALS
    return RowsRefusedError(first_line(problem)) if refused else UnavailableError(f"{type(problem).__name__}: {first_line(problem)}")


def first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0][:1000]


@dataclass
class Seen:
    """The highest input offset stored, per session and input partition (a forwarded record comes from another): a row beyond it is new."""

    highest: dict[tuple[str, int, str], int] = field(default_factory=dict)

    def remember(self, session: tuple[str, int, str], offset: int) -> None:
        top = self.highest.pop(session, offset)  # put back at the end: the dict is in order of use
        self.highest[session] = max(top, offset)

    def trim(self) -> None:
        for session in list(self.highest)[: max(0, len(self.highest) - SEEN_SESSIONS)]:
            del self.highest[session]


def stream(row: Values) -> tuple[str, int, str]:
    """Within it, offsets order the events."""
    return row["kafka_topic"], row["kafka_partition"], row["session_id"]


@dataclass
class Written:
    """What became of a batch."""

    inserted: int = 0
    duplicates: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)
    """Index into the batch, and why."""


class Table:
    """One table's writer; used by one thread at a time."""

    def __init__(self, clickhouse: ClickHouse, name: str):
        self._clickhouse, self.name = clickhouse, name
        self._seen = Seen()
        self._spans = name == "otel_traces"

    def forget(self) -> None:
        """Ask again about every session: another writer may have written, or an insert's end is unknown."""
        self._seen = Seen()

    def write(self, rows: Sequence[Values]) -> Written:
        """Insert the rows that are not there yet; those the table refuses are told. Raises UnavailableError: then call it again."""
        try:
            # 1. once in the batch
            unique: dict[str, int] = {}
            for index, row in enumerate(rows):
                unique.setdefault(self._key(row), index)
            # 2. not in the table
            stored = self._stored_spans(rows) if self._spans else self._stored([rows[i] for i in unique.values()])
            new = [index for key, index in unique.items() if key not in stored]
            # 3. insert
            done = Written(duplicates=len(rows) - len(new))
            if new:
                self._insert(rows, new, done)
            if not self._spans:
                for index in unique.values():
                    self._seen.remember(stream(rows[index]), rows[index]["kafka_offset"])
                self._seen.trim()
            return done
        except BaseException:
            self.forget()
            raise

    def _key(self, row: Values) -> str:
        return row["TraceId"] + row["SpanId"] if self._spans else row["event_id"]

    def _stored(self, rows: Sequence[Values]) -> set[str]:
        """Ids of those rows that are in the table, of those that may be."""
        known = self._seen.highest
        unknown = [row for row in rows if stream(row) not in known]
        if unknown:  # of a session that is new, this is the only question
            top = f"SELECT kafka_topic, kafka_partition, session_id, max(kafka_offset) FROM {self.name} WHERE {ranges(unknown, '>= {lo}')} GROUP BY 1, 2, 3"
            for topic, partition, session, highest in self._clickhouse.rows(top):
                self._seen.remember((topic, partition, session), highest)
        doubtful = [row for row in rows if row["kafka_offset"] <= known.get(stream(row), -1)]
        if not doubtful:
            return set()
        ids = f"SELECT toString(event_id) FROM {self.name} WHERE {ranges(doubtful, '>= {lo} AND kafka_offset <= {hi}')}"
        return {found for (found,) in self._clickhouse.rows(ids)}

    def _stored_spans(self, rows: Sequence[Values]) -> set[str]:
        traces = listed({row["TraceId"] for row in rows})  # answered by the table's projection by_trace; a copy may have another time
        asked = f"SELECT TraceId || SpanId FROM {self.name} WHERE TraceId IN ({traces})"
        return {found for (found,) in self._clickhouse.rows(asked)}

    def _insert(self, rows: Sequence[Values], indexes: Sequence[int], done: Written) -> None:
        """Insert; what is refused is halved until the rows that cannot be stored are alone."""
        try:
            block = to_arrow(self.name, [rows[i] for i in indexes])
            token = blake2b("".join(self._key(rows[i]) for i in indexes).encode("utf-8", "replace"), digest_size=16).hexdigest()
            self._clickhouse.insert(self.name, block, token)
            done.inserted += len(indexes)
        except (RowsRefusedError, TypeError, ValueError, OverflowError) as problem:
            if len(indexes) == 1:
                done.refused.append((indexes[0], first_line(problem)))
                return
            middle = len(indexes) // 2
            self._insert(rows, indexes[:middle], done)
            self._insert(rows, indexes[middle:], done)


def ranges(rows: Iterable[Values], offsets: str) -> str:
    """A condition on sessions and offsets, one alternative per input partition; `offsets` has {lo} and {hi}."""
    places: dict[tuple[str, int], list[Values]] = {}
    for row in rows:
        places.setdefault((row["kafka_topic"], row["kafka_partition"]), []).append(row)
    parts = []
    for (topic, partition), group in places.items():
        numbers = [row["kafka_offset"] for row in group]
        bounds = offsets.format(lo=min(numbers), hi=max(numbers))
        sessions = listed({row["session_id"] for row in group})
        parts.append(
            f"(session_id IN ({sessions}) AND kafka_topic = {quoted(topic)} AND kafka_partition = {partition} AND kafka_offset {bounds})"
        )
    return " OR ".join(parts)


def listed(values: Iterable[str]) -> str:
    return ", ".join(map(quoted, sorted(values)))


def quoted(value: Any) -> str:
    """A string literal of SQL."""
    text = str(value).encode("utf-8", "replace").decode()
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0") + "'"
