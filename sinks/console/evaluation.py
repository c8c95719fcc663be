"""The evaluation's questions for the page and the API: which there are, their answers, and how each is drawn.

Knows what of an answer is the figure and what its interval; leaves the questions to sinks/questions.py and asking to tables.py.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.errors import SettingError
from sinks import questions
from sinks.console.giving import GivenError
from sinks.console.tables import Row, Tables
from sinks.questions import KEYS, PLACEHOLDER, Question

AT_A_TIME = 2
"""Questions running at once: the embedded engine has a few threads, and the writer needs them too."""
FIGURES = {
    "calibration": "ece", "corrections": "corrected", "drift": "psi", "errors": "mean_absolute", "expected": "expected", "f1": "macro_f1", "feedback": "share_up",
    "failures": "failures", "labels": "f1", "latency": "p95_ms", "partials": "share", "quality": "accuracy", "reliability": "accuracy",
    "representations": "cosine_distance", "segments": "f1", "stability": "flips_per_span", "stages": "p95_ms",
}  # fmt: skip
"""Question -> the column that is drawn. One that is not here is drawn by its first column that has an interval, else shown as a table."""
SHARES = ("accuracy", "corrected", "expected", "share", "share_up")
"""Figures told in percent."""
GLANCE = (
    ("quality", "Right"), ("calibration", "Sure"), ("stability", "Steady"), ("latency", "Fast"), ("drift", "The same as before"), ("failures", "Failing"),
)  # fmt: skip
"""Questions with a tile of their own above all; what it says is summed up by static/glance.js."""
NO_LABELS = "No label has come for these answers yet. Send truths to topic labels, or correct a label on a session’s page."
TOO_SOON = "Nothing to compare yet: this needs answers of two hours at least, or two versions."
EMPTY = {
    "quality": NO_LABELS, "f1": NO_LABELS, "labels": NO_LABELS, "calibration": NO_LABELS, "reliability": NO_LABELS,
    "segments": "No session has labelled segments yet: labels of task topic with a span, or of tasks sentence and paragraph.",
    "errors": "No true value has come yet: labels with a value tell how far off the told ones were.",
    "feedback": "Nobody has judged an answer yet. The thumbs on a session’s page do.",
    "stability": "No answer had a partial one before it.", "partials": "No answer had a partial one before it.",
    "corrections": "No boundary was found.", "failures": "Nothing failed.",
    "drift": TOO_SOON, "representations": TOO_SOON, "alarms": TOO_SOON,
}  # fmt: skip
"""Question -> what an empty view says."""
GROUPS = (
    ("Right", ("quality", "f1", "labels", "segments", "errors", "expected", "feedback")),
    ("Sure", ("calibration", "reliability", "partials")),
    ("Steady", ("stability", "corrections")),
    ("Fast", ("latency", "stages")),
    ("The same as before", ("drift", "representations", "alarms")),
    ("Failing", ("failures",)),
    ("What there is", ("inventory",)),
)
VERSIONS = "SELECT model_version, sum(answers) AS answers, max(hour) AS last FROM hourly_answers GROUP BY model_version ORDER BY last DESC, model_version"
TASKS = "SELECT task, sum(answers) AS answers FROM hourly_answers GROUP BY task ORDER BY task"


@dataclass(frozen=True)
class Chart:
    """How an answer is drawn."""

    kind: str
    """dots (a row each, with its interval), line (over `x`), diagonal (said against true), table."""
    figure: str = ""
    low: str = ""
    high: str = ""
    x: str = ""
    keys: tuple[str, ...] = ()
    is_share: bool = False
    """The figure is a share, told in percent."""


def groups() -> list[tuple[str, list[Question]]]:
    """All questions under their headings; one without a heading stands with what there is."""
    known = {q.name: q for q in questions.questions()}
    made = [(title, [known.pop(name) for name in names if name in known]) for title, names in GROUPS]
    made[-1][1].extend(known.values())
    return [(title, some) for title, some in made if some]


def chart(asked: Question, by: str) -> Chart:
    """The drawing for a question asked `by` hour, day, age or all."""
    columns = [c.name for c in asked.columns]
    interval = next((c.removesuffix("_low") for c in columns if c.endswith("_low") and c.removesuffix("_low") in columns), "")
    figure = FIGURES.get(asked.name, interval)
    keys = tuple(sorted((c for c in columns if c in KEYS), key=lambda c: (c == "model_version", c == "modality", KEYS.index(c))))
    is_share = figure in SHARES
    if figure not in columns:
        return Chart("table", keys=keys)
    low, high = (f"{figure}{end}" if f"{figure}{end}" in columns else "" for end in ("_low", "_high"))
    if asked.name == "reliability":
        return Chart("diagonal", figure, low, high, "confidence", keys, is_share)
    x = (
        "tenth"
        if "tenth" in columns
        else "at"
        if by in ("hour", "day") and "at" in columns
        else "age"
        if by == "age" and "age" in columns
        else ""
    )
    return Chart("line" if x else "dots", figure, low, high, x, keys, is_share)


def values_of(asked: Question, given: Mapping[str, Any]) -> dict[str, Any]:
    """Values for the question's own parameters. One filter is for all questions: what this one does not have, or cannot be asked by, is left out.

    Raises GivenError.
    """
    mine = {p.name: p.choices for p in asked.parameters}
    fitting = {k: v for k, v in given.items() if k in mine and v not in (None, "") and (not mine[k] or v in mine[k])}
    try:
        return questions.values_of(asked, fitting)
    except SettingError as problem:
        raise GivenError(str(problem)) from problem


async def answer(tables: Tables, slots: asyncio.Semaphore, asked: Question, given: Mapping[str, Any]) -> list[Row]:
    """The rows. Raises GivenError, AskError, NoAnswerError."""
    values = values_of(asked, given)
    async with slots:
        return await tables.ask(asked.sql, **values)


def find(name: str) -> Question | None:
    """A question by its name."""
    return next((q for q in questions.questions() if q.name == name), None)


def written_out(asked: Question, values: Mapping[str, Any]) -> str:
    """The SQL with its values in it, to be read and copied; the console itself never runs such a text."""

    def literal(match: re.Match[str]) -> str:
        value, kind = values[match[1]], match[2]
        if isinstance(value, int | float):
            return str(value)
        quoted = "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"
        return f"toDateTime({quoted}, 'UTC')" if kind.startswith("DateTime") else quoted

    return PLACEHOLDER.sub(literal, asked.sql)
