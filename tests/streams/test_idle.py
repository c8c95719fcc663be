"""A session is closed for silence only when silence is known: nothing of its partition waits unread."""

from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from streams.batching import Batch, BatchConsumer
from streams.delivery import make_app
from streams.session import SessionState
from streams.sessions import Session, Sessions

PLACE = TP("tokens", 0)
HOUR_MS = 3_600_000.0


def sessions(monkeypatch: pytest.MonkeyPatch) -> Sessions:
    monkeypatch.setattr("streams.changelog.load", lambda table, partition, keys: {})
    return Sessions("tokens", table=None, inference=None)  # type: ignore[arg-type]


def heard(name: str, arrived_ms: float, partition: int = 0) -> Session:
    return Session(name, partition, SessionState(next_position=1, is_open=True, arrived_ms=int(arrived_ms)), None)


def idle(here: Sessions, now_ms: float, behind: tuple[int, ...] = (), most: int = 500) -> list[str]:
    return [s.id for s in here.idle(now_ms, 1800.0, lambda partition: partition in behind, most)]


def test_a_session_of_a_partition_with_unread_records_is_not_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    here = sessions(monkeypatch)
    here.keep([heard("a", 0, 0), heard("b", 0, 1)], 0.0)
    assert idle(here, HOUR_MS, behind=(0,)) == ["b"]
    assert idle(here, HOUR_MS) == ["a", "b"]


def test_a_session_read_just_now_is_not_silent_however_old_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    here = sessions(monkeypatch)
    here.keep([heard("replayed", 5.0)], HOUR_MS)
    assert idle(here, HOUR_MS + 1000) == []
    assert idle(here, 2 * HOUR_MS) == ["replayed"]


def test_so_many_are_closed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    here = sessions(monkeypatch)
    here.keep([heard(str(n), 0, n % 2) for n in range(10)], 0.0)
    assert len(idle(here, HOUR_MS, most=7)) == 7


async def test_records_are_unread_until_a_step_has_taken_the_last_one(tmp_path: Path) -> None:
    consumer: BatchConsumer = make_app("unit", "127.0.0.1:1", tmp_path).consumer  # type: ignore[assignment]
    state = SimpleNamespace(_position=None, highwater=None)
    assignment: Any = SimpleNamespace(tps={PLACE}, state_value=lambda tp: state)
    subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
    consumer._thread._ensure_consumer = lambda: SimpleNamespace(_subscription=subscription)  # type: ignore[method-assign, assignment, return-value]
    assert consumer.unread(PLACE, 0)  # not sought yet
    state._position = 5
    assert consumer.unread(PLACE, 0)  # the broker has not said what there is
    state.highwater = 7
    assert consumer.unread(PLACE, 5)
    state._position = 7
    consumer.in_flight.setdefault(PLACE, deque()).append(Batch("tokens", 0, [SimpleNamespace(offset=6)]))  # type: ignore[list-item]
    assert consumer.unread(PLACE, 5)
    assert not consumer.unread(PLACE, 7)  # taken, though not acked
    assert consumer.unread(TP("tokens", 1), 7)  # not ours
