"""A run can be repeated, stopped, resumed and shared by processes, and is the same run every time."""

import json
import math
import shutil
import signal
from dataclasses import replace
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from models.sealed import CheckpointError
from models.training import loop, rolling
from models.training.curves import lines
from models.training.loop import DivergedError, StoppedError, train, warm_then_fall
from models.training.progress import Teller
from models.training.ranks import Ranks
from tests.models.small_stage import ask_at, equal, files, small_stage, weights


def silent() -> Teller:
    return Teller(silent=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    stage, folder = small_stage(), tmp_path_factory.mktemp("made")
    train(stage, folder, Ranks(), silent())
    return stage, folder


@pytest.fixture
def whole(made, tmp_path):
    """A run that nothing stopped."""
    return made[0], Path(shutil.copytree(made[1], tmp_path / "whole"))


def test_the_same_seed_gives_the_same_run(whole, tmp_path):
    again, other = small_stage(), small_stage(seed=4)
    train(again, tmp_path / "again", Ranks(), silent())
    train(other, tmp_path / "other", Ranks(), silent())
    assert equal(weights(again), weights(whole[0]))
    assert files(tmp_path / "again") == files(whole[1])
    assert not equal(weights(other), weights(whole[0]))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stopped_at", [0, 7, 12])
def test_a_stopped_run_goes_on_to_the_bit_as_if_it_had_not_stopped(whole, tmp_path, stopped_at, number):
    run = tmp_path / "stopped"
    with pytest.raises(StoppedError, match=f"after step {stopped_at + 1} of 20"):
        train(small_stage(before=ask_at(stopped_at, number)), run, Ranks(), silent())
    torch.manual_seed(99)  # another process starts with other generators
    resumed = small_stage()
    train(resumed, run, Ranks(), silent())
    assert equal(weights(resumed), weights(whole[0]))
    kept = {name: content for name, content in files(run).items() if "rolling" not in name}
    assert kept == {name: content for name, content in files(whole[1]).items() if "rolling" not in name}
    last = "rolling/small/0000020/"
    assert {n: c for n, c in files(run).items() if n.startswith(last)} == {n: c for n, c in files(whole[1]).items() if n.startswith(last)}


def test_a_killed_run_goes_on_from_its_last_checkpoint_to_the_bit(whole, tmp_path):
    def crash(n: int) -> None:
        if n == 11:
            raise OSError("the machine is gone")

    run = tmp_path / "killed"
    with pytest.raises(OSError, match="gone"):
        train(small_stage(before=crash), run, Ranks(), silent())
    with open(run / "curves.jsonl", "a") as file:
        file.write('{"stage": "small", "step": 12, "tr')  # what a crash leaves
    resumed = small_stage()
    train(resumed, run, Ranks(), silent())
    assert equal(weights(resumed), weights(whole[0]))
    assert (run / "curves.jsonl").read_bytes() == (whole[1] / "curves.jsonl").read_bytes()


def test_every_step_and_validation_is_in_the_curves_once(whole):
    rows = lines(whole[1] / "curves.jsonl")
    assert [r["step"] for r in rows if "train" in r] == list(range(1, 21))
    assert [r["step"] for r in rows if "dev" in r] == [5, 10, 15, 20]
    assert rows[0]["about"]["merit"] == "square"


def test_how_often_it_is_measured_and_saved_does_not_change_the_run(whole, tmp_path):
    other = replace(small_stage(), validate_every=1, save_every=3)
    train(other, tmp_path / "other", Ranks(), silent())
    assert not equal(weights(other), weights(small_stage()))
    assert equal(weights(other), weights(whole[0]))


def test_milestones_are_the_best_so_far_and_outlive_the_rolling_ones(tmp_path):
    figures = iter([3.0, 2.0, 2.5, 1.0])
    stage = replace(small_stage(), validate=lambda: {"square": next(figures)})
    train(stage, tmp_path, Ranks(), silent())
    assert sorted(p.name for p in (tmp_path / "milestones").iterdir()) == [
        "small-0000005-3.0000",
        "small-0000010-2.0000",
        "small-0000020-1.0000",
    ]
    assert [p.name for p in rolling.steps(tmp_path, "small")] == ["0000012", "0000016", "0000020"]
    kept = rolling.weights(tmp_path / "milestones" / "small-0000020-1.0000", "model")
    assert equal(kept, stage.modules["model"].state_dict())


def test_higher_can_be_better_and_a_resumed_run_knows_its_best(tmp_path):
    figures = {5: 1.0, 10: 3.0, 15: 2.0, 20: math.nan}
    at = [0]
    stage = replace(small_stage(before=ask_at(11)), validate=lambda: {"square": figures[at[0]]}, lower_is_better=False)

    def counted(stage: loop.Stage) -> loop.Stage:
        inner = stage.step

        def step(n: int) -> dict[str, float]:
            at[0] = n + 1
            return inner(n)

        return replace(stage, step=step)

    with pytest.raises(StoppedError):
        train(counted(stage), tmp_path, Ranks(), silent())
    stage = replace(small_stage(), validate=lambda: {"square": figures[at[0]]}, lower_is_better=False)
    train(counted(stage), tmp_path, Ranks(), silent())
    assert sorted(p.name for p in (tmp_path / "milestones").iterdir()) == ["small-0000005-1.0000", "small-0000010-3.0000"]


def test_a_finished_stage_is_left_as_it_is(whole):
    def never(n: int) -> None:
        raise AssertionError("a step was made")

    again = small_stage(before=never)
    train(again, whole[1], Ranks(), silent())
    assert equal(weights(again), weights(whole[0]))
    made = loop.finished(whole[1], "small", 20, silent())
    assert made is not None
    assert made.step == 20
    assert loop.finished(whole[1], "small", 21, silent()) is None
    assert loop.finished(whole[1], "other", 1, silent()) is None


def test_a_loss_that_is_no_number_ends_the_run_before_it_reaches_the_weights(tmp_path):
    stage = small_stage()
    good = stage.step

    def step(n: int) -> dict[str, float]:
        losses = good(n)
        if n == 6:
            next(stage.modules["model"].parameters()).grad.fill_(math.nan)
        return losses

    with pytest.raises(DivergedError, match="step 7"):
        train(replace(stage, step=step), tmp_path, Ranks(), silent())
    assert all(t.isfinite().all() for t in weights(stage).values())
    assert [p.name for p in rolling.steps(tmp_path, "small")] == ["0000004"]


def test_as_many_processes_as_saved_it_must_resume_it(whole):
    folder = rolling.steps(whole[1], "small")[-1]
    saved = rolling.load(folder)
    rolling.save(whole[1], "small", replace(saved, state=saved.state | {"random": saved.state["random"] * 2}))
    with pytest.raises(CheckpointError, match="saved by 2 processes, this run has 1"):
        train(small_stage(), whole[1], Ranks(), silent())


def test_progress_tells_share_steps_speed_losses_and_time_left():
    now = [0.0]
    out = StringIO()
    tell = Teller(out, clock=lambda: now[0])
    tell.begin("language", 100, 300)
    for n in range(100, 200):
        now[0] += 0.125
        tell.step(n + 1, {"text": 2.5}, 1000)
    told = out.getvalue().splitlines()
    assert len(told) == 2, "a line every five seconds"
    assert "language" in told[-1]
    for part in ("60.0%", "step 180 of 300", "8,000 tokens/s", "text 2.500", "15 s left"):
        assert part in told[-1]


def test_the_schedule_warms_and_falls():
    factors = [warm_then_fall(n / 1000) for n in range(1000)]
    assert factors[0] == 0.02
    assert factors[30] == factors[600] == 1.0
    assert all(a <= b for a, b in pairwise(factors[:31]))
    assert all(a >= b for a, b in pairwise(factors[600:]))
    assert min(factors) == 0.02


def test_what_is_kept_is_json_and_safetensors_alone(whole):
    assert {p.suffix for p in whole[1].rglob("*") if p.is_file()} <= {".json", ".jsonl", ".safetensors", ".png"}
    state = json.loads((rolling.steps(whole[1], "small")[-1] / "state.json").read_text())
    assert {"step", "best", "random", "optimizers"} <= state.keys()
