"""`python -m sinks.evaluate`, or `strata evaluate`: ask the questions, show the answers, hold them to the thresholds of the settings.

Knows flags and exit statuses (0, 3 when a threshold is crossed, 2 for wrong usage, 1 otherwise); leaves asking to asking.py,
looking again and again to evaluate_watch.py, pages to report.py. It reads through ClickHouse's HTTP interface, the embedded
engine's or a server's, and writes nothing there.
Next: sinks/asking.py
"""

import argparse
import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas import settings
from schemas.errors import SettingError, StrataError
from schemas.known_settings import unknown_variables
from sinks import alerts, asking, evaluate_thresholds, evaluate_watch, questions, report, rollups
from sinks.alerts import Verdict
from sinks.config import EvaluateConfig
from sinks.errors import UnavailableError
from sinks.evaluate_text import shown

CROSSED = 3
LONG = ("alarms", "reliability", "partials", "labels")
"""Questions of many rows: the report draws them, the terminal shows them when they are named."""
NOTHING = (
    "nothing is summed up yet: send something with `strata produce`, or play samples with `strata demo`; the writer sums up within seconds"
)
NO_LABELS = 'no label has come for any answer: accuracy and calibration are not known; send truths to topic labels, such as\n  {"session_id": "visit-1", "task": "topic", "label": "Weather", "position": 0, "span_end": 40}'


def ask_over_time(client: questions.Client, answers: Sequence[asking.Answered], given: Mapping[str, Any]) -> list[asking.Answered]:
    """What the page draws over time: by hour, or by day where there are more than two weeks."""
    hours = [row[end] for a in answers if a.asked.name == "inventory" for row in a.rows for end in ("first", "last")]
    by = "hour" if not hours or max(hours) - min(hours) < timedelta(days=14) else "day"
    return asking.ask_all(client, [a.asked.name for a in answers if a.asked.name in report.SERIES], {**given, "by": by})


def wait_until_summed(client: Any, wait_s: float) -> int:
    """Wait until the writer has summed up what is there; returns how many hours are still due."""
    deadline = time.monotonic() + wait_s
    while (left := len(rollups.due(client))) and time.monotonic() < deadline:
        time.sleep(0.5)
    return left


def show(answers: Sequence[asking.Answered], named: bool, console: Console) -> None:
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


def hints(answers: Sequence[asking.Answered]) -> list[str]:
    """What to do where there is nothing to show."""
    rows = {a.asked.name: a.rows for a in answers}
    if rows.get("inventory") == [] or not any(rows.values()):
        return [NOTHING]
    quality = rows.get("quality")
    return [NO_LABELS] if quality is not None and not any(row["labelled"] for row in quality) else []


def as_json(answers: Sequence[asking.Answered], crossed: Sequence[Verdict], due: int, now: datetime) -> str:
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
        "crossed": [
            {
                "threshold": c.threshold.name,
                "must_be": c.threshold.text,
                "value": c.row[c.threshold.must.column],
                "question": c.threshold.asked.asks,
                "row": c.row,
            }
            for c in crossed
        ],
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
    made.add_argument(
        "--alert",
        action="store_true",
        help="tell topic alerts and the webhook of the settings which thresholds began or ended to be crossed",
    )
    made.add_argument("--watch", action="store_true", help="hold the thresholds again and again, and alert, until Ctrl-C")
    made.add_argument("--every", help="how often --watch looks: 30s, 5m, 1h", metavar="TIME")
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
    given = asking.values(flags, now)
    try:
        client = asking.reader(config)
        client.rows("SELECT 1")
    except UnavailableError as problem:
        raise UnavailableError(
            f"no ClickHouse answers at {asking.place(config)}; start it with `strata up`, or name it with --clickhouse"
        ) from problem
    try:
        due = wait_until_summed(client, flags.wait)
        answers = asking.ask_all(client, flags.question, given)
        by_name = {a.asked.name: a for a in answers}
        over_time = ask_over_time(client, answers, given) if flags.html else []
        further = [t.asked.name for t in thresholds if t.asked.name not in by_name]
        by_name |= {a.asked.name: a for a in (asking.ask_all(client, list(dict.fromkeys(further)), given) if further else [])}
    finally:
        client.close()
    judged = alerts.verdicts(thresholds, {name: a.rows for name, a in by_name.items()})
    crossed = alerts.crossed(judged)
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
        print(f"crossed: {found.told()}", file=sys.stderr)
    if flags.alert:
        print(asyncio.run(evaluate_watch.one_look(evaluate_watch.watch_of(lambda _: judged, flags, config), now)), file=sys.stderr)
    return CROSSED if crossed else 0


def main(argv: list[str], environ: Mapping[str, str]) -> int:
    flags = parser().parse_args(argv)
    logging.basicConfig(level="WARNING", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    for line in unknown_variables(environ):
        logging.getLogger("sinks").warning("%s", line)
    try:
        config = settings.load(EvaluateConfig, environ, settings.toml_path(environ))
        if flags.watch or flags.every:
            evaluate_watch.run(flags, config, environ.get("STRATA_READY_FILE"))
            return 0
        return run(flags, config, datetime.now(UTC))
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
