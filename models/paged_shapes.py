"""The few shapes that steps on a device are padded to, so that each is recorded once and replayed.

Knows which runs share a batch and how a batch is written in whole numbers; leaves arithmetic to paged_step.py.
Next: models/step_graphs.py
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from models.config import ModelConfig
from models.paged_cache import NOWHERE, PagedCache, pages_of
from models.step_layout import Run

STEP_ROWS = 2048
"""Tokens of a batch, padding counted."""
STEP_SESSIONS = 256
"""Sessions of a batch: their keys and values are gathered."""
WIDER = 4
"""From one number of tokens, or of pages, to the next."""
FEWEST_PAGES = 4


@dataclass(frozen=True, slots=True)
class Shape:
    """A batch's, padded."""

    sessions: int
    tokens: int
    """New ones of a session."""
    pages: int
    """Of a session's window."""


def batches(runs: Sequence[Run[PagedCache]], config: ModelConfig) -> Iterator[tuple[Shape, list[int]]]:
    """Shapes, and the numbers of the runs in each: runs of about the same length together."""
    alike: dict[int, list[int]] = {}
    for number, run in enumerate(runs):
        alike.setdefault(_padded(len(run.ids), 1, config.max_positions), []).append(number)
    for tokens, numbers in sorted(alike.items()):
        most = max(1, min(STEP_SESSIONS, STEP_ROWS // tokens))
        for at in range(0, len(numbers), most):
            some = numbers[at : at + most]
            pages = max(pages_of(runs[n].cache.length + len(runs[n].ids)) for n in some)
            yield Shape(1 << (len(some) - 1).bit_length(), tokens, _padded(pages, FEWEST_PAGES, pages_of(config.max_positions))), some


def _padded(n: int, least: int, most: int) -> int:
    while least < n:
        least *= WIDER
    return min(least, most)


def written(shape: Shape, runs: Sequence[Run[PagedCache]]) -> np.ndarray:
    """int64 (S, T + 2 + P): ids, tokens held before, new tokens, block table; one array, so that it is sent at once."""
    T, rows = shape.tokens, np.full((shape.sessions, shape.tokens + 2 + shape.pages), NOWHERE, np.int64)
    rows[:, : T + 2] = 0
    for row, run in zip(rows, runs):
        row[: len(run.ids)] = run.ids
        row[T : T + 2] = run.cache.length, len(run.ids)
        row[T + 2 : T + 2 + len(run.cache.pages)] = run.cache.pages
    return rows
