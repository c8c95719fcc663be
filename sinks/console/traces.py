"""Traces as the tables know them: the slowest and the newest, and one as a waterfall.

Knows the columns of the OpenTelemetry Collector's ClickHouse exporter and how spans nest; leaves asking to tables.py. A trace's time is
looked up first, so that one day's part of the table is read.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sinks.console.tables import Row, Tables

LIST = """
SELECT TraceId AS trace_id, any(SpanName) AS name, any(SpanAttributes['session.id']) AS session_id, min(Timestamp) AS at,
       max(Duration) / 1e6 AS duration_ms, any(SpanAttributes['strata.over_budget']) = 'true' AS over_budget, any(ServiceName) AS service
FROM otel_traces
WHERE Timestamp > now64(9) - toIntervalMinute({minutes:UInt32}) AND startsWith(SpanName, 'process ')
  AND ({session:String} = '' OR SpanAttributes['session.id'] = {session:String})
  AND Duration >= {slower_ns:UInt64}
GROUP BY TraceId
ORDER BY if({order:String} = 'newest', toUnixTimestamp64Nano(at), toInt64(duration_ms * 1e6)) DESC, trace_id
LIMIT {limit:UInt32}
"""
STAGES = """
SELECT multiIf(startsWith(SpanName, 'poll '), 'poll', startsWith(SpanName, 'insert '), 'insert', SpanName) AS stage, count() AS n,
       quantile(0.5)(Duration / 1e6) AS p50, quantile(0.95)(Duration / 1e6) AS p95, max(Duration / 1e6) AS longest
FROM otel_traces WHERE Timestamp > now64(9) - toIntervalMinute({minutes:UInt32}) AND NOT startsWith(SpanName, 'process ')
GROUP BY stage ORDER BY indexOf(['poll', 'decode', 'wait', 'encode', 'hierarchical_update', 'publish', 'insert'], stage)
"""
WHEN = "SELECT min(Start) AS begun, max(End) AS ended FROM otel_traces_trace_id_ts WHERE TraceId = {trace:String}"
SPANS = """
SELECT SpanId AS span_id, ParentSpanId AS parent, SpanName AS name, SpanKind AS kind, ServiceName AS service, Duration AS duration_ns,
       toUnixTimestamp64Nano(Timestamp) AS start_ns, StatusCode AS status, StatusMessage AS status_message, SpanAttributes AS attributes,
       length(Links.TraceId) AS links
FROM otel_traces
WHERE TraceId = {trace:String} AND Timestamp >= toDateTime({begun:String}, 'UTC') - 1 AND Timestamp <= toDateTime({ended:String}, 'UTC') + 1
ORDER BY start_ns, duration_ns DESC LIMIT 1 BY span_id LIMIT 1000
"""
DECIDED = """
SELECT prediction_id, task, revision, label, confidence, value, latency_ms, session_id, modality, span_start, span_end
FROM predictions WHERE trace_id = {trace:String} ORDER BY task, revision LIMIT 50
"""


@dataclass
class Span:
    """One span and where it stands."""

    span_id: str
    name: str
    service: str
    kind: str
    start_ms: float
    """From the trace's begin."""
    duration_ms: float
    depth: int
    status: str
    status_message: str
    attributes: dict[str, str]
    left: float
    """Of the whole, percent."""
    width: float


@dataclass
class Trace:
    """A waterfall."""

    trace_id: str
    begun_ns: int = 0
    duration_ms: float = 0.0
    session_id: str = ""
    over_budget: bool = False
    budget_ms: float | None = None
    spans: list[Span] = field(default_factory=list)
    decided: list[Row] = field(default_factory=list)
    services: list[str] = field(default_factory=list)


async def find(
    tables: Tables, session: str = "", minutes: int = 24 * 60, slower_ms: float = 0.0, order: str = "slowest", limit: int = 50
) -> list[Row]:
    """Traces of records, the slowest or newest first."""
    return await tables.ask(LIST, session=session, minutes=minutes, slower_ns=int(slower_ms * 1e6), order=order, limit=limit)


async def stages(tables: Tables, minutes: int = 24 * 60) -> list[Row]:
    """How long each stage takes."""
    return await tables.ask(STAGES, minutes=minutes)


async def load(tables: Tables, trace_id: str) -> Trace:
    """One trace; without spans when none was sampled under this id."""
    when = await tables.one(WHEN, trace=trace_id)
    decided = await tables.ask(DECIDED, trace=trace_id)
    known = bool(when) and not str(when["begun"]).startswith("1970")
    rows = await tables.ask(SPANS, trace=trace_id, begun=when["begun"], ended=when["ended"]) if known else []
    return build(trace_id, rows, decided)


def build(trace_id: str, rows: Sequence[Row], decided: Sequence[Row] = ()) -> Trace:
    """Spans -> a waterfall: each below its parent, by begin; a span whose parent is elsewhere stands at the top."""
    trace = Trace(trace_id, decided=list(decided))
    if decided:
        trace.session_id = decided[0]["session_id"]
    if not rows:
        return trace
    begun = min(int(r["start_ns"]) for r in rows)
    ended = max(int(r["start_ns"]) + int(r["duration_ns"]) for r in rows)
    whole = max(ended - begun, 1)
    trace.begun_ns, trace.duration_ms = begun, whole / 1e6
    here = {r["span_id"] for r in rows}
    below: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        below[row["parent"] if row["parent"] in here and row["parent"] != row["span_id"] else ""].append(row)
    placed: set[str] = set()

    def place(parent: str, depth: int) -> None:
        for row in sorted(below[parent], key=lambda r: (int(r["start_ns"]), -int(r["duration_ns"]))):
            if row["span_id"] in placed:
                continue
            placed.add(row["span_id"])
            trace.spans.append(_span(row, depth, begun, whole))
            place(row["span_id"], depth + 1)

    place("", 0)
    trace.services = list(dict.fromkeys(s.service for s in trace.spans))
    for span in trace.spans:
        facts: dict[str, Any] = span.attributes
        trace.session_id = trace.session_id or facts.get("session.id", "")
        trace.over_budget = trace.over_budget or facts.get("strata.over_budget") == "true"
        if "strata.budget_ms" in facts:
            trace.budget_ms = float(facts["strata.budget_ms"])
    return trace


def _span(row: Row, depth: int, begun: int, whole: int) -> Span:
    start, duration = int(row["start_ns"]) - begun, int(row["duration_ns"])
    left = 100 * start / whole
    return Span(
        row["span_id"],
        row["name"],
        row["service"],
        row["kind"],
        start / 1e6,
        duration / 1e6,
        depth,
        row["status"],
        row["status_message"],
        dict(row["attributes"]),
        round(left, 3),
        round(max(100 * duration / whole, 0.15), 3),
    )
