"""A checkpoint comes back as it was written, and a damaged one is refused by name."""

import hashlib
import json
import os
import re
from pathlib import Path

import pytest
import torch

from models import checkpoint, sealed
from models.checkpoint import FILES, SHIPPED, CheckpointError
from models.heads import LABELS, MTS_SECTIONS, SGD_DOMAINS, Calibration
from models.sealed import MANIFEST
from models.steps import Item
from models.transformer import StreamingHierarchicalTransformer
from tests.models.small_text_model import CONFIG, answers, chat_items, play, small_checkpoint


@pytest.fixture
def folder(tmp_path):
    made = small_checkpoint()
    checkpoint.save(tmp_path / "small", made.model, made.tokenizer, Calibration(chat_threshold=0.25), "# card")
    return tmp_path / "small"


def test_what_is_saved_is_loaded(folder):
    loaded = checkpoint.load(folder)
    assert loaded.calibration == Calibration(chat_threshold=0.25)
    assert loaded.model.config == CONFIG
    for name, p in small_checkpoint().model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], p.half().float())
    assert loaded.version.startswith("small-")


def test_the_version_names_the_contents(folder):
    before = checkpoint.load(folder).version
    made = small_checkpoint()
    checkpoint.save(folder, made.model, made.tokenizer, Calibration(chat_threshold=0.25), "# card")
    assert checkpoint.load(folder).version == before
    checkpoint.save(folder, made.model, made.tokenizer, Calibration(chat_threshold=0.5), "# card")
    assert checkpoint.load(folder).version != before
    assert [p.name for p in folder.parent.iterdir()] == ["small"], "nothing is left beside it"


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_or_changed_is_refused_by_name(folder, name):
    content = (folder / name).read_bytes()
    for damaged in (content[:-1], content[:-1] + bytes((content[-1] ^ 1,)), b""):
        (folder / name).write_bytes(damaged)
        with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
            checkpoint.load(folder)


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_what_is_missing_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"lacks {re.escape(name)}"):
        checkpoint.load(folder)
    with pytest.raises(CheckpointError, match="manifest"):
        checkpoint.load(folder / "nowhere")


@pytest.mark.parametrize("damaged", [b"", b'{"config.json": "ab', b"[]", b"[1]", b"\xff\xfe"])
def test_a_damaged_manifest_is_refused(folder, damaged):
    (folder / MANIFEST).write_bytes(damaged)
    with pytest.raises(CheckpointError, match="cut short or changed"):
        checkpoint.load(folder)


def test_a_write_that_fails_leaves_the_checkpoint_that_was_there(folder, monkeypatch):
    before = checkpoint.load(folder).version
    write = sealed._write

    def full(path, content):
        if path.name == MANIFEST:
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(sealed, "_write", full)
    made = small_checkpoint()
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(folder, made.model, made.tokenizer, Calibration(), "# another card")
    assert checkpoint.load(folder).version == before
    assert [p.name for p in folder.parent.iterdir()] == ["small"]


def test_weights_of_another_shape_are_refused(folder):
    shape = json.loads((folder / "config.json").read_text())
    content = json.dumps(shape | {"width": 128}).encode()
    (folder / "config.json").write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"config.json": hashlib.sha256(content).hexdigest()}))
    with pytest.raises(CheckpointError, match="does not fit"):
        checkpoint.load(folder)


def test_the_shipped_checkpoint_is_small_and_tells_its_making():
    assert sum(p.stat().st_size for p in SHIPPED.iterdir()) < 30e6
    card = (SHIPPED / "MODEL_CARD.md").read_text()
    assert all(word in card for word in ("seed", "bits per byte", "Held-out", "licence", "loghub was not used"))


def test_the_shipped_model_labels_what_it_was_trained_on():
    model = StreamingHierarchicalTransformer.load()
    assert model.config.labels == LABELS
    visit = (
        "Any allergies to medicine?",
        "I am allergic to penicillin, I get a rash.",
        "And what medicines do you take?",
        "Just aspirin, daily.",
    )
    talk = [Item(n, text, n, ("doctor", "patient")[n % 2], ends_session=n == 3) for n, text in enumerate(visit)]
    results, states = play(model, {"chat/a": chat_items(), "chat/visit": talk})
    assert {a.label for a in answers(results["chat/a"], "topic")} <= set(SGD_DOMAINS)
    assert {a.label for a in answers(results["chat/visit"], "topic")} <= set(MTS_SECTIONS)
    whole = answers(results["chat/a"], "topic")[-1]
    assert whole.output["level"] == "document"
    assert sum(whole.output["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert len(states["chat/a"]) < 16_384


def test_a_move_that_fails_leaves_the_old_folder(tmp_path, monkeypatch):
    folder = tmp_path / "kept"
    sealed.write(folder, {"a": b"old"})
    rename = os.rename

    def refuse(source, target):
        if Path(target) == folder and Path(source).name == folder.name:
            raise OSError("no space")
        rename(source, target)

    monkeypatch.setattr(sealed.os, "rename", refuse)
    with pytest.raises(OSError, match="no space"):
        sealed.write(folder, {"a": b"new"})
    assert sealed.read(folder, ("a",))[0] == {"a": b"old"}
