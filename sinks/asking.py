"""Asking the questions for `strata evaluate`: where ClickHouse is, which filters were given, every question with its rows.

Knows flags as values of parameters; leaves the questions to questions.py, and what becomes of the answers to evaluate.py and evaluate_watch.py.
Next: sinks/questions.py
"""

import argparse
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.errors import SettingError
from sinks import clickhouse, questions
from sinks.config import EvaluateConfig
from sinks.questions import Question, Row

AGO = re.compile(r"^(\d+)([hdw])$")
HOURS = {"h": 1, "d": 24, "w": 168}


@dataclass(frozen=True)
class Answered:
    """A question with its rows."""

    asked: Question
    rows: list[Row]
    elapsed_s: float


def reader(config: EvaluateConfig) -> clickhouse.ClickHouse:
    """ClickHouse to be read: a server by its DSN, the embedded engine through the writer's HTTP interface."""
    return clickhouse.ClickHouse(place(config), create=False)


def place(config: EvaluateConfig) -> clickhouse.Address:
    at = clickhouse.address(config.clickhouse_dsn, config.data_dir)
    if not at.path:
        return at
    user, password = config.clickhouse_http_user or "default", config.clickhouse_http_password
    return clickhouse.Address(None, config.clickhouse_http_host, config.clickhouse_http_port, False, user, password)


def ask_all(client: questions.Client, names: Sequence[str], given: Mapping[str, Any]) -> list[Answered]:
    """The questions of those names (all, when none); parameters that a question does not have are left out for it."""
    asked = [questions.question(name) for name in names] or questions.questions()
    found = []
    for one in asked:
        started = time.monotonic()
        own = {p.name: given[p.name] for p in one.parameters if given.get(p.name) is not None}
        if own.get("by") not in next((p.choices for p in one.parameters if p.name == "by"), ()):
            own.pop("by", None)  # a question that is not told by age, asked among others by age
        found.append(Answered(one, questions.ask(client, one.name, **own), time.monotonic() - started))
    return found


def moment(text: str, now: datetime) -> datetime:
    """`2026-01-31`, RFC 3339, or so long ago: 24h, 7d, 4w. Raises SettingError."""
    if ago := AGO.match(text):
        return now - timedelta(hours=int(ago[1]) * HOURS[ago[2]])
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise SettingError(f"time {text!r}: wanted such as 2026-01-31, 2026-01-31T12:00:00Z, 24h, 7d or 4w") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def values(flags: argparse.Namespace, now: datetime) -> dict[str, Any]:
    """Values of the questions' parameters, as the flags say at this moment. Raises SettingError."""
    given = {name: getattr(flags, name) for name in ("model_version", "reference", "modality", "task", "by", "bins")}
    return given | {name: moment(value, now) for name in ("since", "until", "split") if (value := getattr(flags, name))}


def filters(flags: argparse.Namespace) -> dict[str, str]:
    """The filters as they were given, by which alerts of different looks are told apart."""
    names = ("since", "until", "split", "model_version", "reference", "modality", "task", "by", "bins")
    return {name: str(value) for name in names if (value := getattr(flags, name)) is not None}
