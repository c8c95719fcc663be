"""Training and streaming compute the same thing, the losses are what they say, and the scores follow their definitions."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.checkpoint import Checkpoint
from models.config import ModelConfig
from models.encoder import CachedEncoder
from models.heads import session_logits
from models.tokenizer import CHAT, SINK, TEXT, sinks
from models.training import multitask
from models.training.calibrate import fit_platt, segmentation
from models.training.data import Document, Unit, chat_document, text_document
from models.training.language import NextTokenLoss, crops, fresh_trunk, language_stage, nats_per_token
from models.training.loop import Stage, StoppedError, train
from models.training.multitask import collate, levels_stage, losses, memory_of, read
from models.training.played import ListeningWalk, Played, play
from models.training.progress import Teller
from models.training.ranks import Ranks
from models.training.sampling import Sampler, segments, with_unknown_names
from models.training.targets import Targets, words_of
from models.training.text_figures import calibration_error
from tests.models.small_stage import ask_at, equal, files, weights
from tests.models.small_text_model import CONFIG, UTTERANCES, small_checkpoint, small_model


def test_the_blockwise_loss_has_the_value_and_gradients_of_the_plain_one():
    hidden, table, targets = torch.randn(2100, 16), torch.randn(50, 16), torch.randint(0, 50, (2100,))
    pairs = []
    for loss in (NextTokenLoss.apply, lambda h, e, t: F.cross_entropy(h @ e.t(), t)):
        h, e = hidden.clone().requires_grad_(), table.clone().requires_grad_()
        value = loss(h, e, targets)
        (3 * value).backward()
        pairs.append((value, h.grad, e.grad))
    for a, b in zip(*pairs):
        assert torch.allclose(a, b, atol=1e-5)


def test_crops_stand_behind_their_sinks_and_follow_the_seed():
    streams = {TEXT: np.arange(20, 4000, dtype=np.uint16)}
    a, b = (crops(streams, 4, 32, 0.0, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(a, b)
    assert a.shape == (4, 33)
    n = ModelConfig.n_sinks
    assert len(sinks(TEXT, n)) == n
    assert a[0, :n].tolist() == sinks(TEXT, n)
    assert (a[:, n + 1 :] - a[:, n:-1] == 1).all()
    for n in (4, 5, 9):
        marked = crops(streams, 2, 32, 0.0, np.random.default_rng(5), n)
        assert marked.shape == (2, 33)
        assert marked[0, :n].tolist() == sinks(TEXT, n)
        assert marked[0, n - 1] == SINK
        assert (marked[:, n:] > SINK).all()


def small_language_stage() -> Stage:
    chance = np.random.default_rng(1)
    streams = {mode: chance.integers(20, 60, 3000).astype(np.uint16) for mode in (TEXT, CHAT)}
    config = replace(CONFIG, width=32, feed_forward=32, vocab_size=64, max_positions=64)
    return language_stage(fresh_trunk(config, 5), streams, streams, 6, 5, Ranks(), batch=2, compiled=False)


def small_levels_stage() -> Stage:
    torch.manual_seed(5)
    tokenizer = small_checkpoint().tokenizer
    chat = [chat_document("sgd_multi", dialogue() | {"name": str(n)}, tokenizer, {"Flights": 0, "Restaurants": 1}) for n in range(3)]
    parts = ["One two. Three four.", "Five six.", "Seven eight. Nine."] * 20
    text = [text_document("wiki300", "x", parts, "\n\n", [0, 2, 30], [3] * len(parts), tokenizer)]
    loaded = small_checkpoint()
    model = loaded.model.requires_grad_(True)
    return levels_stage(model, [*chat, *text], [*chat, *text], targets_of(loaded), 4, 5, Ranks(), compiled=False)


@pytest.mark.parametrize("build", [small_language_stage, small_levels_stage])
def test_a_stage_that_was_stopped_goes_on_to_the_bit(build, tmp_path, monkeypatch):
    monkeypatch.setattr(multitask, "DEV_BATCHES", 2)
    whole, stopped, resumed = (replace(build(), validate_every=3) for _ in range(3))
    train(whole, tmp_path / "whole", Ranks(), Teller(silent=True))
    ask, inner = ask_at(1), stopped.step

    def step(n: int) -> dict[str, float]:
        ask(n)
        return inner(n)

    with pytest.raises(StoppedError):
        train(replace(stopped, step=step), tmp_path / "stopped", Ranks(), Teller(silent=True))
    train(resumed, tmp_path / "stopped", Ranks(), Teller(silent=True))
    assert equal(weights(resumed), weights(whole))
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


def test_dev_nats_are_those_of_the_plain_loss():
    stream = np.random.default_rng(2).integers(20, 60, 400).astype(np.uint16)
    trunk = fresh_trunk(replace(CONFIG, width=32, feed_forward=32, vocab_size=64, max_positions=64), 0)
    found, count = nats_per_token(trunk, {TEXT: stream}, TEXT, 64, 100)
    n, total = trunk.config.n_sinks, 0.0
    starts = range(0, 400 - 64, 64)
    for start in starts:
        ids = torch.tensor([*sinks(TEXT, n), *stream[start : start + 64 - n].tolist()])
        with torch.no_grad():
            total += F.cross_entropy(trunk.logits(trunk(ids[None, :-1]))[0, n - 1 :], ids[n:], reduction="sum").item()
    assert count == len(starts) * (64 - n)
    assert found == pytest.approx(total / count, rel=0.01), "half precision against single"


def targets_of(loaded: Checkpoint, meanings: dict | None = None) -> Targets:
    return Targets(loaded.model.words, loaded.tokenizer, meanings or {})


def dialogue():
    turns = [{"role": speaker, "text": text} for speaker, text in UTTERANCES]
    return {"name": "d", "turns": turns, "seg_end": [0, 0, 0, 1, 0, 0, 0, 0, 0, 0], "topic": ["Flights"] * 4 + ["Restaurants"] * 6}


def test_a_dialogue_becomes_units_with_its_truths():
    d = chat_document("sgd_multi", dialogue(), small_checkpoint().tokenizer, {"Flights": 0, "Restaurants": 1})
    assert [u.starts_topic for u in d.units] == [-1, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert [u.label for u in d.units] == [0] * 4 + [1] * 6
    assert d.label == 1
    renamed = with_unknown_names(d)
    assert [u.ids[1:] for u in renamed.units] == [u.ids[1:] for u in d.units]
    assert {u.speaker for u in renamed.units}.isdisjoint({u.speaker for u in d.units if u.speaker < 8})


def test_text_becomes_sentences_with_the_truths_of_their_parts():
    parts = ["One two. Three four.", "Five six.", "Seven eight. Nine."]
    d = text_document("x", "x", parts, "\n\n", [0, 2], [3, 3, 4], small_checkpoint().tokenizer)
    assert [u.starts_paragraph for u in d.units] == [True, False, True, True, False]
    assert [u.starts_topic for u in d.units] == [-1, 0, 0, 1, 0]
    assert [u.label for u in d.units] == [3, 3, 3, 4, 4]


def test_training_and_streaming_give_the_same_logits():
    loaded = small_checkpoint()
    model = small_model(checkpoint=loaded)
    d = chat_document("sgd_multi", dialogue(), loaded.tokenizer, {})
    batch = collate([(d, 0)], 512, 1, targets_of(loaded), CONFIG.n_sinks)
    with torch.no_grad():
        wanted = read(loaded.model, batch, loaded.model.trunk(batch.ids))
    played = Played("sgd_multi", [t for _, t in UTTERANCES], [s for s, _ in UTTERANCES], [0] * 10, [], [None] * 10)
    model.settings = type(model.settings)()  # a window of 512, as in training
    model.encoder = CachedEncoder(
        loaded.model.trunk, product_type=torch.float32
    )  # as in training: the rounding of products has its own test
    play(model, [played], lambda line: None)
    assert torch.allclose(
        torch.tensor([logit for _, logit in played.shifts]), wanted.shift[0, 1:], atol=2e-3
    )  # sessions keep half precision
    assert torch.allclose(torch.tensor([topic for _, topic, _ in played.topics]), wanted.topic[0], atol=2e-3)
    whole = session_logits(wanted.document[0], torch.softmax(wanted.topic[0], -1).mean(0))
    assert torch.allclose(torch.tensor(played.document[0]), whole, atol=1e-3)
    assert not isinstance(model.walk, ListeningWalk)


def test_unknown_truths_cost_nothing():
    d = Document("x", "x", "chat", tuple(Unit((6 + n % 2, 99, 100 + n), 6 + n % 2) for n in range(5)))
    loaded = small_checkpoint()
    batch = collate([(d, 0)], 256, 1, targets_of(loaded), CONFIG.n_sinks)
    found = read(loaded.model, batch, torch.randn(1, 256, 64))
    assert losses(batch, found) == {}


def test_scores_are_those_of_the_definitions():
    chance = random.Random(1)
    pairs = [([int(chance.random() < 0.2) for _ in range(30)], [int(chance.random() < 0.2) for _ in range(30)]) for _ in range(20)]
    pairs = [([*y[:-1], 0], [*h[:-1], 0]) for y, h in pairs]
    found = segmentation(pairs)
    assert found["score"] == pytest.approx(0.5 * found["f1"] + 0.25 * (1 - found["pk"]) + 0.25 * (1 - found["wd"]))
    assert segmentation([(y, y) for y, _ in pairs if sum(y)]) == {"pk": 0, "wd": 0, "f1": 1, "score": 1}
    y, h = [0, 0, 1, 0, 0, 1, 0, 0], [0, 0, 0, 1, 0, 1, 0, 0]  # 3 segments, k = 2: the windows at 1 and 3 differ
    assert segmentation([(y, h)]) == pytest.approx({"pk": 2 / 7, "wd": 2 / 7, "f1": 0.5, "score": 0.25 + 0.5 * 5 / 7})


def test_fits_recover_what_bent_the_probabilities():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, generator=generator) * 2
    truths = (torch.rand(20_000, generator=generator) < torch.sigmoid(logits)).int().tolist()
    t, b = fit_platt((logits * 3 + 1.5).tolist(), truths, [1.0] * 20_000)
    assert t == pytest.approx(3, rel=0.05)
    assert b == pytest.approx(-0.5, abs=0.1)
    p = torch.sigmoid(logits)
    assert calibration_error(p.tolist(), [bool(x) for x in truths]) < 0.015
    assert calibration_error([0.9] * 100, [True, False] * 50) == pytest.approx(0.4, abs=0.05)


def test_what_the_teacher_says_is_learned_where_it_was_asked():
    loaded = small_checkpoint()
    d = chat_document("sgd_multi", dialogue(), loaded.tokenizer, {})
    said = {words_of(u): F.normalize(torch.randn(CONFIG.word_width), dim=0).numpy() for u in d.units if words_of(u)}
    documents = [(d, 0)] * 2
    model, batch = loaded.model.train().requires_grad_(True), collate(documents, 256, 2, targets_of(loaded, said), CONFIG.n_sinks)
    optimizer, seen = torch.optim.Adam(model.hierarchy.parameters(), lr=1e-2), []
    hidden = torch.randn(2, 256, CONFIG.width)
    for _ in range(40):
        parts = losses(batch, read(model, batch, hidden))
        optimizer.zero_grad()
        (parts["meaning"] + parts["likeness"]).backward()
        optimizer.step()
        seen.append(parts["meaning"].item())
    assert seen[-1] < seen[0] / 3
    unasked = collate(documents, 256, 2, targets_of(loaded), CONFIG.n_sinks)
    assert "meaning" not in losses(unasked, read(model, unasked, hidden))


def test_a_window_remembers_the_units_before_it_and_the_first_window_nothing():
    loaded = small_checkpoint()
    model = loaded.model
    for layer in model.hierarchy.remember:
        torch.nn.init.normal_(layer.weight)
    text = " ".join(f"Sentence number {n} speaks of harbours and boats." for n in range(80))
    d = text_document("x", "x", [text], "\n\n", None, [], loaded.tokenizer)
    batch = collate([(d, 0)], 256, 4, targets_of(loaded), CONFIG.n_sinks)
    assert batch.before.tolist()[0] == -1
    assert (batch.before[1:] > 0).all()
    with torch.no_grad():
        found = read(model, batch, model.trunk(batch.ids))
        memory = memory_of(model, batch, found)
    assert (memory[0] == 0).all()
    w = 2
    last = int(batch.before[w])
    first_new = int(batch.unit[w][batch.is_new[w]][0])
    assert first_new == last + 1, "a unit that the window finishes is not remembered yet"
    assert torch.allclose(memory[w], model.hierarchy.memory(*found.remembered[last][:, None].unbind(0))[0], atol=1e-5)


def test_joined_talk_starts_a_topic_where_its_parts_meet_and_nowhere_else():
    loaded = small_checkpoint()
    d = chat_document("sgd_multi", dialogue(), loaded.tokenizer, {})
    assert [len(part) for part in segments(d)] == [4, 6]
    joined = Sampler([d], np.random.default_rng(0))._join()
    starts = [n for n, unit in enumerate(joined.units) if unit.starts_topic]
    assert starts
    for first, last in zip([0, *starts], [*starts, len(joined.units)]):
        part = tuple(replace(u, starts_topic=0) for u in joined.units[first:last])
        assert part in [tuple(replace(u, starts_topic=0) for u in s) for s in segments(d)]
