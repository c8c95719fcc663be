"""Attention of several sessions in one batched product.

Knows the products and the memory they are made in; leaves who is batched to step_layout.py, storage to kv_cache.py.
Next: models/encoder.py
"""

import torch
from torch import Tensor

from models.attention import BUCKET
from models.config import ModelConfig
from models.row_blocks import BATCHED_POSITIONS, BATCHES
from models.step_layout import Batch


class Scratch:
    """One thread's memory for keys, values and scores of a batch, in float32."""

    def __init__(self, config: ModelConfig):
        self.config = config
        size = BATCHES[0] * config.n_kv_heads * config.head_size * config.max_positions
        self._keys, self._values = torch.empty(size), torch.empty(size)
        self._scores = torch.empty(BATCHED_POSITIONS * config.n_heads * config.max_positions)

    def keys_values(self, n_sessions: int, keys: int) -> tuple[Tensor, Tensor]:
        """(sessions, H_kv, D, keys) and (sessions, H_kv, keys, D)"""
        c = self.config
        size = n_sessions * c.n_kv_heads * c.head_size * keys
        return self._keys[:size].view(n_sessions, c.n_kv_heads, -1, keys), self._values[:size].view(n_sessions, c.n_kv_heads, keys, -1)

    def scores(self, n_sessions: int, n_positions: int, keys: int) -> Tensor:
        """(sessions, H_kv, positions, group, keys)"""
        c = self.config
        size = n_sessions * n_positions * c.n_heads * keys
        return self._scores[:size].view(n_sessions, c.n_kv_heads, n_positions, c.group, keys)


class BatchedAttention:
    """One batch's way through attention, the same in every layer: all views are made once, for a view costs as much as a small product."""

    def __init__(self, batch: Batch, queries: Tensor, outputs: Tensor, scratch: Scratch):
        """queries, outputs: (attention rows, D), of the whole step."""
        n = len(batch.caches)
        keys, values = scratch.keys_values(n, batch.keys)
        self.batch, self.by_position = batch, scratch.scores(n, batch.n_positions, batch.keys)
        self.last_bucket = self.by_position[..., -BUCKET:]
        self.scores = self.by_position.flatten(2, 3).flatten(0, 1)  # (sessions * H_kv, positions * group, keys)
        self.keys, self.values = keys.flatten(0, 1), values.flatten(0, 1)
        self.loaded = [*keys.unbind(0), *values.unbind(0)]
        self.stored = [cache.views(batch.keys) for cache in batch.caches]
        shape = (*self.scores.shape[:2], queries.shape[1])
        self.queries, self.outputs = (rows[batch.start : batch.stop].view(shape) for rows in (queries, outputs))

    def layer(self, number: int, is_last: bool) -> None:
        """Read the queries, write the outputs."""
        torch._foreach_copy_(self.loaded, [views[number][0] for views in self.stored] + [views[number][1] for views in self.stored])
        torch.bmm(self.queries, self.keys, out=self.scores)
        self.last_bucket.add_(self.batch.mask)
        torch.softmax(self.scores, dim=-1, out=self.scores)
        torch.bmm(self.scores, self.values, out=self.outputs)
        if is_last:
            for run, place, nth, position in self.batch.watched:
                run.attention[position] = self.by_position[place, :, nth].flatten(0, 1).mean(dim=0)[: position + 1].clone()
