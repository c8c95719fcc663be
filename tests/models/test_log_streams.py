"""What the commands about learning count: areas, scores, turns; and that a played learner tells a change of system from none."""

import pytest

from models.learner import LearningSettings
from models.training.log_streams import LogSession, Play, area, f1, in_turns, longer


def test_area_is_how_often_the_anomalous_lies_above_the_normal() -> None:
    assert area([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == 0.75
    assert area([0.5, 0.5], [0, 1]) == 0.5
    assert area([1, 2, 3], [0, 0, 0]) == 0.5


def test_f1_counts_what_reaches_the_threshold() -> None:
    assert f1([0.5, 0.4, 0.9, 0.1], [1, 1, 0, 0], 0.5) == 0.5
    assert f1([0.1], [0], 0.5) == 0.0


def test_sessions_take_turns_and_each_ends_once() -> None:
    sessions = [LogSession(["a"] * n) for n in (1, 3, 2)]
    turns = list(in_turns(sessions))
    assert turns == [(0, 0, True), (1, 0, False), (2, 0, False), (1, 1, False), (2, 1, True), (1, 2, True)]


def test_a_longer_session_is_made_of_pieces_and_is_the_same_for_a_seed() -> None:
    session = LogSession([f"line {n}" for n in range(200)])
    assert longer(session, 120, 1) == longer(session, 120, 1) != longer(session, 120, 2)
    assert len(longer(session, 120, 1).lines) == 120
    assert longer(session, 50, 3).lines == session.lines[(at := session.lines.index(longer(session, 50, 3).lines[0])) : at + 50]


@pytest.mark.parametrize("changes", [True, False])
def test_a_change_of_system_is_seen_and_calm_is_not(changes: bool) -> None:
    usual = LogSession([f"worker finished job in {n} ms" if n % 2 else "queue is empty" for n in range(1500)])
    other = LogSession([f"{word} {kind} rejected by peer" for word in ["alpha", "beta", "gamma", "delta"] for kind in range(100)])
    tenant = Play(LearningSettings(warm_up_lines=10**9))
    tenant.play([usual])
    drifts = [drift for _, _, seen in tenant.lines([other if changes else usual]) for drift in seen]
    assert bool(drifts) == changes
    assert tenant.actions["taught"] >= 15


def test_a_copy_goes_on_by_itself() -> None:
    tenant = Play(LearningSettings(warm_up_lines=10**9))
    tenant.play([LogSession(["tick", "tock"] * 200)])
    one, two = tenant.copy(), tenant.copy()
    one.play([LogSession(["boom"] * 300)])
    assert two.learner.pack() == tenant.learner.pack() != one.learner.pack()
    assert two.judge([LogSession(["tick", "tock"])]) == tenant.judge([LogSession(["tick", "tock"])])
