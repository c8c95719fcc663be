"""What a token costs in the cached trunk, beside the naive way: the same trunk over the whole window again for each token.

    python -m tests.models.bench_encoder [--sessions 128] [--rounds 5] [--threads N] [--products bfloat16] [--model DIR]

Windows are full: the most a token can cost. Rounds are interleaved, so that what else the machine does meets all rows; times are medians.
Without a model the weights are random, which changes no time. A session's millionth token is reached by its window alone, as a cache is a
function of the window; from there on the trunk reads a whole cycle: up to a full window, the cut, the prefill behind it.
"""

import argparse
import os
import platform
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time

import torch

from models import checkpoint
from models.config import MARKS, BufferSettings, ModelConfig
from models.encoder import CachedEncoder, Run
from models.kv_cache import BYTES_PER_ID, KVCache
from models.memory import keep_freed_memory
from models.tokenizer import BOS, SINK, TEXT
from models.trunk import Trunk
from models.window import Window

NAIVE_WINDOWS = 4
"""Windows that the naive way does at once."""
BUDGET_BYTES = 512 * 2**20
CYCLE_SESSIONS = 32
EARLY, LATE = 1_000, 1_000_000


@dataclass
class Row:
    """One way to read tokens, timed again and again."""

    name: str
    n_tokens: int
    run: Callable[[], None]
    wall: list[float] = field(default_factory=list)
    core: list[float] = field(default_factory=list)

    def time(self) -> None:
        wall, core = perf_counter(), process_time()
        self.run()
        self.wall.append(perf_counter() - wall)
        self.core.append(process_time() - core)

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.n_tokens / statistics.median(self.wall)

    @property
    def core_us(self) -> float:
        """Microseconds of a core per token, all threads together."""
        return statistics.median(self.core) / self.n_tokens * 1e6


def token_ids(n: int, seed: int, config: ModelConfig) -> list[int]:
    return random.Random(seed).choices(range(20, config.vocab_size), k=n)


def naive(trunk: Trunk, n_threads: int) -> Row:
    """One token per window of the batch: only the last hidden state is new."""
    ids = torch.tensor([token_ids(trunk.config.max_positions, n, trunk.config) for n in range(NAIVE_WINDOWS)])

    @torch.inference_mode()
    def run() -> None:
        torch.set_num_threads(n_threads)
        trunk(ids)
        torch.set_num_threads(1)

    return Row("naive: whole window for each token", NAIVE_WINDOWS, run)


def at_full_windows(encoder: CachedEncoder, caches: Sequence[KVCache], n: int) -> Row:
    """The last n tokens of every window, again and again."""
    full, ids = [cache.window for cache in caches], token_ids(n, 1, encoder.config)

    def run() -> None:
        for cache, window in zip(caches, full):
            cache.window = window[: -n * BYTES_PER_ID]
        encoder.encode([Run(cache, ids) for cache in caches])
        for cache, window in zip(caches, full):
            cache.window = window

    return Row(f"{'single tokens' if n == 1 else f'pieces of {n}'}, {len(caches)} sessions", n * len(caches), run)


def cycle(encoder: CachedEncoder, after: int) -> Row:
    """A cycle of windows in pieces of 16, of sessions that have read `after` tokens."""
    c, settings = encoder.config, BufferSettings()
    sinks = [BOS, TEXT, *[SINK] * (c.n_sinks - MARKS)]
    n_tokens = settings.max_tokens - settings.overlap_tokens - c.n_sinks
    windows = [Window(settings, c.n_sinks, list(sinks), []) for _ in range(CYCLE_SESSIONS)]
    for session, window in enumerate(windows):
        window.append(token_ids(after, session, c))
        window.stretches.clear()
    caches = [KVCache(c) for _ in windows]
    encoder.encode([Run(cache, window.ids) for cache, window in zip(caches, windows)])
    new = token_ids(n_tokens, after, c)

    def run() -> None:
        for at in range(0, n_tokens, 16):
            for session, window in enumerate(windows):
                again = Window(settings, c.n_sinks, window.ids, window.starts)
                again.append(new[at : at + 16])
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

    return Row(f"pieces of 16 from token {after:,} on, prefills after cuts included", n_tokens * len(windows), run)


def machine() -> str:
    """Processor, cores of this process, and what the libraries take it for."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    except OSError:
        model = platform.processor() or platform.machine()
    load = os.getloadavg()[0]
    return f"{model}, {torch.backends.cpu.get_cpu_capability()}, {len(os.sched_getaffinity(0))} cores, load {load:.1f}, torch {torch.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--products", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--model", type=Path)
    a = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()
    trunk = checkpoint.load(a.model).model.trunk if a.model else Trunk(ModelConfig()).eval().requires_grad_(False)
    encoder = CachedEncoder(trunk, a.threads, getattr(torch, a.products))
    c = encoder.config
    caches = [KVCache(c) for _ in range(a.sessions)]
    began = perf_counter()
    for first in range(0, len(caches), 4):
        encoder.encode([Run(cache, token_ids(c.max_positions, first, c)) for cache in caches[first : first + 4]])
    prefill = len(caches) * c.max_positions / (perf_counter() - began)
    slow = naive(trunk, encoder.n_threads)
    full = [at_full_windows(encoder, caches, n) for n in (1, 16)]
    cycles = [cycle(encoder, after) for after in (EARLY, LATE)]
    for _ in range(a.rounds):
        slow.time()
        for row in full:
            row.run()  # its weights and caches are near again, as they are in a stream
            for _ in range(8 if row.n_tokens == len(caches) else 2):
                row.time()
        for row in cycles:
            row.time()
    shape = f"width {c.width}, {c.n_layers} layers, {c.n_heads} heads on {c.n_kv_heads}, window {c.max_positions}"
    print(f"{machine()}\n{encoder.n_threads} threads, products of {a.products}; {shape}\n")
    print(f"{'':<66}{'tokens/s':>10}{'core us/token':>15}{'x naive':>9}")
    for row in (slow, *full, *cycles):
        print(f"{row.name:<66}{row.rate:>10,.0f}{row.core_us:>15,.1f}{row.rate / slow.rate:>9,.1f}")
    print(f"{'prefill of full windows, 4 at a time, once':<66}{prefill:>10,.0f}")
    early, late = cycles
    print(f"\ncost of a token after {LATE:,} tokens / after {EARLY:,}: {late.core_us / early.core_us:.3f}")
    n_bytes = caches[0].n_bytes
    print(f"cache of a full window: {n_bytes:,} bytes; {BUDGET_BYTES // n_bytes:,} of them in {BUDGET_BYTES >> 20} MB")


if __name__ == "__main__":
    main()
