"""A row of a session table that cannot be read stops nobody: its session goes on, it is told once, and its bytes are kept."""

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.log_model import LogModel
from models.metric_model import MetricModel
from models.null import NullModel
from models.steps import SessionModel
from schemas.codec import Codec
from streams.agents import logs, metrics, tokens
from streams.batching import Batch
from streams.config import StreamConfig
from streams.deliveries import Deliveries
from streams.emit import Emitter
from streams.inference import Inference
from streams.lane import Lane, Services
from streams.publisher import Outgoing
from streams.reading import Reader
from streams.session import SessionState
from streams.sessions import MOST_IDLE, ROW_VERSION, SUB_KEY, Row, Sessions
from streams.tracing import Sampler, Tracer
from tests.models.small_text_model import small_model
from tests.streams.test_reading import Raw, home
from tests.streams.test_session_rows import Table

SESSION = "visit"
PARTITION = home(SESSION)
NOW_MS = 1_767_000_000_000
encode = msgspec.msgpack.Encoder().encode
LATER = encode([ROW_VERSION + 1, {"next_position": 5}, b"", "what nobody here knows"])
CORRUPT = b"\xc1 no row at all"


class StrictModel(NullModel):
    """Its states have eight bytes, and nothing else can be read."""

    def unpack(self, data: bytes) -> int:
        if len(data) != 8:
            raise ValueError(f"{len(data)} bytes, wanted 8")
        return super().unpack(data)


class Consumer:
    """The consumer as deliveries ask it: each step is delivered within itself."""

    def begin_step(self, who: object) -> bool:
        return False

    def end_step(self, who: object) -> None: ...


class Worker:
    """One modality's lane over a table; what it published is kept."""

    def __init__(self, table: Table, modality: str = "tokens", model: SessionModel | None = None):
        self.table, self.modality, self.sent, self.acked = table, modality, list[Outgoing](), 0
        self.crashes = False
        inference = Inference({modality: model or StrictModel()}, ThreadPoolExecutor(1))
        publisher: Any = SimpleNamespace(publish=self._publish)
        config = StreamConfig(session_idle_s=3600.0)
        services = Services(config, inference, Emitter("", "json"), publisher, Tracer(Sampler(0.0), "test", 50.0))
        contents = {"tokens": tokens.contents, "logs": logs.contents, "metrics": metrics.contents}[modality]
        reader = Reader(modality, Codec(), contents, 8, 100_000)
        self.sessions = Sessions(modality, None, inference)  # type: ignore[arg-type]
        self.lane = Lane(modality, reader, self.sessions, Deliveries(Consumer), services, lambda partition, reached: False)

    async def _publish(self, outgoing: Iterable[Outgoing]) -> None:
        self.sent += outgoing
        if self.crashes:
            raise ConnectionError("crash after the publish")

    async def read(self, offset: int, **fields: object) -> None:
        value = json.dumps({"session_id": SESSION, "text": f"piece {offset} ", "timestamp": offset} | fields).encode()
        batch = Batch(self.modality, PARTITION, [Raw(offset, value, SESSION.encode(), timestamp=NOW_MS + offset)])
        await self.lane.advance([(batch, self.lane.decode(batch))])
        assert batch.acked

    def events(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(one.value or b"") for one in self.sent if one.topic == topic]

    def letters(self) -> list[Outgoing]:
        return [one for one in self.sent if one.topic == "dead-letter"]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    return Table(monkeypatch)


@pytest.mark.parametrize("row", [CORRUPT, LATER, b"\x90", encode([ROW_VERSION, 3, b""])])
async def test_a_session_whose_row_cannot_be_read_begins_anew(table: Table, row: bytes, caplog: pytest.LogCaptureFixture) -> None:
    table.rows[SESSION.encode()] = row
    worker = Worker(table)
    await worker.read(41)
    await worker.read(42)
    (failure,) = worker.events("failures")
    assert (failure["failure_type"], failure["recovery_action"], failure["session_id"]) == ("UnreadableRowError", "dead_letter", SESSION)
    assert failure["kafka_topic"] == "strata-sessions-tokens-changelog"
    (letter,) = worker.letters()
    assert (letter.key, letter.value) == (SESSION.encode(), row)
    assert dict(letter.headers)["__connect.errors.topic"] == b"strata-sessions-tokens-changelog"
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert SESSION in line
    assert "wanted" in line
    # its positions lie beyond all it can have had: events of its first life keep their ids
    assert [e["token_position"] for e in worker.events("input-stream")] == [41, 42]
    again = Worker(table)
    assert again.sessions.load(PARTITION, [SESSION])[SESSION].state.next_position == 43
    assert not again.sessions.found_bad()


async def test_explicit_positions_go_on_where_they_are(table: Table) -> None:
    table.rows[SESSION.encode()] = CORRUPT
    worker = Worker(table)
    await worker.read(41, position=7)
    assert [e["token_position"] for e in worker.events("input-stream")] == [7]
    assert [e["failure_type"] for e in worker.events("failures")] == ["UnreadableRowError"]


async def test_a_model_state_that_cannot_be_read_is_lost_alone(table: Table) -> None:
    row = table.rows[SESSION.encode()] = encode(Row(ROW_VERSION, SessionState(next_position=5, applied=40, is_open=True), b"bad"))
    worker = Worker(table)
    await worker.read(40)  # was applied: a replay
    await worker.read(41)
    assert [e["token_position"] for e in worker.events("input-stream")] == [5]
    (failure,) = worker.events("failures")
    assert (failure["failure_type"], failure["recovery_action"]) == ("UnreadableStateError", "reset_window")
    assert [letter.value for letter in worker.letters()] == [row]


async def test_a_crash_before_the_store_tells_the_same_again(table: Table) -> None:
    table.rows[SESSION.encode()] = CORRUPT
    first = Worker(table)
    first.crashes = True
    with pytest.raises(ConnectionError):
        await first.read(41)
    assert table.rows[SESSION.encode()] == CORRUPT
    second = Worker(table)
    await second.read(41)
    for topic in ("failures", "input-stream"):
        assert [e["event_id"] for e in first.events(topic)] == [e["event_id"] for e in second.events(topic)]


async def test_a_bad_row_among_silent_sessions_is_told_once_and_the_others_are_closed(table: Table) -> None:
    table.rows[SESSION.encode()] = CORRUPT
    table.rows[b"other"] = encode(Row(ROW_VERSION, SessionState(next_position=5, is_open=True, arrived_ms=1), bytes(8)))
    table.rows[b"third"] = encode(Row(ROW_VERSION, SessionState(next_position=5, is_open=True, arrived_ms=1), b"bad"))
    worker = Worker(table)
    worker.sessions.assigned([PARTITION])
    await worker.lane.advance([])
    assert sorted(e["session_id"] for e in worker.events("failures")) == ["third", SESSION]
    rows = Worker(table).sessions.load(PARTITION, ["other", "third"])
    assert [s.state.is_open for s in rows.values()] == [False, False]
    assert table.rows[SESSION.encode()] == CORRUPT  # kept until its next record
    await worker.read(41)
    assert len(worker.events("failures")) == 2


@pytest.mark.parametrize(("modality", "make"), [("tokens", small_model), ("logs", LogModel), ("metrics", MetricModel)])
async def test_a_silent_session_whose_model_state_cannot_be_read_is_closed(
    table: Table, modality: str, make: Callable[[], SessionModel]
) -> None:
    table.rows[SESSION.encode()] = encode(Row(ROW_VERSION, SessionState(next_position=5, is_open=True, arrived_ms=1), b"bad"))
    worker = Worker(table, modality, make())
    worker.sessions.assigned([PARTITION])
    await worker.lane.advance([])
    assert [e["failure_type"] for e in worker.events("failures")] == ["UnreadableStateError"]
    assert not Worker(table, modality, make()).sessions.load(PARTITION, [SESSION])[SESSION].state.is_open
    await worker.read(41, text="It rains. ", name="a", value=1.0, raw="it rains")
    assert [e["token_position"] for e in worker.events("input-stream")] == [5]
    assert len(worker.events("failures")) == 1


async def test_a_table_of_another_version_is_told_in_measure(table: Table, caplog: pytest.LogCaptureFixture) -> None:
    """After a downgrade every row is of a later version: not all of them are published at once."""
    table.rows = {b"%d" % n: LATER for n in range(MOST_IDLE + 20)}
    worker = Worker(table)
    worker.sessions.assigned([PARTITION])
    await worker.lane.advance([])
    assert len(worker.events("failures")) == MOST_IDLE
    assert "20 more rows cannot be read" in caplog.text


async def test_a_request_for_a_session_that_cannot_be_read_has_no_answer_and_stops_nothing(table: Table) -> None:
    table.rows[SESSION.encode()] = CORRUPT
    worker = Worker(table)
    assert await worker.lane.answer(SESSION, PARTITION, "r", None) == []
    await worker.read(41)
    assert len(worker.events("failures")) == 1


async def test_further_rows_of_a_bad_session_are_kept_as_dead_letters_and_replaced(table: Table) -> None:
    model = MetricModel()
    before = Worker(table, "metrics", model)
    for offset in range(3):
        await before.read(offset, name=f"s{offset}", value=1.0)
    head = {k: v for k, v in table.rows.items() if SUB_KEY not in k}
    rows = dict(table.rows)
    spoilt = next(k for k in rows if SUB_KEY in k)
    table.rows[spoilt] = CORRUPT
    after = Worker(table, "metrics", model)
    await after.read(3, name="s0", value=1.0)
    (failure,) = after.events("failures")
    assert failure["failure_type"] == "UnreadableStateError"
    assert {letter.key: letter.value for letter in after.letters()} == rows | {spoilt: CORRUPT} | head
    left = {k for k, v in table.rows.items() if v is not None}
    assert len(left) == 1 + 2  # the head, and the one series it has now
    table.rows = {k: table.rows[k] for k in left}
    again = Worker(table, "metrics", model)
    await again.read(4, name="s0", value=1.0)
    assert not again.events("failures")


@given(st.binary(max_size=60))
def test_no_bytes_of_a_row_stop_anything(data: bytes) -> None:
    found = Sessions("tokens", None, Inference({"tokens": StrictModel()}, ThreadPoolExecutor(1)))  # type: ignore[arg-type]
    found._unpack(SESSION, PARTITION, data)
