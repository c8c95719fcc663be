"""The trunk over caches: prefill and decode, for many sessions at once, with bits that no batch can change.

Knows the order of a step and its threads; leaves which row is whose to step_layout.py, what is done to a row to encoder_rows.py, attention
to encoder_attention.py, windows and sessions to transformer.py.
Next: models/readout.py
"""

import os
import threading
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.attention import rotary_tables
from models.config import MARKS, ModelConfig, ModelConfigError
from models.encoder_attention import attend, scratch_of
from models.encoder_rows import gate, normal, surprise, turn
from models.kv_cache import BUCKET, KVCache, SessionCache
from models.row_blocks import natural_type, product
from models.step_layout import Layout, Run, check_windows
from models.trunk import Block, Trunk
from models.vectors import LANES, check_processor

__all__ = ["CachedEncoder", "Encoder", "Run"]
assert BUCKET % LANES == 0
BLOCK = 128
"""Rows that go through a layer's products together: what one wrote the next still finds close by."""
SURPRISE_ROWS = 128
"""Rows of logits held at a time."""
UNHEARD_OF = np.float32(-3e38)
"""Logit of the columns that fill up whole vectors."""
SHARED_ROWS = 48
"""Rows from which a step is shared among threads: with fewer, one is as fast."""
T = TypeVar("T")


class Encoder(Protocol):
    """The trunk over caches of its own kind, wherever it runs (devices.py)."""

    config: ModelConfig
    n_threads: int
    """Of the CPU, that share a step."""

    def new_cache(self) -> SessionCache:
        """An empty one."""
        ...

    def missing_bytes(self, runs: Sequence[Run[Any]]) -> int:
        """What other caches must give up before these runs can be encoded."""
        ...

    def encode(self, runs: Sequence[Run[Any]]) -> list[Tensor]:
        """Append each run to its cache and return its hidden states, float32 (tokens, C), normalised, on the CPU.

        Each cache may stand in one run only. On an exception the caches of the runs are no longer valid.
        """
        ...

    def nats(self, hidden: Tensor, targets: Sequence[int]) -> list[float]:
        """Negative log-likelihood of each row's next token, nats. hidden: float32 (N, C)."""
        ...


class CachedEncoder:
    """Encoder on the CPU: the trunk over caches: prefill and decode are the same call, runs of any length of many sessions at once.

    A token's hidden state depends, bit for bit, on its window alone: products are of whole numbers or in blocks of rows (row_blocks.py), all
    else is done row by row in one order. Its own threads share the sessions among them, with one intra-op thread each.
    """

    def __init__(self, trunk: Trunk, n_threads: int | None = None, product_type: torch.dtype | None = None):
        """n_threads: how many share a step; None takes two where the process has two cores.

        product_type: of the numbers in matrix products; None takes natural_type() of row_blocks.py. Raises ModelConfigError for widths
        that are no multiples of sixteen.
        """
        product_type = product_type or natural_type()
        c = self.config = trunk.config
        check_processor()
        if any(width % LANES for width in (c.width, c.head_size, c.feed_forward)):
            raise ModelConfigError(
                f"width {c.width}, head size {c.head_size}, feed-forward {c.feed_forward}; wanted multiples of {LANES}: train a model of such a shape"
            )
        self.embedding = trunk.embedding.weight.detach().numpy().copy()
        unembedding = F.pad(trunk.embedding.weight.detach().t(), (0, -c.vocab_size % LANES)).contiguous()
        self.unembedding = product(unembedding, product_type)
        self.norm = trunk.norm.weight.detach().numpy().copy()
        self.cos, self.sin = (table.numpy() for table in rotary_tables(c.max_positions, c.head_size, c.rope_base))
        self.layers = [_Layer(block, c, product_type) for block in trunk.blocks]  # type: ignore[arg-type]
        self.n_threads = n_threads or min(2, len(os.sched_getaffinity(0)))
        self.threads = ThreadPoolExecutor(max(1, self.n_threads - 1), "trunk", torch.set_num_threads, (1,))
        self.scratches = [scratch_of(c.max_positions, c.head_size) for _ in range(self.n_threads)]
        self.lock = threading.Lock()
        """One step at a time: its threads own the scratches."""
        self.nats(torch.zeros(1, c.width), (0,))  # machine code is made now, not in the first step

    def new_cache(self) -> KVCache:
        return KVCache(self.config)

    def missing_bytes(self, runs: Sequence[Run[KVCache]]) -> int:
        return 0

    def encode(self, runs: Sequence[Run[KVCache]]) -> list[Tensor]:
        if not runs:
            return []
        shares = _shares([len(run.ids) for run in runs], self.n_threads)
        with self.lock:
            found = self._together([partial(self._encode, [runs[n] for n in share], thread) for thread, share in enumerate(shares)])
        hidden = [torch.empty(0)] * len(runs)
        for share, parts in zip(shares, found):
            for number, part in zip(share, parts):
                hidden[number] = torch.from_numpy(part)
        return hidden

    def _together(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """The tasks' results, in order; the caller takes part. All have ended when it returns or raises."""
        others = [self.threads.submit(task) for task in tasks[1:]]
        try:
            return [*(task() for task in tasks[:1]), *(other.result() for other in others)]
        finally:
            wait(others)

    def _encode(self, runs: Sequence[Run[KVCache]], thread: int) -> list[np.ndarray]:
        """One thread's share of a step."""
        check_windows(runs, self.config.max_positions)
        for run in runs:
            run.cache.reserve(run.cache.length + len(run.ids))
        layout = Layout(runs)
        x = self.embedding[layout.ids]  # (R, C)
        for run, first in zip(runs, layout.first_rows):
            at = first - run.cache.length
            start, stop = max(run.cache.length, MARKS), min(run.cache.length + len(run.ids), self.config.n_sinks)
            if run.memory is not None and start < stop:
                x[at + start : at + stop] += run.memory[start - MARKS : stop - MARKS].numpy()
        told = np.zeros((layout.n_watched, self.config.max_positions), np.float32)
        for number, layer in enumerate(self.layers):
            self._layer(number, layer, layout, x, told, self.scratches[thread])
        for run, first in zip(runs, layout.first_rows):
            for position in run.watch:
                row = layout.watched[first + position - run.cache.length]
                run.attention[position] = torch.from_numpy(told[row, : position + 1].copy())
            run.cache.window += array("H", run.ids).tobytes()
        hidden = _normal(x) * self.norm
        return [hidden[first : first + len(run.ids)] for run, first in zip(runs, layout.first_rows)]

    def _layer(self, number: int, layer: "_Layer", layout: Layout, x: np.ndarray, told: np.ndarray, scratch: np.ndarray) -> None:
        """x: float32 (R, C), changed in place. All keys and values of the layer are written before any is read."""
        c, n_rows = self.config, len(x)
        queries, found = np.empty((n_rows, c.n_heads, c.head_size), np.float32), np.empty((n_rows, c.n_heads, c.head_size), np.float32)
        at = layout.keys, layout.values, layout.capacities
        blocks = [slice(first, first + BLOCK) for first in range(0, n_rows, BLOCK)]
        for rows in blocks:
            qkv, places = layer.qkv(_normal(x[rows])), [column[rows] for column in at]
            turn(qkv, layout.positions[rows], self.cos, self.sin, *places, number, c.n_kv_heads, queries[rows])
        watched = layout.watched if number == c.n_layers - 1 else layout.unwatched
        attend(queries, layout.positions, *at, number, c.n_kv_heads, scratch, watched, told, found)
        for rows in blocks:
            here = x[rows]
            here += layer.output(found[rows].reshape(len(here), -1))
            gate_up, middle = layer.gate_up(_normal(here)), np.empty((len(here), c.feed_forward), np.float32)
            gate(gate_up, middle)
            here += layer.down(middle)

    def nats(self, hidden: Tensor, targets: Sequence[int]) -> list[float]:
        rows = max(SHARED_ROWS, min(SURPRISE_ROWS, -(-len(targets) // self.n_threads)))
        parts = [(hidden[at : at + rows].numpy(), targets[at : at + rows]) for at in range(0, len(targets), rows)]
        n_shares = min(self.n_threads, len(parts))
        found = self._together([partial(self._nats, parts[n::n_shares]) for n in range(n_shares)])
        return [loss for n in range(len(parts)) for loss in found[n % n_shares][n // n_shares]]

    def _nats(self, parts: Sequence[tuple[np.ndarray, Sequence[int]]]) -> list[list[float]]:
        losses = []
        for hidden, targets in parts:
            nats, logits = np.empty(len(targets)), self.unembedding(hidden)
            logits[:, self.config.vocab_size :] = UNHEARD_OF
            surprise(logits, np.asarray(targets, np.int64), nats)
            losses.append(nats.tolist())
        return losses


def _normal(x: np.ndarray) -> np.ndarray:
    found = np.empty_like(x)
    normal(x, found)
    return found


def _shares(lengths: Sequence[int], n_threads: int) -> list[list[int]]:
    """Numbers of the runs each thread takes, with about as many tokens each; one share where there is little to do."""
    if n_threads == 1 or len(lengths) == 1 or sum(lengths) < SHARED_ROWS:
        return [list(range(len(lengths)))]
    shares, tokens = [list[int]() for _ in range(min(n_threads, len(lengths)))], [0] * min(n_threads, len(lengths))
    for number in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        least = tokens.index(min(tokens))
        shares[least].append(number)
        tokens[least] += lengths[number]
    return shares


class _Layer:
    """One block's weights, laid out for products of rows, norms and the scale of the queries folded in."""

    def __init__(self, block: Block, config: ModelConfig, product_type: torch.dtype):
        c = config
        qkv = block.qkv.weight.detach() * block.attention_norm.weight.detach()
        queries, others = qkv.split((c.width, 2 * c.n_kv_heads * c.head_size))
        qkv = torch.cat((queries * c.head_size**-0.5, others))
        gate_up = block.gate_up.weight.detach() * block.feed_norm.weight.detach()
        weights = (qkv, block.output.weight.detach(), gate_up, block.down.weight.detach())
        self.qkv, self.output, self.gate_up, self.down = (product(weight.t().contiguous(), product_type) for weight in weights)
