"""Running what a request asks on a handle of the embedded engine: its settings, its checks, its rows whole or in pieces.

Knows the engine's handles; leaves HTTP to http_interface.py and what may run to http_readonly.py. Everything here blocks: call it on a thread.
Next: sinks/http_interface.py
"""

import json
from dataclasses import dataclass, field

from chdb.state.sqlitelike import Connection, StreamingResult

from sinks import http_formats, http_readonly
from sinks.clickhouse import DATABASE, quoted
from sinks.http_query import HttpConfig, Query
from sinks.http_readonly import Parsed, RefusedQueryError


@dataclass
class Handle:
    """A connection to the engine, with what it keeps between requests when it is a session's."""

    connection: Connection
    is_session: bool = False
    is_prepared: bool = False
    """The interface's own settings were applied; a session may have changed them since."""
    busy: bool = False
    expires: float = 0.0
    """Monotonic clock, seconds."""
    before: dict[str, str] = field(default_factory=dict)
    """What the settings of this request were, to be put back."""


@dataclass
class Answer:
    """What ran: its first bytes, and where further ones come from."""

    format: str | None
    body: bytes = b""
    more: StreamingResult | None = None
    header: bytes | None = None
    """Lines that each piece repeats."""
    summary: dict[str, str] = field(default_factory=dict)

    def next_piece(self) -> bytes | None:
        """Further bytes; None at the end. Raises the engine's error."""
        piece = self.more.fetch() if self.more else None
        return None if piece is None else http_formats.without_header(self.format or "", piece.bytes(), self.header)[0]


def run(handle: Handle, query: Query, config: HttpConfig, unsafe: frozenset[str]) -> Answer:
    """Settings, checks, the query itself. Raises RefusedQueryError and the engine's errors."""
    connection, text = handle.connection, query.text.decode("utf-8", "replace")
    if query.format.lower() in http_formats.PYTHON_ONLY:
        raise RefusedQueryError(73, f"Unknown format {query.format}. (UNKNOWN_FORMAT)")
    # 1. settings
    if config.readonly:
        http_readonly.check("", Parsed("Set", True, None), unsafe, query.settings)
    _prepare(handle, query, config)
    # 2. may it run?
    parsed = Parsed("InsertQuery", False, None)
    if query.readonly or query.data is None:
        parsed = http_readonly.parse(connection, text if query.data is None else f"{text} FORMAT {query.data_format}", query.parameters)
    if config.readonly:
        http_readonly.check(text, parsed, unsafe, {})
    elif query.readonly and not parsed.reads and parsed.root not in ("Set", "UseQuery"):
        raise RefusedQueryError(164, "Cannot execute query in readonly mode: over HTTP, GET implies readonly; use POST. (READONLY)")
    # 3. run
    if query.data is not None:
        with connection.send_insert(text, query.data_format) as insert:
            insert.append(query.data)
            done = insert.finish()
        return Answer(None, summary={"written_rows": str(done.rows_written), "written_bytes": str(done.bytes_written)})
    name = parsed.format or query.format
    in_pieces = parsed.root == "SelectWithUnionQuery" and name.lower() in http_formats.PIECES
    if in_pieces and not query.whole and "totals" not in text.lower():  # pieces leave the totals out
        return _begin(connection, query, name)
    result = connection.query(query.text, query.format, params=query.parameters)  # type: ignore[arg-type]
    read = {"read_rows": str(result.storage_rows_read()), "read_bytes": str(result.storage_bytes_read())}
    summary = read | {"result_rows": str(result.rows_read()), "elapsed_ns": str(int(result.elapsed() * 1e9))}
    return Answer(name if parsed.reads else None, result.bytes() or b"", summary=summary)


def _prepare(handle: Handle, query: Query, config: HttpConfig) -> None:
    """Database and settings of this request; `readonly` last, as nothing can be set to less after it."""
    connection = handle.connection
    if query.database or not handle.is_prepared:
        connection.query(f"USE `{query.database or DATABASE}`", "TSVRaw")
    settings = dict(query.settings)
    if handle.is_session and settings:
        names = ", ".join(map(quoted, settings))
        shown = connection.query(f"SELECT name, value, changed FROM system.settings WHERE name IN ({names})", "JSONEachRow").bytes()
        for row in map(json.loads, shown.splitlines()):
            handle.before[row["name"]] = quoted(row["value"]) if row["changed"] else "DEFAULT"
    if not handle.is_prepared:  # not again in a session: it may have set them otherwise
        own = {"max_execution_time": str(config.timeout_s), "max_threads": str(config.max_threads)}
        settings = own | {"implicit_select": "0"} | settings  # a server wants the word SELECT
    pairs = [f"{name} = {quoted(value)}" for name, value in settings.items()]
    if config.readonly and not handle.is_prepared:
        pairs.append("readonly = 2")
    if pairs:
        connection.query("SET " + ", ".join(pairs), "TSVRaw")
    handle.is_prepared = True


def put_back(handle: Handle) -> None:
    """A session's settings as they were before the request's own."""
    for name, value in handle.before.items():
        handle.connection.query(f"SET {name} = {value}", "TSVRaw")
    handle.before.clear()


def _begin(connection: Connection, query: Query, name: str) -> Answer:
    """Start a query whose rows are sent as they come; one that fits into a block is an answer at once."""
    stream = connection.send_query(query.text, query.format, params=query.parameters)  # type: ignore[arg-type]
    first = stream.fetch()
    if first is None:
        stream.close()
        if not http_formats.PIECES[name.lower()]:
            return Answer(name)
        named = connection.query(query.text, query.format, params=query.parameters)  # type: ignore[arg-type]
        return Answer(name, named.bytes() or b"")  # a header above no rows
    body, header = http_formats.without_header(name, first.bytes(), None)
    second = stream.fetch()
    if second is None:
        return Answer(name, body)
    return Answer(name, body + http_formats.without_header(name, second.bytes(), header)[0], stream, header)
