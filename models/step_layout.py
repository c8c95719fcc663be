"""Where each token of a step lies: its row in the linear layers, its rows in the batched products of attention.

Knows rows, heads, buckets and batches; leaves the arithmetic to encoder.py. All of it is integers, and none of it depends on the layer.
Next: models/encoder.py
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from models.attention import BUCKET, bucket_of
from models.config import ModelConfig
from models.kv_cache import KVCache, SessionCache

LATER = torch.where(torch.arange(BUCKET) > torch.arange(BUCKET)[:, None], float("-inf"), 0.0)
"""Row p: what a query at place p of its bucket adds to its scores with that bucket's keys. Earlier buckets it sees whole."""


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


@dataclass(slots=True)
class Batch:
    """Query positions of several sessions in one batched product: each session as many, against as many keys."""

    keys: int
    n_positions: int
    caches: list[KVCache]
    start: int
    """Attention rows, session by session, in it key head by key head, in it position by position."""
    stop: int
    mask: Tensor
    """(sessions, 1, positions, 1, BUCKET), for the last bucket of the keys."""
    watched: list[tuple[Run[KVCache], int, int, int]]
    """Run, place of its session, place of the position among its positions, position in the window."""


class Layout:
    """The rows of a step."""

    def __init__(self, runs: Sequence[Run[KVCache]], config: ModelConfig, sizes: Mapping[int, Sequence[int]], n_rows: int):
        """sizes: positions that may share a product -> sessions that may be batched in it; n_rows: of all runs, padded (row_blocks.py)."""
        ids, positions = np.zeros(n_rows, np.int64), np.zeros(n_rows, np.int64)
        self.runs, self.first_rows = runs, list[int]()
        alike: dict[tuple[int, int], list[tuple[int, int, int]]] = {}  # keys, positions -> run, its first position here, that one's row
        row = 0
        for number, run in enumerate(runs):
            start, count = run.cache.length, len(run.ids)
            self.first_rows.append(row)
            ids[row : row + count], positions[row : row + count] = run.ids, np.arange(start, start + count)
            for position, n_positions in _groups(start, start + count, sizes):
                alike.setdefault((bucket_of(position), n_positions), []).append((number, position, row + position - start))
            row += count
        self.ids, self.positions = torch.from_numpy(ids), torch.from_numpy(positions)
        self.batches: list[Batch] = []
        query_rows, output_rows, at = [], np.zeros(n_rows * config.n_heads, np.int64), 0
        for (keys, n_positions), jobs in sorted(alike.items()):
            _, first_positions, rows = np.array(jobs).T
            places = np.arange(n_positions)
            masks = LATER[torch.from_numpy(first_positions[:, None] % BUCKET + places)][:, None, :, None]
            by_head = np.arange(config.n_heads).reshape(config.n_kv_heads, 1, config.group)
            found = ((rows[:, None] + places)[:, None, :, None] * config.n_heads + by_head).ravel()
            query_rows.append(found)
            output_rows[found] = np.arange(at, at + len(found))
            per_job, done = n_positions * config.n_heads, 0
            while done < len(jobs):
                size = next(s for s in sizes[n_positions] if s <= len(jobs) - done)
                some = jobs[done : done + size]
                caches = [runs[number].cache for number, _, _ in some]
                stop = at + size * per_job
                self.batches.append(
                    Batch(keys, n_positions, caches, at, stop, masks[done : done + size], list(_watched(runs, some, n_positions)))
                )
                at, done = stop, done + size
        self.query_rows = torch.from_numpy(np.concatenate(query_rows))
        """Row * heads + head of each attention row."""
        self.output_rows = torch.from_numpy(output_rows)


def _watched(
    runs: Sequence[Run[KVCache]], jobs: Sequence[tuple[int, int, int]], n_positions: int
) -> Iterator[tuple[Run[KVCache], int, int, int]]:
    for place, (number, first, _) in enumerate(jobs):
        for position in runs[number].watch:
            if first <= position < first + n_positions:
                yield runs[number], place, position - first, position


def _groups(start: int, stop: int, sizes: Mapping[int, Sequence[int]]) -> Iterator[tuple[int, int]]:
    """Positions start..stop as (first, how many), of the sizes allowed, never across a bucket."""
    while start < stop:
        room = min(stop, (start // BUCKET + 1) * BUCKET) - start
        size = next(size for size in sizes if size <= room)
        yield start, size
        start += size
