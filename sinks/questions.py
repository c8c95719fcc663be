"""The questions of the evaluation: one file each in sql/evaluation, asked in its first line; and asking them.

Knows the files' headers and the parameters they share; leaves what is computed to the files and how an answer is shown to evaluate.py, report.py
and the console. A question reads what sinks/rollups.py has summed up, and runs anywhere ClickHouse does: its SQL is complete.
Next: sinks/sql/evaluation/quality.sql

A file begins with comment lines: the question; `Title:`; `Place:`, its group and number there; `Columns:` followed by `  name: meaning`.
Parameters are its {name:Type}; those with another default than PARAMETERS are told as `Default: name = value`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from schemas.errors import SettingError
from sinks.clickhouse import Answer

FOLDER = Path(__file__).parent / "sql" / "evaluation"
PLACEHOLDER = re.compile(r"\{(\w+):((?:[^{}])+)\}")
PARAMETERS: dict[str, tuple[Any, str]] = {
    "since": ("1970-01-01 00:00:00", "first hour, UTC"),
    "until": ("2106-02-07 06:00:00", "end, UTC, not included"),
    "model_version": ("", "only this version; empty: each"),
    "modality": ("", "only tokens, logs, chat or metrics; empty: each"),
    "task": ("", "only this task; empty: each"),
    "by": ("all", "a row for each hour, day or age (tenth of the session), or one for all"),
    "bins": (10, "how many bins"),
    "reference": ("", "model version to compare with; empty: the one before, or the same before `split`"),
    "split": ("1970-01-01 00:00:00", "what is before is the reference; 1970: the first half of the hours"),
    "onset": ("1970-01-01 00:00:00", "when accuracy fell, where it is known; 1970: as the labels tell"),
}
"""Name -> default and meaning."""
KEYS = ("model_version", "modality", "task", "level", "boundary_type", "detected_by", "label", "feature", "state_type", "stage", "failure_type",
        "detector", "binning", "final", "metric")  # fmt: skip
"""Columns that tell rows apart."""
MOMENTS = ("at", "age", "tenth", "bin")
"""Columns that tell apart rows of the same thing."""
GROUPS = ("Inventory", "Quality", "Calibration", "Stability", "Latency", "Drift", "Without labels", "Failures")


class Client(Protocol):
    """What is needed of ClickHouse; sinks.clickhouse.ClickHouse is one."""

    def ask(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Answer: ...


@dataclass(frozen=True)
class Parameter:
    """One {name:Type} of a question."""

    name: str
    type: str
    default: Any
    meaning: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """One column of the answer."""

    name: str
    meaning: str


@dataclass(frozen=True)
class Question:
    """One file."""

    name: str
    title: str
    asks: str
    """The question, in words."""
    group: str
    """One of GROUPS."""
    sql: str
    """Complete: with values for its parameters it can be run anywhere."""
    parameters: tuple[Parameter, ...]
    columns: tuple[Column, ...]


Row = dict[str, Any]
"""Column -> value: int, float, str, bool, datetime (UTC) or None; what is not a number is None."""


@cache
def questions() -> list[Question]:
    """All of them, group by group."""
    found = [_read(path) for path in sorted(FOLDER.glob("*.sql"))]
    return [one for _, one in sorted(found, key=lambda placed: placed[0])]


def question(name: str) -> Question:
    """One of them. Raises SettingError."""
    for found in questions():
        if found.name == name:
            return found
    raise SettingError(f"question {name!r}: there are {', '.join(q.name for q in questions())}")


def ask(client: Client, name: str, **parameters: Any) -> list[Row]:
    """The answer's rows; parameters that are not given have their defaults. Raises SettingError for a wrong parameter, UnavailableError."""
    asked = question(name)
    answer = client.ask(asked.sql, values_of(asked, parameters))
    return [dict(zip(answer.columns, map(_typed, row), strict=True)) for row in answer.rows]


def about(row: Row) -> Row:
    """What a row speaks of: its columns that tell it from the other rows of its question."""
    return {name: row[name] for name in (*KEYS, *MOMENTS) if row.get(name) not in (None, "")}


def values_of(asked: Question, given: Mapping[str, Any]) -> dict[str, Any]:
    """Values for every parameter, as ClickHouse takes them. Raises SettingError."""
    if unknown := sorted(set(given) - {p.name for p in asked.parameters}):
        known = ", ".join(p.name for p in asked.parameters)
        raise SettingError(f"question {asked.name} has no parameter {unknown[0]}; it has {known}")
    values = {}
    for parameter in asked.parameters:
        value = given.get(parameter.name)
        value = parameter.default if value is None else value
        if parameter.choices and value not in parameter.choices:
            raise SettingError(f"question {asked.name}: {parameter.name} is {value!r}, wanted one of {', '.join(parameter.choices)}")
        values[parameter.name] = moment(value) if parameter.type.startswith("DateTime") else value
    return values


def moment(value: Any) -> str:
    """A time as a parameter of type DateTime('UTC') takes it; a text is handed through."""
    if isinstance(value, datetime):
        value = (value.astimezone(UTC) if value.tzinfo else value).strftime("%Y-%m-%d %H:%M:%S")
    return str(value)


def _typed(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return None if isinstance(value, float) and value != value else value


def _read(path: Path) -> tuple[tuple[int, int], Question]:
    text = path.read_text(encoding="utf-8")
    lines = [line[2:].removeprefix(" ") for line in _comments(text.splitlines())]
    told = dict(line.split(": ", 1) for line in lines if re.match(r"^[A-Z]\w+: ", line))
    defaults = dict(part.split(" = ", 1) for part in told.get("Default", "").split("; ") if part)
    columns = tuple(Column(*line.strip().split(": ", 1)) for line in lines if re.match(r"^  \w+: ", line))
    known = {column.name for column in columns}
    choices = ("all", *(("hour", "day") if known & {"at", "windows"} else ()), *(("age",) if "age" in known else ()))
    found: dict[str, Parameter] = {}
    for name, kind in PLACEHOLDER.findall(text):
        default, meaning = PARAMETERS[name]
        found.setdefault(name, Parameter(name, kind, defaults.get(name, default), meaning, choices if name == "by" else ()))
    group, _, number = told["Place"].rpartition(" ")
    return (GROUPS.index(group), int(number)), Question(path.stem, told["Title"], lines[0], group, text, tuple(found.values()), columns)


def _comments(lines: Sequence[str]) -> list[str]:
    """The comment lines a file begins with."""
    end = next((i for i, line in enumerate(lines) if not line.startswith("--")), len(lines))
    return list(lines[:end])
