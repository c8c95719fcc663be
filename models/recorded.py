"""What a walk asks of the levels of one session, recorded once: operations follow each other without Python between them.

A sentence of one session is hundreds of tiny operations, and half their time is Python's. Recorded, the same operations run on the same numbers,
so the bits are those of hierarchy.py and heads.py, which is looked at before a recording is used. Knows recording; leaves arithmetic to those files.
Next: models/walk.py
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields

import torch
from torch import Tensor

from models.heads import Heads
from models.hierarchy import N_FLAGS, Hierarchy, Levels, last_sentence, mean, no_levels

log = logging.getLogger("models")
Function = Callable[..., tuple[Tensor, ...]]
NAMES = tuple(f.name for f in fields(Levels))
RUNS = 3
"""A recording is made faster on its first runs; it is looked at afterwards."""


class Recorded:
    """The levels above the trunk, for one session at a time."""

    @torch.inference_mode()
    def __init__(self, hierarchy: Hierarchy, heads: Heads):
        config = hierarchy.config

        def advance(sentence: Tensor, flags: Tensor, *levels: Tensor) -> tuple[Tensor, ...]:
            after, logit = hierarchy.advance(_levels(levels), sentence, flags)
            return logit, *_parts(after)

        def topic(*levels: Tensor) -> tuple[Tensor, ...]:
            now, pool = _levels(levels), hierarchy.pool
            last = last_sentence(now, config)
            gist = pool.meanings(mean(now.gist_sum, now.gist_weight))
            return heads.topic_logits(now.topic, now.context, last), gist, pool.meanings(last)

        chance = torch.Generator().manual_seed(0)
        levels = no_levels(config, 1)
        for _ in range(4):  # levels with something in them
            levels, _ = hierarchy.advance(levels, torch.randn(1, config.sentence_width, generator=chance), torch.ones(1, N_FLAGS))
        sentence = torch.randn(1, config.sentence_width, generator=chance)
        self._advance = recording(advance, (sentence, torch.ones(1, N_FLAGS), *_parts(levels)))
        self._topic = recording(topic, _parts(levels))

    def advance(self, levels: Levels, sentence: Tensor, flags: Tensor) -> tuple[Levels, Tensor]:
        """Hierarchy.advance of one session. sentence: (1, S); flags: (1, N_FLAGS). Returns levels and the logit of a shift, (1,)."""
        logit, *parts = self._advance(sentence, flags, *_parts(levels))
        return _levels(parts), logit

    def topic(self, levels: Levels) -> tuple[Tensor, Tensor, Tensor]:
        """Of the topic being read: logits (classes,), and what its sentences and the last of them mean, (W,) each."""
        logits, gist, last = self._topic(*_parts(levels))
        return logits[0], gist[0], last[0]


def recording(function: Function, example: Sequence[Tensor]) -> Function:
    """The function, recorded on an example; the function itself where that cannot be, or gives other bits."""
    wanted = function(*example)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a recording holds for these shapes only is what is wanted
            recorded = torch.jit.trace(function, tuple(example), check_trace=False)
        for _ in range(RUNS):
            found = recorded(*example)
    except Exception as problem:
        log.warning("%s cannot be recorded and runs at half the speed: %s", function.__name__, problem)
        return function
    if all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True)):
        result: Function = recorded
        return result
    log.warning("%s gives other bits when it is recorded and runs at half the speed", function.__name__)
    return function


def _parts(levels: Levels) -> tuple[Tensor, ...]:
    return tuple(getattr(levels, name) for name in NAMES)


def _levels(parts: Sequence[Tensor]) -> Levels:
    return Levels(*parts)
