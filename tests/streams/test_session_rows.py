"""Sessions of many rows: only what changed is written, all of it comes back, and memory is bounded by what sessions weigh."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from rocksdict import Options, Rdict

from models.metric_model import MetricModel
from models.null import NullModel
from models.steps import Item, Work
from streams import changelog
from streams.inference import Inference
from streams.session import SessionState
from streams.sessions import Session, Sessions


class Table:
    """RocksDB and changelog of all partitions, as far as streams/changelog.py is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.rows: dict[bytes, bytes] = {}
        self.written: list[dict[bytes, bytes]] = []
        monkeypatch.setattr("streams.changelog.load", lambda table, partition, keys: {k: self.rows[k] for k in keys if k in self.rows})
        monkeypatch.setattr("streams.changelog.rows", lambda table, partition: iter(sorted(self.rows.items())))
        monkeypatch.setattr("streams.changelog.rows_under", self.under)
        monkeypatch.setattr("streams.changelog.store", self.store)

    def under(self, table: Any, partition: int, prefix: bytes) -> dict[bytes, bytes]:
        return {k[len(prefix) :]: v for k, v in self.rows.items() if k.startswith(prefix)}

    async def store(self, table: Any, partition: int, new: dict[bytes, bytes]) -> None:
        self.rows |= new
        self.written.append(dict(new))


MODEL = MetricModel()


def sessions(modality: str = "metrics", **bounds: int) -> Sessions:
    models = {"metrics": MODEL, "tokens": NullModel()}
    return Sessions(modality, None, Inference(models, ThreadPoolExecutor(1)), **bounds)  # type: ignore[arg-type]


def stepped(session: Session, n_series: int, start: int = 0) -> Session:
    items = [Item(start + n, "", (start + n) * 1_000_000, name=f"s{n}", value=float(n)) for n in range(n_series)]
    (result,) = MODEL.step([Work("metrics/a", session.model_state, items)])
    return Session(session.id, 0, SessionState(next_position=start + n_series, is_open=True), result.state)


async def test_only_rows_that_changed_are_written_and_all_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    table, here = Table(monkeypatch), sessions()
    one = stepped(here.load(0, ["a"])["a"], 50)
    here.keep([one], 0.0)
    await here.store([one])
    assert len(table.written[-1]) == 1 + 2 * 50
    two = stepped(here.load(0, ["a"])["a"], 1, 50)
    here.keep([two], 0.0)
    await here.store([two])
    assert [key[:2] for key in table.written[-1]] == [b"a\0", b"a"]  # one tail, and the head after it
    again = sessions().load(0, ["a"])["a"]
    assert again.state == two.state
    assert MODEL.pack(again.model_state) == MODEL.pack(two.model_state)


async def test_a_session_that_was_let_go_comes_back_and_writes_only_what_changes_then(monkeypatch: pytest.MonkeyPatch) -> None:
    table, here = Table(monkeypatch), sessions(max_weight=100)
    for name in ("a", "b", "c"):
        one = stepped(here.load(0, [name])[name], 40)
        here.keep([one], 0.0)
        await here.store([one])
    assert list(here._hot) == ["b", "c"]
    one = stepped(here.load(0, ["a"])["a"], 1, 40)
    here.keep([one], 0.0)
    await here.store([one])
    assert len(table.written[-1]) == 2


async def test_what_is_not_stored_yet_is_not_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    Table(monkeypatch)
    here = sessions(max_weight=10)
    one, other = (stepped(here.load(0, [name])[name], 40) for name in ("a", "b"))
    here.keep([one], 0.0)
    here.keep([other], 0.0)  # the next step has begun
    await here.store([one])
    assert here.load(0, ["b"])["b"] is other
    await here.store([other])
    assert not here._hot


async def test_sessions_that_fell_silent_are_found_among_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    Table(monkeypatch)
    here = sessions()
    one = stepped(here.load(0, ["a"])["a"], 5)
    here.keep([one], 0.0)
    await here.store([one])
    fresh = sessions()
    fresh.assigned([0])
    assert [s.id for s in fresh.idle(1e10, 1.0, lambda partition: False)] == ["a"]


async def test_a_model_of_one_row_is_stored_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    table, here = Table(monkeypatch), sessions("tokens")
    one = Session("a", 0, SessionState(next_position=1), 7)
    here.keep([one], 0.0)
    await here.store([one])
    assert list(table.rows) == [b"a"]
    assert sessions("tokens").load(0, ["a"])["a"].model_state == 7


def test_the_rows_under_a_session_are_its_own_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a database as a table's partition has: neighbours whose ids begin alike, and rows of any bytes."""
    database = Rdict(str(tmp_path / "db"), Options(raw_mode=True))
    names = [slot.to_bytes(4, "big") + kind for slot in (0, 1, 255, 256, 2**32 - 1) for kind in (b"b", b"t")]
    rows = {b"s" + end: end for end in (b"", b"\1", b"x", b"\xff")} | {b"s\0" + n: n for n in names} | {b"sx\0" + n: b"?" for n in names}
    changelog.write(database, rows.items(), 7)
    monkeypatch.setattr("streams.changelog._database", lambda table, partition: database)
    assert changelog.rows_under(None, 0, b"s\0") == {n: n for n in names}  # type: ignore[arg-type]
    assert changelog.rows_under(None, 0, b"t\0") == {}  # type: ignore[arg-type]
    assert {key for key, _ in changelog.rows(None, 0)} == rows.keys()  # type: ignore[arg-type]
    database.close()
