"""The commands on records and tables: produce, query, sessions, inspect; `register` adds them and demo to `strata`.

Knows flags and what goes where; leaves reading lines to produce.py, asking to clickhouse_http.py, the session's tree to session_tree.py.
"""

import asyncio
import io
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import typer
from aiokafka.errors import KafkaConnectionError, KafkaError

from deploy import session_drawing, session_tree, tables
from deploy.clickhouse_http import ClickHouse, address
from deploy.demo_command import demo
from deploy.evaluate_command import evaluate
from deploy.produce import InputLineError, ToSend, lines_to_records
from deploy.replay_command import replay
from deploy.send import Destination, Sent, send, stdin_lines
from deploy.targets import Target, target_of
from schemas.errors import SettingError, StrataError
from schemas.topics import INPUTS

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of the stack (STRATA_DATA_DIR).  [default: .strata]", show_default=False)
]
Kafka = Annotated[str | None, typer.Option("--kafka", help="Kafka's address (STRATA_KAFKA_BOOTSTRAP).", metavar="HOST:PORT")]
Server = Annotated[str | None, typer.Option("--clickhouse", help="ClickHouse (STRATA_CLICKHOUSE_DSN).", metavar="DSN")]
HttpPort = Annotated[int | None, typer.Option("--clickhouse-http-port", help="ClickHouse's HTTP interface (STRATA_CLICKHOUSE_HTTP_PORT).")]
Prefix = Annotated[str | None, typer.Option("--topic-prefix", help="In front of every topic (STRATA_TOPIC_PREFIX).")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
NAMES = tuple(t.name for t in INPUTS)


class ProduceError(StrataError):
    """Records could not be sent."""


def register(app: typer.Typer) -> None:
    """Add the commands of this part to `strata`."""
    for command in (produce, query, sessions, inspect, evaluate, replay, demo):
        app.command()(command)


def clickhouse_of(target: Target) -> ClickHouse:
    return ClickHouse(address(target.clickhouse_dsn, target.clickhouse_http_port))


def produce(
    ctx: typer.Context,
    topic: Annotated[str, typer.Argument(help=f"One of {', '.join(NAMES)}.", metavar="TOPIC")],
    file: Annotated[str, typer.Argument(help="What to send; - is standard input, read as it comes.", metavar="[FILE|-]")] = "-",
    session: Annotated[
        str | None,
        typer.Option(
            "--session", help="Session of plain lines, and of JSON lines that name none.  [default: made from the file's name and the time]"
        ),
    ] = None,
    end: Annotated[
        bool | None,
        typer.Option(
            "--end/--no-end",
            help="Mark the last record of each session as its end.  [default: for a file, not for standard input]",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Records per second.  [default: as fast as they come]", min=0.001)] = None,
    encoding: Annotated[str, typer.Option(help="Of plain lines: avro or json. JSON lines go out as they are.")] = "avro",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Name lines that cannot be sent and go on.")] = False,
    data_dir: DataDir = None,
    kafka: Kafka = None,
    topic_prefix: Prefix = None,
) -> None:
    """Send lines to an input topic: plain text, or JSON lines with the record's fields.

    tokens: text, cut into words. logs: a line each. chat: `speaker: text`. metrics: `name value [timestamp]`.
    """
    if topic not in NAMES:
        raise SettingError(f"topic {topic!r} is no input; choose one of {', '.join(NAMES)}")
    if encoding not in ("avro", "json"):
        raise SettingError(f"--encoding {encoding!r}: wanted avro or json")
    target = target_of(ctx.obj, data_dir=data_dir, kafka_bootstrap=kafka, topic_prefix=topic_prefix)
    stem = "produce" if file == "-" else Path(file).stem
    session = session or f"{stem}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    ends = file != "-" if end is None else end
    if file != "-":  # all of a file is read before the first record goes out: an error sends nothing
        try:
            lines = list(io.BytesIO(Path(file).read_bytes()))
        except OSError as problem:
            raise ProduceError(f"{file}: {problem.strerror}") from problem
        items: Iterable[ToSend] = list(_good(lines_to_records(lines, topic, session), file, skip_bad))
    else:
        print(f"sending standard input to {topic}, session {session}", file=sys.stderr)
        items = _good(lines_to_records(stdin_lines(), topic, session), "standard input", skip_bad)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what matters comes as an error
    sent, to = Sent(), Destination(target.kafka_bootstrap, topic, target.topic_prefix, encoding, ends, rate)
    try:
        asyncio.run(send(items, to, sent))
    except KafkaConnectionError as problem:
        raise ProduceError(f"no Kafka answers at {target.kafka_bootstrap}; start it with `strata up`") from problem
    except KafkaError as problem:
        raise ProduceError(f"Kafka at {target.kafka_bootstrap}: {problem or type(problem).__name__}; see `strata doctor`") from problem
    except KeyboardInterrupt:
        pass
    finally:
        if sent.records:
            print(sent.summary(target.topic_prefix + topic), file=sys.stderr)


def _good(found: Iterable[ToSend | InputLineError], where: str, skip_bad: bool) -> Iterator[ToSend]:
    for item in found:
        if isinstance(item, ToSend):
            yield item
        elif skip_bad:
            print(f"skipped: {where}, {item}", file=sys.stderr)
        else:
            raise InputLineError(f"{where}, {item}; or leave such lines out with --skip-bad")


def query(
    ctx: typer.Context,
    sql: Annotated[str, typer.Argument(help="A statement; - reads it from standard input.", metavar="SQL")],
    format_: Annotated[
        str | None, typer.Option("--format", help="Any format of ClickHouse, such as CSVWithNames. A FORMAT in the statement wins.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a row.")] = False,
    param: Annotated[
        list[str] | None, typer.Option("--param", help="name=value of a parameter {name:Type}; may be repeated.", metavar="NAME=VALUE")
    ] = None,
    data_dir: DataDir = None,
    clickhouse: Server = None,
    clickhouse_http_port: HttpPort = None,
) -> None:
    """Ask ClickHouse and show the answer as a table."""
    if as_json and format_:
        raise SettingError("--json and --format: give one of them")
    text = sys.stdin.read() if sql == "-" else sql
    parameters = dict(_parameter(p) for p in param or ())
    target = target_of(ctx.obj, data_dir=data_dir, clickhouse_dsn=clickhouse, clickhouse_http_port=clickhouse_http_port)
    wanted = format_ or ("JSONEachRow" if as_json else tables.FORMAT)
    answer = clickhouse_of(target).ask(text, wanted, parameters)
    found = tables.parse(answer.body) if wanted == tables.FORMAT and answer.format in ("", tables.FORMAT) else None
    if found is None:
        sys.stdout.buffer.write(answer.body)
        sys.stdout.buffer.flush()
        return
    names, types, rows = found
    console = tables.console()
    console.print(tables.table(names, types, rows))
    if console.is_terminal:
        print(f"{len(rows):,} row{'s' if len(rows) != 1 else ''} in {answer.elapsed_s * 1000:.0f} ms", file=sys.stderr)


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise SettingError(f"--param {text!r}: wanted name=value")
    return name, value


SESSIONS = """
SELECT i.session_id AS session, i.modality AS modality, i.items AS items, b.sentences AS sentences, b.topics AS topics, p.label AS label,
       f.failures AS failures, toString(i.first) AS first, toString(i.last) AS last
FROM (SELECT session_id, modality, count() AS items, min(timestamp) AS first, max(timestamp) AS last FROM input_stream
      WHERE {modality:String} = '' OR modality = {modality:String} GROUP BY session_id, modality ORDER BY last DESC, session_id LIMIT {limit:UInt32}) AS i
LEFT JOIN (SELECT session_id, modality, countIf(boundary_type = 'sentence') AS sentences, countIf(boundary_type = 'topic') AS topics
           FROM boundaries GROUP BY session_id, modality) AS b ON i.session_id = b.session_id AND i.modality = b.modality
LEFT JOIN (SELECT session_id, modality, argMax(label, (span_end, revision)) AS label FROM predictions
           WHERE prediction_type = 'final' AND JSONExtractString(output, 'level') IN ('document', 'session')
           GROUP BY session_id, modality) AS p ON i.session_id = p.session_id AND i.modality = p.modality
LEFT JOIN (SELECT session_id, modality, count() AS failures FROM failures GROUP BY session_id, modality) AS f
       ON i.session_id = f.session_id AND i.modality = f.modality
ORDER BY i.last DESC, session
"""


def sessions(
    ctx: typer.Context,
    modality: Annotated[str | None, typer.Option(help="Only tokens, logs, chat or metrics.")] = None,
    limit: Annotated[int, typer.Option(help="How many, the newest first.", min=1)] = 20,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    clickhouse: Server = None,
    clickhouse_http_port: HttpPort = None,
) -> None:
    """The sessions that are stored, the newest first."""
    if modality not in (None, "tokens", "logs", "chat", "metrics"):
        raise SettingError(f"--modality {modality!r}: wanted tokens, logs, chat or metrics")
    target = target_of(ctx.obj, data_dir=data_dir, clickhouse_dsn=clickhouse, clickhouse_http_port=clickhouse_http_port)
    rows = clickhouse_of(target).rows(SESSIONS, modality=modality or "", limit=limit)
    if as_json:
        _print_json(rows)
        return
    numbers = {"items", "topics", "failures"}
    names = ["session", "modality", "items", "topics", "failures", "label", "last"]
    if not any(r["failures"] for r in rows):
        names.remove("failures")
    cells = [[f"{int(r[n] or 0):,}" if n in numbers else r[n][5:19] if n == "last" else r[n] or "" for n in names] for r in rows]
    tables.console().print(tables.table(names, ["UInt64" if n in numbers else "String" for n in names], cells))
    if len(rows) == limit:
        print(f"the newest {limit} by event time; --limit shows more", file=sys.stderr)
    if not rows:
        print("nothing is stored yet; send something with `strata produce`, or see `strata demo`", file=sys.stderr)


def inspect(
    ctx: typer.Context,
    session: Annotated[str, typer.Argument(help="Its id.", metavar="SESSION")],
    as_json: AsJson = False,
    data_dir: DataDir = None,
    clickhouse: Server = None,
    clickhouse_http_port: HttpPort = None,
) -> None:
    """The tree of one session: topics, paragraphs, sentences with what was said of them."""
    target = target_of(ctx.obj, data_dir=data_dir, clickhouse_dsn=clickhouse, clickhouse_http_port=clickhouse_http_port)
    trees = session_tree.load(clickhouse_of(target), session)
    if as_json:
        _print_json([asdict(t) for t in trees])
        return
    console = tables.console()
    most = max(console.width - 34, 30) if console.is_terminal else 400
    for tree in trees:
        console.print(session_drawing.draw(tree, most))


def _print_json(value: object) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode() + "\n")
