"""Training and streaming compute the same thing, the losses are what they say, and the scores follow their definitions."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.heads import session_logits
from models.tokenizer import TEXT
from models.training import calibrate
from models.training.calibrate import ListeningWalk, Played, calibration_error, fit_platt, fit_temperature, segmentation
from models.training.data import Document, Unit, chat_document, text_document
from models.training.language import NextTokenLoss, crops, sinks
from models.training.multitask import collate, losses, read, with_unknown_names
from tests.models.small_text_model import UTTERANCES, small_checkpoint, small_model


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
    a, b = (crops(streams, 4, 32, 0.0, np.random.default_rng(5), 5) for _ in range(2))
    assert torch.equal(a, b)
    assert a.shape == (4, 33)
    assert a[0, :5].tolist() == sinks(TEXT, 5)
    assert (a[:, 6:] - a[:, 5:-1] == 1).all()


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
    batch = collate([(d, 0)], 512, 1, 5)
    with torch.no_grad():
        wanted = read(loaded.model, batch, loaded.model.trunk(batch.ids))
    played = Played("sgd_multi", [t for _, t in UTTERANCES], [s for s, _ in UTTERANCES], [0] * 10, [], [None] * 10)
    model.settings = type(model.settings)()  # a window of 512, as in training
    calibrate.play(model, [played], lambda line: None)
    assert torch.allclose(torch.tensor([logit for _, logit in played.shifts]), wanted.shift[0, 1:], atol=1e-4)
    assert torch.allclose(torch.tensor([topic for _, topic in played.topics]), wanted.topic[0], atol=1e-4)
    whole = session_logits(wanted.document[0], torch.softmax(wanted.topic[0], -1).mean(0))
    assert torch.allclose(torch.tensor(played.document), whole, atol=1e-4)
    assert not isinstance(model.walk, ListeningWalk)


def test_unknown_truths_cost_nothing():
    d = Document("x", "x", "chat", tuple(Unit((6 + n % 2, 99, 100 + n), 6 + n % 2) for n in range(5)))
    batch = collate([(d, 0)], 256, 1, 5)
    found = read(small_checkpoint().model, batch, torch.randn(1, 256, 64))
    assert set(losses(batch, found)) <= {"continue"}


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
    classes = torch.randn(5000, 4, generator=generator)
    drawn = torch.multinomial(torch.softmax(classes, -1), 1, generator=generator)[:, 0]
    assert fit_temperature((classes * 2).tolist(), drawn.tolist(), [1.0] * 5000) == pytest.approx(2, rel=0.15)
    p = torch.sigmoid(logits)
    assert calibration_error(p.tolist(), [bool(x) for x in truths]) < 0.015
    assert calibration_error([0.9] * 100, [True, False] * 50) == pytest.approx(0.4, abs=0.05)
