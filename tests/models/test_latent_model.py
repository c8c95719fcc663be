"""LatentModel: what is taught is known, in any grouping; a line's verdict is its own; bytes of tensors give the same model back."""

import random
from dataclasses import replace

import numpy as np

from models import latent_teaching
from models.latent_lines import Lines
from models.latent_model import LatentModel
from models.learnable import CONTEXT, Lesson

KINDS = ["opened <*>", "read <*> bytes", "read <*> bytes", "closed <*>"]


def session(kinds, worst=0.0):
    lines = [Lesson(text, tuple(kinds[max(n - CONTEXT, 0) : n]), 6, float(n > 0), 0.0) for n, text in enumerate(kinds)]
    whole = tuple((kind, kinds.count(kind)) for kind in dict.fromkeys(kinds))
    end = Lesson("", tuple(kinds[-CONTEXT:]), 6, 0.0, 0.0, True)
    return [*lines, end, replace(end, surprise=worst, whole=whole, worst_line=worst)]


def sessions(n, seed=1):
    chance = random.Random(seed)
    return [lesson for _ in range(n) for lesson in session([KINDS[0], *KINDS[1:3] * chance.randrange(1, 4), KINDS[3]])]


def taught(lessons):
    """As a learner does: a hundred at a time."""
    model = LatentModel.new()
    for at in range(0, len(lessons), 100):
        model = latent_teaching.taught(model, lessons[at : at + 100], at)
    return model


def verdict_of_session(model, kinds):
    return model.judge_session({kind: kinds.count(kind) for kind in kinds}, 0.0)


def test_a_session_that_ends_early_is_odd_to_a_model_taught_by_whole_ones():
    model = taught(sessions(3000))
    usual, early = verdict_of_session(model, KINDS), verdict_of_session(model, KINDS[:2])
    assert usual.deviations < 2.0
    assert early.deviations >= 3.0
    assert "incomplete or odd session" in early.reasons


def test_an_unseen_template_and_an_unseen_transition_are_named():
    model = taught(sessions(3000))
    strange = Lesson("disk <*> is on fire", (KINDS[0],), 6, 1.0, 0.0)
    backwards = Lesson(KINDS[0], (KINDS[0],), 6, 1.0, 0.0)
    usual = Lesson(KINDS[1], (KINDS[0],), 6, 1.0, 0.0)
    verdicts = model.judge(Lines.of([strange, backwards, usual]))
    assert "unseen template" in verdicts[0].reasons
    assert {"unseen transition", "off trajectory"} <= set(verdicts[1].reasons)
    assert verdicts[2].reasons == ()
    assert min(verdicts[0].deviations, verdicts[1].deviations) >= 3.0 > verdicts[2].deviations


def test_a_verdict_does_not_depend_on_the_lines_beside_it():
    model = taught(sessions(500))
    lessons = [*sessions(20, seed=2), *session(["odd <*>", KINDS[3], KINDS[0]])]
    lines = [lesson for lesson in lessons if not lesson.whole]
    together = model.judge(Lines.of(lines))
    assert together == [model.judge(Lines.of([line]))[0] for line in lines]


def test_learning_makes_a_new_model_and_leaves_the_old():
    before = LatentModel.new()
    kept, cells = {name: tensor.clone() for name, tensor in before.tensors().items()}, before.counts.cells.copy()
    latent_teaching.taught(before, sessions(10), 0)
    assert all(np.array_equal(kept[name], tensor) for name, tensor in before.tensors().items())
    assert np.array_equal(cells, before.counts.cells)


def test_the_same_lessons_give_the_same_bytes():
    one, two = (latent_teaching.taught(LatentModel.new(), sessions(200), 7) for _ in range(2))
    assert all(np.array_equal(left, two.tensors()[name]) for name, left in one.tensors().items())


def test_a_flood_of_suspects_is_not_learned_and_a_few_are():
    known = taught(sessions(3000))
    odd = session(KINDS[:2])
    verdict = verdict_of_session(known, KINDS[:2])
    flagged = [replace(lesson, surprise=verdict.value if lesson.whole else 0.0) for lesson in odd]
    flood, few = known, known
    for n in range(20):
        flood = latent_teaching.taught(flood, [*sessions(20, seed=n), *flagged * 10], n)
        few = latent_teaching.taught(few, [*sessions(30, seed=n), *(flagged if n % 10 == 0 else [])], n)
    assert verdict_of_session(flood, KINDS[:2]).deviations >= verdict.deviations - 0.2
    assert verdict_of_session(few, KINDS[:2]).deviations < verdict.deviations - 0.2


def test_replayed_lessons_are_not_counted_twice():
    lessons = sessions(50)
    model = latent_teaching.taught(LatentModel.new(), lessons, 0)
    again = latent_teaching.taught(model, [replace(lesson, is_replay=True) for lesson in lessons], 1)
    assert np.array_equal(again.counts.cells, model.counts.cells)
    assert np.array_equal(again.sessions.pairs, model.sessions.pairs)
