"""Matrix products whose rows do not know their neighbours.

A matrix library may choose its kernel, and so the order of a sum, by the number of rows, or of products done together. Whole numbers
have the same sum in any order. Other rows go through in blocks, and attention in batches, of a few sizes only, and a size is used only
when it was found, on this machine, to give each row the bits that the smallest one gives. Knows matrices; leaves what they mean to encoder.py.
Next: models/encoder.py
"""

from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from models.attention import BUCKET
from models.config import ModelConfig

SIZES = (128, 64, 32, 16, 8, 4, 2)
"""Of blocks of rows."""
SMALLEST = {torch.float32: 8, torch.bfloat16: 2}
"""The smallest block: fewer rows are padded to it. Below it other kernels are used, whose bits are others (bfloat16: for a single row).
INT8 has no blocks."""
ONE_BLOCK, STRIDE = 32, 8
"""Up to so many rows a step is padded to one block, which costs less than two that fit; more to a multiple of STRIDE."""
LARGEST, TINY = 127, 1e-12
"""Of whole numbers in INT8; of scales, for a row of zeros."""
ATTENTION_SIZES = (64, 16, 4, 2, 1)
"""Neighbouring query positions of a session that share a product."""
BATCHES = (16, 8, 4, 2, 1)
"""Sessions in one batched product. 16: 8 and 32 are no faster (models/measuring/trunk.py)."""
BATCHED_POSITIONS = 64
"""Query positions in one batched product. 64: 32 is as fast, 128 slower by a seventh, for the scores no longer fit the processor's memory."""


class NotDeterministicError(RuntimeError):
    """This machine's matrix library gives a row other bits at another place of the same block."""


def natural_type() -> torch.dtype:
    """What products are rounded to: INT8 or bfloat16 where the processor multiplies it, which takes a third or half of the time, else float32.

    Decided by the processor alone, never by a timing: a cache that is rebuilt after a restart must have the bits it had.
    """
    if torch.cpu._is_vnni_supported():  # type: ignore[no-untyped-call]
        return torch.int8
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32  # type: ignore[no-untyped-call]


class Product(Protocol):
    """x @ weight."""

    def padded(self, n_rows: int) -> int:
        """Rows that so many are padded to."""
        ...

    def __call__(self, x: Tensor) -> Tensor:
        """x: float32 (R, K), R as padded() gives it. Returns float32 (R, N)."""
        ...


def product(weight: Tensor, kind: torch.dtype) -> Product:
    """weight: float32 (K, N), contiguous. kind: what its numbers and those of x are rounded to; torch.int8, bfloat16 or float32."""
    return Int8Rows(weight) if kind == torch.int8 else RowBlocks(weight, kind)


class Int8Rows:
    """x @ weight in whole numbers from -127 to 127, with a scale for each row of x and each column of the weight."""

    def __init__(self, weight: Tensor):
        self.scales = (weight.abs().amax(dim=0, keepdim=True) / LARGEST).clamp_min(TINY)
        self.weight = (weight / self.scales).round().to(torch.int8)

    def padded(self, n_rows: int) -> int:
        return max(n_rows, 1)

    def __call__(self, x: Tensor) -> Tensor:
        scales = torch.linalg.vector_norm(x, float("inf"), dim=1, keepdim=True).clamp_min_(TINY).div_(LARGEST)
        whole = (x / scales).round_().to(torch.int8)
        return torch._int_mm(whole, self.weight).float().mul_(scales).mul_(self.scales)


class RowBlocks:
    """x @ weight in blocks of rows."""

    def __init__(self, weight: Tensor, product_type: torch.dtype = torch.float32):
        """weight: float32 (K, N), contiguous. product_type: what its numbers and those of x are rounded to; sums are float32."""
        self.weight = weight.to(product_type)
        self.sizes = equal_sizes(self.weight)

    def padded(self, n_rows: int) -> int:
        if n_rows > ONE_BLOCK:
            return -(-n_rows // STRIDE) * STRIDE
        size = self.sizes[-1]
        while size < n_rows:
            size *= 2
        return size

    def __call__(self, x: Tensor) -> Tensor:
        n, x = x.shape[0], x.to(self.weight.dtype)
        if n in self.sizes:
            return torch.mm(x, self.weight).float()
        result = torch.empty(n, self.weight.shape[1], dtype=x.dtype)
        at = 0
        while at < n:
            size = next(s for s in self.sizes if s <= n - at)
            torch.mm(x[at : at + size], self.weight, out=result[at : at + size])
            at += size
        return result.float()


def equal_sizes(weight: Tensor) -> tuple[int, ...]:
    """Block sizes, large to small, that give every row the same bits at every place."""
    least = SMALLEST[weight.dtype]
    x = torch.randn(SIZES[0], weight.shape[0], generator=torch.Generator().manual_seed(0)).to(weight.dtype)
    wanted = torch.cat([torch.mm(rows, weight) for rows in x.split(least)])
    turned = torch.cat([torch.mm(rows.roll(1, 0), weight).roll(-1, 0) for rows in x.split(least)])
    if not torch.equal(wanted, turned):
        raise NotDeterministicError(
            f"a {tuple(weight.shape)} product gives other bits at another row of {least}; set one intra-op thread and try again"
        )
    sizes = [s for s in SIZES if s >= least]
    return tuple(s for s in sizes if s == least or torch.equal(wanted, torch.cat([torch.mm(rows, weight) for rows in x.split(s)])))


@lru_cache(maxsize=8)
def equal_attention_sizes(config: ModelConfig) -> dict[int, tuple[int, ...]]:
    """Query positions that may share a product -> sessions that may be batched in it; both large to small, in all buckets.

    One position of one session always may. What counts are the bits of the products with the keys and with the values.
    """
    c, equal = config, dict[int, tuple[int, ...]]()
    for positions in ATTENTION_SIZES:
        batches = [b for b in BATCHES if b == 1 or b * positions <= BATCHED_POSITIONS]
        for keys in range(BUCKET, c.max_positions + 1, BUCKET):
            if not batches:
                break
            generator = torch.Generator().manual_seed(keys)
            queries = torch.randn(batches[0], c.n_kv_heads, positions * c.group, c.head_size, generator=generator)
            k = torch.randn(batches[0], c.n_kv_heads, c.head_size, keys, generator=generator)
            for left, right in ((queries, k), (torch.softmax(queries @ k, dim=-1), k.transpose(2, 3).contiguous())):
                wanted = _multiply(left, right, c.group, 1)
                batches = [b for b in batches if torch.equal(_multiply(left, right, positions * c.group, b), wanted)]
        if 1 in batches:  # a session may be alone
            equal[positions] = tuple(batches)
    return equal


def _multiply(left: Tensor, right: Tensor, rows: int, sessions: int) -> Tensor:
    """left: (S, H_kv, R, N), right: (S, H_kv, N, M); this many rows of this many sessions at a time. Returns (S, H_kv, R, M)."""
    result = torch.empty(*left.shape[:3], right.shape[3])
    for s in range(0, left.shape[0], sessions):
        some = slice(s, s + sessions)
        for r in range(0, left.shape[2], rows):
            part = left[some, :, r : r + rows].flatten(0, 1).contiguous()
            result[some, :, r : r + rows] = torch.bmm(part, right[some].flatten(0, 1)).view(-1, left.shape[1], rows, right.shape[3])
    return result
