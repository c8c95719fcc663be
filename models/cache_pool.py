"""Hot caches of many sessions under one byte budget; the least recently used go first.

Knows sessions by name and caches by size; leaves rebuilding to transformer.py, which prefills the window again.
Next: models/kv_cache.py
"""

from collections import OrderedDict

from models.kv_cache import KVCache


class CachePool:
    """session -> KVCache, in order of use."""

    def __init__(self, max_bytes: float):
        self.max_bytes = max_bytes
        self._caches: OrderedDict[str, KVCache] = OrderedDict()

    def get(self, session: str) -> KVCache | None:
        """The session's cache, now the most recently used; None when it was evicted or never was."""
        cache = self._caches.get(session)
        if cache is not None:
            self._caches.move_to_end(session)
        return cache

    def put(self, session: str, cache: KVCache) -> None:
        self._caches[session] = cache
        self._caches.move_to_end(session)

    def drop(self, session: str) -> None:
        self._caches.pop(session, None)

    def shrink(self) -> int:
        """Evict until the budget is kept; returns how many went. Called between steps, never during one."""
        evicted, held = 0, self.n_bytes()
        while held > self.max_bytes:
            _, cache = self._caches.popitem(last=False)
            held -= cache.n_bytes
            evicted += 1
        return evicted

    def n_bytes(self) -> int:
        return sum(cache.n_bytes for cache in self._caches.values())

    def __len__(self) -> int:
        return len(self._caches)
