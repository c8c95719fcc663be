"""`strata evaluate`: the evaluation of sinks as a process of its own.

Knows the flags and hands them on; leaves questions, tables, pages and exit status 3 to sinks/evaluate.py.
Next: sinks/evaluate.py
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from deploy.targets import environment, target_of


def evaluate(
    ctx: typer.Context,
    since: Annotated[str | None, typer.Option(help="First hour: 2026-01-31, RFC 3339, or 24h, 7d, 4w ago.", metavar="TIME")] = None,
    until: Annotated[str | None, typer.Option(help="End, not included.", metavar="TIME")] = None,
    split: Annotated[
        str | None, typer.Option(help="Drift: what is before is the reference.  [default: the middle]", metavar="TIME", show_default=False)
    ] = None,
    model_version: Annotated[str | None, typer.Option(help="Only this version.", metavar="VERSION")] = None,
    reference: Annotated[
        str | None, typer.Option(help="Drift: the version to compare with, in place of a time.", metavar="VERSION")
    ] = None,
    modality: Annotated[str | None, typer.Option(help="Only tokens, logs, chat or metrics.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    by: Annotated[
        str | None, typer.Option(help="A row for each hour, day or age (tenth of the session).", metavar="all|hour|day|age")
    ] = None,
    bins: Annotated[int | None, typer.Option(help="Of calibration.  [default: 10]", min=1, max=200, show_default=False)] = None,
    question: Annotated[list[str] | None, typer.Option(help="Only this question; may be repeated.", metavar="NAME")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Name the questions and end.")] = False,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL of the questions and end.")] = False,
    html: Annotated[Path | None, typer.Option(help="Also write a page with plots that needs nothing else.", metavar="FILE")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    alert: Annotated[
        bool,
        typer.Option("--alert", help="Tell topic alerts and the webhook of the settings which thresholds began or ended to be crossed."),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Hold the thresholds again and again, and alert, until Ctrl-C; `up` does so when any are set.")
    ] = False,
    every: Annotated[
        str | None, typer.Option(help="How often --watch looks: 30s, 5m, 1h.  [default: 5m]", metavar="TIME", show_default=False)
    ] = None,
    wait: Annotated[
        float | None, typer.Option(help="Longest wait for the writer to sum up what is new, seconds.  [default: 15]", show_default=False)
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the stack (STRATA_DATA_DIR).  [default: .strata]", show_default=False)
    ] = None,
    kafka: Annotated[str | None, typer.Option(help="Kafka's address (STRATA_KAFKA_BOOTSTRAP).", metavar="HOST:PORT")] = None,
    clickhouse: Annotated[str | None, typer.Option(help="ClickHouse (STRATA_CLICKHOUSE_DSN).", metavar="DSN")] = None,
    clickhouse_http_port: Annotated[int | None, typer.Option(help="ClickHouse's HTTP interface (STRATA_CLICKHOUSE_HTTP_PORT).")] = None,
    topic_prefix: Annotated[str | None, typer.Option(help="In front of every topic (STRATA_TOPIC_PREFIX).")] = None,
) -> None:
    """Is the model still right, sure, fast and stable? Asks what is stored; exit status 3 when a threshold of the settings is crossed."""
    target = target_of(
        ctx.obj,
        data_dir=data_dir,
        kafka_bootstrap=kafka,
        clickhouse_dsn=clickhouse,
        clickhouse_http_port=clickhouse_http_port,
        topic_prefix=topic_prefix,
    )
    flags = {
        "since": since, "until": until, "split": split, "model-version": model_version, "reference": reference, "modality": modality, "task": task,
        "by": by, "bins": bins, "html": html, "wait": wait, "every": every,
    }  # fmt: skip
    given = [part for name, value in flags.items() if value is not None for part in (f"--{name}", str(value))]
    given += [part for name in question or () for part in ("--question", name)]
    given += [
        f"--{name}" for name, is_on in (("list", list_), ("sql", sql), ("json", as_json), ("alert", alert), ("watch", watch)) if is_on
    ]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, "-m", "sinks.evaluate", *given], {**ctx.obj.environ, **environment(target)})
