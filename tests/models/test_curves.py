"""Curves say what was measured, survive a crash and a resume, and are drawn where matplotlib is."""

import builtins
import json
import struct

import numpy as np
import pytest

from models.training import curves
from models.training.curves import Curves, draw, lines, smoothed
from models.training.loop import train
from models.training.progress import Teller
from models.training.ranks import Ranks
from tests.models.small_stage import small_stage


def test_a_resumed_stage_drops_the_lines_it_will_write_again_and_keeps_those_of_others(tmp_path):
    first = Curves(tmp_path, "language", 0, {"merit": "text"})
    first.add(1, train={"text": 3.0})
    first.close()
    second = Curves(tmp_path, "levels", 0, {"merit": "all"})
    for step in (1, 2, 3):
        second.add(step, train={"shift": 1.0 / step})
    second.close()
    with open(tmp_path / "curves.jsonl", "a") as file:
        file.write('{"stage": "levels", "step": 4, "trai')
    again = Curves(tmp_path, "levels", 2, {"merit": "all"})
    again.add(3, train={"shift": 0.5})
    again.close()
    assert [(r["stage"], r["step"]) for r in lines(tmp_path / "curves.jsonl")] == [
        ("language", 0), ("language", 1), ("levels", 0), ("levels", 1), ("levels", 2), ("levels", 3),
    ]  # fmt: skip
    assert json.loads((tmp_path / "curves.jsonl").read_text().splitlines()[-1])["train"] == {"shift": 0.5}


def test_smoothing_keeps_a_level_and_follows_a_step():
    assert np.allclose(smoothed(np.full(50, 2.5), 10), 2.5), "the start is not pulled towards 0"
    step = smoothed(np.r_[np.zeros(300), np.ones(200)], 10)
    assert step[299] == 0
    assert step[309] == pytest.approx(1 - 0.9**10)
    assert step[-1] == pytest.approx(1, abs=1e-6)


def test_a_run_draws_a_picture_of_each_stage(tmp_path):
    pytest.importorskip("matplotlib")
    train(small_stage(), tmp_path, Ranks(), Teller(silent=True))
    picture = (tmp_path / "curves-small.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", picture[16:24])
    assert width > 400
    assert height > 300
    assert draw(tmp_path) == [tmp_path / "curves-small.png"]


def test_without_matplotlib_training_goes_on_and_says_once_how_to_get_pictures(tmp_path, monkeypatch, capsys):
    real = builtins.__import__

    def without(name, *rest, **named):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    train(small_stage(), tmp_path, Ranks(), Teller())
    told = capsys.readouterr().err
    assert told.count("pip install -e '.[train]'") == 1
    assert (tmp_path / "milestones").exists()
    assert list(tmp_path.glob("*.png")) == []
    assert curves.lines(tmp_path / "curves.jsonl")[-1]["step"] == 20
