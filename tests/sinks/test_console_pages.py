"""The console's pages and API on real tables, with a session whose every text is hostile."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sinks.clickhouse import ClickHouse
from sinks.console import evaluation, sessions, traces
from sinks.console.app import build_app
from sinks.console.config import ClickHouseAt, ConsoleConfig
from sinks.console.tables import NoAnswerError, Tables
from sinks.http_query import HttpConfig
from tests.console import events
from tests.console.test_access import client
from tests.sinks.evaluation_rows import insert
from tests.sinks.test_http_interface import Served

BAD = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
SESSION = f"/../{BAD}'; DROP TABLE predictions --\t\\\"&{{{{7*7}}}}"
TRACE = "ab" * 16
HOUR_AGO_NS = time.time_ns() - 3_600_000_000_000


def rows_of(records: list[Any]) -> list[dict[str, Any]]:
    made = [msgspec.structs.asdict(r) for r in records]
    return [{**row, "value": float("nan")} if "value" in row and row["value"] is None else row for row in made]


def hostile(modality: str) -> dict[str, list[Any]]:
    """A session of that kind; every text in it is BAD."""
    common = {"session": SESSION, "modality": modality}
    texts = [str(40 + n) if modality == "metrics" else f"{BAD} {n}. " for n in range(12)]
    items = [events.item(n, text, speaker=BAD, name=BAD, unit=BAD, **common) for n, text in enumerate(texts)]
    tasks = {
        "tokens": ("topic", "surprise"),
        "chat": ("topic",),
        "logs": ("severity", "template", "anomaly"),
        "metrics": ("anomaly", "forecast"),
    }[modality]
    output = msgspec.json.encode({"template": BAD, "reason": BAD, "low": 1.0, "high": 90.0, "series": BAD}).decode()
    answers = [
        events.answer(task, n, n + 3 if task == "topic" else n + 1, None if task in ("surprise", "forecast") else "anomaly" if task == "anomaly" else BAD,
                      revision, final, output=output, value=0.9 if task != "topic" else None, **common)
        for task in tasks for n in range(0, 12, 3) for revision, final in ((0, False), (1, True))
    ]  # fmt: skip
    level = '{"level":"document"}' if modality in ("tokens", "chat") else '{"level":"session"}'
    answers.append(events.answer("topic" if modality in ("tokens", "chat") else "anomaly", 0, 12, BAD, output=level, value=None, **common))
    found = (
        [events.boundary(kind, n, n + 2, **common) for kind in ("sentence", "paragraph", "topic") for n in (3, 6)]
        if modality in ("tokens", "chat")
        else []
    )
    broken = msgspec.structs.replace(events.failure(**common), exception=BAD, stack_trace=BAD, failure_type=BAD, trace_id=TRACE)
    answers = [msgspec.structs.replace(a, trace_id=TRACE, model_version=BAD, timestamp=a.timestamp + n) for n, a in enumerate(answers)]
    found = [msgspec.structs.replace(b, context_after=BAD, detected_by=BAD) for b in found]
    return {"input_stream": items, "predictions": answers, "boundaries": found, "failures": [broken]}


def span(n: int, parent: str, name: str) -> dict[str, Any]:
    empty = {
        k: []
        for k in (
            "Events.Timestamp",
            "Events.Name",
            "Events.Attributes",
            "Links.TraceId",
            "Links.SpanId",
            "Links.TraceState",
            "Links.Attributes",
        )
    }
    return {
        "Timestamp": HOUR_AGO_NS + n * 1_000_000, "TraceId": TRACE, "SpanId": f"{n:016x}", "ParentSpanId": parent, "TraceState": "", "SpanName": name,
        "SpanKind": "Internal", "ServiceName": BAD, "ResourceAttributes": {}, "ScopeName": "", "ScopeVersion": "",
        "SpanAttributes": {"session.id": SESSION, "strata.over_budget": "true", "strata.budget_ms": "50", BAD: BAD},
        "Duration": 90_000_000, "StatusCode": "Error", "StatusMessage": BAD, **empty,
    }  # fmt: skip


@pytest.fixture(scope="module")
def port(clickhouse: ClickHouse) -> Iterator[int]:
    """ClickHouse's HTTP interface over tables that hold the hostile session in all four kinds, and its trace."""
    for modality in ("tokens", "chat", "logs", "metrics"):
        for table, records in hostile(modality).items():
            if records:
                insert(clickhouse, table, rows_of(records))
    state = events.common(SESSION, "tokens", 11) | {
        "state_type": "token", "span_start": 11, "span_end": 12, "representation": [0.1], "attention_weights": [0.1] * 9, "cache_size_mb": 1.0, "metadata": {},
    }  # fmt: skip
    insert(clickhouse, "model_state", [state])
    insert(clickhouse, "otel_traces", [{**span(1, "", "process tokens"), "event_id": "1"}, {**span(2, f"{1:016x}", BAD), "event_id": "2"}])
    served = Served(HttpConfig(port=0, timeout_s=20))
    yield served.port
    served.stop()


@pytest.fixture
async def asked(port: int) -> AsyncIterator[httpx.AsyncClient]:
    app = build_app(ConsoleConfig(clickhouse_http_port=port), with_kafka=False)
    for modality in ("tokens", "chat", "logs", "metrics"):  # live as well
        for records in hostile(modality).values():
            for record in records:
                app.state.parts.board.apply(record, time.time())
    async with client(app) as opened:
        yield opened
    await app.state.parts.tables.close()


@pytest.fixture
async def tables(port: int) -> AsyncIterator[Tables]:
    opened = Tables(ClickHouseAt(f"http://127.0.0.1:{port}"))
    yield opened
    await opened.close()


class Tags(HTMLParser):
    """What a browser would act on."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


PAGES = ("/", "/sessions", f"/sessions?search={quote(BAD)}", f"/sessions/{quote(SESSION, safe='')}", "/evaluation", "/traces?minutes=10000",
         f"/traces/{TRACE}", f"/try?session={quote(SESSION, safe='')}", f"/login?next={quote('/' + BAD)}", f"/sessions/{quote(BAD, safe='')}")  # fmt: skip


@pytest.mark.parametrize("path", PAGES, ids=range(len(PAGES)))
async def test_hostile_text_is_text_on_every_page(asked: httpx.AsyncClient, path: str) -> None:
    answer = await asked.get(path)
    assert answer.status_code in (200, 404), answer.text[:500]
    parser = Tags()
    parser.feed(answer.text)
    for tag, attributes in parser.seen:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        if tag == "script":
            assert (attributes.get("src") or "").startswith("/static/") or attributes.get("type") == "application/json"
        if tag == "img":
            pytest.fail("a text became an image")
        for name in ("href", "src", "action"):
            if (value := attributes.get(name)) is not None:
                assert value == "" or value[0] in "/#?", (tag, value)


async def test_the_session_page_shows_the_hostile_text_itself(asked: httpx.AsyncClient) -> None:
    page = (await asked.get(f"/sessions/{quote(SESSION, safe='')}")).text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "{{7*7}}" in page  # nothing of it was taken for a template


async def test_a_session_is_found_whatever_is_in_its_id(asked: httpx.AsyncClient, tables: Tables) -> None:
    found = await sessions.find(tables, search=SESSION)
    assert {(r["session_id"], r["modality"], r["items"]) for r in found} == {
        (SESSION, m, 12) for m in ("tokens", "chat", "logs", "metrics")
    }
    views = (await asked.get(f"/api/v1/sessions/{quote(SESSION, safe='')}")).json()
    assert [v["modality"] for v in views] == ["chat", "logs", "metrics", "tokens"]
    assert [v["n_items"] for v in views] == [12] * 4


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=30), min_size=1, max_size=5))
def test_a_bound_value_comes_back_as_itself(port: int, values: list[str]) -> None:
    async def both() -> None:
        opened = Tables(ClickHouseAt(f"http://127.0.0.1:{port}"))
        one = await opened.one("SELECT {a:String} AS a, {b:Array(String)} AS b", a=values[0], b=values)
        await opened.close()
        assert one == {"a": values[0], "b": values}

    asyncio.run(both())


async def test_revisions_of_a_prediction_are_one_answer_with_its_history(tables: Tables) -> None:
    (text,) = [v for v in await sessions.load(tables, SESSION) if v.modality == "tokens"]
    topics = [p for p in text.predictions if p.task == "topic"]
    assert [(p.span_start, [r["revision"] for r in p.revisions], p.final) for p in topics] == [(n, [0, 1], True) for n in (0, 3, 6, 9)]
    assert [(s.start, s.end, s.late) for s in text.levels["sentence"]] == [(0, 3, 0), (3, 6, 2), (6, 12, 2)]
    assert text.ended


async def test_the_outline_holds_each_sentence_once_under_its_topic(tables: Tables) -> None:
    (text,) = [v for v in await sessions.load(tables, SESSION) if v.modality == "tokens"]
    outline = text.outline()
    assert [(topic.start, topic.end) for topic, _ in outline] == [(0, 3), (3, 6), (6, 12)]
    assert [s.start for _, paragraphs in outline for _, sentences in paragraphs for s in sentences] == [0, 3, 6]


def test_a_topic_that_begins_inside_a_paragraph_shares_it() -> None:
    levels = {
        "topic": [sessions.Segment(0, 7), sessions.Segment(7, 10)],
        "paragraph": [sessions.Segment(0, 5), sessions.Segment(5, 10)],
        "sentence": [sessions.Segment(n, n + 1) for n in range(10)],
    }
    view = sessions.View("s", "tokens", [], 0, 10, True, None, levels, [], [], [], "")
    assert [(t.start, [(b, [s.start for s in some]) for b, some in ps]) for t, ps in view.outline()] == [
        (0, [(0, [0, 1, 2, 3, 4]), (5, [5, 6])]),
        (7, [(7, [7, 8, 9])]),
    ]


async def test_attention_over_the_window_is_summed_over_the_items_it_falls_on(tables: Tables) -> None:
    (text,) = [v for v in await sessions.load(tables, SESSION) if v.modality == "tokens"]
    (state,) = text.attention
    assert [position for position, _, _ in state["items"]] == list(range(3, 12))  # the window grew by one token an item
    assert sum(w for _, _, w in state["items"]) + state["older"] == pytest.approx(0.9)


async def test_a_trace_is_a_waterfall_and_leads_to_what_was_decided(tables: Tables) -> None:
    trace = await traces.load(tables, TRACE)
    assert [(s.name, s.depth) for s in trace.spans] == [("process tokens", 0), (BAD, 1)]
    assert (trace.session_id, trace.over_budget, trace.budget_ms) == (SESSION, True, 50.0)
    assert trace.duration_ms == pytest.approx(91.0)
    assert {d["session_id"] for d in trace.decided} == {SESSION}
    assert [t["trace_id"] for t in await traces.find(tables, session=SESSION)] == [TRACE]


@pytest.mark.parametrize("by", ["hour"])
async def test_every_question_answers_over_the_api_and_its_written_out_sql_gives_the_same(
    asked: httpx.AsyncClient, tables: Tables, by: str
) -> None:
    listed = (await asked.get("/api/v1/evaluation/questions")).json()
    assert {q["name"] for q in listed} == {q.name for q in evaluation.questions.questions()}
    for question in listed:
        told = await asked.get(f"/api/v1/evaluation/questions/{question['name']}", params={"by": by, "model_version": "it's"})
        assert told.status_code == 200, told.text
        assert await tables.ask(told.json()["sql"]) == told.json()["rows"], question["name"]
        can = {p["name"]: p["choices"] for p in question["parameters"]}.get("by", [])
        assert told.json()["values"].get("by", by) in (by, *can)
        assert by not in can or told.json()["values"]["by"] == by
        chart = told.json()["chart"]
        columns = {c["name"] for c in question["columns"]}
        assert {chart[k] for k in ("figure", "low", "high", "x")} - {""} <= columns
        assert set(chart["keys"]) <= columns


async def test_a_wrong_parameter_is_told_and_nothing_is_asked(asked: httpx.AsyncClient) -> None:
    for query in ("by=moon", "since=now()", "modality=x", "bins=1"):
        answer = await asked.get(f"/api/v1/evaluation/questions/quality?{query}")
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json"), query
    assert (await asked.get("/api/v1/evaluation/questions/nothing")).status_code == 404


async def test_without_clickhouse_a_page_says_so_and_live_goes_on(port: int) -> None:
    app = build_app(ConsoleConfig(clickhouse_http_port=1), with_kafka=False)
    async with client(app) as lonely:
        page = await lonely.get("/sessions")
        assert page.status_code == 503
        assert "does not answer" in page.text
        assert (await lonely.get("/")).status_code == 200
        assert (await lonely.get("/api/v1/sessions")).json()["status"] == 503
    with pytest.raises(NoAnswerError):
        await app.state.parts.tables.ask("SELECT 1")


async def test_the_api_describes_itself_and_every_path_has_a_version(asked: httpx.AsyncClient) -> None:
    told = (await asked.get("/api/v1/openapi.json")).json()
    assert told["openapi"].startswith("3.")
    assert all(path.startswith("/api/v1/") for path in told["paths"])
    assert all(op.get("description") for ops in told["paths"].values() for op in ops.values())
    assert {"/api/v1/live", "/api/v1/labels", "/api/v1/sessions/{session_id}", "/api/v1/evaluation/questions/{name}"} <= set(told["paths"])
    assert (await asked.get("/api")).status_code == 200
