"""Keys and values of one session's window, for every layer.

Knows storage, its growth and the window it holds; leaves attention to encoder.py and which caches stay to cache_pool.py.
Keys lie transposed, as their product with a query reads them: then the product's bits do not depend on how many queries there are.
A cache is a pure function of its window's token ids: truncated, dropped or rebuilt, it gives the same bits again.
Next: models/encoder.py
"""

import torch
from torch import Tensor

from models.attention import BUCKET
from models.config import ModelConfig

BYTES_PER_ID = 2


class KVCache:
    """Keys (after rotation, transposed) and values of every layer, float32; capacity grows by buckets."""

    def __init__(self, config: ModelConfig):
        self.config = config
        self.window = b""
        """Token ids held, uint16 little-endian; what must agree with a session's state before the cache is used."""
        self.memory = b""
        """What its sinks carry, as the session's state has it."""
        self._keys, self._values = self._zeros(BUCKET)
        self._views: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def _zeros(self, capacity: int) -> tuple[Tensor, Tensor]:
        """(n_layers, H_kv, D, capacity) and (n_layers, H_kv, capacity, D)."""
        c = self.config
        return torch.zeros(c.n_layers, c.n_kv_heads, c.head_size, capacity), torch.zeros(c.n_layers, c.n_kv_heads, capacity, c.head_size)

    @property
    def length(self) -> int:
        return len(self.window) // BYTES_PER_ID

    @property
    def n_bytes(self) -> int:
        return 2 * self._keys.numel() * 4

    def reserve(self, length: int) -> None:
        """Make room for `length` positions."""
        capacity = self._keys.shape[3]
        if length <= capacity:
            return
        keys, values = self._zeros(-(-length // BUCKET) * BUCKET)
        keys[:, :, :, :capacity], values[:, :, :capacity] = self._keys, self._values
        self._keys, self._values, self._views = keys, values, {}

    def write(self, layer: int, start: int, keys: Tensor, values: Tensor) -> None:
        """keys, values: (T, H_kv, D), for positions from `start`."""
        self._keys[layer, :, :, start : start + keys.shape[0]] = keys.permute(1, 2, 0)
        self._values[layer, :, start : start + values.shape[0]] = values.transpose(0, 1)

    def read(self, layer: int, length: int) -> tuple[Tensor, Tensor]:
        """Keys (H_kv, D, length) and values (H_kv, length, D). What was never written is finite: the mask hides it."""
        views = self._views.get(length)
        if views is None:
            views = self._views[length] = [(k[:, :, :length], v[:, :length]) for k, v in zip(self._keys, self._values)]
        return views[layer]
