"""produce, query, sessions and inspect: against lines, a producer that remembers and a ClickHouse that answers from a list."""

import asyncio
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from deploy import data_commands
from deploy.clickhouse_http import ClickHouse, QueryError, UnreachableError, address
from deploy.produce import InputLineError, bytes_of, lines_to_records
from deploy.send import Destination, Sent, deliver
from deploy.session_drawing import draw
from deploy.session_tree import NoSuchSessionError, build, load
from deploy.tables import cell, parse
from deploy.targets import Caller
from schemas.codec import Codec
from schemas.errors import SettingError


def records(text, topic, session="s"):
    return list(lines_to_records(text.encode().splitlines(keepends=True), topic, session))


# produce: what a line means


def test_the_text_of_a_file_is_the_concatenation_of_its_pieces():
    text = "  First line,\ttwo  words.\n\nSecond\u00a0paragraph \n"
    items = records(text, "tokens")
    assert "".join(i.record.text for i in items) == text
    assert items[0].record.text == "  First "


def test_a_log_line_is_sent_as_it_is():
    items = records('ERROR  x\n{"level":"warn","msg":"json, but no record"}\n\nlast', "logs")
    assert [i.record.raw for i in items] == ["ERROR  x", '{"level":"warn","msg":"json, but no record"}', "last"]


def test_a_chat_line_names_its_speaker():
    (item,) = records("User: it is 10:30 now\n", "chat")
    assert (item.record.speaker, item.record.text, item.record.role) == ("User", "it is 10:30 now", "user")


@pytest.mark.parametrize(("moment", "micros"), [("1700000000.5", 1_700_000_000_500_000), ("2023-11-14T22:13:20Z", 1_700_000_000_000_000)])
def test_a_metric_line_may_carry_its_time(moment, micros):
    (item,) = records(f"cpu 0.25 {moment}\n", "metrics")
    assert (item.record.name, item.record.value, item.record.timestamp) == ("cpu", 0.25, micros)


def test_a_json_line_keeps_its_fields_and_gets_a_missing_session():
    lines = '{"text": "a ", "metadata": {"k": "v"}}\n{"text": "b", "session_id": "own", "position": 7}\n'
    first, second = records(lines, "tokens", "mine")
    assert (first.session_id, first.record.metadata) == ("mine", {"k": "v"})
    assert (second.session_id, second.record.position) == ("own", 7)


@pytest.mark.parametrize(
    ("topic", "text", "said"),
    [
        ("chat", "a: b\nno speaker here\n", "line 2: got 'no speaker here', wanted `speaker: text`"),
        ("metrics", "cpu high\n", "line 1: value 'high' is not a number"),
        ("metrics", "cpu 1 yesterday\n", "line 1: timestamp 'yesterday' is neither"),
        ("metrics", "cpu\n", "line 1: got 'cpu', wanted `name value [timestamp]`"),
        ("labels", "not json\n", "line 1: got 'not json', wanted a JSON object with `task`"),
        ("tokens", '{"text": "a"}\n{"text": 5}\n', "line 2: tokens: "),
    ],
)
def test_a_line_that_cannot_be_sent_is_named(topic, text, said):
    errors = [i for i in records(text, topic) if isinstance(i, InputLineError)]
    assert len(errors) == 1
    assert str(errors[0]).startswith(said)


def test_bytes_that_are_not_utf8_are_named_by_line_and_column():
    (good, bad) = list(lines_to_records([b"a: ok\n", b"ab\xff\n"], "chat", "s"))
    assert good.record.text == "ok"
    assert "line 2: byte 0xff at column 3" in str(bad)


def test_a_log_line_keeps_the_time_it_names_and_other_plain_lines_get_now():
    sent = {}
    for topic, text in (("logs", b"Nov 25 10:00:00 h a: x\n"), ("chat", b"a: x\n")):
        (line,) = list(lines_to_records([text], topic, "s"))
        sent[topic] = Codec().decode(topic, bytes_of(line, topic, "avro", False, 7)).timestamp
    assert sent == {"logs": None, "chat": 7}


@pytest.mark.parametrize(("zone", "metadata"), [("UTC", {}), ("XYZ-2", {"timezone": "+0200"})])
def test_a_plain_log_line_names_the_zone_of_the_clock_it_was_written_by(zone, metadata, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        (line,) = list(lines_to_records([b"Nov 25 10:00:00 h a: x\n"], "logs", "s"))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert line.record.metadata == metadata


def test_a_log_line_that_is_not_utf8_is_sent_with_its_bytes_shown():
    (line, after) = list(lines_to_records([b"ab\xff\n", b"ok\n"], "logs", "s"))
    assert (line.record.raw, after.record.raw) == ("ab\\xff", "ok")


# produce: what goes out


class FakeProducer:
    def __init__(self):
        self.sent = []

    async def send(self, topic, value, key, headers):
        self.sent.append((topic, key.decode(), value, dict(headers)))
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


async def sent_of(items, topic, **how):
    producer, sent = FakeProducer(), Sent()
    await deliver(items, Destination("nowhere", topic, **how), sent, producer)
    assert sent.records == len(producer.sent)
    return [(key, Codec().decode(topic, value)) for _, key, value, _ in producer.sent], producer


async def test_the_last_record_of_each_session_ends_it():
    lines = '{"raw":"a","session_id":"x"}\n{"raw":"b","session_id":"y"}\n{"raw":"c","session_id":"x"}\n'
    found, _ = await sent_of(records(lines, "logs"), "logs", ends=True)
    assert {(k, r.raw, r.end_of_session) for k, r in found} == {("x", "a", False), ("y", "b", True), ("x", "c", True)}
    found, _ = await sent_of(records(lines, "logs"), "logs", ends=False)
    assert not any(r.end_of_session for _, r in found)


async def test_lines_that_arrive_one_by_one_are_sent_in_order():
    found, _ = await sent_of(iter(records("".join(f"line {i}\n" for i in range(500)), "logs")), "logs")
    assert [r.raw for _, r in found] == [f"line {i}" for i in range(500)]


async def test_an_error_in_the_stream_comes_after_what_was_before_it():
    def stream():
        yield from records("a\nb\n", "logs")
        raise InputLineError("line 3: bad")

    producer = FakeProducer()
    with pytest.raises(InputLineError):
        await deliver(stream(), Destination("nowhere", "logs", ends=True), Sent(), producer)
    assert [Codec().decode("logs", v).end_of_session for _, _, v, _ in producer.sent] == [False, False]


async def test_plain_lines_are_avro_and_json_lines_stay_json():
    _, producer = await sent_of(records('plain\n{"raw":"as is","extra":1}\n', "logs"), "logs")
    (_, _, plain, headers), (_, _, as_is, json_headers) = producer.sent
    assert plain[:2] == b"\xc3\x01"
    assert json.loads(as_is) == {"raw": "as is", "extra": 1, "session_id": "s"}
    assert headers["content-type"] != json_headers["content-type"] == b"application/json"
    assert headers["traceparent"].startswith(b"00-")


# query, sessions, inspect: against a small HTTP server


class FakeClickHouse:
    """Answers POSTs by the first key that occurs in the statement; remembers them."""

    def __init__(self, answers):
        self.asked = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                query = {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                outer.asked.append((body, query))
                status, headers, content = next((a for key, a in answers.items() if key in body), (200, {}, b""))
                self.send_response(status)
                for name, value in {"X-ClickHouse-Format": query["default_format"], **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def serve():
    started = []

    def start(answers):
        started.append(FakeClickHouse(answers))
        return started[-1]

    yield start
    for one in started:
        one.server.shutdown()
        one.server.server_close()


def ok(content, **headers):
    return 200, headers, content


@pytest.fixture
def strata(tmp_path):
    app = typer.Typer(pretty_exceptions_enable=False)
    data_commands.register(app)

    def call(*args, **options):
        return CliRunner().invoke(app, [*args, "--data-dir", str(tmp_path)], obj=Caller({}), **options)

    return call


def test_query_draws_a_table(serve, strata):
    rows = b'["label","n"]\n["LowCardinality(Nullable(String))","UInt64"]\n["plan",12]\n[null,3]\n'
    server = serve({"SELECT label": ok(rows)})
    shown = strata("query", "SELECT label, count() FROM predictions", "--clickhouse-http-port", str(server.port))
    assert shown.exit_code == 0, shown.output
    lines = [line.split() for line in shown.stdout.splitlines() if line.strip(" ─")]
    assert lines == [["label", "n"], ["plan", "12"], ["NULL", "3"]]
    assert server.asked[0][1]["database"] == "strata"


def test_query_hands_a_format_on_untouched(serve, strata):
    server = serve({"FORMAT CSV": ok(b'"a",1\n', **{"X-ClickHouse-Format": "CSV"})})
    shown = strata("query", "SELECT 'a', 1 FORMAT CSV", "--clickhouse-http-port", str(server.port))
    assert shown.stdout == '"a",1\n'
    strata("query", "SELECT 1", "--format", "TSV", "--clickhouse-http-port", str(server.port))
    strata("query", "SELECT 1", "--json", "--clickhouse-http-port", str(server.port))
    assert [q["default_format"] for _, q in server.asked[1:]] == ["TSV", "JSONEachRow"]


def test_query_reads_standard_input_and_passes_parameters(serve, strata):
    server = serve({})
    strata("query", "-", "--param", "id=a\tb", "--clickhouse-http-port", str(server.port), input="SELECT {id:String}")
    assert server.asked == [("SELECT {id:String}", server.asked[0][1])]
    assert server.asked[0][1]["param_id"] == "a\\tb"


def test_query_tells_clickhouses_error(serve, strata):
    server = serve({"SELEC": (400, {"X-ClickHouse-Exception-Code": "62"}, b"Code: 62. DB::Exception: Syntax error")})
    shown = strata("query", "SELEC 1", "--clickhouse-http-port", str(server.port))
    assert isinstance(shown.exception, QueryError)
    assert "Syntax error" in str(shown.exception)


def test_query_says_how_to_start_what_does_not_answer(strata):
    shown = strata("query", "SELECT 1", "--clickhouse-http-port", "1")
    assert isinstance(shown.exception, UnreachableError)
    assert "strata up" in str(shown.exception)


def test_a_wrong_topic_modality_or_format_is_wrong_usage(strata):
    for args in (("produce", "nowhere"), ("sessions", "--modality", "video"), ("query", "SELECT 1", "--json", "--format", "CSV")):
        assert isinstance(strata(*args).exception, SettingError)


def test_a_bad_file_sends_nothing(strata, tmp_path):
    file = tmp_path / "bad.txt"
    file.write_text("cpu 1\ncpu one\n")
    shown = strata("produce", "metrics", str(file), "--kafka", "127.0.0.1:1")
    assert isinstance(shown.exception, InputLineError)
    assert "line 2" in str(shown.exception)


def test_sessions_lists_what_is_stored(serve, strata):
    row = {"session": "visit-1", "modality": "tokens", "items": 1349, "sentences": 170, "topics": 4, "label": "plan", "failures": 0}
    row |= {"first": "2026-01-31 12:00:00.000000", "last": "2026-01-31 12:01:00.000000"}
    server = serve({"FROM input_stream": ok(json.dumps(row).encode() + b"\n")})
    shown = strata("sessions", "--limit", "5", "--clickhouse-http-port", str(server.port))
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.strip().split("\n")[-1].split()[:5] == ["visit-1", "tokens", "1,349", "4", "plan"]
    assert server.asked[0][1]["param_limit"] == "5"
    listed = strata("sessions", "--json", "--clickhouse-http-port", str(server.port))
    assert json.loads(listed.stdout) == [row]


def test_a_session_that_is_not_there_has_near_names(serve, strata):
    server = serve({"editDistance": ok(b'{"session_id":"visit-1"}\n{"session_id":"visit-2"}\n')})
    shown = strata("inspect", "vist-1", "--clickhouse-http-port", str(server.port))
    assert isinstance(shown.exception, NoSuchSessionError)
    assert "near: visit-1, visit-2" in str(shown.exception)


@pytest.mark.parametrize(
    ("dsn", "url", "user", "database"),
    [
        ("chdb://", "http://127.0.0.1:8123", "", "strata"),
        ("clickhouse://me:p%40ss@db.example:9000/other", "http://db.example:9000", "me", "other"),
        ("clickhouse://db.example", "http://db.example:8123", "", "strata"),
        ("https://db.example", "https://db.example:8443", "", "strata"),
    ],
)
def test_a_dsn_names_the_http_interface(dsn, url, user, database):
    at = address(dsn, 8123)
    assert (at.url, at.user, at.database) == (url, user, database)


def test_a_dsn_of_something_else_is_refused():
    with pytest.raises(SettingError, match="wanted chdb"):
        address("postgres://x/y", 8123)


def test_only_a_table_is_taken_for_one():
    assert parse(b'["a"]\n["UInt8"]\n[1]\n') == (["a"], ["UInt8"], [[1]])
    assert parse(b'{"a":1}\n') is None
    assert parse(b"[1,2]\n") is None
    assert cell("a\nb\x00") == "a⏎b\\x00"


# inspect: how rows nest


def item(position, text, **metadata):
    return {"token_position": position, "token_text": text, "metadata": metadata, "at": "2026-01-31 12:00:00", "modality": ""}


def edge(kind, position, offset, confidence=0.9):
    return {"boundary_type": kind, "position": position, "text_offset": offset, "confidence": confidence, "detected_by": "rule"}


def answer(task, start, end, label=None, value=None, final=True, revision=0, **output):
    return {
        "prediction_id": f"{task}-{start}-{output.get('level', '')}",
        "prediction_type": "final" if final else "partial",
        "task": task,
        "revision": revision,
        "span_start": start,
        "span_end": end,
        "label": label,
        "confidence": 0.8,
        "value": value,
        "output": json.dumps(output),
        "latency_ms": 12.0,
    }


def rows(inputs, boundaries=(), predictions=(), states=(), failures=()):
    return {
        "inputs": inputs,
        "boundaries": list(boundaries),
        "predictions": list(predictions),
        "states": list(states),
        "failures": list(failures),
    }


TEXT = rows(
    [item(0, "One. "), item(1, "Two.\n\n"), item(2, "Three. "), item(3, "Four.")],
    [edge("sentence", 1, 5), edge("sentence", 2, 11), edge("paragraph", 2, 11), edge("topic", 2, 11), edge("sentence", 3, 18)],
    [
        answer("topic", 0, 1, "history", final=False, revision=0),
        answer("topic", 0, 2, "exam", revision=1),
        answer("topic", 2, 4, "plan", final=False),
        answer("surprise", 0, 1, value=4.5),
        answer("topic", 0, 4, "plan", level="document"),
    ],
    [{"state_type": "sentence", "span_start": 2, "span_end": 3}],
)


def test_text_nests_as_topics_paragraphs_sentences():
    tree = build("s", "tokens", TEXT)
    shape = [(t.start, t.end, [(p.start, p.end, [s.text for s in p.children]) for p in t.children]) for t in tree.topics]
    assert shape == [(0, 2, [(0, 2, ["One. ", "Two.\n\n"])]), (2, 4, [(2, 4, ["Three. ", "Four."])])]
    assert [(t.label.label, t.label.final) for t in tree.topics] == [("exam", True), ("plan", False)]
    assert tree.topics[0].children[0].children[0].surprise.value == 4.5
    assert tree.topics[1].children[0].children[0].states == 1
    assert [d.label for d in tree.document] == ["plan"]
    assert tree.ended


def test_the_sentences_of_a_tree_are_the_text_whatever_the_boundaries():
    inputs = [item(i, f"w{i} ") for i in range(12)]
    text = "".join(r["token_text"] for r in inputs)
    for cuts in ([], [("topic", 3)], [("sentence", 1), ("paragraph", 5), ("topic", 9), ("sentence", 9)]):
        tree = build("s", "tokens", rows(inputs, [edge(kind, at, text.index(f"w{at} ")) for kind, at in cuts]))
        sentences = [s for t in tree.topics for p in t.children for s in p.children]
        assert "".join(s.text for s in sentences) == text
        assert sentences[-1].end == 12


def test_turns_hang_under_their_topic():
    inputs = [item(i, f"said {i}", speaker="ann") for i in range(4)]
    tree = build("s", "chat", rows(inputs, [edge("topic", 3, 18)], [answer("topic", 0, 3, "hotels"), answer("topic", 3, 4, "flights")]))
    assert [(t.label.label, [c.text for c in t.children]) for t in tree.topics] == [
        ("hotels", ["ann: said 0", "ann: said 1", "ann: said 2"]),
        ("flights", ["ann: said 3"]),
    ]


def test_log_lines_are_grouped_by_template():
    predictions = [answer("template", i, i + 1, "t1" if i else "t0", template=f"text {min(i, 1)}") for i in range(3)]
    predictions += [answer("severity", i, i + 1, "error" if i == 2 else "informational") for i in range(3)]
    predictions += [answer("anomaly", 2, 3, "anomaly", value=0.9), answer("anomaly", 0, 3, "normal", value=0.2, level="session")]
    tree = build("s", "logs", rows([item(i, f"raw {i}") for i in range(3)], predictions=predictions))
    assert [(g.name, g.items, dict(g.severities)) for g in tree.groups] == [
        ("t1", 2, {"error": 1, "informational": 1}),
        ("t0", 1, {"informational": 1}),
    ]
    assert [(n.position, n.text, n.value) for n in tree.notes] == [(2, "raw 2", 0.9)]
    assert [d.label for d in tree.document] == ["normal"]


@pytest.mark.parametrize("modality", ["tokens", "chat", "logs", "metrics"])
def test_every_tree_can_be_drawn(modality):
    inputs = [item(i, str(float(i)), name="cpu", unit="%", speaker="ann") for i in range(70)]
    failures = [{"failure_type": "x", "exception": "y [z]", "recovery_action": "retry", "recovery_success": True, "at": ""}]
    tree = build("s", modality, rows(inputs, [edge("topic", 3, 9)], [answer("anomaly", 4, 5, "anomaly", value=0.99)], failures=failures))
    console = Console(width=100, record=True)
    with console.capture() as shown:
        console.print(draw(tree))
    assert "70" in shown.get()
    assert "1 failures" in shown.get()


def test_inspect_asks_for_each_modality_of_the_session(serve):
    row = {"modality": "chat", "token_position": 0, "token_text": "hi", "metadata": {}, "at": "2026-01-31 12:00:00"}
    server = serve({"FROM input_stream": ok(json.dumps(row).encode() + b"\n")})
    (tree,) = load(ClickHouse(address(None, server.port)), "it's")
    assert (tree.modality, tree.items) == ("chat", 1)
    assert {q["param_id"] for _, q in server.asked} == {"it's"}
