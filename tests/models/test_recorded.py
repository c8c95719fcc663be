"""A recording of the levels tells the bits that the levels themselves do, and where it cannot be made the levels do it."""

import logging

import torch

from models import checkpoint, recorded
from models.hierarchy import N_FLAGS, Levels, last_sentence, mean, no_levels
from models.recorded import NAMES, Recorded


def test_a_recorded_walk_tells_the_bits_of_the_levels_through_shifts_and_paragraphs():
    model = checkpoint.load().model.eval()
    hierarchy, heads = model.hierarchy, model.heads
    fast = Recorded(hierarchy, heads)
    chance = torch.Generator().manual_seed(1)
    plain = told = no_levels(hierarchy.config, 1)
    shifts = 0
    with torch.inference_mode():
        for n in range(60):
            sentence = 3 * torch.randn(1, hierarchy.config.sentence_width, generator=chance)
            flags = torch.rand(1, N_FLAGS, generator=chance).round()
            plain, logit = hierarchy.advance(plain, sentence, flags)
            told, its = fast.advance(told, sentence, flags)
            assert torch.equal(logit, its)
            assert _same(plain, told)
            wanted = (
                heads.topic_logits(plain.topic, plain.context, last_sentence(plain, hierarchy.config))[0],
                hierarchy.pool.meanings(mean(plain.gist_sum, plain.gist_weight))[0],
                hierarchy.pool.meanings(last_sentence(plain, hierarchy.config))[0],
            )
            assert all(torch.equal(a, b) for a, b in zip(wanted, fast.topic(told), strict=True))
            if n % 7 == 6:
                plain, told = (hierarchy.close_paragraph(levels, torch.ones(1, 1)) for levels in (plain, told))
            shifts += int(logit.item() > 0)
    assert 0 < shifts < 60  # both ways were walked


def _same(one: Levels, other: Levels) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in NAMES)


def test_what_gives_other_bits_when_recorded_is_not_recorded(caplog):
    def by_value(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        calls.append(1)
        return (x + len(calls),)  # a recording holds on to the number it saw

    calls: list[int] = []
    with caplog.at_level(logging.WARNING):
        found = recorded.recording(by_value, (torch.zeros(1),))
    assert found is by_value
    assert "other bits" in caplog.text


def test_what_cannot_be_recorded_runs_as_it_is(caplog):
    def odd(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if torch.jit.is_tracing():
            raise RuntimeError("not here")
        return (x,)

    with caplog.at_level(logging.WARNING):
        assert recorded.recording(odd, (torch.zeros(1),)) is odd
    assert "not here" in caplog.text
