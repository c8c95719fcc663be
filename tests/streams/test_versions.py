"""Whatever crashes and whenever: a line that is judged again is judged by the version that judged it first."""

import random
from types import SimpleNamespace

import pytest

from models.steps import Answer, Item, ItemResult, StepResult, Work
from streams.inference import Stepped
from streams.judging import Asked, Judging
from streams.session import SessionState
from streams.sessions import Session
from streams.versions import Schedule, Versions


class Table:
    """Rows that survive the worker."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: dict[tuple[int, bytes], bytes] = {}
        monkeypatch.setattr("streams.changelog.load", lambda table, p, keys: {k: self.rows[p, k] for k in keys if (p, k) in self.rows})
        monkeypatch.setattr("streams.changelog.store", self._store)

    async def _store(self, table, partition, rows) -> None:
        self.rows |= {(partition, key): value for key, value in rows.items()}


class Versioned:
    """Versions as they become known, none ever gone."""

    def __init__(self) -> None:
        self.number = 0

    def newest(self, tenant: str) -> str:
        return f"v{self.number}" if self.number else ""

    async def has_by_now(self, name: str) -> bool:
        return name not in self.gone

    async def ready(self) -> None: ...

    async def model(self, tenant: str, name: str) -> str:
        return f"model of {name}"

    gone: frozenset[str] = frozenset()


class Crash(Exception):
    pass


@pytest.mark.parametrize("seed", range(20))
async def test_no_crash_lets_a_line_be_judged_twice_differently(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, table, learned = random.Random(seed), Table(monkeypatch), Versioned()
    log_end, stored, published, repeated = 50, 0, dict[int, str](), 0

    def end(partition: int) -> int:
        return log_end

    versions = Versions(None, learned, end)  # type: ignore[arg-type]
    at = 0
    for _ in range(1000):
        log_end += rng.randrange(9)
        learned.number += rng.random() < 0.3
        try:
            last = min(at + rng.randrange(1, 30), log_end)
            offsets = list(range(at, last))
            if not offsets:
                continue
            versions.take_up(0, "t", offsets[0])
            names = await versions.judges(0, "t", offsets)
            if rng.random() < 0.05:
                raise Crash
            await versions.store()
            for offset, name in zip(offsets, names, strict=True):
                repeated += offset in published
                assert published.setdefault(offset, name) == name, f"line {offset}"
                if rng.random() < 0.01:
                    raise Crash
            at = last
            if rng.random() < 0.6:  # deliveries lag behind
                stored = at
                versions.delivered(0, stored)
        except Crash:
            log_end += rng.randrange(30)
            learned.number += rng.randrange(3)
            versions, at = Versions(None, learned, end), stored  # type: ignore[arg-type]
    assert repeated > 10
    assert len(set(published.values())) > 2
    assert all(len(row) < 400 for row in table.rows.values())  # old switches go


async def test_a_newer_version_waits_until_the_end_of_the_log_is_known_and_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    Table(monkeypatch)
    learned, ends = Versioned(), {0: None}
    versions = Versions(None, learned, ends.get)  # type: ignore[arg-type]
    learned.number = 1
    versions.take_up(0, "t", 5)
    assert await versions.judges(0, "t", [5]) == [""]
    ends[0] = 100  # type: ignore[assignment]
    versions.take_up(0, "t", 99)
    assert await versions.judges(0, "t", [99]) == [""]
    versions.take_up(0, "t", 100)
    assert await versions.judges(0, "t", [99, 100]) == ["", "v1"]


async def test_where_a_version_is_gone_the_newest_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    Table(monkeypatch)
    learned = Versioned()
    versions = Versions(None, learned, lambda partition: 0)  # type: ignore[arg-type]
    learned.number = 1
    versions.take_up(0, "t", 0)
    learned.number, learned.gone = 7, frozenset({"v1"})
    assert await versions.judges(0, "t", [0]) == ["v7"]


def test_a_schedule_keeps_what_a_replay_can_need() -> None:
    schedule = Schedule().switched(10, "a").switched(20, "b").switched(30, "c")
    assert [schedule.at(offset) for offset in (0, 9, 10, 19, 20, 35)] == ["", "", "a", "a", "b", "c"]
    assert [schedule.without(25).at(offset) for offset in (25, 29, 30)] == ["b", "b", "c"]
    assert len(schedule.without(25).switches) == 2
    assert schedule.without(5) == schedule
    assert schedule.switched(30, "d").switches[-1] == (30, "d")


async def test_lines_of_two_versions_are_two_steps_of_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    Table(monkeypatch)
    learned, met = Versioned(), []

    class Inference:
        def version(self, modality: str) -> str:
            return "shipped"

        async def step(self, modality: str, works: list[Work]):
            met.append([(w.state, [i.position for i in w.items], w.knowledge) for w in works])
            results = []
            for w in works:
                items = tuple(ItemResult(i.position, findings=(Answer("a", i.position, i.position + 1, True),)) for i in w.items)
                results.append(Stepped(StepResult((w.state or 0) + len(w.items), items)))
            return results, 1.0

    versions = Versions(None, learned, lambda partition: 0)  # type: ignore[arg-type]
    learned.number = 1
    versions.take_up(0, "default", 3)
    judging = Judging("logs", Inference(), versions)  # type: ignore[arg-type]
    reads = [SimpleNamespace(offset=n) for n in (1, 2, 3, 4)]
    session = Session("s", 0, SessionState(), None)
    (judged,), _ = await judging.step([Asked(session, reads, [Item(n, "x", 0) for n in range(4)])])  # type: ignore[arg-type]
    assert met == [[(None, [0, 1], None)], [(2, [2, 3], "model of v1")]]
    assert list(judged.versions) == ["", "", "v1", "v1"]
    assert judged.stepped.result.state == 4
    assert [i.position for i in judged.stepped.result.items] == [0, 1, 2, 3]
    assert [judging.name_of(v) for v in judged.versions] == ["shipped", "shipped", "v1", "v1"]
