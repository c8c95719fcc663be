"""The rate of lines as a reason: a burst and a silence of known lines are unusual, the usual pace is not."""

import numpy as np
import pytest

from models import latent_pace
from models.config import ModelConfigError
from models.latent_systems import Systems
from models.log_model import LogModel
from models.log_settings import LogSettings
from models.steps import Item, Work

TEXTS = ["poll queue 7", "queue 7 is empty"]


def read(model, gaps_s, state=None):
    at, items = 0.0, []
    for n, gap in enumerate(gaps_s):
        at += gap
        items.append(Item(n, TEXTS[n % 2], int(at * 1e6), name="informational"))
    [result] = model.step([Work("logs/a", state, items)])
    assert result.error is None
    return result


@pytest.fixture(scope="module")
def model():
    model, chance = LogModel(), np.random.default_rng(1)
    lessons = read(model, chance.lognormal(0.0, 0.4, 9000)).lessons
    for at in range(0, len(lessons), 500):
        model.normal = model.normal.taught(lessons[at : at + 500], at)
    return model


@pytest.mark.parametrize(("gap_s", "told"), [(0.0005, slice(335, 360)), (600.0, slice(301, 304))])
def test_known_lines_at_a_rate_never_met_are_unusual_and_say_why(model, gap_s, told):
    usual = np.random.default_rng(2).lognormal(0.0, 0.4, 300)
    found = [item.findings[2] for item in read(model, [*usual, *[gap_s] * 60]).items]
    assert {answer.label for answer in found[:300]} == {"normal"}
    assert {answer.label for answer in found[told]} == {"anomaly"}
    assert all("unusual rate" in answer.output["reason"] for answer in found[told])


def test_a_busier_system_is_told_and_learned(model):
    result = read(model, [*[1.0] * 50, *[0.0005] * 400])
    assert {lesson.surprise < 0.5 for lesson in result.lessons} == {True}
    learned = model.normal
    for n in range(5):
        learned = learned.taught(result.lessons, n)
    again = read(LogModel(learned), [*[1.0] * 50, *[0.0005] * 400])
    assert {item.findings[2].label for item in again.items} == {"normal"}


def test_rates_are_rare_to_both_sides_and_those_near_even_never():
    counts = np.zeros(latent_pace.BINS)
    counts[24], counts[29] = 900, 100
    bins = latent_pace.bins_of(np.array([0.0, 1.0, 2.0, 32.0, 64.0, 1 / 64]))
    chances = latent_pace.chances(counts, bins)
    assert bins.tolist() == [0, 24, 25, 29, 30, 18]
    assert chances[:3].tolist() == [1.0] * 3
    assert 0.1 < chances[3] < 0.11
    assert chances[4] == chances[5] == 10 / 1010


def test_the_first_lines_of_a_session_have_no_rate_and_an_even_pace_has_one_of_one(model):
    for gap_s in (0.001, 1.0, 3600.0):
        lessons = read(model, [gap_s] * 15).lessons
        assert [lesson.rate for lesson in lessons[:10]] == [latent_pace.UNKNOWN] * 10
        assert [lesson.rate for lesson in lessons[10:]] == pytest.approx([1.0] * 5)


@pytest.mark.parametrize("deviations", [0.0, 7.0])
def test_settings_that_cannot_work_are_refused(deviations):
    with pytest.raises(ModelConfigError):
        LogModel(settings=LogSettings(deviations=deviations))


@pytest.mark.parametrize(("trajectory", "density"), [("rectified", "flow"), ("flow", "normal"), ("sde", "normal"), ("none", "normal")])
def test_each_way_of_judging_learns_packs_and_has_a_name_of_its_own(trajectory, density):
    model = LogModel(settings=LogSettings(trajectory, density))
    lessons = read(model, [1.0] * 600).lessons
    model.normal = model.normal.taught(lessons, 0)
    again = Systems.new(trajectory, density).with_tensors(model.normal.tensors(), "1")
    assert again.surprise(lessons[:50]) == model.normal.surprise(lessons[:50])
    assert model.version != LogModel().version
