"""Keys and values of one session's window, for every layer, in half precision.

Knows storage, its growth and the window it holds; leaves attention to encoder_attention.py and which caches stay to cache_pool.py.
Keys lie transposed, as their product with a query reads them: sixteen positions at once.
A cache is a pure function of its window's token ids and of the memory in its sinks: truncated, dropped or rebuilt, it gives the same bits again.
Next: models/encoder.py
"""

from typing import Protocol

import numpy as np

from models.config import ModelConfig

BUCKET = 128
"""Positions that a cache grows by; a multiple of the sixteen that attention reads at once, or it would read beyond."""
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

    def _zeros(self, capacity: int) -> tuple[np.ndarray, np.ndarray]:
        """(n_layers, H_kv, D, capacity) and (n_layers, H_kv, capacity, D)."""
        c = self.config
        shapes = (c.n_layers, c.n_kv_heads, c.head_size, capacity), (c.n_layers, c.n_kv_heads, capacity, c.head_size)
        return np.zeros(shapes[0], np.float16), np.zeros(shapes[1], np.float16)

    def _hold(self, keys: np.ndarray, values: np.ndarray) -> None:
        self._keys, self._values = keys, values
        self.addresses = keys.ctypes.data, values.ctypes.data
        """Of keys and values, until the next reserve."""

    @property
    def capacity(self) -> int:
        """Positions that there is room for."""
        return self._keys.shape[3]

    @property
    def length(self) -> int:
        return len(self.window) // BYTES_PER_ID

    @property
    def n_bytes(self) -> int:
        return 2 * self._keys.size * BYTES_PER_NUMBER

    def reserve(self, length: int) -> None:
        """Make room for `length` positions."""
        if length <= (held := self.capacity):
            return
        keys, values = self._zeros(-(-length // BUCKET) * BUCKET)
        keys[:, :, :, :held], values[:, :, :held] = self._keys, self._values
        self._hold(keys, values)
