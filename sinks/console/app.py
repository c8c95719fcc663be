"""The console put together: board, feed, tables, producer, guard, routes, on one screen.

Knows what there is and when it starts and ends; leaves requests to api.py and pages.py.
Next: sinks/console/pages.py, sinks/console/api.py
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

from schemas.codec import Codec
from schemas.errors import StrataError
from schemas.registry import Registry
from sinks.console import api, evaluation, pages
from sinks.console.alert_feed import AlertFeed
from sinks.console.attention import Attention
from sinks.console.board import Board
from sinks.console.broadcast import Broadcast
from sinks.console.config import ConsoleConfig, check, clickhouse_at
from sinks.console.feed import Feed, LagWatch
from sinks.console.giving import GivenError, NotSentError, Producer
from sinks.console.guard import Guard, refuse
from sinks.console.tables import AskError, NoAnswerError, Tables

log = logging.getLogger(__name__)
FOLDER = Path(__file__).parent
TITLE, VERSION = "Strata console", "1"
ABOUT = """
Live sessions, stored sessions, evaluation, traces and labels of one Strata deployment.

Paths are versioned: within `/api/v1` fields are added, never taken away or changed in meaning. Errors are `application/problem+json`
(RFC 9457). With a secret set, send `Authorization: Bearer TOKEN`.
"""


@dataclass
class Parts:
    """What the routes use; found as `request.app.state.parts`."""

    config: ConsoleConfig
    board: Board
    broadcast: Broadcast
    feed: Feed
    tables: Tables
    producer: Producer
    alerts: AlertFeed
    questions: asyncio.Semaphore
    """Of the evaluation, running at a time."""


def build_app(config: ConsoleConfig, with_kafka: bool = True) -> FastAPI:
    """The console. Raises SettingError. Nothing runs before the server starts it; `with_kafka` false reads and watches nothing, for tests."""
    check(config)
    codec = Codec(Registry(config.schema_registry_url) if config.schema_registry_url else None)
    board = Board(config.latency.max_per_token_ms, config.console_stage)
    broadcast = Broadcast(board, config.console_events_per_s, config.console_streams)
    attention = Attention(lambda: bool(broadcast.viewers))
    parts = Parts(
        config,
        board,
        broadcast,
        Feed(config.kafka_bootstrap, config.topic_prefix, codec, board, attention),
        Tables(clickhouse_at(config)),
        Producer(config.kafka_bootstrap, config.topic_prefix),
        AlertFeed(config.kafka_bootstrap, config.topic_prefix),
        asyncio.Semaphore(evaluation.AT_A_TIME),
    )

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        running = [parts.broadcast.run()]
        if with_kafka:
            running += [parts.feed.run(), parts.alerts.run(), LagWatch(config.kafka_bootstrap, config.topic_prefix, board, attention).run()]
        tasks = [asyncio.create_task(one) for one in running]
        for task in tasks:
            task.add_done_callback(_ended)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=3.0)  # a client that is just connecting may take its time
            await parts.producer.stop()
            await parts.tables.close()

    app = FastAPI(
        title=TITLE,
        version=VERSION,
        description=ABOUT,
        lifespan=life,
        docs_url=None,  # its scripts come from another site; /api shows the same
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        middleware=[Middleware(Guard, config=config), Middleware(GZipMiddleware, minimum_size=1000)],
    )
    app.state.parts = parts
    app.state.guard = Guard(app, config)  # its cookies, for /login
    app.include_router(api.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    app.add_exception_handler(HTTPException, _http_error)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _invalid)  # type: ignore[arg-type]
    app.add_exception_handler(StrataError, _ours)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _bug)

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        return PlainTextResponse("Ok.\n")

    return app


def _ended(task: asyncio.Task[Any]) -> None:
    """A part that ends by itself is a bug: say so, the page shows that nothing comes."""
    if not task.cancelled() and (problem := task.exception()) is not None:
        log.error("a part of the console ended", exc_info=problem)


STATUS: dict[type[StrataError], int] = {NoAnswerError: 503, AskError: 502, NotSentError: 503, GivenError: 422}


def _answer(request: Request, status: int, detail: str) -> Response:
    if request.url.path.startswith("/api/"):
        return refuse(dict(request.scope), status, detail)
    return pages.problem(request, status, detail)


async def _http_error(request: Request, problem: HTTPException) -> Response:
    answer = _answer(request, problem.status_code, str(problem.detail))
    for name, value in (problem.headers or {}).items():
        answer.headers[name] = value
    return answer


async def _invalid(request: Request, problem: RequestValidationError) -> Response:
    told = "; ".join(f"{'.'.join(str(p) for p in e['loc'][1:])}: {e['msg']}" for e in problem.errors()[:5])
    return _answer(request, 422, told)


async def _ours(request: Request, problem: StrataError) -> Response:
    status = next((code for kind, code in STATUS.items() if isinstance(problem, kind)), 500)
    return _answer(request, status, str(problem))


async def _bug(request: Request, problem: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=problem)
    return _answer(request, 500, "the console made a mistake; its log says which")
