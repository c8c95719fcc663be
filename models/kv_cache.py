"""Keys and values of one session's window, for every layer, in half precision.

Knows storage, its growth and the window it holds; leaves attention to encoder.py and which caches stay to cache_pool.py.
Keys lie transposed, as their product with a query reads them: then the product's bits do not depend on how many queries there are.
A cache is a pure function of its window's token ids and of the memory in its sinks: truncated, dropped or rebuilt, it gives the same bits again.
Next: models/encoder.py
"""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from models.attention import BUCKET
from models.config import ModelConfig

BYTES_PER_ID = 2
BYTES_PER_NUMBER = 2
"""float16: ten bits of fraction, and this processor family turns 8 or 16 of them into float32 at a time."""


class SessionCache(Protocol):
    """What a session's keys and values are to those who never read them."""

    window: bytes
    """Token ids held, uint16 little-endian; what must agree with a session's state before the cache is used."""
    memory: bytes
    """What the sinks carry, as the session's state has it; empty for nothing. It must agree as well."""

    @property
    def length(self) -> int:
        """Tokens held."""
        ...

    @property
    def n_bytes(self) -> int: ...


class KVCache:
    """SessionCache on the CPU: keys (after rotation, transposed) and values of every layer, float16; capacity grows by buckets."""

    def __init__(self, config: ModelConfig):
        self.config = config
        self.window = b""
        self.memory = b""
        self._hold(*self._zeros(BUCKET))

    def _zeros(self, capacity: int) -> tuple[Tensor, Tensor]:
        """(n_layers, H_kv, D, capacity) and (n_layers, H_kv, capacity, D)."""
        c, half = self.config, torch.float16
        keys = torch.zeros(c.n_layers, c.n_kv_heads, c.head_size, capacity, dtype=half)
        return keys, torch.zeros(c.n_layers, c.n_kv_heads, capacity, c.head_size, dtype=half)

    def _hold(self, keys: Tensor, values: Tensor) -> None:
        self._keys, self._values = keys, values
        self._written = list(zip(keys.numpy(), values.numpy()))  # the same memory: numpy takes a token in 5 times as fast as torch
        self._views: dict[int, list[tuple[Tensor, Tensor]]] = {}

    @property
    def length(self) -> int:
        return len(self.window) // BYTES_PER_ID

    @property
    def n_bytes(self) -> int:
        return 2 * self._keys.numel() * BYTES_PER_NUMBER

    def reserve(self, length: int) -> None:
        """Make room for `length` positions."""
        capacity = self._keys.shape[3]
        if length <= capacity:
            return
        keys, values = self._zeros(-(-length // BUCKET) * BUCKET)
        keys[:, :, :, :capacity], values[:, :, :capacity] = self._keys, self._values
        self._hold(keys, values)

    def write(self, layer: int, start: int, keys: np.ndarray, values: np.ndarray) -> None:
        """keys, values: float16 (T, H_kv, D), for positions from `start`."""
        stop = start + len(keys)
        held_keys, held_values = self._written[layer]
        held_keys[:, :, start:stop] = keys.transpose(1, 2, 0)
        held_values[:, start:stop] = values.transpose(1, 0, 2)

    def views(self, length: int) -> list[tuple[Tensor, Tensor]]:
        """Per layer, keys (H_kv, D, length) and values (H_kv, length, D), float16. What was never written is finite: the mask hides it."""
        views = self._views.get(length)
        if views is None:
            views = self._views[length] = [(k[:, :, :length], v[:, :length]) for k, v in zip(self._keys, self._values)]
        return views
