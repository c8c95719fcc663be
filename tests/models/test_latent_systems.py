"""Systems: what other systems wrote before does not change what is odd here; a flood in a known session stays odd; all is bounded."""

import random
from dataclasses import replace

import numpy as np
import pytest

from models.latent_model import YOUNG_LINES
from models.latent_systems import MOST_SYSTEMS, UNSEEN, Systems
from models.learnable import CONTEXT
from models.learner import Heard, Learner, LearningSettings
from models.log_model import LogModel
from models.steps import Item, Work
from tests.models.test_latent_model import KINDS, session, sessions

ODD = [["opened <*>"], ["opened <*>", "closed <*>", "opened <*>"], ["read <*> bytes", "disk <*> is on fire"], [*KINDS, "closed <*>"]]


def others(name, lines, templates=40, length=500):
    """Sessions of a server that writes what no other does."""
    chance = random.Random(name)
    kinds = [f"{name} {word} <*>" for word in ("start", "stop", "poll", "flush") for _ in range(templates // 4)]
    kinds = [f"{kind} of part {chr(97 + n % 26)}{chr(97 + n // 26)}" for n, kind in enumerate(kinds)]
    return [lesson for _ in range(lines // length) for lesson in session(chance.choices(kinds, range(1, len(kinds) + 1), k=length))]


def lived(n):
    """Sessions of the system that the tests look at, their worst lines as they are in life."""
    chance = random.Random(n)
    return [replace(lesson, worst_line=chance.random() * 0.45 if lesson.whole else 0.0) for lesson in sessions(n)]


def taught(systems, lessons, piece=2000):
    for at in range(0, len(lessons), piece):
        systems = systems.taught(lessons[at : at + piece], 0)
    return systems


def read(systems, texts, name="s", level="informational"):
    """Labels, deviations and reasons of a session's lines and of the whole."""
    items = [Item(n, text, n * 1_000_000, name=level, ends_session=n == len(texts) - 1) for n, text in enumerate(texts)]
    [result] = LogModel(systems).step([Work(f"logs/{name}", None, items)])
    assert result.error is None
    found = [finding for item in result.items for finding in item.findings if finding.task == "anomaly"]
    return [(finding.label, finding.output["deviations"], finding.output["reason"]) for finding in found]


@pytest.fixture(scope="module")
def crowded():
    """A tenant of two systems that are no longer young: long sessions, more templates than are compared with each other."""
    return taught(taught(Systems.new(), others("north", YOUNG_LINES + 2000, templates=160)), others("south", YOUNG_LINES + 2000))


def test_what_other_systems_wrote_before_does_not_change_what_is_odd_here(crowded):
    here = lived(3000)
    alone, beside = taught(Systems.new(), here), taught(crowded, here)
    for texts in (*ODD, KINDS, [KINDS[0], *KINDS[1:3] * 3, KINDS[3]]):
        assert read(beside, texts) == read(alone, texts)
    assert read(beside, KINDS)[-1][0] == "normal"
    assert all(read(beside, texts)[-1][0] == "anomaly" for texts in ODD)


def test_what_is_odd_in_the_others_stays_odd_when_a_new_system_comes(crowded):
    known = others("south", 40, length=40)[:39]
    texts = [*[lesson.text for lesson in known], "kernel panic <*>"]
    before, after = read(crowded, texts), read(taught(crowded, sessions(1500)), texts)
    assert before == after
    assert before[-2][0] == "anomaly"
    assert "unseen template" in before[-2][2]


def test_a_new_system_is_said_to_be_unseen_while_it_is_rare_and_no_longer(crowded):
    first = read(crowded, KINDS)
    assert all(label == "anomaly" and UNSEEN in reason for label, _, reason in first[:-1])
    known = read(taught(crowded, lived(300)), KINDS)
    assert [label for label, _, _ in known] == ["normal"] * len(known)


def test_a_flood_of_unseen_lines_stays_of_the_system_whose_session_it_is_in(crowded):
    """However long it lasts, and though its lines alone would be of a new system."""
    start = [lesson.text for lesson in others("south", 20, length=20)[:20]]
    flood = [f"flood {'abcdefgh'[n % 8]} <*>" for n in range(200)]
    systems = crowded
    for n in range(20):
        texts = [*start, *flood]
        items = [Item(k, text, k, name="informational") for k, text in enumerate(texts)]
        [result] = LogModel(systems).step([Work(f"logs/{n}", None, items)])
        assert {lesson.system for lesson in result.lessons} == {2}
        systems = systems.taught(result.lessons, n)
    assert all(label == "anomaly" for label, _, _ in read(systems, [*start, *flood])[len(start) : -1])


def test_an_unseen_first_line_does_not_make_a_known_session_new(crowded):
    systems = taught(crowded, sessions(6000))  # no longer young: the next new system is another
    assert systems.assigned(0, (), ["hacked <*>", *KINDS]) == [4, 3, 3, 3, 3]
    assert systems.assigned(0, (), [*KINDS * 3, *["hacked <*>"] * 30]) == [3] * 42


def test_systems_are_bounded_and_the_one_that_wrote_nothing_for_longest_is_forgotten():
    systems, seen = Systems.new(), list[int]()
    for n in range(MOST_SYSTEMS + 1):
        systems = taught(systems, others(f"system {'abcdefghijk'[n]}", YOUNG_LINES + 2000, templates=8), piece=4096)
        systems = taught(systems, others("system a", 1000, templates=8))
        seen.append(len(systems.models))
    assert max(seen) == MOST_SYSTEMS
    assert 1 in systems.models
    assert 2 not in systems.models
    assert systems.youngest == MOST_SYSTEMS + 2


def test_systems_come_back_from_their_tensors(crowded):
    some = taught(crowded, sessions(40))
    again = Systems.new().with_tensors(some.tensors(), "5")
    assert again.version == "5"
    assert [np.array_equal(again.tensors()[name], tensor) for name, tensor in some.tensors().items()].count(False) == 0
    for texts in (*ODD, KINDS):
        assert read(again, texts) == read(some, texts)


def test_a_session_is_of_one_system_however_its_lines_come(crowded):
    texts = [lesson.text for lesson in others("south", 30, length=30)[:30]]
    whole = crowded.assigned(0, (), texts)
    for size in (1, 3, 7):
        found, before = list[int](), ()
        for at in range(0, len(texts), size):
            some = texts[at : at + size]
            found += crowded.assigned(found[-1] if found else 0, before, some)
            before = (*before, *some)[-CONTEXT:]
        assert found == whole


def test_a_new_system_is_learned_though_the_tenant_is_past_its_warm_up():
    """Held is what is odd in a system that is known; the young one's lines are its normal."""
    learner: Learner[Systems] = Learner("t", LearningSettings(warm_up_lines=500))
    for lesson in others("north", 1000):
        learner.hear(Heard(replace(lesson, system=1), 1))
    odd = replace(sessions(1)[0], surprise=0.9)
    learner.hear(Heard(replace(odd, system=1), 1))
    assert len(learner.quarantine) == 1
    learner.hear(Heard(replace(odd, text="other", system=2), 1))
    assert len(learner.quarantine) == 1


def test_a_burst_of_first_lines_teaches_what_a_trickle_does():
    """Thousands of lines may wait for the first version: the usual must be usual to it."""
    burst = Systems.new().taught(lived(700), 0)
    assert {label for label, _, _ in read(burst, KINDS)} == {"normal"}
    assert read(burst, ODD[2])[1][0] == "anomaly"


def test_a_version_is_not_rolled_back_for_a_system_that_its_predecessor_did_not_know():
    learner: Learner[Systems] = Learner("t", LearningSettings(template_share=1.0))
    model, previous, actions = Systems.new(), None, []
    for lesson in lived(1500):
        learner.hear(Heard(replace(lesson, surprise=model.surprise([lesson])[0] if learner.waiting % 50 == 0 else 0.0), 1))
        if learner.waiting >= 2000:
            made = learner.update(model, previous)
            previous, model = (model, made.model) if made.action == "taught" else (None, made.model)
            actions.append(made.action)
    assert actions
    assert set(actions) == {"taught"}


def test_a_change_that_stays_is_odd_for_an_hour_and_normal_a_few_hours_later(crowded):
    """A new release of a known system: one line in ten is of a template never met."""
    learner: Learner[Systems] = Learner("t", LearningSettings(warm_up_lines=1000, template_share=1.0))
    texts = [lesson.text for lesson in others("south", 9000, length=9000)][:9000]
    lines = session([text if n % 10 else "release <*> greets" for n, text in enumerate(texts)])[:9000]
    model, previous, flagged = crowded, None, list[bool]()
    for at in range(0, 9000, 500):
        some = [replace(line, system=2) for line in lines[at : at + 500]]
        for n, (line, surprise) in enumerate(zip(some, model.surprise(some), strict=True)):
            learner.hear(Heard(replace(line, surprise=surprise), (at + n) * 2_000_000))
            flagged += [surprise >= 0.5] if n % 10 == 0 else []
        made = learner.update(model, previous)
        assert made.action == "taught", made.reason
        previous, model = model, made.model
    assert all(flagged[:180])
    assert not any(flagged[-100:])
