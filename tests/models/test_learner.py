"""A learner learns the usual, holds the unusual, refuses and rolls back what harms, and goes on after a restart as if nothing had been."""

from dataclasses import replace

import pytest

from models import lesson_codec
from models.learnable import Lesson
from models.learner import Heard, Learner, LearningSettings, Update
from models.model_version import name_of
from tests.models.count_model import CountModel

SECOND, HOUR = 1_000_000, 3_600_000_000
SETTINGS = LearningSettings(warm_up_lines=2000)
USUAL = [f"step {n}" for n in range(10)]


class Class:
    """A tenant's lines, judged by its newest version, and a clock that the test moves."""

    def __init__(self, settings: LearningSettings = SETTINGS) -> None:
        self.learner: Learner[CountModel] = Learner("t", settings)
        self.model, self.previous = CountModel(), None
        self.now_us = 1_700_000_000 * SECOND
        self.last = ""
        self.updates: list[Update[CountModel]] = []

    def judge(self, text: str) -> float:
        return self.model.surprise([Lesson(text, (self.last,), 6, 1.0, 0.0)])[0]

    def hear(self, text: str, gap_us: int = SECOND) -> float:
        """The surprise of the line before it was learned from."""
        lesson = Lesson(text, (self.last,), 6, gap_us / SECOND, 0.0)
        lesson = replace(lesson, surprise=self.model.surprise([lesson])[0])
        self.now_us += gap_us
        self.learner.hear(Heard(lesson, self.now_us))
        self.last = text
        if self.learner.is_due:
            self.update()
        return lesson.surprise

    def update(self) -> Update[CountModel]:
        made = self.learner.update(self.model, self.previous)
        if made.action == "taught":
            self.previous, self.model = self.model, replace(made.model, version=name_of("count-1", made.subject, made.model))
        elif made.action == "rolled_back":
            self.model, self.previous = made.model, None
        self.updates.append(made)
        return made

    def usual(self, n: int) -> None:
        for i in range(n):
            self.hear(USUAL[i % len(USUAL)])


def grown() -> Class:
    tenant = Class()
    tenant.usual(2500)
    return tenant


def test_an_update_follows_every_hundred_lines_and_the_usual_becomes_usual() -> None:
    tenant = Class()
    tenant.usual(1020)
    assert [made.action for made in tenant.updates] == ["taught"] * 10
    assert len({made.model.version for made in tenant.updates}) <= 10
    assert tenant.judge(USUAL[1020 % 10]) < 0.1
    assert tenant.judge("never seen") == 1.0


def test_every_line_but_the_held_ones_is_learned_once() -> None:
    tenant = Class(LearningSettings(warm_up_lines=10**9, template_share=1.0))
    tenant.usual(1000)
    tenant.learner.update(tenant.model, None)  # what the last one left for this one to be judged by
    taught = tenant.learner.taught + tenant.learner.waiting
    assert taught == 1000


@pytest.mark.parametrize("kinds", [1, 50_000])
def test_a_flood_of_anomalous_lines_is_not_normal_within_an_hour(kinds: int) -> None:
    """50,000 lines in an hour of event time, identical or similar: each is as unusual as the first."""
    tenant = grown()
    frozen = tenant.model
    flood = [f"disk {n % kinds} is on fire" for n in range(50_000)]
    gap = HOUR // len(flood) - 1
    for n, text in enumerate(flood):
        unlearned = frozen.surprise([Lesson(text, (tenant.last,), 6, 1.0, 0.0)])[0]
        assert tenant.hear(text, gap) == 1.0 or unlearned < 0.5, f"line {n} of the flood"  # its cell is a usual line's
        if n % 50 == 0:
            tenant.last = ""
            tenant.hear(USUAL[n // 50 % 10], 1)
    assert len(tenant.learner.quarantine) <= SETTINGS.held_lines
    assert len(tenant.learner.pack()) < 1_000_000
    # after the hour it may be learned, a few lines an update
    tenant.now_us += HOUR
    before = tenant.learner.taught
    tenant.usual(1000)
    released = [made.figures.get("released", 0) for made in tenant.updates if made.figures]
    assert 0 < sum(released) <= 0.1 * (tenant.learner.taught - before) + 10
    assert all(made.figures["released"] <= 0.1 * made.figures["fresh"] for made in tenant.updates if "fresh" in made.figures)
    if kinds == 1:
        tenant.last = flood[0]
        assert tenant.judge(flood[0]) < 1.0


def test_what_was_held_is_suspect_for_an_hour_however_it_is_judged() -> None:
    tenant = grown()
    odd = Lesson("odd", ("step 1",), 6, 1.0, 0.9)
    tenant.learner.hear(Heard(odd, tenant.now_us))
    waiting = tenant.learner.waiting
    tenant.learner.hear(Heard(replace(odd, surprise=0.0), tenant.now_us + HOUR - 1))
    assert tenant.learner.waiting == waiting
    tenant.learner.hear(Heard(replace(odd, surprise=0.0), tenant.now_us + HOUR + 1))
    assert tenant.learner.waiting == waiting + 1


def test_a_line_of_the_past_does_not_move_the_clock_back() -> None:
    tenant = grown()
    tenant.learner.hear(Heard(Lesson("a", (), 6, 0.0, 0.0), 0))
    assert tenant.learner.clock_us == tenant.now_us


def test_one_template_is_at_most_its_share_of_an_update() -> None:
    tenant = Class()
    for n in range(100):
        tenant.learner.hear(Heard(Lesson("beat" if n % 10 else f"line {n}", (), 6, 1.0, 0.0), n))
    made = tenant.update()
    assert made.figures["fresh"] == 40 + 8  # half of 80 new lines, 20 are left to judge; and the 8 others


@pytest.mark.parametrize(
    ("text", "reason"), [("NAN", "not finite"), ("CRASH", "a lesson that crashes"), ("BAD", "held-out lines would surprise")]
)
def test_a_bad_update_is_refused_and_named_and_the_next_one_is_good(text: str, reason: str) -> None:
    tenant = grown()
    before = tenant.model
    tenant.learner.hear(Heard(Lesson(text, ("step 1",), 6, 1.0, 0.0), tenant.now_us))
    tenant.usual(100)
    refused = [made for made in tenant.updates if made.action == "refused"]
    assert len(refused) == 1
    assert reason in refused[0].reason
    assert refused[0].subject == f"t.{tenant.learner.updates}"
    assert tenant.model is before
    tenant.usual(100)
    assert tenant.updates[-1].action == "taught"
    assert len([made for made in tenant.updates if made.action == "refused"]) == 1


def test_a_version_that_proves_worse_than_the_one_before_is_rolled_back() -> None:
    tenant = grown()
    good = tenant.model
    tenant.previous, tenant.model = good, replace(tenant.model, poisoned=True, version="bad")
    tenant.learner._pending.clear()
    for n in range(120):
        tenant.learner.hear(Heard(Lesson(USUAL[n % 10], (USUAL[(n - 1) % 10],), 6, 1.0, 0.0), tenant.now_us))
    made = tenant.update()
    assert (made.action, made.subject) == ("rolled_back", "bad")
    assert tenant.model is good
    assert tenant.update().action == "taught"


def test_a_packed_learner_makes_the_same_versions_as_one_that_never_stopped() -> None:
    whole, broken = grown(), grown()
    broken.learner = Learner.unpack("t", SETTINGS, broken.learner.pack())
    for tenant in (whole, broken):
        for n in range(500):
            tenant.hear("odd one" if n % 97 == 0 else USUAL[n % 10])
    assert whole.model.version == broken.model.version != "count-1"
    assert whole.learner.pack() == broken.learner.pack()


def test_drift_is_told_by_both_detectors_when_the_usual_changes() -> None:
    learner, seen = Learner[CountModel]("t", SETTINGS), []
    for n in range(4000):
        seen += learner.hear(Heard(Lesson("a", (), 6, 1.0, 0.1 * (n % 2) if n < 3000 else 0.9), n))
    first = {drift.detector: drift for drift in reversed(seen)}
    assert first.keys() == {"adwin", "page_hinkley"}
    for drift in first.values():
        assert 3000 < drift.line < 3100
        assert drift.mean_before < drift.recent


def test_a_learner_does_not_grow_with_the_lines_it_hears() -> None:
    tenant, sizes = Class(LearningSettings(warm_up_lines=500)), []
    for n in range(20_000):
        tenant.hear(f"line {n * 7919 % 3000}" if n % 3 else f"unseen {n}")
        if n % 5000 == 4999:
            sizes.append(len(tenant.learner.pack()))
    assert max(sizes[1:]) < 1.2 * sizes[0]


def test_lessons_survive_their_bytes() -> None:
    lessons = [
        Lesson("a \x00 b", ("x", "y"), 3, 1.5, 0.25, True),
        Lesson("", ("a \x00 b",), 6, 0.0, 0.5, True, (("a \x00 b", 3), ("y", 1)), 0.7),
        Lesson("naïve", (), 7, 0.0, 0.0, is_replay=True),
    ]
    assert lesson_codec.decode(lesson_codec.encode(lessons)) == lessons
    assert lesson_codec.decode(lesson_codec.encode([])) == []
