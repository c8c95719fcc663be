"""The pages: HTML made here from templates, with what is known at this moment in them, so that they are read before a script runs.

Knows paths, templates and what each needs; leaves looks to templates/ and static/. Every value is escaped by the templates.
"""

import asyncio
import json
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, quote, urlencode

import jinja2
import msgspec
from fastapi import APIRouter, HTTPException, Query, Request
from markupsafe import Markup
from starlette.responses import HTMLResponse, RedirectResponse, Response

from sinks import comparisons
from sinks.alerts import sentence
from sinks.console import comparing, drawing, evaluation, layers, sessions, traces
from sinks.console.access import AccessError, read_token
from sinks.console.api import Filter, Modality, Viewer
from sinks.console.guard import TOKEN_COOKIE, is_own_path
from sinks.console.tables import AskError, NoAnswerError

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
PAGE = 50
MOST_FORM_BYTES = 8192
NAVIGATION = (("live", "/", "Live"), ("sessions", "/sessions", "Sessions"), ("evaluation", "/evaluation", "Evaluation"),
              ("traces", "/traces", "Traces"), ("try", "/try", "Try it"))  # fmt: skip
MODALITIES = {"tokens": "text", "chat": "chat", "logs": "log", "metrics": "series"}
UNITS = {"tokens": "piece", "chat": "turn", "logs": "line", "metrics": "point"}


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ms": milliseconds, "number": number, "percent": percent, "moment": moment, "since": since, "hue": drawing.hue, "path": path_of,
        "session_url": session_url, "count": count, "data": data,
    }  # fmt: skip
    environment.globals |= {"navigation": NAVIGATION, "modality_names": MODALITIES, "draw": drawing}
    return environment


def page(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A template as an answer."""
    caller = getattr(request.state, "caller", None)
    parts = request.app.state.parts
    common = {
        "csrf": request.state.csrf,
        "me": caller,
        "needs_token": bool(parts.config.console_secret),
        "here": "",
        "now_s": time.time(),
    }
    return HTMLResponse(TEMPLATES.get_template(name).render({**common, **values}), status)


def problem(request: Request, status: int, detail: str) -> Response:
    """An error as a page."""
    titles = {403: "Not allowed", 404: "Nothing here", 422: "That cannot be read", 503: "Not answering"}
    return page(request, "problem.html", status, title=titles.get(status, "Something went wrong"), status_code=status, detail=detail)


@router.get("/")
async def live(request: Request, caller: Viewer) -> Response:
    """Sessions as they stream."""
    parts = request.app.state.parts
    await parts.feed.look()
    at, board = time.time(), parts.board
    shown = [layers.snapshot(board.sessions[k]) for k in board.arrange(at)]
    begin = {
        "field": parts.broadcast.field(at),
        "history": board.history(at),
        "anomalies": list(board.anomalies),
        "happenings": list(board.recent),
        "stage": {"keys": board.on_stage, "sessions": shown, "summed": {}},
        "feed": parts.feed.problem,
    }
    recent: list[dict[str, Any]] = []
    trouble = ""
    if not shown:
        try:
            recent = await sessions.find(parts.tables, limit=8)
        except (NoAnswerError, AskError) as found:
            trouble = str(found)
    gauges = begin["field"]["gauges"]
    return page(request, "live.html", here="live", begin=begin, shown=shown, gauges=gauges, recent=recent, trouble=trouble, feed=parts.feed)


@router.get("/sessions")
async def list_sessions(
    request: Request,
    caller: Viewer,
    search: Annotated[str, Query(max_length=200)] = "",
    modality: Modality = "",
    page_number: Annotated[int, Query(alias="page", ge=1, le=10_000)] = 1,
) -> Response:
    """Stored sessions."""
    tables = request.app.state.parts.tables
    found = await sessions.find(tables, search.strip(), modality, PAGE + 1, (page_number - 1) * PAGE)
    if search.strip() and page_number == 1 and len(found) == 1 and found[0]["session_id"] == search.strip():
        return RedirectResponse(session_url(found[0]["session_id"]), 303)
    return page(
        request,
        "sessions.html",
        here="sessions",
        found=found[:PAGE],
        more=len(found) > PAGE,
        search=search,
        modality=modality,
        number=page_number,
    )


@router.get("/sessions/{session_id:path}")
async def one_session(request: Request, caller: Viewer, session_id: str) -> Response:
    """The whole tree of one session."""
    tables = request.app.state.parts.tables
    views, labels, traced = await asyncio.gather(
        sessions.load(tables, session_id), tables.ask(sessions.LABELS, id=session_id), tables.ask(sessions.TRACED, id=session_id)
    )
    if not views:
        await request.app.state.parts.feed.look()
        live_now = request.app.state.parts.board.snapshot_of(session_id)
        if not live_now:
            return page(request, "problem.html", 404, title="No such session", status_code=404, here="sessions",
                        detail=f"Nothing is stored under {session_id[:200]!r}.")  # fmt: skip
    return page(request, "session.html", here="sessions", session_id=session_id, views=views, labels=labels, traced=traced)


@router.get("/evaluation")
async def ask_all(
    request: Request,
    caller: Viewer,
    days: Annotated[int, Query(ge=0, le=3660)] = 30,
    model_version: Filter = "",
    modality: Modality = "",
    task: Filter = "",
    by: Literal["all", "hour", "day", "age"] = "all",
    reference: Filter = "",
) -> Response:
    """The questions as charts; each is asked by the page itself, so that it is there at once."""
    parts = request.app.state.parts
    tables = parts.tables
    versions, tasks = await asyncio.gather(tables.ask(evaluation.VERSIONS), tables.ask(evaluation.TASKS))
    since = time.strftime("%Y-%m-%d 00:00:00", time.gmtime(time.time() - days * 86400)) if days else ""
    given = {"since": since, "model_version": model_version, "modality": modality, "task": task, "by": by, "reference": reference}
    return page(
        request,
        "evaluation.html",
        here="evaluation",
        groups=evaluation.groups(),
        glance=evaluation.GLANCE,
        alerts=[
            {"text": sentence(m), "at": m["opened_at"], "question": m["threshold"].partition(".")[0]} for m in parts.alerts.open.values()
        ],
        versions=versions,
        tasks=tasks,
        given=given,
        chosen={**given, "days": days},
    )


@router.get("/evaluation/versions")
async def list_comparisons(request: Request, caller: Viewer) -> Response:
    """The newest comparison of two versions, else what to do for one."""
    found = await asyncio.to_thread(comparisons.listed, request.app.state.parts.config.data_dir)
    if found:
        return RedirectResponse(f"/evaluation/versions/{quote(found[0]['name'])}", 303)
    return page(request, "versions.html", here="evaluation", listed=[], whole=None)


@router.get("/evaluation/versions/{name}")
async def one_comparison(
    request: Request,
    caller: Viewer,
    name: str,
    show: Literal["", "won", "lost", "wrong", "unknown"] = "",
    task: Filter = "",
    page_number: Annotated[int, Query(alias="page", ge=1, le=10_000)] = 1,
) -> Response:
    """Two versions side by side: paired differences, and the examples that changed."""
    folder = request.app.state.parts.config.data_dir
    listed, whole = await asyncio.gather(asyncio.to_thread(comparisons.listed, folder), asyncio.to_thread(comparisons.read, folder, name))
    if whole is None:
        raise HTTPException(404, f"no comparison {name[:200]!r} is kept here")
    shown = comparing.examples(whole, show, task)
    first = (page_number - 1) * PAGE
    return page(
        request,
        "versions.html",
        here="evaluation",
        listed=listed,
        whole=whole,
        groups=comparing.groups(whole),
        unchanged=comparing.unchanged(whole),
        counts=comparing.counts(whole, task),
        tasks=comparing.tasks(whole),
        shown=shown[first : first + PAGE],
        total=len(shown),
        more=len(shown) > first + PAGE,
        show=show,
        task=task,
        number=page_number,
    )


@router.get("/traces")
async def list_traces(
    request: Request,
    caller: Viewer,
    session: Annotated[str, Query(max_length=1000)] = "",
    minutes: Annotated[int, Query(ge=1, le=366 * 1440)] = 1440,
    order: Literal["slowest", "newest"] = "slowest",
) -> Response:
    """Traces of records, and how long each stage takes."""
    tables = request.app.state.parts.tables
    found, stages = await asyncio.gather(traces.find(tables, session.strip(), minutes, 0.0, order), traces.stages(tables, minutes))
    return page(request, "traces.html", here="traces", found=found, stages=stages, session=session, minutes=minutes, order=order)


@router.get("/traces/{trace_id}")
async def one_trace(request: Request, caller: Viewer, trace_id: str) -> Response:
    """A waterfall."""
    trace = await traces.load(request.app.state.parts.tables, trace_id[:64])
    return page(request, "trace.html", 200 if trace.spans or trace.decided else 404, here="traces", trace=trace)


@router.get("/try")
async def try_it(request: Request, caller: Viewer, session: Annotated[str, Query(max_length=1000)] = "") -> Response:
    """Type or paste something and watch it being read."""
    return page(request, "try.html", here="try", session=session)


@router.get("/api")
async def api_page(request: Request, caller: Viewer) -> Response:
    """What /api/v1/openapi.json says, to be read."""
    return page(request, "api.html", here="api", api=request.app.openapi())


@router.get("/login")
async def login(request: Request, next_path: Annotated[str, Query(alias="next", max_length=2000)] = "/") -> Response:
    """Where a token is given."""
    return page(request, "login.html", next=next_path if is_own_path(next_path) else "/", problem="")


@router.post("/login")
async def sign_in(request: Request) -> Response:
    """A token becomes a cookie that scripts cannot read."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_FORM_BYTES:
            raise HTTPException(413, f"more than {MOST_FORM_BYTES} bytes; a token is shorter")
    given = dict(parse_qsl(body.decode("utf-8", "replace")))
    token, next_path = given.get("token", ""), given.get("next", "/")
    secret = request.app.state.parts.config.console_secret
    next_path = next_path if is_own_path(next_path) else "/"
    if not secret:
        return RedirectResponse(next_path, 303)
    try:
        read_token(secret, token.strip())
    except AccessError as found:
        return page(request, "login.html", 401, next=next_path, problem=str(found))
    answer = RedirectResponse(next_path, 303)
    answer.headers.append("set-cookie", request.app.state.guard.cookie(TOKEN_COOKIE, token.strip()))
    return answer


@router.post("/logout")
async def sign_out(request: Request) -> Response:
    """Forget the token."""
    answer = RedirectResponse("/login", 303)
    answer.headers.append("set-cookie", request.app.state.guard.cookie(TOKEN_COOKIE, "", 0))
    return answer


# looks of single values


def count(value: int, modality: str) -> str:
    """`1 turn`, `1,349 pieces`"""
    return f"{value:,} {UNITS.get(modality, 'item')}{'' if value == 1 else 's'}"


def milliseconds(value: float | None) -> str:
    """`12 ms`, `1.2 s`"""
    if value is None or not math.isfinite(value):
        return "–"
    if value >= 1000:
        return f"{value / 1000:,.1f} s" if value < 100_000 else f"{value / 1000:,.0f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms" if value >= 0.1 else f"{value * 1000:.0f} µs"


def number(value: float | None) -> str:
    """Grouped by thousands; small ones with two digits."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def percent(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:.{digits}%}".replace("%", "\u202f%")


def moment(value: str) -> str:
    """`21:35:58` of today's, with its day else. ClickHouse's text, UTC."""
    try:
        at = datetime.fromisoformat(value[:26]).replace(tzinfo=UTC)
    except ValueError:
        return value
    return at.strftime("%H:%M:%S" if at.date() == datetime.now(UTC).date() else "%Y-%m-%d %H:%M:%S")


def since(value: str) -> str:
    """`3 min ago`"""
    try:
        s = (datetime.now(UTC) - datetime.fromisoformat(value[:26]).replace(tzinfo=UTC)).total_seconds()
    except ValueError:
        return value
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if abs(s) >= length:
            return f"{s / length:.0f} {unit} ago" if s > 0 else f"in {-s / length:.0f} {unit}"
    return "just now"


def path_of(value: str) -> str:
    return quote(value, safe="/")


def session_url(session_id: str, **query: Any) -> str:
    return f"/sessions/{quote(session_id, safe='')}" + (f"?{urlencode(query)}" if query else "")


def data(value: Any) -> Markup:
    """A value for a script, as text inside `<script type=application/json>`: nothing in it can end that element."""
    text = msgspec.json.encode(_plain(value)).decode()
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value)) if isinstance(value, Mapping) and not isinstance(value, dict) else value


TEMPLATES = _templates()
