"""Matrix products whose rows do not know their neighbours.

A matrix library may choose its kernel, and so the order of a sum, by the number of rows. Here rows go through in blocks of a few
sizes only, and a size is used only when it was found, on this machine and for this very matrix, to give each row the bits that
blocks of ROWS rows give. Knows matrices; leaves what they mean to encoder.py.
Next: models/encoder.py
"""

import torch
from torch import Tensor

from models.attention import BUCKET
from models.config import ModelConfig

ROWS = 8
"""The smallest block: fewer rows are padded to it."""
SIZES = (128, 64, 32, 16, ROWS)
ATTENTION_SIZES = (64, 16, 4, 2)


class NotDeterministicError(RuntimeError):
    """This machine's matrix library gives a row other bits at another place of the same block."""


class RowBlocks:
    """x @ weight in blocks of rows."""

    def __init__(self, weight: Tensor):
        """weight: float32 (K, N), contiguous."""
        self.weight = weight
        self.sizes = equal_sizes(weight)

    def __call__(self, x: Tensor) -> Tensor:
        """x: float32 (R, K), R a multiple of ROWS. Returns (R, N)."""
        n = x.shape[0]
        if n in self.sizes:
            return torch.mm(x, self.weight)
        result = torch.empty(n, self.weight.shape[1])
        at = 0
        while at < n:
            size = next(s for s in self.sizes if s <= n - at)
            torch.mm(x[at : at + size], self.weight, out=result[at : at + size])
            at += size
        return result


def equal_sizes(weight: Tensor) -> tuple[int, ...]:
    """Block sizes, large to small, that give every row the same bits at every place."""
    x = torch.randn(SIZES[0], weight.shape[0], generator=torch.Generator().manual_seed(0))
    wanted = torch.cat([torch.mm(rows, weight) for rows in x.split(ROWS)])
    turned = torch.cat([torch.mm(rows.roll(1, 0), weight).roll(-1, 0) for rows in x.split(ROWS)])
    if not torch.equal(wanted, turned):
        raise NotDeterministicError(
            f"a {tuple(weight.shape)} product gives other bits at another row of {ROWS}; set one intra-op thread and try again"
        )
    return tuple(s for s in SIZES if s == ROWS or torch.equal(wanted, torch.cat([torch.mm(rows, weight) for rows in x.split(s)])))


def equal_attention_sizes(config: ModelConfig) -> tuple[int, ...]:
    """Query positions, large to small, that may share a product with the keys and with the values, in all buckets; 1 always may."""
    generator = torch.Generator().manual_seed(0)
    rows = config.group
    queries = torch.randn(config.n_kv_heads, ATTENTION_SIZES[0] * rows, config.head_size, generator=generator)
    equal = list(ATTENTION_SIZES)
    for keys in range(BUCKET, config.max_positions + 1, BUCKET):
        k = torch.randn(config.n_kv_heads, config.head_size, config.max_positions, generator=generator)[:, :, :keys]
        v = torch.randn(config.n_kv_heads, config.max_positions, config.head_size, generator=generator)[:, :keys]
        weights = torch.softmax(torch.randn(config.n_kv_heads, ATTENTION_SIZES[0] * rows, keys, generator=generator), dim=-1)
        for left, right in ((queries, k), (weights, v)):
            wanted = torch.cat([torch.bmm(part.contiguous(), right) for part in left.split(rows, dim=1)], dim=1)
            equal = [
                e
                for e in equal
                if torch.equal(wanted, torch.cat([torch.bmm(p.contiguous(), right) for p in left.split(e * rows, dim=1)], dim=1))
            ]
    return (*equal, 1)
