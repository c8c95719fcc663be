"""`python -m sinks.evaluate`, or `strata evaluate`: ask the questions, show the answers, hold them to the thresholds of the settings.

Knows flags and exit statuses (0, 3 when a threshold is crossed, 2 for wrong usage, 1 otherwise); leaves questions to questions.py, pages to report.py.
It reads through ClickHouse's HTTP interface, the embedded engine's or a server's, and writes nothing there.
Next: sinks/questions.py
"""

import argparse
import asyncio
import json
import logging
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas import settings
from schemas.errors import SettingError, StrataError
from sinks import clickhouse, evaluate_alerts, evaluate_thresholds, questions, report, rollups
from sinks.config import EvaluateConfig
from sinks.errors import UnavailableError
from sinks.evaluate_alerts import Crossed
from sinks.evaluate_text import shown
from sinks.questions import Question, Row

CROSSED = 3
AGO = re.compile(r"^(\d+)([hdw])$")
HOURS = {"h": 1, "d": 24, "w": 168}
LONG = ("alarms", "reliability", "partials", "labels")
"""Questions of many rows: the report draws them, the terminal shows them when they are named."""
NOTHING = (
    "nothing is summed up yet: send something with `strata produce`, or play samples with `strata demo`; the writer sums up within seconds"
)
NO_LABELS = 'no label has come for any answer: accuracy and calibration are not known; send truths to topic labels, such as\n  {"session_id": "visit-1", "task": "topic", "label": "Weather", "position": 0, "span_end": 40}'


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


def ask_over_time(client: questions.Client, answers: Sequence[Answered], given: Mapping[str, Any]) -> list[Answered]:
    """What the page draws over time: by hour, or by day where there are more than two weeks."""
    hours = [row[end] for a in answers if a.asked.name == "inventory" for row in a.rows for end in ("first", "last")]
    by = "hour" if not hours or max(hours) - min(hours) < timedelta(days=14) else "day"
    return ask_all(client, [a.asked.name for a in answers if a.asked.name in report.SERIES], {**given, "by": by})


def wait_until_summed(client: Any, wait_s: float) -> int:
    """Wait until the writer has summed up what is there; returns how many hours are still due."""
    deadline = time.monotonic() + wait_s
    while (left := len(rollups.due(client))) and time.monotonic() < deadline:
        time.sleep(0.5)
    return left


def moment(text: str, now: datetime) -> datetime:
    """`2026-01-31`, RFC 3339, or so long ago: 24h, 7d, 4w. Raises SettingError."""
    if ago := AGO.match(text):
        return now - timedelta(hours=int(ago[1]) * HOURS[ago[2]])
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise SettingError(f"time {text!r}: wanted such as 2026-01-31, 2026-01-31T12:00:00Z, 24h, 7d or 4w") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def show(answers: Sequence[Answered], named: bool, console: Console) -> None:
    """Each answer as a table below its question."""
    for answer in answers:
        if not named and (answer.asked.name in LONG or not answer.rows):
            continue
        console.print(Text(f"{answer.asked.title}  ", style="bold") + Text(f"{answer.asked.asks}  [{answer.asked.name}]", style="dim"))
        if not answer.rows:
            console.print("  no rows\n")
            continue
        told = shown(answer.asked, answer.rows)
        drawn = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        for name, numeric in zip(told.names, told.numeric, strict=True):
            drawn.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
        for cells in told.cells:
            drawn.add_row(*(Text("".join(c if c.isprintable() else "\ufffd" for c in text)) for text in cells))
        console.print(drawn)
        console.print()


def hints(answers: Sequence[Answered]) -> list[str]:
    """What to do where there is nothing to show."""
    rows = {a.asked.name: a.rows for a in answers}
    if rows.get("inventory") == [] or not any(rows.values()):
        return [NOTHING]
    quality = rows.get("quality")
    return [NO_LABELS] if quality is not None and not any(row["labelled"] for row in quality) else []


def as_json(answers: Sequence[Answered], crossed: Sequence[Crossed], due: int, now: datetime) -> str:
    """All of it for programs."""
    told = {
        "asked_at": now.isoformat(),
        "hours_due": due,
        "questions": {
            a.asked.name: {
                "question": a.asked.asks,
                "columns": {c.name: c.meaning for c in a.asked.columns},
                "elapsed_s": round(a.elapsed_s, 4),
                "rows": a.rows,
            }
            for a in answers
        },
        "crossed": [c.message(now) for c in crossed],
    }
    return json.dumps(told, indent=2, ensure_ascii=False, default=lambda value: value.isoformat())


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="strata evaluate",
        description="Is the model still right, fast and stable? Asks ClickHouse; exit status 3 when a threshold is crossed.",
    )
    made.add_argument("--since", help="first hour: 2026-01-31, RFC 3339, or 24h, 7d, 4w ago", metavar="TIME")
    made.add_argument("--until", help="end, not included", metavar="TIME")
    made.add_argument("--split", help="drift: what is before is the reference", metavar="TIME")
    made.add_argument("--model-version", metavar="VERSION")
    made.add_argument("--reference", help="drift: model version to compare with", metavar="VERSION")
    made.add_argument("--modality", choices=["tokens", "logs", "chat", "metrics"])
    made.add_argument("--task")
    made.add_argument("--by", choices=["all", "hour", "day", "age"])
    made.add_argument("--bins", type=int, help="of calibration")
    made.add_argument("--question", action="append", default=[], help="only this one; may be repeated", metavar="NAME")
    made.add_argument("--list", action="store_true", help="name the questions and end")
    made.add_argument("--sql", action="store_true", help="print the SQL of the questions and end")
    made.add_argument("--html", type=Path, help="also write a page that needs nothing else", metavar="FILE")
    made.add_argument("--json", action="store_true", help="for programs")
    made.add_argument("--alert", action="store_true", help="send crossed thresholds to topic alerts and to the webhook of the settings")
    made.add_argument(
        "--wait", type=float, default=15.0, help="longest wait for the writer to sum up what is new, seconds", metavar="SECONDS"
    )
    return made


def run(flags: argparse.Namespace, config: EvaluateConfig, now: datetime) -> int:
    """Everything but the parsing. Raises StrataError."""
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=400, soft_wrap=False)
    asked = [questions.question(name) for name in flags.question] or questions.questions()
    if flags.list or flags.sql:
        for one in asked:
            print(one.sql if flags.sql else f"{one.name:16} {one.asks}")
        return 0
    thresholds = evaluate_thresholds.read(config.evaluation.thresholds)
    given = {name: getattr(flags, name) for name in ("model_version", "reference", "modality", "task", "by", "bins")}
    given |= {name: moment(value, now) for name in ("since", "until", "split") if (value := getattr(flags, name))}
    try:
        client = reader(config)
        client.rows("SELECT 1")
    except UnavailableError as problem:
        raise UnavailableError(
            f"no ClickHouse answers at {place(config)}; start it with `strata up`, or name it with --clickhouse"
        ) from problem
    try:
        due = wait_until_summed(client, flags.wait)
        answers = ask_all(client, flags.question, given)
        by_name = {a.asked.name: a for a in answers}
        over_time = ask_over_time(client, answers, given) if flags.html else []
        further = [t.asked.name for t in thresholds if t.asked.name not in by_name]
        by_name |= {a.asked.name: a for a in (ask_all(client, list(dict.fromkeys(further)), given) if further else [])}
    finally:
        client.close()
    crossed = [Crossed(t, row) for t in thresholds for row in t.crossed(by_name[t.asked.name].rows)]
    if flags.json:
        print(as_json(answers, crossed, due, now))
    else:
        show(answers, bool(flags.question), console)
    if flags.html:
        flags.html.write_text(report.page(answers, over_time, crossed, given, now), encoding="utf-8")
        print(f"report: {flags.html}", file=sys.stderr)
    told = [f"{due} hours have rows that are not summed up yet: the newest answers are not counted in"] if due else []
    for line in [*told, *hints(answers)]:
        print(line, file=sys.stderr)
    for found in crossed:
        named = " ".join(str(found.row[n]) for n in ("model_version", "modality", "task", "feature") if found.row.get(n))
        print(
            f"crossed: {found.threshold.name} of {named} is {found.row[found.threshold.must.column]}, must be {found.threshold.text}",
            file=sys.stderr,
        )
    if crossed and flags.alert:
        messages = [c.message(now) for c in crossed]
        asyncio.run(evaluate_alerts.publish(messages, config.kafka_bootstrap, config.topic_prefix))
        if config.evaluation.webhook:
            evaluate_alerts.post(messages, config.evaluation.webhook)
    return CROSSED if crossed else 0


def main(argv: list[str], environ: Mapping[str, str]) -> int:
    flags = parser().parse_args(argv)
    logging.basicConfig(level="WARNING", format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    try:
        return run(flags, settings.load(EvaluateConfig, environ, settings.toml_path(environ)), datetime.now(UTC))
    except SettingError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    except StrataError as problem:
        older = "UNKNOWN_TABLE" in str(problem) or "UNKNOWN_IDENTIFIER" in str(problem)
        print(
            f"error: {problem}" + ("; the writer there is of another version: start it anew with `strata up`" if older else ""),
            file=sys.stderr,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
