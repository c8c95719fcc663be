"""A damaged training checkpoint or milestone is refused by name, and the sound one before it is used."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from models import sealed
from models.sealed import MANIFEST, CheckpointError
from models.training import rolling
from models.training.loop import train
from models.training.progress import Teller
from models.training.ranks import Ranks
from models.training.rolling import MODULES, OPTIMIZERS, STATE, Saved
from tests.models.small_stage import equal, small_stage, weights

FILES = (MODULES, OPTIMIZERS, STATE, MANIFEST)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    train(small_stage(), folder, Ranks(), Teller(silent=True))
    return folder


@pytest.fixture
def run(made, tmp_path) -> Path:
    """A finished run, each test's own."""
    return Path(shutil.copytree(made, tmp_path / "run"))


def damage(path: Path) -> dict[str, bytes | None]:
    content = path.read_bytes()
    return {
        "empty": b"",
        "cut short": content[: len(content) // 2],
        "one bit changed": content[:40] + bytes((content[40] ^ 1,)) + content[41:],
        "longer": content + b"\0",
        "missing": None,
    }


def put(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


@pytest.mark.parametrize("kind", ["empty", "cut short", "one bit changed", "longer", "missing"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_refused_by_name_and_the_checkpoint_before_it_is_named_and_used(run, name, kind):
    *_, before, last = rolling.steps(run, "small")
    put(last / name, damage(last / name)[kind])
    with pytest.raises(CheckpointError) as refused:
        rolling.load(last)
    told = str(refused.value)
    assert last.name in told
    assert name in told or name == MANIFEST, "a changed manifest may blame the file it speaks of"
    assert f"the one before it is {before}: --resume goes on from there" in told
    said: list[str] = []
    found = rolling.newest(run, "small", said.append)
    assert found is not None
    assert found.step == int(before.name) == 16
    assert len(said) == 1
    assert last.name in said[0]


def test_a_run_goes_on_from_the_sound_one_to_the_same_end(run):
    wanted = weights_of_last(run)
    for folder in rolling.steps(run, "small")[1:]:
        content = (folder / OPTIMIZERS).read_bytes()
        (folder / OPTIMIZERS).write_bytes(content[:-3])
    resumed = small_stage()
    train(resumed, run, Ranks(), Teller(silent=True))
    assert equal(weights(resumed), wanted)
    assert [f.name for f in rolling.steps(run, "small")] == ["0000012", "0000016", "0000020"]
    assert [rolling.load(f).step for f in rolling.steps(run, "small")] == [12, 16, 20], "what was damaged is written anew"


def weights_of_last(run: Path) -> dict[str, torch.Tensor]:
    return {name.replace("/", "."): t for name, t in rolling.load(rolling.steps(run, "small")[-1]).modules.items()}


def test_where_all_are_damaged_nothing_is_begun_anew_unasked(run):
    for folder in rolling.steps(run, "small"):
        (folder / STATE).write_bytes(b"{}")
    with pytest.raises(CheckpointError, match=r"no sound checkpoint of stage small.*there is none before it: start anew"):
        train(small_stage(), run, Ranks(), Teller(silent=True))


def test_a_write_that_was_cut_off_leaves_the_last_checkpoint_and_is_cleared_away(run, monkeypatch):
    saved = rolling.load(rolling.steps(run, "small")[-1])

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr(sealed, "_write", full)
        with pytest.raises(OSError, match="No space"):
            rolling.save(run, "small", Saved(saved.modules, saved.optimizers, saved.state | {"step": 24}))
    assert [f.name for f in rolling.steps(run, "small")] == ["0000012", "0000016", "0000020"]
    (run / "rolling/small/.0000024-x").mkdir()  # what a kill leaves
    rolling.save(run, "small", Saved(saved.modules, saved.optimizers, saved.state | {"step": 24}))
    assert sorted(f.name for f in (run / "rolling/small").iterdir()) == ["0000016", "0000020", "0000024"]


@pytest.mark.parametrize("name", [MODULES, STATE, MANIFEST])
def test_a_damaged_milestone_is_refused_by_name(run, name):
    folder = sorted((run / "milestones").iterdir())[-1]
    for content in damage(folder / name).values():
        before = (folder / name).read_bytes()
        put(folder / name, content)
        with pytest.raises(CheckpointError, match=folder.name):
            rolling.weights(folder, "model")
        (folder / name).write_bytes(before)
    assert rolling.weights(folder, "model").keys() == small_stage().modules["model"].state_dict().keys()
    with pytest.raises(CheckpointError, match="no module 'trunk'"):
        rolling.weights(folder, "trunk")


def test_weights_and_optimizers_of_another_shape_are_refused(run):
    last = rolling.load(rolling.steps(run, "small")[-1])
    bent = {k: t[..., :-1].contiguous() if t.ndim == 2 else t for k, t in last.modules.items()}
    rolling.save(run, "small", Saved(bent, last.optimizers, last.state))
    with pytest.raises(CheckpointError, match="do not fit module 'model'"):
        train(small_stage(steps=24), run, Ranks(), Teller(silent=True))
    momentum = {k: t[..., :-1].contiguous() if t.ndim == 2 else t for k, t in last.optimizers.items()}
    rolling.save(run, "small", Saved(last.modules, momentum, last.state))
    with pytest.raises(CheckpointError, match="does not fit its parameter"):
        train(small_stage(steps=24), run, Ranks(), Teller(silent=True))


def test_a_pickle_in_place_of_tensors_is_never_opened(run, tmp_path):
    trap = tmp_path / "opened"

    class Trap:
        def __reduce__(self):
            return (trap.write_text, ("x",))

    last = rolling.steps(run, "small")[-1]
    torch.save(Trap(), last / MODULES)
    manifest = json.loads((last / MANIFEST).read_text())
    manifest[MODULES] = hashlib.sha256((last / MODULES).read_bytes()).hexdigest()
    (last / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="not readable"):
        rolling.load(last)
    assert not trap.exists()
