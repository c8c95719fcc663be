"""Keys and values of many windows in pages of one pool on a device; a window is a list of pages.

Knows pages, who holds them and that they begin as zeros; leaves attention to paged_attention.py, which caches stay to cache_pool.py.
A cache that nobody holds any more gives its pages back, as one on the CPU gives its memory back.
Next: models/paged_encoder.py
"""

from collections.abc import Sequence

import torch

from models.config import ModelConfig
from models.kv_cache import BYTES_PER_ID, BYTES_PER_NUMBER

PAGE = 32
"""Positions in a page: a window of 512 is 16 pages, and half a page a window is left empty."""
NOWHERE = 0
"""The page that no cache holds: padded rows write zeros to it, padded tables name it. Always zeros."""


class PagesExhaustedError(RuntimeError):
    """A step needs more pages than are free, with no idle cache left to evict; nothing was changed, fewer sessions at a time may fit."""

    retriable = True


class PagePool:
    """All pages of a device, and which of them are free."""

    def __init__(self, config: ModelConfig, max_bytes: float, device: torch.device):
        """max_bytes: of all pages; one full window fits in any case."""
        c = config
        self.device = device
        self.page_bytes = 2 * c.n_layers * PAGE * c.n_kv_heads * c.head_size * BYTES_PER_NUMBER
        self.n_pages = max(int(max_bytes // self.page_bytes), pages_of(c.max_positions))
        """That caches can hold."""
        shape = (c.n_layers, self.n_pages + 1, PAGE, c.n_kv_heads, c.head_size)
        self.keys, self.values = (torch.zeros(shape, dtype=torch.float16, device=device) for _ in range(2))
        self._free = list(range(self.n_pages, NOWHERE, -1))

    @property
    def n_free(self) -> int:
        return len(self._free)

    def take(self, n: int) -> list[int]:
        """n free pages. What they held before, the caller clears."""
        if n > self.n_free:
            raise PagesExhaustedError(
                f"{self.n_free} of {self.n_pages} pages of keys and values are free, {n} wanted; raise [state] max_cache_size_mb, "
                f"which is {self.n_pages * self.page_bytes / 2**20:.1f} on this device"
            )
        return [self._free.pop() for _ in range(n)]

    def give_back(self, pages: Sequence[int]) -> None:
        """From any thread: extending a list is one operation."""
        self._free.extend(pages)

    def clear(self, pages: Sequence[int]) -> None:
        """Zeros in these pages: behind a mask, what another session left there would still spread when it is not finite."""
        if pages:
            places = torch.tensor(pages).to(self.device)
            self.keys.index_fill_(1, places, 0)
            self.values.index_fill_(1, places, 0)


class PagedCache:
    """One session's window: the pages it holds, in order. SessionCache of kv_cache.py."""

    def __init__(self, pool: PagePool):
        self.pages: list[int] = []
        self.window = b""
        self.memory = b""
        self._pool = pool

    @property
    def length(self) -> int:
        return len(self.window) // BYTES_PER_ID

    @property
    def n_bytes(self) -> int:
        return len(self.pages) * self._pool.page_bytes

    def wants(self, length: int) -> int:
        """Pages that are wanting for `length` positions."""
        return pages_of(length) - len(self.pages)

    def fit(self, length: int) -> list[int]:
        """Hold the pages of `length` positions and no others: what a cut left over goes back. Returns the new ones, not yet cleared."""
        kept = pages_of(length)
        self._pool.give_back(self.pages[kept:])
        del self.pages[kept:]
        new = self._pool.take(self.wants(length))
        self.pages += new
        return new

    def __del__(self) -> None:
        self._pool.give_back(self.pages)


def pages_of(length: int) -> int:
    """Pages of so many positions."""
    return -(-length // PAGE)
