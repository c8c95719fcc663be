"""Hot caches of many sessions under one byte budget; the least recently used go first.

Knows sessions by name and caches by size; leaves rebuilding to transformer.py, which prefills the window again.
Next: models/kv_cache.py
"""

from collections import OrderedDict

from models.kv_cache import SessionCache


class CachePool:
    """session -> SessionCache, in order of use. A cache that grows is dropped before and put back after, so that its bytes are known."""

    def __init__(self, max_bytes: float):
        self.max_bytes = max_bytes
        self.n_bytes = 0
        """Of all caches."""
        self._caches: OrderedDict[str, tuple[SessionCache, int]] = OrderedDict()

    def get(self, session: str) -> SessionCache | None:
        """The session's cache, now the most recently used; None when it was evicted or never was."""
        entry = self._caches.get(session)
        if entry is None:
            return None
        self._caches.move_to_end(session)
        return entry[0]

    def put(self, session: str, cache: SessionCache) -> None:
        self.drop(session)
        self._caches[session] = cache, cache.n_bytes
        self.n_bytes += cache.n_bytes

    def drop(self, session: str) -> None:
        if (entry := self._caches.pop(session, None)) is not None:
            self.n_bytes -= entry[1]

    def shrink(self, by: int = 0) -> int:
        """Evict until the budget is kept, and caches of `by` bytes at least went; returns how many. Those of a running step are not here."""
        evicted, limit = 0, min(self.max_bytes, self.n_bytes - by)
        while self._caches and self.n_bytes > limit:
            self.drop(next(iter(self._caches)))
            evicted += 1
        return evicted

    def __len__(self) -> int:
        return len(self._caches)
