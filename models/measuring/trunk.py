"""What a token costs in the cached trunk: beside the naive way, beside the peak of the cores, late in a session and early.

Windows are full: the most a token can cost. Rounds are interleaved, so that what else the machine does meets all rows; times are medians.
The naive way is the same trunk over the whole window again for each token. The peak is that of the largest square product, in the same
turns. A session's millionth token is reached by its window alone, as a cache is a function of the window; from there on the trunk reads a
whole cycle: up to a full window, the cut, the prefill behind it. Operations are those the arithmetic needs: no padding, no masked keys.
Next: models/encoder.py
"""

import random
import statistics
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch

from models import checkpoint
from models.config import MARKS, BufferSettings, ModelConfig
from models.encoder import CachedEncoder, Run
from models.kv_cache import BYTES_PER_ID, KVCache
from models.memory import keep_freed_memory
from models.row_blocks import natural_type
from models.tokenizer import BOS, SINK, TEXT
from models.trunk import Trunk
from models.window import Window

NAIVE_WINDOWS = 4
"""Windows that the naive way does at once."""
CYCLE_SESSIONS = 32
EARLY, LATE = 1_000, 1_000_000
PEAK_SIZES = (768, 1536)
"""Sides of square products; the faster one is the peak."""
CHUNK = 16


@dataclass
class Row:
    """One way to read tokens, timed again and again."""

    name: str
    n_tokens: int
    flops: float
    """Floating point operations of one token."""
    run: Callable[[], None]
    wall: list[float] = field(default_factory=list)
    core: list[float] = field(default_factory=list)

    def time(self) -> None:
        wall, core = perf_counter(), process_time()
        self.run()
        self.wall.append(perf_counter() - wall)
        self.core.append(process_time() - core)

    def figures(self) -> dict[str, float]:
        """Medians: tokens a second, microseconds of a core per token, floating point operations a second."""
        rate = self.n_tokens / statistics.median(self.wall)
        core_us = statistics.median(self.core) / self.n_tokens * 1e6
        return {"tokens_per_s": rate, "core_us": core_us, "gflops": rate * self.flops / 1e9, "mflop_per_token": self.flops / 1e6}


def flops_of_token(c: ModelConfig, n_keys: float) -> float:
    """Operations of one token that sees n_keys keys, its own among them: two for each weight of the layers and, in attention, two for each
    number of a key and of a value. Embedding, norms, rotation, softmax and gates are left out, below 1 % together.
    """
    key_width = c.n_kv_heads * c.head_size
    weights = c.width * (c.width + 2 * key_width) + c.width * c.width + 3 * c.width * c.feed_forward
    return c.n_layers * (2.0 * weights + 4.0 * c.width * n_keys)


def token_ids(n: int, seed: int, config: ModelConfig) -> list[int]:
    return random.Random(seed).choices(range(20, config.vocab_size), k=n)


def naive(trunk: Trunk, n_threads: int) -> Row:
    """One token per window of the batch: only the last hidden state is new."""
    c = trunk.config
    ids = torch.tensor([token_ids(c.max_positions, n, c) for n in range(NAIVE_WINDOWS)])

    @torch.inference_mode()
    def run() -> None:
        torch.set_num_threads(n_threads)
        trunk(ids)
        torch.set_num_threads(1)

    return Row("whole window for each token", NAIVE_WINDOWS, c.max_positions * flops_of_token(c, (c.max_positions + 1) / 2), run)


def at_full_windows(encoder: CachedEncoder, caches: Sequence[KVCache], n: int) -> Row:
    """The last n tokens of every window, again and again."""
    c, full = encoder.config, [cache.window for cache in caches]
    ids = token_ids(n, 1, c)

    def run() -> None:
        for cache, window in zip(caches, full):
            cache.window = window[: -n * BYTES_PER_ID]
        encoder.encode([Run(cache, ids) for cache in caches])
        for cache, window in zip(caches, full):
            cache.window = window

    flops = flops_of_token(c, c.max_positions - (n - 1) / 2)
    return Row(f"{'single tokens' if n == 1 else f'pieces of {n}'}, {len(caches)} sessions", n * len(caches), flops, run)


def cycle(encoder: CachedEncoder, after: int) -> Row:
    """A cycle of windows in pieces of 16, of sessions that have read `after` tokens."""
    c, settings = encoder.config, BufferSettings()
    sinks = [BOS, TEXT, *[SINK] * (c.n_sinks - MARKS)]
    n_tokens = settings.max_tokens - settings.overlap_tokens - c.n_sinks
    windows = [Window(settings, c.n_sinks, array("H", sinks), []) for _ in range(CYCLE_SESSIONS)]
    for session, window in enumerate(windows):
        window.append(token_ids(after, session, c))
        window.stretches.clear()
    caches = [KVCache(c) for _ in windows]
    encoder.encode([Run(cache, window.ids) for cache, window in zip(caches, windows)])
    new = token_ids(n_tokens, after, c)

    def run() -> None:
        for at in range(0, n_tokens, CHUNK):
            for session, window in enumerate(windows):
                again = Window(settings, c.n_sinks, window.ids, window.starts)
                again.append(new[at : at + CHUNK])
                windows[session] = again
            for turn in range(max(len(window.stretches) for window in windows)):
                runs = []
                for cache, window in zip(caches, windows):
                    if turn < len(window.stretches) and (ids := window.stretches[turn].ids):
                        prefix = window.stretches[turn].prefix
                        if prefix is not None:
                            cache.window = b""
                        runs.append(Run(cache, [*(prefix or ()), *ids]))
                if runs:
                    encoder.encode(runs)

    return Row(f"from token {after:,} on, prefills after cuts included", n_tokens * len(windows), 0.0, run)


def peak(size: int, n_threads: int, kind: torch.dtype) -> Row:
    """A square product on so many threads; its `token` is one product."""
    left, right = (torch.randn(size, size, generator=torch.Generator().manual_seed(n)).to(kind) for n in (0, 1))

    @torch.inference_mode()
    def run() -> None:
        torch.set_num_threads(n_threads)
        for _ in range(4):
            left @ right
        torch.set_num_threads(1)

    return Row(f"product of {size} x {size}, {str(kind).removeprefix('torch.')}", 4, 2.0 * size**3, run)


def measure(n_sessions: int, rounds: int, n_threads: int | None, products: str | None, model: str | None) -> dict[str, Any]:
    """All rows of the trunk. The peaks are of the threads that the encoder uses."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()
    trunk = checkpoint.load(Path(model) if model else None).model.trunk
    encoder = CachedEncoder(trunk, n_threads, getattr(torch, products) if products else None)
    c = encoder.config
    caches = [KVCache(c) for _ in range(n_sessions)]
    for first in range(0, len(caches), 4):
        encoder.encode([Run(cache, token_ids(c.max_positions, first, c)) for cache in caches[first : first + 4]])
    slow, single, chunk = naive(trunk, encoder.n_threads), *(at_full_windows(encoder, caches, n) for n in (1, CHUNK))
    early, late = (cycle(encoder, after) for after in (EARLY, LATE))
    peaks = [peak(size, encoder.n_threads, kind) for kind in (torch.float32, torch.bfloat16) for size in PEAK_SIZES]
    for _ in range(rounds):
        for square in peaks:
            square.run()
            square.time()
        slow.time()
        for row, times in ((single, 8), (chunk, 2)):
            row.run()  # its weights and caches are near again, as they are in a stream
            for _ in range(times):
                row.time()
        for row in (early, late):
            row.time()
    best = {kind: max(p.figures()["gflops"] for p in peaks if kind in p.name) for kind in ("float32", "bfloat16")}
    found = {key: row.figures() for key, row in (("naive", slow), ("single", single), ("chunk", chunk), ("early", early), ("late", late))}
    return {
        "rows": found,
        "names": {"naive": slow.name, "single": single.name, "chunk": chunk.name, "early": early.name, "late": late.name},
        "peak_gflops": best,
        "times_naive": found["single"]["tokens_per_s"] / found["naive"]["tokens_per_s"],
        "of_peak_single": found["single"]["gflops"] / best["float32"],
        "of_peak_chunk": found["chunk"]["gflops"] / best["float32"],
        "late_to_early": statistics.median(b / a for a, b in zip(early.core, late.core)),
        "threads": encoder.n_threads,
        "sessions": n_sessions,
        "cache_bytes": caches[0].n_bytes,
        "products": products or str(natural_type()).removeprefix("torch."),
        "shape": f"width {c.width}, {c.n_layers} layers, {c.n_heads} heads on {c.n_kv_heads}, window {c.max_positions}",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
