"""Matrix products whose rows do not know their neighbours.

A matrix library may choose its kernel, and so the order of a sum, by the number of rows. Whole numbers have the same sum in any order.
Other rows go through in blocks of a few sizes only, and a size is used only when it was found, on this machine, to give each row the bits
that the smallest one gives. Knows matrices; leaves what they mean to encoder.py.
Next: models/encoder.py
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from models.encoder_rows import LARGEST, TINY, from_whole, to_whole

SIZES = (128, 64, 32, 16, 8, 4, 2)
"""Of blocks of rows."""
SMALLEST = {torch.float32: 8, torch.bfloat16: 2}
"""The smallest block: fewer rows are padded to it. Below it other kernels are used, whose bits are others (bfloat16: for a single row).
INT8 has no blocks."""
ONE_BLOCK, STRIDE = 32, 8
"""Up to so many rows a step is padded to one block, which costs less than two that fit; more to a multiple of STRIDE."""


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

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """x: float32 (R, K), contiguous. Returns float32 (R, N)."""
        ...


def product(weight: Tensor, kind: torch.dtype) -> Product:
    """weight: float32 (K, N), contiguous. kind: what its numbers and those of x are rounded to; torch.int8, bfloat16 or float32."""
    return Int8Rows(weight) if kind == torch.int8 else RowBlocks(weight, kind)


class Int8Rows:
    """x @ weight in whole numbers from -127 to 127, with a scale for each row of x and each column of the weight."""

    def __init__(self, weight: Tensor):
        scales = (weight.abs().amax(dim=0) / float(LARGEST)).clamp_min(float(TINY))
        self.weight, self.columns = (weight / scales).round().to(torch.int8), scales.numpy()

    def __call__(self, x: np.ndarray) -> np.ndarray:
        whole, scales = np.empty(x.shape, np.int8), np.empty(len(x), np.float32)
        to_whole(x, whole, scales)
        sums, found = torch._int_mm(torch.from_numpy(whole), self.weight).numpy(), np.empty((len(x), len(self.columns)), np.float32)
        from_whole(sums, scales, self.columns, found)
        return found


class RowBlocks:
    """x @ weight in blocks of rows."""

    def __init__(self, weight: Tensor, product_type: torch.dtype = torch.float32):
        """weight: float32 (K, N), contiguous. product_type: what its numbers and those of x are rounded to; sums are float32."""
        self.weight = weight.to(product_type)
        self.sizes = equal_sizes(self.weight)

    def _padded(self, n_rows: int) -> int:
        """Rows that so many are padded to."""
        if n_rows > ONE_BLOCK:
            return -(-n_rows // STRIDE) * STRIDE
        size = self.sizes[-1]
        while size < n_rows:
            size *= 2
        return size

    def __call__(self, x: np.ndarray) -> np.ndarray:
        n = self._padded(len(x))
        rows = torch.zeros(n, x.shape[1], dtype=self.weight.dtype)
        rows[: len(x)] = torch.from_numpy(x)
        result = torch.empty(n, self.weight.shape[1], dtype=rows.dtype)
        at = 0
        while at < n:
            size = next(s for s in self.sizes if s <= n - at)
            torch.mm(rows[at : at + size], self.weight, out=result[at : at + size])
            at += size
        return result[: len(x)].float().numpy()


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
