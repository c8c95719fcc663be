"""Rows of an answer -> columns to be read: what is empty left out, a value with its interval in one cell, numbers as people write them.

Knows the names that belong together (`accuracy`, `accuracy_low`, `accuracy_high`); leaves drawing to evaluate.py (terminal) and report.py (page).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sinks.questions import Question, Row


@dataclass(frozen=True)
class Shown:
    """A table of texts."""

    names: list[str]
    meanings: list[str]
    numeric: list[bool]
    cells: list[list[str]]


def shown(asked: Question, rows: Sequence[Row]) -> Shown:
    """The columns that hold something; intervals joined with their value."""
    names = [c.name for c in asked.columns]
    meanings = {c.name: c.meaning for c in asked.columns}
    ends = {n for n in names for end in ("_low", "_high") if n.endswith(end)}
    kept = [n for n in names if n not in ends and any(row[n] not in (None, "") for row in rows)]
    numeric = [all(not isinstance(row[n], str) for row in rows) for n in kept]
    cells = [[_with_interval(n, row) for n in kept] for row in rows]
    return Shown(kept, [meanings[n] for n in kept], numeric, cells)


def _with_interval(name: str, row: Row) -> str:
    """`0.83 [0.82, 0.84]`; with one end only `0.83 [.., 0.84]`."""
    base = _base(name, row)
    low, high = row.get(f"{base}_low"), row.get(f"{base}_high")
    text = cell(row[name])
    if row[name] is None or (low is None and high is None):
        return text
    return f"{text} [{'..' if low is None else cell(low)}, {'..' if high is None else cell(high)}]"


def _base(name: str, row: Row) -> str:
    """The name its ends have: `flips_per_span` has flips_low."""
    short = {"flips_per_span": "flips", "recovery_rate": "recovery", "partials_as_final": "partials"}.get(name, name)
    return short if f"{short}_low" in row or f"{short}_high" in row else name


def cell(value: Any) -> str:
    """A value as text; nothing for what is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return (
            f"{value:,.0f}"
            if abs(value) >= 1000
            else f"{value:.1f}"
            if abs(value) >= 100
            else f"{value:.3g}"
            if abs(value) < 0.1
            else f"{value:.3f}".rstrip("0").rstrip(".")
        )
    return str(value)
