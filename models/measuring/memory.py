"""What sessions hold: memory of hot ones, bytes of a state row, time to rebuild one that was evicted.

Memory is the process's own growth, resident, from a model that is loaded and has stepped once, to all sessions with full windows: GROUP
of them read that far, the others are copies with a state and a cache of their own, as after a take-over.
Next: models/cache_pool.py
"""

import statistics
from collections.abc import Sequence
from time import perf_counter

import psutil

from models.config import CacheSettings, TextSettings
from models.measuring.alone import JOINED, Sessions, tokens_in
from models.transformer import StreamingHierarchicalTransformer

REBUILT = 64
GROUP = 50
"""Sessions that are read, one step for all."""


def measure(texts: Sequence[str], n_sessions: int, n_items: int, max_mb: float) -> dict[str, float]:
    """n_items: pieces of each session; with 240 windows are nearly full for the first time."""
    model = StreamingHierarchicalTransformer.load(settings=TextSettings(state=CacheSettings(max_cache_size_mb=max_mb)))
    warm = Sessions(model, texts, GROUP, "warm")
    warm.read(2, JOINED)
    for name in warm.names:
        model.drop(name)
    process = psutil.Process()
    before = process.memory_info().rss
    read = Sessions(model, texts, GROUP, "read")
    while read.done * JOINED < n_items:
        read.read(1, JOINED)
    names, states = list(read.names), list(read.states)
    for number in range(GROUP, n_sessions):
        names.append(f"tokens/copy-{number}")
        states.append(model.unpack(model.pack(read.states[number % GROUP])))
        model.rebuild(names[-1], states[-1])
    grown = process.memory_info().rss - before
    rows = [len(model.pack(state)) for state in states]
    hot, cache_bytes = len(model.pool), model.cache_bytes()
    took = []
    for name, state in list(zip(names, states))[-REBUILT:]:
        model.drop(name)
        began = perf_counter()
        model.rebuild(name, state)
        took.append((perf_counter() - began) * 1000)
    windows = [tokens_in(state) for state in states]
    return {
        "sessions": len(states),
        "hot": hot,
        "grown_mb": grown / 1e6,
        "loaded_mb": before / 1e6,
        "caches_mb": cache_bytes / 1e6,
        "cache_bytes": cache_bytes / max(hot, 1),
        "row_bytes_median": statistics.median(rows),
        "row_bytes_max": max(rows),
        "window_tokens_median": statistics.median(windows),
        "rebuild_ms_median": statistics.median(took),
        "rebuild_ms_max": max(took),
    }
