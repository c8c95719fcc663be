"""The compiled step of the levels against hierarchy.py, and a row of levels against its bytes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models import checkpoint, levels_parts, levels_row
from models.hierarchy import N_FLAGS, Levels, last_sentence, mean, no_levels
from models.levels_row import NAMES, as_levels, empty_row, places
from models.levels_step import LevelsStep, softmax


@pytest.fixture(scope="module")
def model():
    return checkpoint.load().model.eval().requires_grad_(False)


def as_row(levels: Levels) -> np.ndarray:
    return np.concatenate([getattr(levels, name).numpy().reshape(-1) for name in NAMES])


def sentence_sums(chance: np.random.Generator, width: int, word_width: int) -> np.ndarray:
    parts = 5 * chance.normal(size=width), [chance.uniform(0.5, 9)], 3 * chance.normal(size=word_width), [float(chance.integers(0, 9))]
    return np.concatenate(parts).astype(np.float32)


def test_a_compiled_walk_follows_the_levels_through_shifts_and_paragraphs(model):
    hierarchy, heads, c = model.hierarchy, model.heads, model.config
    step, chance, shifts = LevelsStep(hierarchy, heads), np.random.default_rng(1), 0
    plain: Levels = no_levels(c, 1)
    row = empty_row(c)
    for n in range(80):
        sums = sentence_sums(chance, c.width, c.word_width)
        flags = [float(chance.random() > 0.5) for _ in range(N_FLAGS)]
        hidden, words = sums[: c.width] / sums[c.width], sums[c.width + 1 : -1] / max(sums[-1], 1)
        sentence = hierarchy.pool.sentence(torch.from_numpy(hidden)[None], torch.from_numpy(words)[None])
        before = as_levels(row, c)
        plain, wanted = hierarchy.advance(before, sentence, torch.tensor([flags]))  # from the same levels: roundings do not add up
        row, logit, weight = step.advance(row, sums, flags)
        assert logit == pytest.approx(wanted.item(), abs=2e-3)
        assert weight == pytest.approx(hierarchy.score(hierarchy.sentence_score, plain.context).item(), rel=2e-3)
        for name, place in places(c).items():
            theirs = getattr(plain, name).numpy().ravel()
            assert row[place] == pytest.approx(theirs, abs=4e-3, rel=2e-3), (n, name)
        told = step.topic(row)
        now = as_levels(row, c)
        last = last_sentence(now, c)
        said = heads.topic_logits(now.topic, now.context, last), *map(hierarchy.pool.meanings, (mean(now.gist_sum, now.gist_weight), last))
        assert all(mine == pytest.approx(theirs[0].numpy(), abs=1e-4) for mine, theirs in zip(told, said, strict=True))
        if n % 7 == 6:
            row, paragraph = step.close_paragraph(row)
            assert paragraph == pytest.approx(hierarchy.open_paragraph(now)[0].numpy(), abs=1e-4)
            assert row == pytest.approx(as_row(hierarchy.close_paragraph(now, torch.ones(1, 1))), abs=1e-3)
        shifts += int(logit > 0)
    assert 0 < shifts < 80  # both ways were walked


def test_the_row_before_is_not_touched(model):
    step, c = LevelsStep(model.hierarchy, model.heads), model.config
    row, sums = empty_row(c), sentence_sums(np.random.default_rng(2), model.config.width, model.config.word_width)
    kept_row, kept_sums = row.copy(), sums.copy()
    step.advance(row, sums, [0.0] * N_FLAGS)
    step.topic(row)
    step.close_paragraph(row)
    assert np.array_equal(row, kept_row)
    assert np.array_equal(sums, kept_sums)


@given(st.lists(st.floats(width=32), min_size=1, max_size=40))
@settings(max_examples=300)
def test_half_precision_rounds_as_numpy_does(numbers):
    x = np.array(numbers, np.float32)
    found = np.empty_like(x)
    levels_parts.half(x, found)
    with np.errstate(over="ignore"):
        wanted = x.astype(np.float16).astype(np.float32)
    assert np.array_equal(found, wanted, equal_nan=True)
    assert np.array_equal(np.signbit(found), np.signbit(wanted))


def test_bytes_of_a_row_are_the_row(model):
    c, chance = model.config, np.random.default_rng(3)
    row = chance.normal(size=levels_row.size(c)).astype(np.float32)
    for name in levels_row.HALF:
        row[places(c)[name]] = row[places(c)[name]].astype(np.float16)
    assert np.array_equal(levels_row.unpack(levels_row.pack(row, c), c), row)
    assert np.array_equal(as_row(as_levels(row, c)), row)


def test_probabilities_are_softmax():
    logits = np.array([3.0, -80.0, 2.5], np.float32)
    assert softmax(logits) == pytest.approx(torch.softmax(torch.from_numpy(logits), 0).numpy(), rel=1e-6)


def test_a_level_that_is_muted_is_refused(model):
    model.hierarchy.muted = frozenset(("topic",))
    try:
        with pytest.raises(AssertionError, match="mutes nothing"):
            LevelsStep(model.hierarchy, model.heads)
    finally:
        model.hierarchy.muted = frozenset()
