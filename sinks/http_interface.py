"""ClickHouse's own HTTP interface over the embedded engine: curl, clickhouse-connect, Grafana and `strata query` speak to it.

Knows sockets, sessions and how an answer is sent; leaves requests to http_query.py and the engine to http_run.py. Each request has a handle of the
engine of its own (0.2 ms), so no setting of one is seen by another; a session keeps its handle. Queries run on threads of their own, a few at
a time: neither the event loop nor the writer waits for them.
Next: deploy/clickhouse_http.py, which asks
"""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from aiohttp import web
from chdb.state.sqlitelike import Connection

from sinks import http_formats, http_readonly, http_run
from sinks.http_query import MAX_BODY_BYTES, STATUS, HttpConfig, Query, admit, error_text, understand
from sinks.http_readonly import RefusedQueryError
from sinks.http_run import Answer, Handle

log = logging.getLogger(__name__)
T = TypeVar("T")
MAX_URL_BYTES = 1024 * 1024
PATIENCE_S = 60.0
"""For a client that does not read its answer."""
SUMMARY = ("read_rows", "read_bytes", "written_rows", "written_bytes", "total_rows_to_read", "result_rows", "result_bytes")


class HttpInterface:
    """The server; `start` binds, `stop` closes."""

    def __init__(self, path: str, config: HttpConfig):
        """`path` is the engine's folder, already open in this process."""
        self._path, self._config = path, config
        self._threads = ThreadPoolExecutor(config.queries, thread_name_prefix="query")
        self._slots = asyncio.Semaphore(config.queries)
        self._sessions: dict[str, Handle] = {}
        self._left: list[Handle] = []
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
        self._runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=0.5, max_line_size=MAX_URL_BYTES)
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
        told = "Use / or /ping for health checks. Send queries from your program with POST method or GET /?query=...\n"
        return web.Response(status=404, text=f"There is no handle {request.path_qs}\n\n{told}")

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        query_id = request.query.get("query_id", "")
        headers = {
            "X-ClickHouse-Query-Id": query_id if query_id.isprintable() and query_id else str(uuid.uuid4()),
            "X-ClickHouse-Server-Display-Name": "strata",
            "X-ClickHouse-Timezone": self._timezone,
        }
        try:
            admit(request, self._config)
            query = await self._call(understand, request, await request.read(), self._config)
            if query is None:
                return await self._ok(request)
            async with self._slots:
                return await self._answer(request, query, headers)
        except ConnectionError:
            raise
        except Exception as problem:  # whatever the engine says is the client's answer
            code, text = error_text(problem, self._version)
            if code == 1001:
                log.error("a query failed in the interface itself", exc_info=problem)
            headers |= {"X-ClickHouse-Exception-Code": str(code), "Content-Type": "text/plain; charset=UTF-8"}
            return web.Response(status=STATUS.get(code, 500), body=text, headers=headers)

    # 2. query -> rows

    async def _answer(self, request: web.Request, query: Query, headers: dict[str, str]) -> web.StreamResponse:
        handle = self._session(query) if query.session_id else Handle(await self._call(Connection, self._path))
        try:
            answer = await self._call(http_run.run, handle, query, self._config, self._unsafe)
            return await self._send(request, query, answer, headers)
        except asyncio.CancelledError:
            self._left.append(handle)  # the server stops; a thread may still be inside the engine
            raise
        finally:
            if handle not in self._left:
                await self._give_back(query, handle)

    def _session(self, query: Query) -> Handle:
        """The session's handle, taken; forgotten sessions are closed on the way."""
        now = time.monotonic()
        for name in [n for n, s in self._sessions.items() if s.expires < now and not s.busy]:
            self._sessions.pop(name).connection.close()
        session = self._sessions.get(query.session_id)
        if session is None:
            if query.session_check:
                raise RefusedQueryError(372, f"Session {query.session_id} not found. (SESSION_NOT_FOUND)")
            session = self._sessions[query.session_id] = Handle(Connection(self._path), is_session=True)
        elif session.busy:
            raise RefusedQueryError(373, f"Session {query.session_id} is locked by a concurrent client. (SESSION_IS_LOCKED)")
        session.busy, session.expires = True, now + query.session_timeout_s
        return session

    async def _give_back(self, query: Query, handle: Handle) -> None:
        if not handle.is_session:
            handle.connection.close()
            return
        await self._call(http_run.put_back, handle)
        handle.busy, handle.expires = False, time.monotonic() + query.session_timeout_s
        if query.close_session:
            self._sessions.pop(query.session_id).connection.close()

    # 3. rows -> answer

    async def _send(self, request: web.Request, query: Query, answer: Answer, headers: dict[str, str]) -> web.StreamResponse:
        summary = dict.fromkeys(SUMMARY, "0") | {"result_bytes": str(len(answer.body))} | answer.summary
        headers["X-ClickHouse-Summary"] = json.dumps(summary, separators=(",", ":"))
        headers["Content-Type"] = http_formats.content_type(answer.format or "")
        if answer.format:
            headers["X-ClickHouse-Format"] = answer.format
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
                text = error_text(problem, self._version)[1]
                await response.write(packer.compress(text) + packer.flush() if packer else text)
            if request.transport:
                request.transport.close()
        finally:
            await self._call(answer.more.close)
        return response

    async def _stream(self, response: web.StreamResponse, answer: Answer, packer: http_formats.Packer | None) -> None:
        def packed(piece: bytes | None) -> bytes | None:
            return packer.compress(piece) if packer and piece is not None else piece

        piece = await self._call(packed, answer.body)
        while piece is not None:
            if piece:
                async with asyncio.timeout(PATIENCE_S):
                    await response.write(piece)
            piece = await self._call(lambda: packed(answer.next_piece()))
        if packer:
            await response.write(packer.flush())
        await response.write_eof()
