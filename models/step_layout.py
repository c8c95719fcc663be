"""Where each token of a step lies: its row, its position in its session's window, its session's cache.

Knows rows; leaves the arithmetic to encoder.py. All of it is integers, and none of it depends on the layer.
Next: models/encoder.py
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from torch import Tensor

from models.kv_cache import KVCache, SessionCache

Cache = TypeVar("Cache", bound=SessionCache)


@dataclass(slots=True)
class Run(Generic[Cache]):
    """Consecutive new tokens of one session, to be appended to its cache."""

    cache: Cache
    """Of the encoder that reads the run."""
    ids: Sequence[int]
    watch: Sequence[int] = ()
    """Positions among them whose attention over the window, in the last layer, is reported."""
    memory: Tensor | None = None
    """float32 (n_sinks - MARKS, C), added to the embeddings of the sinks behind the marks when the run holds them; None for nothing."""
    attention: dict[int, Tensor] = field(default_factory=dict)
    """position -> (position + 1,), mean over heads; set by encode."""


def check_windows(runs: Sequence[Run[Cache]], max_positions: int) -> None:
    """Raises IndexError for a window longer than max_positions."""
    for run in runs:
        if (length := run.cache.length + len(run.ids)) > max_positions:
            raise IndexError(f"a window of {length} tokens, wanted at most {max_positions}; reset it")


class Layout:
    """The rows of a step, run by run; for each int64 (R,) its token, its position, and where its session's cache lies."""

    def __init__(self, runs: Sequence[Run[KVCache]]):
        """The runs' caches have room for them already."""
        counts = [len(run.ids) for run in runs]
        starts = [run.cache.length for run in runs]
        self.runs = runs
        self.first_rows: list[int] = np.cumsum([0, *counts])[:-1].tolist()
        self.ids = np.array([token for run in runs for token in run.ids], np.int64)
        self.positions = np.arange(len(self.ids)) + np.repeat(np.array(starts) - self.first_rows, counts)
        places = np.array([(*run.cache.addresses, run.cache.capacity) for run in runs], np.int64)
        self.keys, self.values, self.capacities = (np.ascontiguousarray(column) for column in np.repeat(places, counts, axis=0).T)
        self.watched = np.full(len(self.ids), -1)
        """Row of what attention tells, -1 for nothing."""
        self.unwatched, self.n_watched = self.watched.copy(), 0
        for run, first, start in zip(runs, self.first_rows, starts):
            for position in run.watch:
                self.watched[first + position - start], self.n_watched = self.n_watched, self.n_watched + 1
