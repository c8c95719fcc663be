"""The API, /api/v1: what the pages show and do, for programs. Its own description is /api/v1/openapi.json.

Knows paths, parameters and who may; leaves the work to sessions.py, traces.py, giving.py and broadcast.py.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import StreamingResponse

from schemas.events import LabelEvent, Micros
from sinks import comparisons
from sinks.console import access, evaluation, sessions, traces
from sinks.console.access import Caller
from sinks.console.giving import Kind

router = APIRouter(prefix="/api/v1", tags=["v1"])
Modality = Literal["", "tokens", "logs", "chat", "metrics"]
Moment = Annotated[str, Query(pattern=r"^$|^\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d)?$", description="UTC, like 2026-01-31 12:00:00.")]
Filter = Annotated[str, Query(max_length=200)]
Id = Annotated[str, Field(min_length=1, max_length=1000)]


def require(role: str) -> Callable[[Request], Caller]:
    """Who asks, when their role may; else 403."""

    def check(request: Request) -> Caller:
        caller: Caller | None = request.state.caller
        if caller is None:
            raise HTTPException(401, "a token is needed", {"WWW-Authenticate": "Bearer"})
        if not caller.may(role):
            raise HTTPException(403, f"this needs the role {role}, the token has {caller.role}")
        return caller

    return check


Viewer = Annotated[Caller, Depends(require("viewer"))]
Labeller = Annotated[Caller, Depends(require("labeller"))]
Admin = Annotated[Caller, Depends(require("admin"))]


class Label(BaseModel):
    """A truth, as a record of topic `labels`: for a prediction, or for an item or span."""

    model_config = ConfigDict(extra="forbid")
    session_id: Id
    task: Annotated[str, Field(min_length=1, max_length=100)]
    label: Annotated[str | None, Field(max_length=500)] = None
    value: Annotated[float | None, Field(allow_inf_nan=False)] = None
    prediction_id: Annotated[str | None, Field(max_length=200)] = None
    position: Annotated[int | None, Field(ge=0, lt=2**62)] = None
    span_end: Annotated[int | None, Field(gt=0, lt=2**62)] = None

    @model_validator(mode="after")
    def _says_something(self) -> "Label":
        if self.label is None and self.value is None:
            raise ValueError("one of label and value is needed")
        if self.prediction_id is None and self.position is None:
            raise ValueError("what it speaks of is needed: prediction_id or position")
        return self


class Kept(BaseModel):
    """Where the record lies in Kafka."""

    topic: str
    partition: int
    offset: int


class ToTry(BaseModel):
    """Something to be read: a text, log lines, CSV series, or `speaker: text` turns."""

    model_config = ConfigDict(extra="forbid")
    kind: Kind
    content: Annotated[str, Field(min_length=1, max_length=200_000)]
    per_s: Annotated[float, Field(gt=0, le=500, description="Records a second.")] = 12.0


class Trying(BaseModel):
    """The session it is read as."""

    session_id: str
    records: int


class NewToken(BaseModel):
    """A token to be made."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=1, max_length=80)]
    role: Literal["viewer", "labeller", "admin"] = "viewer"
    days: Annotated[float, Field(gt=0, le=access.LONGEST_DAYS)] = 30


@router.get("/live", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
async def live(request: Request, caller: Viewer, session: Annotated[str, Query(max_length=1000)] = "") -> StreamingResponse:
    """Server-sent events, 50 a second at most: `stage` (sessions drawn whole), `happening` (one thing that was said), `field` (numbers,
    every live session). With `session`, of that one alone."""
    broadcast = request.app.state.parts.broadcast
    await request.app.state.parts.feed.look()
    if not broadcast.has_room():
        raise HTTPException(503, "too many live views are open; close one", {"Retry-After": "10"})

    async def events() -> AsyncIterator[bytes]:
        async for message in broadcast.watch(session):
            yield message

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


@router.get("/now")
async def now(request: Request, caller: Viewer) -> dict[str, Any]:
    """What the live view shows at this moment: numbers, charts of the last minutes, every live session."""
    parts = request.app.state.parts
    await parts.feed.look()
    at = time.time()
    told: dict[str, Any] = parts.broadcast.field(at)
    return {**told, "history": parts.board.history(at), "feed": {"connected": parts.feed.connected, "problem": parts.feed.problem}}


@router.get("/sessions")
async def list_sessions(
    request: Request,
    caller: Viewer,
    search: Annotated[str, Query(max_length=200)] = "",
    modality: Modality = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> list[dict[str, Any]]:
    """Stored sessions, the last that spoke first."""
    return await sessions.find(request.app.state.parts.tables, search, modality, limit, offset)


@router.get("/sessions/{session_id:path}")
async def one_session(request: Request, caller: Viewer, session_id: str) -> list[dict[str, Any]]:
    """One session, once for each modality it has: items, strata, predictions with all revisions, attention, failures."""
    found = await sessions.load(request.app.state.parts.tables, session_id)
    if not found:
        raise HTTPException(404, f"no session {session_id[:200]!r} is stored")
    return [asdict(view) for view in found]


@router.get("/evaluation/questions")
async def list_questions(caller: Viewer) -> list[dict[str, Any]]:
    """The questions of the evaluation, with their parameters and the meaning of each column."""
    return [{**asdict(q), "group": title} for title, some in evaluation.groups() for q in some]


@router.get("/evaluation/questions/{name}")
async def ask_question(
    request: Request,
    caller: Viewer,
    name: Annotated[str, Field(pattern=r"^\w{1,60}$")],
    since: Moment = "",
    until: Moment = "",
    model_version: Filter = "",
    modality: Modality = "",
    task: Filter = "",
    by: Literal["", "all", "hour", "day", "age"] = "",
    bins: Annotated[int | None, Query(ge=2, le=100)] = None,
    reference: Filter = "",
    split: Moment = "",
) -> dict[str, Any]:
    """The answer to one question: rows, the values it was asked with, its SQL with them written out, and how it is drawn.

    A filter the question does not have, or cannot be asked by, is left out; `values` tells which were used.
    """
    asked = evaluation.find(name)
    if asked is None:
        raise HTTPException(404, f"no question {name!r}; /api/v1/evaluation/questions lists them")
    given = {
        "since": since, "until": until, "model_version": model_version, "modality": modality, "task": task, "by": by, "bins": bins,
        "reference": reference, "split": split,
    }  # fmt: skip
    parts = request.app.state.parts
    values = evaluation.values_of(asked, given)
    rows = await evaluation.answer(parts.tables, parts.questions, asked, given)
    shown = evaluation.chart(asked, str(values.get("by", "all")))
    return {
        "name": asked.name,
        "title": asked.title,
        "asks": asked.asks,
        "columns": [asdict(c) for c in asked.columns],
        "rows": rows,
        "values": values,
        "sql": evaluation.written_out(asked, values),
        "chart": asdict(shown),
        "when_empty": evaluation.EMPTY.get(asked.name, "No row answers this."),
    }


@router.get("/alerts")
async def list_alerts(request: Request, caller: Viewer) -> dict[str, list[dict[str, Any]]]:
    """Alerts that are open, and the last openings and closings, as they are in topic `alerts`."""
    feed = request.app.state.parts.alerts
    return {"open": list(feed.open.values()), "recent": list(feed.recent)}


@router.get("/evaluation/comparisons")
async def list_comparisons(request: Request, caller: Viewer) -> list[dict[str, Any]]:
    """Comparisons of two versions that `strata replay` made, the newest first."""
    return await asyncio.to_thread(comparisons.listed, request.app.state.parts.config.data_dir)


@router.get("/evaluation/comparisons/{name}")
async def one_comparison(request: Request, caller: Viewer, name: Annotated[str, Field(max_length=200)]) -> dict[str, Any]:
    """One comparison: paired differences with their intervals, and the examples that changed."""
    found = await asyncio.to_thread(comparisons.read, request.app.state.parts.config.data_dir, name)
    if found is None:
        raise HTTPException(404, f"no comparison {name[:200]!r} is kept here; /api/v1/evaluation/comparisons lists them")
    return found


@router.get("/traces")
async def list_traces(
    request: Request,
    caller: Viewer,
    session: Annotated[str, Query(max_length=1000)] = "",
    minutes: Annotated[int, Query(ge=1, le=366 * 1440)] = 1440,
    slower_ms: Annotated[float, Query(ge=0, le=1e9)] = 0.0,
    order: Literal["slowest", "newest"] = "slowest",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> list[dict[str, Any]]:
    """Traces of records."""
    return await traces.find(request.app.state.parts.tables, session, minutes, slower_ms, order, limit)


@router.get("/traces/{trace_id}")
async def one_trace(request: Request, caller: Viewer, trace_id: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]) -> dict[str, Any]:
    """One trace as a waterfall, and what was decided in it."""
    found = await traces.load(request.app.state.parts.tables, trace_id)
    if not found.spans and not found.decided:
        raise HTTPException(404, f"no trace {trace_id} is stored")
    return asdict(found)


@router.post("/labels", status_code=201)
async def give_label(request: Request, caller: Labeller, label: Label) -> Kept:
    """Write a truth to topic `labels`; it is in ClickHouse a moment later."""
    event = LabelEvent(**label.model_dump(), timestamp=Micros(time.time_ns() // 1000))
    placed = await request.app.state.parts.producer.label(event)
    return Kept(topic=placed.topic, partition=placed.partition, offset=placed.offset)


@router.post("/try", status_code=202)
async def try_it(request: Request, caller: Labeller, given: ToTry) -> Trying:
    """Have something read, under a session of its own."""
    session_id, count = await request.app.state.parts.producer.play(given.kind, given.content, given.per_s)
    return Trying(session_id=session_id, records=count)


@router.post("/tokens", status_code=201)
async def make_token(request: Request, caller: Admin, wanted: NewToken) -> dict[str, str]:
    """A token for somebody; it is shown once."""
    secret = request.app.state.parts.config.console_secret
    if not secret:
        raise HTTPException(409, "this console has no secret, so it needs no tokens; set STRATA_CONSOLE_SECRET")
    return {"token": access.make_token(secret, wanted.role, wanted.name, wanted.days, int(time.time()))}
