"""Keys and values of one session's window, for every layer.

Knows storage, its growth and the window it holds; leaves attention to encoder.py and which caches stay to cache_pool.py.
A cache is a pure function of its window's token ids: truncated, dropped or rebuilt, it gives the same bits again.
Next: models/encoder.py
"""

import torch
from torch import Tensor

from models.attention import BUCKET
from models.config import ModelConfig

BYTES_PER_ID = 2


class KVCache:
    """Keys (after rotation) and values, float32 (n_layers, 2, H_kv, capacity, D); capacity grows by buckets."""

    def __init__(self, config: ModelConfig):
        self.config = config
        self.window = b""
        """Token ids held, uint16 little-endian; what must agree with a session's state before the cache is used."""
        self._kv = self._zeros(BUCKET)
        self._views: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def _zeros(self, capacity: int) -> Tensor:
        c = self.config
        return torch.zeros(c.n_layers, 2, c.n_kv_heads, capacity, c.head_size)

    @property
    def length(self) -> int:
        return len(self.window) // BYTES_PER_ID

    @property
    def n_bytes(self) -> int:
        return self._kv.numel() * 4

    def reserve(self, length: int) -> None:
        """Make room for `length` positions."""
        capacity = self._kv.shape[3]
        if length <= capacity:
            return
        grown = self._zeros(-(-length // BUCKET) * BUCKET)
        grown[:, :, :, :capacity] = self._kv
        self._kv, self._views = grown, {}

    def write(self, layer: int, start: int, keys_values: Tensor) -> None:
        """keys_values: (T, 2, H_kv, D), for positions from `start`."""
        self._kv[layer][:, :, start : start + keys_values.shape[0]] = keys_values.permute(1, 2, 0, 3)

    def read(self, layer: int, length: int) -> tuple[Tensor, Tensor]:
        """Keys, transposed (H_kv, D, length), and values (H_kv, length, D). What was never written is finite: the mask hides it."""
        views = self._views.get(length)
        if views is None:
            views = self._views[length] = [(kv[0, :, :length].transpose(1, 2), kv[1, :, :length]) for kv in self._kv]
        return views[layer]
