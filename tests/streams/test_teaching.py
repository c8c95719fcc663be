"""Learners at work: a crash anywhere gives the same versions in the end, what is stored comes before what is used, and everything has a bound."""

import random
from concurrent.futures import Executor, Future
from types import SimpleNamespace

import pytest

from models.learnable import Lesson
from models.learner import Drift, LearningSettings
from streams.agents.lessons import events_of
from streams.learned import Learned
from streams.lessons import LessonsRecord, Said, decode, records
from streams.session import Place
from streams.teaching import Happened, Teaching
from tests.models.count_model import CountModel

SETTINGS = LearningSettings(cpu_share=1e9, warm_up_lines=10**9)
PLACE = Place("logs", 2, 77, 1_700_000_000_000)


class Inline(Executor):
    def submit(self, fn, /, *args, **kwargs):
        done: Future = Future()
        done.set_result(fn(*args, **kwargs))
        return done


class World:
    """What outlives a worker: the lessons topic and the learning table; and what was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lessons: list[SimpleNamespace] = []
        self.rows: dict[bytes, bytes] = {}
        self.told: list[Happened] = []
        self.order: list[str] = []
        self.dies_before_store = False
        monkeypatch.setattr("streams.changelog.load", lambda table, p, keys: {k: self.rows[k] for k in keys if k in self.rows})
        monkeypatch.setattr("streams.changelog.rows", lambda table, p: list(self.rows.items()))
        monkeypatch.setattr("streams.changelog.store", self._store)

    async def _store(self, table, partition, rows) -> None:
        if self.dies_before_store:
            raise ConnectionError("dies")
        self.order.append("store")
        for key, value in rows.items():
            self.learned.note(key, value)
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value

    async def _publish(self, outgoing) -> None:
        self.order.append("publish")

    async def _read(self, partition: int, begin: int, end: int):
        yield [record for record in self.lessons if begin <= record.offset < end]

    def _tell(self, happened: Happened, partition: int) -> list:
        self.told.append(happened)
        return []

    def worker(self, settings: LearningSettings = SETTINGS) -> Teaching:
        """A new one, that has read all versions there are."""
        self.learned = Learned("", "learning", CountModel())
        self.learned._ready.set()
        self.learned._task = SimpleNamespace()  # type: ignore[assignment]
        for key, value in self.rows.items():
            self.learned.note(key, value)
        return Teaching(settings, self.learned, None, self._read, self._publish, self._tell, Inline())  # type: ignore[arg-type]

    def say(self, texts: list[str], tenant: str = "t", at_us: int = 0) -> SimpleNamespace:
        lessons = [Lesson(text, (), 6, 0.0, 0.1) for text in texts]
        (outgoing,) = records("lessons", [Said(tenant, PLACE, at_us, lessons)], 10**18)
        self.lessons.append(SimpleNamespace(offset=len(self.lessons), value=outgoing.value))
        return self.lessons[-1]

    def updates(self) -> list[Happened]:
        return [told for told in self.told if not isinstance(told.what, Drift)]


def batch(partition: int, some: list[SimpleNamespace]) -> SimpleNamespace:
    return SimpleNamespace(partition=partition, records=some, ack=lambda: None)


async def _newest(monkeypatch: pytest.MonkeyPatch, crashes: random.Random | None) -> tuple[str, World]:
    world, rng = World(monkeypatch), random.Random(5)
    worker = world.worker()
    for _ in range(150):
        said = world.say([f"step {rng.randrange(40)}" for _ in range(rng.randrange(1, 20))])
        await worker.advance([batch(0, [said])])
        if crashes and crashes.random() < 0.15:
            worker = world.worker()
    return world.learned.newest("t"), world


@pytest.mark.parametrize("seed", range(5))
async def test_a_learner_that_dies_anywhere_makes_the_versions_of_one_that_never_did(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calm, world = await _newest(monkeypatch, None)
    wild, _ = await _newest(monkeypatch, random.Random(seed))
    assert calm == wild
    assert calm.startswith("count-1+t.")
    assert len(world.updates()) > 10
    assert [told.what.action for told in world.updates()] == ["taught"] * len(world.updates())


async def test_an_update_is_told_then_stored_and_only_then_there_to_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    worker = world.worker()
    await worker.advance([batch(0, [world.say(["a"])])])
    world.dies_before_store = True
    with pytest.raises(ConnectionError):
        await worker.advance([batch(0, [world.say([f"step {n % 9}" for n in range(150)])])])
    assert len(world.updates()) == 1
    assert world.learned.newest("t") == ""
    world.dies_before_store = False
    worker = world.worker()
    await worker.advance([batch(0, [world.say(["b"])])])
    assert world.learned.newest("t") == world.updates()[-1].version != ""
    assert (await world.learned.model("t", world.learned.newest("t"))).version == world.learned.newest("t")


async def test_a_rebalance_to_a_worker_and_back_goes_on_from_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    first = world.worker()
    await first.advance([batch(0, [world.say(["a"] * 60)])])
    first.moved([0])
    learned = world.learned
    second = world.worker()
    await second.advance([batch(0, [world.say(["b"] * 60)])])  # 120 together: the 60 are heard again from their topic
    assert len(world.updates()) == 1
    first._learned = world.learned = learned
    for key, value in world.rows.items():
        learned.note(key, value)
    await first.advance([batch(0, [world.say(["c"])])])
    assert first._students["t"].current.version == world.updates()[0].version
    assert first._students["t"].learner.lines == 121


async def test_another_release_learns_from_the_buffer_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    await world.worker().advance([batch(0, [world.say([f"step {n % 9}" for n in range(300)])])])
    worker = world.worker()
    world.learned.base = CountModel("count-2")
    world.learned._newest.clear()
    await worker.advance([batch(0, [world.say(["step 1"])])])
    assert world.learned.newest("t").startswith("count-2+t.")
    model = await world.learned.model("t", world.learned.newest("t"))
    assert model.surprise([Lesson("step 3", (), 6, 0.0, 0.0)])[0] < 0.5


async def test_more_tenants_than_allowed_have_no_learner_and_an_unreadable_lesson_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    worker = world.worker(LearningSettings(cpu_share=1e9, max_tenants=3))
    for n in range(10):
        await worker.advance([batch(0, [world.say(["a"] * 200, f"tenant {n}")])])
    assert len(worker._students) == 3
    assert len([key for key in world.rows if key.startswith(b"learner\0")]) == 3
    await worker.advance([batch(0, [SimpleNamespace(offset=10, value=b"\xc1"), SimpleNamespace(offset=11, value=None)])])


async def test_while_a_share_of_a_core_is_used_up_lines_wait_for_one_larger_update(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    worker = world.worker(LearningSettings(cpu_share=1e-9, most_lines=1000))
    for _ in range(20):
        await worker.advance([batch(0, [world.say([f"step {n}" for n in range(90)])])])
    fresh = [told.what.figures["fresh"] for told in world.updates()]
    assert len(fresh) == 2  # the first at once, then one that could not wait
    assert fresh[1] > 700


def test_no_lesson_is_later_than_now() -> None:
    made = records(
        "lessons", [Said("a", PLACE, 500, [Lesson("x", (), 6, 0.0, 0.0)]), Said("a", PLACE, 2000, [Lesson("y", (), 6, 0.0, 0.0)] * 2)], 1000
    )
    (outgoing,) = made
    assert outgoing.value is not None
    assert [heard.event_us for heard in decode(outgoing.value).heard()] == [500, 1000, 1000]
    assert records("lessons", [Said("a", PLACE, 500, [])], 1000) == []


def test_a_bad_version_is_named_in_performance_and_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    from models.learner import Update

    cause = LessonsRecord("t", PLACE, [], b"")
    refused = Happened("t", Update(CountModel(), "refused", "t.9", "weights cells are not finite"), "count-1", cause, 5)
    update, rollback, failure = events_of(refused)
    assert (update.metric_name, rollback.metric_name) == ("log.update", "log.rollback")  # type: ignore[union-attr]
    assert '"version":"t.9"' in rollback.context.replace(" ", "")  # type: ignore[union-attr]
    assert failure.exception == "version t.9: weights cells are not finite"  # type: ignore[union-attr]
    assert failure.recovery_action == "refuse_update"  # type: ignore[union-attr]
    assert failure.model_version == "count-1"
    assert events_of(refused) == events_of(refused)
    (drift,) = events_of(Happened("t", Drift("adwin", 500, 0.1, 0.4), "count-1", cause, 5))
    assert drift.metric_name == "log.drift"  # type: ignore[union-attr]
    assert '"detector":"adwin"' in drift.context.replace(" ", "")  # type: ignore[union-attr]
