"""The page of an evaluation: each question with its plot, its table and its SQL, in one file that needs nothing else.

Knows which numbers of a question are drawn and how; leaves pixels to report_svg.py and asking to evaluate.py. All that came from a session
(labels, versions, tasks) is text and is escaped; the page runs no script.
Next: sinks/report_svg.py
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

from sinks import report_svg
from sinks.alerts import Verdict
from sinks.evaluate_text import shown
from sinks.questions import GROUPS, Question, Row
from sinks.report_svg import Point

STYLE = Path(__file__).with_name("report.css")
SERIES = ("quality", "expected", "feedback", "latency", "failures")
"""Asked once more by hour or day for the page."""
MOST_ROWS = 500


def page(answers: Sequence[Any], over_time: Sequence[Any], crossed: Sequence[Verdict], given: Mapping[str, Any], now: datetime) -> str:
    """The whole page. `answers` and `over_time` are sinks.evaluate.Answered; the latter are drawn over hours or days."""
    filters = ", ".join(f"{name} {cell(value)}" for name, value in given.items() if value is not None) or "all that is stored"
    body = [f"<h1>Strata: evaluation</h1><p>Asked {now:%Y-%m-%d %H:%M} UTC of {escape(filters)}.</p>", _crossed(crossed)]
    series = {a.asked.name: a for a in over_time}
    for group in GROUPS:
        asked = [a for a in answers if a.asked.group == group]
        if asked:
            body.append(f"<h2>{escape(group)}</h2>")
            body += [_section(a, series.get(a.asked.name)) for a in asked]
    links = "".join(f'<a href="#{a.asked.name}">{escape(a.asked.title)}</a>' for a in answers)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Strata: evaluation</title><style>{STYLE.read_text(encoding="utf-8")}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body><nav>{links}</nav><main>{"".join(body)}</main></body></html>\n'


def _crossed(crossed: Sequence[Verdict]) -> str:
    if not crossed:
        return ""
    told = "".join(
        f"<li><b>{escape(c.threshold.name)}</b> is {escape(cell(c.row[c.threshold.must.column]))} of {escape(name_of(c.row))}; it must be {escape(c.threshold.text)}</li>"
        for c in crossed
    )
    return f'<section class="crossed"><h2>Thresholds crossed</h2><ul>{told}</ul></section>'


def _section(answer: Any, over_time: Any) -> str:
    asked: Question = answer.asked
    parts = [f'<section id="{asked.name}"><h3>{escape(asked.title)}</h3><p>{escape(asked.asks)}</p>']
    if answer.rows:
        if plot := PLOTS.get(asked.name):
            parts.append(plot(answer.rows))
        if over_time is not None and (drawn := _over_time(asked.name, over_time.rows)):
            parts.append(drawn)
        parts.append(_table(asked, answer.rows))
    else:
        parts.append('<p class="empty">No rows.</p>')
    parts.append(f"<details><summary>SQL</summary><pre>{escape(asked.sql)}</pre></details></section>")
    return "".join(parts)


def _table(asked: Question, rows: Sequence[Row]) -> str:
    told = shown(asked, rows[:MOST_ROWS])
    head = "".join(f'<th title="{escape(meaning)}">{escape(name)}</th>' for name, meaning in zip(told.names, told.meanings, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{"n" if n else "t"}">{escape(text)}</td>' for text, n in zip(cells, told.numeric, strict=True))
        + "</tr>"
        for cells in told.cells
    )
    more = f"<p>{len(rows) - MOST_ROWS:,} further rows are left out.</p>" if len(rows) > MOST_ROWS else ""
    return f'<details {"open" if len(rows) <= 12 else ""}><summary>{len(rows):,} rows</summary><div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{more}</details>'


def name_of(row: Row, *further: str) -> str:
    """What a row is about, in a line."""
    kind = {True: "final", False: "partial"}.get(row["final"], "") if "final" in row else ""
    parts = [
        row.get(n) for n in ("modality", "task", "level", "feature", "boundary_type", "detected_by", "state_type", "failure_type", *further)
    ]
    return " · ".join(str(p) for p in (*parts, kind, row.get("model_version")) if p not in (None, ""))


def cell(value: Any) -> str:
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else f"{value:.4g}" if isinstance(value, float) else str(value)


def points(rows: Sequence[Row], value: str, base: str = "", n: str = "", name: Callable[[Row], str] = name_of) -> list[Point]:
    """A point a row that has the value; its ends are `base`_low and `base`_high."""
    base = base or value
    return [
        Point(
            name(r), r[value], r.get(f"{base}_low"), r.get(f"{base}_high"), f"{name(r)}: {r[value]:.4g}" + (f", n = {r[n]:,}" if n else "")
        )
        for r in rows
        if r[value] is not None
    ]


def _some(series: Mapping[str, Sequence[Point]], **how: Any) -> str:
    kept = {name: found for name, found in series.items() if found}
    return report_svg.intervals(kept, **how) if kept else ""


def _reliability(rows: Sequence[Row]) -> str:
    series: dict[str, list[tuple[float, Point]]] = {}
    for row in rows:
        if row["binning"] == "width":
            told = f"{row['answers']:,} answers, confidence {row['confidence']:.3f}, right {row['accuracy']:.3f}"
            series.setdefault(name_of(row), []).append(
                (row["confidence"], Point("", row["accuracy"], row["accuracy_low"], row["accuracy_high"], told))
            )
    return (
        '<div class="many">'
        + "".join(f"<figure>{report_svg.reliability({name: spots})}</figure>" for name, spots in list(series.items())[:12])
        + "</div>"
    )


def _partials(rows: Sequence[Row]) -> str:
    series: dict[str, list[Point]] = {}
    for row in rows:
        series.setdefault(name_of(row), []).append(
            Point(str(row["tenth"]), row["share"], row["share_low"], row["share_high"], f"{row['partials']:,} partial answers")
        )
    return report_svg.lines(series, share=True)


def _stages(rows: Sequence[Row]) -> str:
    return _some({p: points(rows, f"{p}_ms", name=lambda r: name_of(r, "stage")) for p in ("p50", "p95", "p99")}, is_log=True)


PLOTS: dict[str, Callable[[Sequence[Row]], str]] = {
    "quality": lambda rows: _some({"accuracy": points(rows, "accuracy", n="judged"), "maturity": points(rows, "maturity")}, share=True),
    "f1": lambda rows: _some({"macro F1": points(rows, "macro_f1", n="judged"), "weighted F1": points(rows, "weighted_f1")}, share=True),
    "feedback": lambda rows: _some({"share of thumbs up": points(rows, "share_up", n="thumbs")}, share=True),
    "errors": lambda rows: _some({"mean absolute error": points(rows, "mean_absolute", n="valued")}),
    "segments": lambda rows: _some(
        {"Pk": points(rows, "pk", n="sessions"), "WindowDiff": points(rows, "window_diff"), "F1": points(rows, "f1")}, share=True
    ),
    "calibration": lambda rows: _some({"ECE": points(rows, "ece", n="judged"), "Brier": points(rows, "brier")}),
    "reliability": _reliability,
    "stability": lambda rows: _some(
        {
            "partials as final": points(rows, "partials_as_final", "partials", "spans"),
            "stable share": points(rows, "stable_share"),
            "flipped": points(rows, "flipped"),
        },
        share=True,
    ),
    "partials": _partials,
    "corrections": lambda rows: _some({"corrected": points(rows, "corrected", n="boundaries")}, share=True),
    "latency": lambda rows: _some({p: points(rows, f"{p}_ms", n="answers") for p in ("p50", "p95", "p99")}, is_log=True, mark=200.0),
    "stages": _stages,
    "drift": lambda rows: _some({"PSI": points(rows, "psi", n="current_n"), "noise": points(rows, "psi_noise")}, mark=0.25),
    "representations": lambda rows: _some({"MMD": points(rows, "mmd", n="current_n"), "noise": points(rows, "mmd_noise")}),
    "expected": lambda rows: _some(
        {"expected": points(rows, "expected", n="sure"), "realised": points(rows, "realised", n="labelled")}, share=True
    ),
    "failures": lambda rows: _some({"failures": points(rows, "failures")}),
}
OVER_TIME = {
    "quality": ("accuracy", True, False),
    "expected": ("expected", True, False),
    "feedback": ("share_up", True, False),
    "latency": ("p99_ms", False, True),
    "failures": ("failures", False, False),
}
"""Question -> what is drawn over time, whether it is a share, whether by powers of ten."""


def _over_time(name: str, rows: Sequence[Row]) -> str:
    column, share, is_log = OVER_TIME[name]
    series: dict[str, list[Point]] = {}
    for row in rows:
        if row[column] is not None and row["at"] is not None and row.get("final", 1):
            series.setdefault(name_of(row), []).append(
                Point(
                    f"{row['at']:%Y-%m-%d %H:%M}",
                    row[column],
                    row.get(f"{column}_low"),
                    row.get(f"{column}_high"),
                    f"{row['at']:%Y-%m-%d %H:%M}: {row[column]:.4g}",
                )
            )
    kept = {key: found for key, found in list(series.items())[: report_svg.COLOURS] if len(found) > 1}
    return f"<h4>{escape(column)} over time</h4>" + report_svg.lines(kept, share, is_log) if kept else ""
