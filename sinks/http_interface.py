"""ClickHouse's own HTTP interface over the embedded engine: curl, clickhouse-connect, Grafana and `strata query` speak to it.

Knows requests, settings, sessions and how an answer and an error look; leaves what may run to http_readonly.py, formats and compression to
http_formats.py. Each request has a handle of the engine of its own (0.2 ms), so no setting of one is seen by another; a session keeps
its handle. Queries run on threads of their own, a few at a time: neither the event loop nor the writer waits for them.
Next: sinks/evaluate.py, deploy/clickhouse_http.py
"""

import asyncio
import base64
import hmac
import ipaddress
import json
import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web
from chdb.state.sqlitelike import Connection, StreamingResult

from sinks import http_formats, http_readonly
from sinks.clickhouse import DATABASE, quoted
from sinks.http_readonly import Parsed, RefusedQueryError

log = logging.getLogger(__name__)
T = TypeVar("T")
OWN_PARAMETERS = frozenset(
    [
        "query",
        "database",
        "default_format",
        "user",
        "password",
        "quota_key",
        "query_id",
        "session_id",
        "session_timeout",
        "session_check",
        "close_session",
        "compress",
        "decompress",
        "buffer_size",
        "wait_end_of_query",
        "stacktrace",
        "role",
        "client_protocol_version",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
        "enable_http_compression",
        "http_zlib_compression_level",
        "add_http_cors_header",
    ]
)
"""URL parameters that are not settings of a query."""
SETTING_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
MAX_BODY_BYTES = 256 * 1024 * 1024
PATIENCE_S = 60.0
"""For a client that does not read its answer."""
STATUS = {194: 401, 192: 403, 193: 403, 516: 403, 48: 501, 77: 413, 159: 408, 202: 503, 209: 503, 76: 503, 373: 500}
STATUS |= dict.fromkeys((6, 26, 27, 36, 38, 41, 43, 53, 62, 72, 117, 167, 168, 320, 321, 376, 427, 456, 457), 400)
STATUS |= dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 78, 80, 81, 115), 404)
"""ClickHouse's error code -> HTTP status; 500 for all others (ClickHouse, src/Server/HTTP/exceptionCodeToHTTPStatus.cpp)."""
TOKENS = re.compile(
    rb"'(?:\\.|''|[^'\\])*'|`(?:\\.|[^`\\])*`|\"(?:\\.|[^\"\\])*\"|--[^\n]*|/\*.*?\*/|\b(VALUES|SELECT|WITH|FROM|WATCH)\b|\bFORMAT\s+(\w+)",
    re.IGNORECASE | re.DOTALL,
)
INSERT = re.compile(rb"\s*(?:(?:--[^\n]*\n|/\*.*?\*/)\s*)*INSERT\b", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class HttpConfig:
    """What the interface needs of the settings."""

    host: str = "127.0.0.1"
    port: int = 8123
    readonly: bool = True
    user: str = ""
    password: str = ""
    queries: int = 4
    max_threads: int = 2
    timeout_s: int = 60


@dataclass
class Session:
    """A handle kept over requests, with its temporary tables and settings."""

    connection: Connection
    expires: float
    busy: bool = False


@dataclass(frozen=True)
class Query:
    """A request, understood."""

    text: bytes
    data: bytes | None
    """Of an INSERT with data: the bytes after its FORMAT; None for any other statement."""
    data_format: str
    database: str
    """Empty where none is named."""
    format: str
    settings: dict[str, str]
    parameters: dict[str, str]
    query_id: str
    readonly: bool
    whole: bool
    """Answer only when the query has ended."""
    packing: str | None
    session_id: str = ""
    session_timeout_s: float = 60.0


@dataclass
class Answer:
    """What ran: its first bytes, and where further ones come from."""

    format: str | None
    body: bytes = b""
    more: StreamingResult | None = None
    header: bytes | None = None
    """Lines that each piece repeats."""
    summary: dict[str, str] = field(default_factory=dict)


class HttpInterface:
    """The server; `start` binds, `stop` closes."""

    def __init__(self, path: str, config: HttpConfig):
        """`path` is the engine's folder, already open in this process."""
        self._path, self._config = path, config
        self._threads = ThreadPoolExecutor(config.queries, thread_name_prefix="query")
        self._slots = asyncio.Semaphore(config.queries)
        self._sessions: dict[str, Session] = {}
        self._left: list[Connection] = []
        self._runner: web.AppRunner | None = None
        self._unsafe: frozenset[str] = frozenset()
        self._version, self._timezone = "", "UTC"

    async def start(self) -> int:
        """Listen; returns the port (a free one for port 0). Raises OSError when it is taken."""
        await self._call(self._prepare)
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        for path in ("/ping", "/replicas_status"):
            app.router.add_get(path, self._ok)
        app.router.add_get("/", self._handle)
        app.router.add_post("/", self._handle)
        app.router.add_route("*", "/{other:.*}", self._unknown)
        # bodies stay packed: the lz4 of ClickHouse's clients is not known to aiohttp, so all are unpacked in one place
        self._runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._config.host, self._config.port)
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening, end what runs."""
        if self._runner:
            await self._runner.cleanup()
        self._threads.shutdown(wait=False, cancel_futures=True)
        for session in self._sessions.values():
            if not session.busy:
                session.connection.close()
        self._sessions.clear()

    def _prepare(self) -> None:
        connection = Connection(self._path)
        try:
            line = connection.query("SELECT version(), timezone()", "TSVRaw").bytes().decode()
            self._version, self._timezone = line.rstrip("\n").split("\t")
            self._unsafe = http_readonly.table_functions(connection)
            if self._config.readonly and not http_readonly.close_the_file_system(connection):
                log.warning("database `default` holds tables and is left as it is: clients can read this user's files as tables of it")
        finally:
            connection.close()

    async def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    # 1. request -> query

    async def _ok(self, request: web.Request) -> web.Response:
        return web.Response(text="Ok.\n", content_type="text/html", charset="UTF-8")

    async def _unknown(self, request: web.Request) -> web.Response:
        text = f"There is no handle {request.path_qs}\n\nUse / or /ping for health checks. Send queries from your program with POST method or GET /?query=...\n"
        return web.Response(status=404, text=text)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        query_id = request.query.get("query_id") or str(uuid.uuid4())
        headers = {
            "X-ClickHouse-Query-Id": query_id if query_id.isprintable() else "",
            "X-ClickHouse-Server-Display-Name": "strata",
            "X-ClickHouse-Timezone": self._timezone,
        }
        try:
            self._admit(request)
            query = await self._understand(request, query_id)
            if query is None:
                return await self._ok(request)
            async with self._slots:
                return await self._answer(request, query, headers)
        except ConnectionError:
            raise
        except Exception as problem:  # whatever the engine says is the client's answer
            return self._failed(problem, headers)

    def _admit(self, request: web.Request) -> None:
        """Refuse wrong credentials, and names that a web page could point at this machine (DNS rebinding)."""
        config = self._config
        if _is_loopback(config.host) and not _is_local_name(request.host):
            raise RefusedQueryError(
                516,
                f"host '{request.host}' is not this machine; ask for http://127.0.0.1 or listen on another address. (AUTHENTICATION_FAILED)",
            )
        if not config.user:
            return
        user = request.headers.get("X-ClickHouse-User") or request.query.get("user", "")
        key = request.headers.get("X-ClickHouse-Key") or request.query.get("password", "")
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                user, _, key = base64.b64decode(credentials).decode().partition(":")
            except ValueError:
                user, key = "", ""
        if not (_same(user, config.user) and _same(key, config.password)):
            raise RefusedQueryError(
                516,
                f"{user or 'default'}: Authentication failed: password is incorrect, or there is no user with such name. (AUTHENTICATION_FAILED)",
            )

    async def _understand(self, request: web.Request, query_id: str) -> Query | None:
        asked = request.query
        if any(asked.get(name, "0") not in ("0", "") for name in ("compress", "decompress")):
            raise RefusedQueryError(
                48, "compress=1 and decompress=1 are not known here; use Accept-Encoding and Content-Encoding. (NOT_IMPLEMENTED)"
            )
        body = await request.read()
        try:
            body = await self._call(http_formats.unpacked, request.headers.get("Content-Encoding", "").lower(), body) if body else b""
        except ValueError as problem:
            raise RefusedQueryError(36, f"{problem}. (BAD_ARGUMENTS)") from problem
        given = "\n".join(asked.getall("query", [])).encode("utf-8", "surrogateescape")
        text = given + b"\n" + body if given and body else given or body
        if not text.strip():
            if request.method in ("GET", "HEAD"):
                return None
            raise RefusedQueryError(62, "Syntax error: Empty query. (SYNTAX_ERROR)")
        default = request.headers.get("X-ClickHouse-Format") or asked.get("default_format") or "TabSeparated"
        text, data_format, data = split_insert(text)
        settings = {k: v for k, v in asked.items() if k not in OWN_PARAMETERS and not k.startswith("param_")}
        if wrong := next((k for k in settings if not SETTING_NAME.match(k)), None):
            raise RefusedQueryError(115, f"Unknown setting '{wrong}'. (UNKNOWN_SETTING)")
        packed = asked.get("enable_http_compression", "0") not in ("0", "")
        return Query(
            text=text,
            data=data,
            data_format=data_format,
            database=(request.headers.get("X-ClickHouse-Database") or asked.get("database", "")).replace("`", ""),
            format=default,
            settings=settings,
            parameters={k.removeprefix("param_"): v for k, v in asked.items() if k.startswith("param_")},
            query_id=query_id,
            readonly=self._config.readonly or request.method != "POST" or settings.pop("readonly", "0") not in ("0", ""),
            whole=asked.get("wait_end_of_query", "0") not in ("0", ""),
            packing=http_formats.accepted(request.headers.get("Accept-Encoding", "")) if packed else None,
            session_id=asked.get("session_id", ""),
            session_timeout_s=_seconds(asked),
        )

    # 2. query -> rows

    async def _answer(self, request: web.Request, query: Query, headers: dict[str, str]) -> web.StreamResponse:
        session = self._session(query, request.query.get("session_check", "0")) if query.session_id else None
        connection = session.connection if session else await self._call(Connection, self._path)
        before: dict[str, str] = {}
        try:
            answer = await self._call(self._run, connection, query, session is not None, before)
            return await self._send(request, query, answer, headers)
        except asyncio.CancelledError:
            self._left.append(connection)  # the server stops; a thread may still be inside the engine
            raise
        finally:
            if connection not in self._left:
                await self._give_back(query, connection, session, before, close=request.query.get("close_session", "0") == "1")

    async def _give_back(self, query: Query, connection: Connection, session: Session | None, before: dict[str, str], close: bool) -> None:
        if session is None:
            connection.close()
            return
        await self._call(_put_back, connection, before)
        session.busy, session.expires = False, time.monotonic() + query.session_timeout_s
        if close:
            self._sessions.pop(query.session_id).connection.close()

    def _session(self, query: Query, check: str) -> Session:
        now = time.monotonic()
        for name in [n for n, s in self._sessions.items() if s.expires < now and not s.busy]:
            self._sessions.pop(name).connection.close()
        session = self._sessions.get(query.session_id)
        if session is None:
            if check == "1":
                raise RefusedQueryError(372, f"Session {query.session_id} not found. (SESSION_NOT_FOUND)")
            session = self._sessions[query.session_id] = Session(Connection(self._path), now + query.session_timeout_s)
        elif session.busy:
            raise RefusedQueryError(373, f"Session {query.session_id} is locked by a concurrent client. (SESSION_IS_LOCKED)")
        session.busy = True
        return session

    def _run(self, connection: Connection, query: Query, in_session: bool, before: dict[str, str]) -> Answer:
        """On a thread: settings, checks, the query itself. `before` takes what the settings were, to be put back in a session."""
        if query.format.lower() in http_formats.PYTHON_ONLY:
            raise RefusedQueryError(73, f"Unknown format {query.format}. (UNKNOWN_FORMAT)")
        self._set(connection, query, in_session, before)
        text = query.text.decode("utf-8", "replace")
        if query.readonly or query.data is None:
            whole = text if query.data is None else f"{text} FORMAT {query.data_format}"
            parsed = http_readonly.parse(connection, whole, query.parameters)
        else:
            parsed = Parsed("InsertQuery", False, None)
        if self._config.readonly:
            http_readonly.check(text, parsed, self._unsafe, query.settings)
        elif query.readonly and not parsed.reads and parsed.root not in ("Set", "UseQuery"):
            raise RefusedQueryError(
                164, "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly; use POST. (READONLY)"
            )
        if query.data is not None:
            with connection.send_insert(text, query.data_format) as insert:
                insert.append(query.data)
                done = insert.finish()
            return Answer(None, summary={"written_rows": str(done.rows_written), "written_bytes": str(done.bytes_written)})
        name = parsed.format or query.format
        if (
            parsed.root == "SelectWithUnionQuery"
            and not query.whole
            and name.lower() in http_formats.PIECES
            and "totals" not in text.lower()
        ):
            return _begin(connection, query, name)
        result = connection.query(query.text, query.format, params=query.parameters)  # type: ignore[arg-type]
        summary = {
            "read_rows": str(result.storage_rows_read()),
            "read_bytes": str(result.storage_bytes_read()),
            "result_rows": str(result.rows_read()),
        }
        return Answer(
            name if parsed.reads else None, result.bytes() or b"", summary=summary | {"elapsed_ns": str(int(result.elapsed() * 1e9))}
        )

    def _set(self, connection: Connection, query: Query, in_session: bool, before: dict[str, str]) -> None:
        """Database and settings of this request; `readonly` last, as nothing can be set to less after it."""
        own = {
            "max_execution_time": self._config.timeout_s,
            "max_threads": self._config.max_threads,
            "implicit_select": 0,
        }  # a server asks for SELECT
        settings = {name: str(value) for name, value in own.items()} | query.settings
        if self._config.readonly:
            http_readonly.check("", Parsed("Set", True, None), self._unsafe, settings)
        current = connection.query("SELECT currentDatabase()", "TSVRaw").bytes().decode().strip() if in_session else "default"
        if query.database or current == "default":
            connection.query(f"USE `{query.database or DATABASE}`", "TSVRaw")
        if in_session and query.settings:
            names = ", ".join(quoted(name) for name in query.settings)
            shown = connection.query(f"SELECT name, value, changed FROM system.settings WHERE name IN ({names})", "JSONEachRow").bytes()
            for row in map(json.loads, shown.splitlines()):
                before[row["name"]] = quoted(row["value"]) if row["changed"] else "DEFAULT"
        pairs = [f"{name} = {quoted(value)}" for name, value in settings.items()]
        if self._config.readonly and connection.query("SELECT getSetting('readonly')", "TSVRaw").bytes() == b"0\n":
            pairs.append("readonly = 2")
        connection.query("SET " + ", ".join(pairs), "TSVRaw")

    # 3. rows -> answer

    async def _send(self, request: web.Request, query: Query, answer: Answer, headers: dict[str, str]) -> web.StreamResponse:
        empty = dict.fromkeys(
            ("read_rows", "read_bytes", "written_rows", "written_bytes", "total_rows_to_read", "result_rows", "result_bytes"), "0"
        )
        headers["X-ClickHouse-Summary"] = json.dumps(
            empty | {"result_bytes": str(len(answer.body))} | answer.summary, separators=(",", ":")
        )
        if answer.format:
            headers["X-ClickHouse-Format"] = answer.format
            headers["Content-Type"] = http_formats.content_type(answer.format)
        else:
            headers["Content-Type"] = "text/plain; charset=UTF-8"
        packer = http_formats.PACKERS[query.packing]() if query.packing and (answer.body or answer.more) else None
        if packer and query.packing:
            headers["Content-Encoding"] = query.packing
        if answer.more is None:
            body = await self._call(lambda: packer.compress(answer.body) + packer.flush()) if packer else answer.body
            return web.Response(body=body, headers=headers)
        response = web.StreamResponse(headers=headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            await self._stream(response, answer, packer)
        except Exception as problem:
            # as a server does: the text of the error at the end, and a connection that breaks so that nobody takes the rest for all
            if not isinstance(problem, ConnectionError | TimeoutError):
                log.info("query failed in the middle of its answer: %s", str(problem)[:300])
                await response.write(packer.compress(self._text(problem)[1]) + packer.flush() if packer else self._text(problem)[1])
            if request.transport:
                request.transport.close()
        finally:
            await self._call(answer.more.close)
        return response

    async def _stream(self, response: web.StreamResponse, answer: Answer, packer: http_formats.Packer | None) -> None:
        def next_piece() -> bytes | None:
            piece = answer.more.fetch() if answer.more else None
            if piece is None:
                return None
            data, _ = http_formats.without_header(answer.format or "", piece.bytes(), answer.header)
            return packer.compress(data) if packer else data

        piece: bytes | None = packer.compress(answer.body) if packer else answer.body
        while piece is not None:
            if piece:
                async with asyncio.timeout(PATIENCE_S):
                    await response.write(piece)
            piece = await self._call(next_piece)
        if packer:
            await response.write(packer.flush())
        await response.write_eof()

    def _failed(self, problem: Exception, headers: dict[str, str]) -> web.Response:
        code, text = self._text(problem)
        headers["X-ClickHouse-Exception-Code"] = str(code)
        headers["Content-Type"] = "text/plain; charset=UTF-8"
        return web.Response(status=STATUS.get(code, 500), body=text, headers=headers)

    def _text(self, problem: Exception) -> tuple[int, bytes]:
        """Code and text of an error, in a server's words."""
        message = str(problem)
        if isinstance(problem, RefusedQueryError):
            message = f"Code: {problem.code}. DB::Exception: {message}"
        elif isinstance(problem, web.HTTPRequestEntityTooLarge):
            message = f"Code: 77. DB::Exception: the body is larger than {MAX_BODY_BYTES} bytes; send it in parts. (QUERY_IS_TOO_LARGE)"
        start = message.find("Code: ")
        if start < 0:
            log.error("a query failed in the interface itself", exc_info=problem)
            message, start = f"Code: 1001. DB::Exception: {type(problem).__name__}: {message}. (STD_EXCEPTION)", 0
        message = message[start:].strip()
        found = re.match(r"Code: (\d+)", message)
        return int(found[1]) if found else 1001, f"{message} (version {self._version})\n".encode("utf-8", "replace")


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


def _put_back(connection: Connection, before: Mapping[str, str]) -> None:
    """A session's settings as they were before the request's own."""
    for name, value in before.items():
        connection.query(f"SET {name} = {value}", "TSVRaw")


def split_insert(text: bytes) -> tuple[bytes, str, bytes | None]:
    """Statement, format and data of an INSERT with data; any other statement as it is, with None."""
    if INSERT.match(text):
        for token in TOKENS.finditer(text):
            if token[1]:
                break
            if token[2]:
                rest = text[token.end() :].lstrip(b" \t\f").removeprefix(b"\r").removeprefix(b"\n")
                return text[: token.start()].rstrip(), token[2].decode(), b"" if rest.strip() == b";" else rest
    return text, "", None


def _seconds(asked: Mapping[str, str]) -> float:
    try:
        return min(max(float(asked.get("session_timeout") or 60), 1.0), 3600.0)
    except ValueError:
        raise RefusedQueryError(
            27, f"session_timeout: got '{asked['session_timeout']}', wanted seconds. (CANNOT_PARSE_INPUT_ASSERTION_FAILED)"
        ) from None


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode("utf-8", "replace"))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_local_name(host: str) -> bool:
    """An address, or a name that means this machine."""
    name = re.sub(r":\d+$", "", host).strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False
