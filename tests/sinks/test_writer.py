"""The writer as a process on a real broker: killed in mid-stream, fed with repeats, stopped. The tables hold each event once."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from deploy.local import ports, topics
from schemas import origin, trace
from schemas.codec import encoder
from schemas.events import BoundaryFound, InputRead, PredictionMade

pytestmark = pytest.mark.broker
SESSIONS = 20


class Writer:
    """`python -m sinks` with settings of its own."""

    def __init__(self, broker: str, prefix: str, folder: Path, port: int):
        self.url, self.ready_file, self.log = f"http://127.0.0.1:{port}", folder / "ready", folder / "sink.log"
        own = {
            "KAFKA_BOOTSTRAP": broker,
            "TOPIC_PREFIX": prefix,
            "DATA_DIR": str(folder),
            "CLICKHOUSE_HTTP_PORT": str(port),
            "ROLLUP_EVERY_S": "1",
        }
        self.environ = os.environ | {f"STRATA_{k}": v for k, v in own.items()} | {"STRATA_READY_FILE": str(self.ready_file)}
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        self.ready_file.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "sinks"], env=self.environ, stderr=log, stdout=log)

    def await_ready(self) -> None:
        deadline = time.monotonic() + 60
        while not self.ready_file.exists():
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.05)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> tuple[int, float]:
        """Exit status and seconds taken."""
        assert self.process is not None
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(20)
        return status, time.monotonic() - started

    def ask(self, sql: str) -> list[dict]:
        """Rows; none while nobody answers."""
        try:
            with urllib.request.urlopen(
                self.url, f"{sql} FORMAT JSONEachRow SETTINGS output_format_json_quote_64bit_integers = 0".encode(), timeout=10
            ) as answer:
                return [json.loads(line) for line in answer.read().splitlines()]
        except (urllib.request.HTTPError, OSError):
            return []

    def count(self, table: str, where: str = "1") -> int:
        rows = self.ask(f"SELECT count() AS n FROM {table} WHERE {where}")
        return rows[0]["n"] if rows else -1


def running(broker: str, prefix: str, folder: Path) -> Iterator[Writer]:
    topics.create_missing(broker, prefix, 4)
    writer = Writer(broker, prefix, folder, ports.free_port())
    writer.start()
    yield writer
    if writer.process and writer.process.poll() is None:
        writer.kill()


@pytest.fixture
def writer(broker: str, topic_prefix: str, tmp_path: Path) -> Iterator[Writer]:
    """One to be killed."""
    yield from running(broker, topic_prefix, tmp_path)


SHARED = "shared-writer-" + uuid.uuid4().hex[:8] + "-"


@pytest.fixture(scope="module")
def shared(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    """One for all tests that leave it alive."""
    yield from running(broker, SHARED, tmp_path_factory.mktemp("writer"))


def common(table: str, session: int, n: int) -> dict:
    return {
        "event_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{table}/{session}/{n}")),
        "timestamp": 1_750_000_000_000_000 + n,
        "session_id": f"session-{session}",
        "modality": "tokens",
        "model_version": "v1",
        "trace_id": f"{session:016x}{n:016x}",
        "kafka_topic": "tokens",
        "kafka_partition": session % 4,
        "kafka_offset": n * SESSIONS + session,
    }


def events(session: int, n: int) -> list[tuple[str, str, object]]:
    """Topic, schema and event of item n: an input, and what it decided."""
    token = InputRead(**common("input_stream", session, n), token_id=n, token_text=f"word{n} ", token_position=n, buffer_size=n)
    made: list[tuple[str, str, object]] = [("input-stream", "input_stream", token)]
    if n % 10 == 9:
        span = {"span_start": n - 9, "span_end": n + 1}
        boundary = BoundaryFound(
            **common("boundaries", session, n), boundary_type="sentence", position=n, text_offset=n, confidence=1, detected_by="rule"
        )
        made.append(("boundaries", "boundaries", boundary))
        for revision in range(2):
            answer = common("predictions", session, n) | {"event_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"p/{session}/{n}/{revision}"))}
            prediction = PredictionMade(
                **answer,
                **span,
                prediction_id=f"{session}/{n}",
                prediction_type="final",
                task="surprise",
                revision=revision,
                position=n,
                value=1.5 if revision else None,
            )
            made.append(("predictions", "predictions", prediction))
    return made


ENCODE = {name: encoder(name) for name in ("input_stream", "boundaries", "predictions", "failures", "labels")}


async def produce(broker: str, prefix: str, items: range, chunk: int = 50) -> None:
    """Send the items of all sessions; every chunk's end is sent twice, as a worker does that crashed before its commit."""
    producer = AIOKafkaProducer(bootstrap_servers=broker, linger_ms=5)
    await producer.start()
    try:
        for low in range(items.start, items.stop, chunk):
            sent = []
            for session in range(SESSIONS):
                for n in [*range(low, min(low + chunk, items.stop)), *range(max(low, low + chunk - 15), min(low + chunk, items.stop))]:
                    for topic, name, event in events(session, n):
                        key = f"session-{session}".encode()
                        sent.append(
                            await producer.send(
                                prefix + topic, ENCODE[name](event), key, session % 4, headers=[("event-id", event.event_id.encode())]
                            )
                        )  # type: ignore[attr-defined]
            await asyncio.gather(*sent)
            await asyncio.sleep(0.05)
    finally:
        await producer.stop()


async def send(broker: str, topic: str, records: list[tuple[bytes | None, bytes, list]]) -> list:
    producer = AIOKafkaProducer(bootstrap_servers=broker, max_request_size=16 * 1024 * 1024)
    await producer.start()
    try:
        return [await producer.send_and_wait(topic, value, key, 0, headers=headers) for key, value, headers in records]
    finally:
        await producer.stop()


async def read_all(broker: str, topic: str) -> list:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=broker, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        got = await consumer.getmany(timeout_ms=5000)
        return [record for records in got.values() for record in records]
    finally:
        await consumer.stop()


def test_a_writer_killed_in_mid_stream_loses_and_doubles_nothing(writer: Writer, broker: str, topic_prefix: str, wait_until) -> None:
    items, kills = 300, 3
    writer.await_ready()
    for part in range(kills):
        low, high = items * part // kills, items * (part + 1) // kills
        seen = writer.count("input_stream")
        process = subprocess.Popen(
            [sys.executable, "-c", PRODUCE, broker, topic_prefix, str(low), str(high)], env=writer.environ | {"PYTHONPATH": os.getcwd()}
        )
        deadline = time.monotonic() + 20
        while writer.count("input_stream") <= seen and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.07 * part)
        writer.kill()
        assert process.wait(60) == 0
        writer.start()
        writer.await_ready()
    asyncio.run(produce(broker, topic_prefix, range(0, items, 1), chunk=200))  # everything once more, under the same ids
    wanted = {"input_stream": items * SESSIONS, "boundaries": items * SESSIONS // 10, "predictions": items * SESSIONS // 5}
    await_end(writer, topic_prefix, broker)
    for table, n in wanted.items():
        rows = writer.ask(f"SELECT count() AS n, uniqExact(event_id) AS ids FROM {table}")
        assert rows == [{"n": n, "ids": n}], table
    texts = writer.ask(
        "SELECT session_id, arrayStringConcat(groupArray(token_text)) AS text FROM (SELECT * FROM input_stream ORDER BY token_position) GROUP BY session_id"
    )
    assert [row["text"] for row in texts] == ["".join(f"word{n} " for n in range(items))] * SESSIONS
    summed = "SELECT (SELECT sum(answers) FROM hourly_answers) AS answers, (SELECT sum(n) FROM hourly_inputs WHERE feature = 'vocabulary') AS inputs"
    right = [{"answers": wanted["predictions"], "inputs": wanted["input_stream"]}]
    wait_until(lambda: writer.ask(summed) == right, 60, "sums by hour that are those of the rows")
    status, took = writer.stop()
    assert (status, took < 3) == (0, True), took


PRODUCE = "import asyncio, sys; from tests.sinks.test_writer import produce; b, p, low, high = sys.argv[1:]; asyncio.run(produce(b, p, range(int(low), int(high))))"


def await_end(writer: Writer, prefix: str, broker: str) -> None:
    """Until everything on the topics is committed."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        states = {t.topic.removeprefix(prefix): t for t in topics.survey(broker, prefix)}
        if all(states[name].lag.get(prefix + "strata-sink") == 0 for name in ("input-stream", "boundaries", "predictions")):
            return
        time.sleep(0.2)
    pytest.fail(writer.log.read_text()[-3000:])


def test_what_cannot_be_stored_goes_to_dead_letter_and_the_rest_is_stored(shared: Writer, broker: str, wait_until) -> None:
    good = [ENCODE["input_stream"](event) for _, _, event in (events(0, n)[0] for n in range(5))]
    odd = events(0, 5)[0][2]
    refused = ENCODE["input_stream"]({f: getattr(odd, f) for f in odd.__struct_fields__} | {"event_id": "no uuid"})  # type: ignore[attr-defined]
    broken = good[4][:-3]
    asyncio.run(
        send(
            broker,
            SHARED + "input-stream",
            [(b"session-0", v, [("trace", b"kept")]) for v in (*good[:2], broken, refused, *good[2:], b"\xff")],
        )
    )
    wait_until(lambda: shared.count("input_stream", "session_id = 'session-0'") == 5, 60, "five rows")
    wait_until(lambda: shared.count("failures") == 3, 20, "three failures")
    dead = asyncio.run(read_all(broker, SHARED + "dead-letter"))
    assert [(r.key, r.value) for r in dead] == [(b"session-0", broken), (b"session-0", b"\xff"), (b"session-0", refused)]
    headers = dict(dead[0].headers)
    assert headers["trace"] == b"kept"
    assert headers["__connect.errors.topic"] == f"{SHARED}input-stream".encode()
    assert headers["__connect.errors.offset"] == b"2"
    assert headers["__connect.errors.exception.class.name"] == b"TruncatedRecordError"
    failures = shared.ask("SELECT failure_type, recovery_action, recovery_success, kafka_offset FROM failures ORDER BY kafka_offset")
    assert [(f["failure_type"], f["kafka_offset"]) for f in failures] == [
        ("TruncatedRecordError", 2),
        ("RowsRefusedError", 3),
        ("UnknownEncodingError", 7),
    ]
    assert all(f["recovery_action"] == "dead_letter" and f["recovery_success"] for f in failures)


def test_a_record_of_ten_megabytes_is_a_row(shared: Writer, broker: str, wait_until) -> None:
    large = InputRead(**common("input_stream", 7, 0), token_id=0, token_text="x" * 10_000_000, token_position=0, buffer_size=0)
    small = ENCODE["input_stream"](events(7, 1)[0][2])
    asyncio.run(send(broker, SHARED + "input-stream", [(b"session-7", v, []) for v in (ENCODE["input_stream"](large), small)]))
    wait_until(lambda: shared.count("input_stream", "session_id = 'session-7'") == 2, 60, "two rows")
    assert shared.ask("SELECT max(length(token_text)) AS n FROM input_stream WHERE session_id = 'session-7'") == [{"n": 10_000_000}]


def test_labels_are_stored_once_however_they_came(shared: Writer, broker: str, wait_until) -> None:
    def label(session: str, n: int) -> bytes:
        return json.dumps(
            {"session_id": session, "timestamp": "2026-01-02T03:04:05Z", "task": "topic", "label": f"l{n}", "position": n}
        ).encode()

    copied = ("strata-origin", origin.write(origin.Origin(3, 77, 1_700_000_000_000))[1])
    records = [
        (b"a", label("a", 0), []),
        (b"b", label("a", 1), []),  # wrongly keyed: the worker forwards it
        (None, label("a", 2), []),
        (b"a", label("a", 1), [copied]),  # the forwarded copy, and once more
        (b"a", label("a", 1), [copied]),
        (b"a", b"\x07 nonsense", []),
        (b"a", label("", 3), []),  # the key says the session
    ]
    asyncio.run(send(broker, SHARED + "labels", records))
    wait_until(lambda: shared.count("labels") == 3, 60, "three labels")
    rows = shared.ask(
        "SELECT session_id, label, value, position, span_end, kafka_topic, kafka_partition, kafka_offset, toString(timestamp) AS at FROM labels ORDER BY position"
    )
    assert [(r["label"], r["kafka_partition"], r["kafka_offset"]) for r in rows] == [("l0", 0, 0), ("l1", 3, 77), ("l3", 0, 6)]
    assert rows[0] | {"kafka_topic": ""} == {
        "session_id": "a", "label": "l0", "value": None, "position": 0, "span_end": None, "kafka_topic": "", "kafka_partition": 0, "kafka_offset": 0, "at": "2026-01-02 03:04:05.000000",
    }  # fmt: skip


def test_a_trace_ends_with_the_insert_of_its_event(shared: Writer, broker: str, wait_until) -> None:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key="service.name").value.string_value = "strata-worker"
    scope = resource.scope_spans.add()
    scope.scope.name = "strata.streams"
    start = time.time_ns()
    span = scope.spans.add(
        trace_id=bytes(15) + b"\1",
        span_id=bytes(7) + b"\2",
        name="process tokens",
        kind=5,
        start_time_unix_nano=start,
        end_time_unix_nano=start + 5,
    )
    span.attributes.add(key="z").value.int_value = 3
    span.attributes.add(key="a").value.bool_value = True
    span.status.code = 2
    span.events.add(name="slow", time_unix_nano=start + 1).attributes.add(key="k").value.double_value = 0.5
    span.links.add(trace_id=bytes(15) + b"\4", span_id=bytes(7) + b"\5")
    parent = trace.TraceContext("0" * 31 + "1", "0" * 15 + "2", True)
    silent = trace.TraceContext("0" * 31 + "1", "0" * 15 + "2", False)
    asyncio.run(send(broker, SHARED + "traces", [(None, request.SerializeToString(), [])] * 2))
    tokens = [(b"session-1", ENCODE["input_stream"](events(1, n)[0][2]), trace.write(parent if n == 0 else silent)) for n in (0, 0, 1)]
    asyncio.run(send(broker, SHARED + "input-stream", tokens))
    wait_until(
        lambda: (shared.count("input_stream", "session_id = 'session-1'"), shared.count("otel_traces")) == (2, 2), 60, "two rows, two spans"
    )
    asyncio.run(send(broker, SHARED + "input-stream", tokens))
    time.sleep(1)
    assert shared.count("otel_traces") == 2
    got = shared.ask("SELECT * FROM otel_traces ORDER BY SpanName")
    own, theirs = got
    assert theirs["SpanKind"] == "Consumer"
    assert (theirs["StatusCode"], theirs["Duration"], theirs["ServiceName"]) == ("Error", 5, "strata-worker")
    assert list(theirs["SpanAttributes"].items()) == [("a", "true"), ("z", "3")]
    assert (theirs["Events.Name"], theirs["Events.Attributes"], theirs["Links.SpanId"]) == (["slow"], [{"k": "0.5"}], ["0000000000000005"])
    assert (own["SpanName"], own["ParentSpanId"], own["TraceId"]) == ("insert input_stream", "0" * 15 + "2", "0" * 31 + "1")
    assert own["SpanAttributes"]["messaging.message.id"] == events(1, 0)[0][2].event_id  # type: ignore[attr-defined]
    assert own["Duration"] > 0
    assert shared.ask("SELECT count() AS n FROM otel_traces_trace_id_ts")[0]["n"] >= 1


def test_a_second_writer_on_the_folder_says_so_and_ends(shared: Writer) -> None:
    shared.await_ready()
    other = shared.environ | {"STRATA_CLICKHOUSE_HTTP_PORT": str(ports.free_port())}
    second = subprocess.run([sys.executable, "-m", "sinks"], env=other, capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    assert "stop the other process that uses the folder" in second.stderr
    taken = other | {"STRATA_CLICKHOUSE_HTTP_PORT": shared.url.rpartition(":")[2], "STRATA_DATA_DIR": str(shared.log.parent / "other")}
    third = subprocess.run([sys.executable, "-m", "sinks"], env=taken, capture_output=True, text=True, timeout=60)
    assert third.returncode == 2
    assert "cannot be listened on" in third.stderr
