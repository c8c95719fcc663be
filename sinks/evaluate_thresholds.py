"""What an evaluation must hold: conditions on the columns of questions, and the rows that break them.

Knows the conditions' few words; leaves asking to questions.py and what becomes of a broken one to alerts.py. `">= 0.8 when judged >= 100 and task = topic"`
holds a column of every row of a question for which the rest is true; a value that is empty breaks nothing.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.errors import SettingError
from sinks.questions import Question, Row, question

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "=": operator.eq, "!=": operator.ne,
}  # fmt: skip
CONDITION = re.compile(r"^\s*(?:(\w+)\s*)?(>=|<=|!=|>|<|=)\s*(.+?)\s*$")


@dataclass(frozen=True)
class Condition:
    """`column op value`."""

    column: str
    compare: str
    value: float | str

    def holds(self, row: Row) -> bool:
        seen = row[self.column]
        return COMPARE[self.compare](float(seen) if isinstance(self.value, float) else str(seen), self.value)


@dataclass(frozen=True)
class Threshold:
    """One setting."""

    name: str
    text: str
    asked: Question
    must: Condition
    when: tuple[Condition, ...] = ()

    def judged(self, rows: Sequence[Row]) -> list[tuple[Row, bool]]:
        """The rows it speaks of, and whether each holds."""
        spoken_of = (row for row in rows if all(row[c.column] is not None and c.holds(row) for c in self.when))
        return [(row, self.must.holds(row)) for row in spoken_of if row[self.must.column] is not None]


def read(settings: Mapping[str, str]) -> list[Threshold]:
    """The thresholds of `[evaluation.thresholds]`. Raises SettingError."""
    return [_threshold(name, text) for name, text in settings.items()]


def _threshold(name: str, text: str) -> Threshold:
    where = f"[evaluation.thresholds] {name}"
    asked_name, dot, column = name.partition(".")
    if not dot:
        raise SettingError(f"setting {where}: wanted question.column, such as quality.accuracy")
    asked = question(asked_name)
    must_text, _, when_text = text.partition(" when ")
    must = _condition(where, asked, column, must_text)
    when = tuple(_condition(where, asked, "", part) for part in re.split(r"\s+and\s+", when_text) if part)
    return Threshold(name, text, asked, must, when)


def _condition(where: str, asked: Question, column: str, text: str) -> Condition:
    found = CONDITION.match(text)
    named = found[1] if found and found[1] else column
    if not found or (column and found[1]) or not named:
        raise SettingError(
            f"setting {where}: got {text!r}, wanted such as `>= 0.8`, or after `when` such as `judged >= 100 and task = topic`"
        )
    if named not in (known := [c.name for c in asked.columns]):
        raise SettingError(f"setting {where}: question {asked.name} has no column {named}; it has {', '.join(known)}")
    try:
        return Condition(named, found[2], float(found[3]))
    except ValueError:
        return Condition(named, found[2], found[3].strip("'\""))
