"""The trunk over pages: one padded batch of new tokens, in operations that a CUDA graph can record.

Knows the arithmetic of a step, beside trunk.py, whose weights it uses and which is its oracle; leaves pages to paged_attention.py.
Never waits for the device and makes no tensor elsewhere: what it reads and writes lies at the same addresses each time.
Next: models/step_graphs.py
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from models.attention import rotate
from models.config import MARKS
from models.paged_attention import Places, attend, places_of, write
from models.paged_cache import PagePool
from models.paged_shapes import Shape
from models.trunk import Block, Trunk


class PagedStep:
    """New tokens of a batch -> their hidden states; keys and values are written to the pages."""

    def __init__(self, trunk: Trunk, pool: PagePool):
        self.trunk, self.pool = copy.deepcopy(trunk).to(pool.device), pool

    def inputs(self, shape: Shape) -> tuple[Tensor, Tensor]:
        """What a step of this shape reads: int64 (S, T + 2 + P), see paged_shapes.py, and float32 (S, n_sinks + 1, C).

        The second holds what is added to the embedding at each sink; its last row, zeros, is added everywhere else.
        """
        c, device = self.trunk.config, self.pool.device
        rows = torch.zeros(shape.sessions, shape.tokens + 2 + shape.pages, dtype=torch.int64, device=device)
        return rows, torch.zeros(shape.sessions, c.n_sinks + 1, c.width, device=device)

    def __call__(self, shape: Shape, rows: Tensor, sinks: Tensor) -> tuple[Tensor, Tensor]:
        """Returns hidden states (S, T, C), normalised, and the last layer's queries (S, T, H, D), rotated. Twice the same: the same."""
        c = self.trunk.config
        ids, starts, counts, table = rows.split((shape.tokens, 1, 1, shape.pages), dim=1)
        places = places_of(starts, counts, table, shape.tokens, c.group)
        at = places.positions.clamp(max=c.n_sinks)
        x = self.trunk.embedding(ids) + sinks.gather(1, at[..., None].expand(-1, -1, c.width))
        turned = places.positions.clamp(max=c.max_positions - 1)  # of padding only
        cos, sin = self.trunk.cos[turned], self.trunk.sin[turned]  # (S, T, 1, D / 2)
        queries = x
        for number, block in enumerate(self.trunk.blocks):
            x, queries = self._layer(number, block, x, cos, sin, places)  # type: ignore[arg-type]
        return self.trunk.norm(x), queries

    def _layer(self, number: int, block: Block, x: Tensor, cos: Tensor, sin: Tensor, places: Places) -> tuple[Tensor, Tensor]:
        c, keys, values = self.trunk.config, self.pool.keys[number], self.pool.values[number]
        qkv = block.qkv(block.attention_norm(x)).view(*x.shape[:2], -1, c.head_size)
        q, k = rotate(qkv[:, :, : c.n_heads + c.n_kv_heads], cos, sin).split((c.n_heads, c.n_kv_heads), dim=2)
        write(keys, k, places)
        write(values, qkv[:, :, c.n_heads + c.n_kv_heads :], places)
        x = x + block.output(attend(q, keys, values, places))
        gate, up = block.gate_up(block.feed_norm(x)).chunk(2, dim=-1)
        return x + block.down(F.silu(gate) * up), q


def fill_sinks(sinks: Tensor, session: int, memory: Tensor) -> None:
    """Let a session's sinks behind the marks carry `memory`, float32 (n_sinks - MARKS, C)."""
    sinks[session, MARKS:-1] = memory.to(sinks.device)
