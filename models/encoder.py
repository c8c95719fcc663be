"""The trunk over caches: prefill and decode, for many sessions at once, with bits that no batch can change.

Knows the arithmetic of a step and its threads; leaves rows and batches to step_layout.py, their attention to batched_attention.py,
windows and sessions to transformer.py.
Next: models/readout.py
"""

import os
import threading
from array import array
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from models.attention import rotary_tables
from models.batched_attention import BatchedAttention, Scratch
from models.config import MARKS, ModelConfig
from models.kv_cache import KVCache, SessionCache
from models.row_blocks import SIZES, equal_attention_sizes, natural_type, product
from models.step_layout import Layout, Run
from models.trunk import Block, Trunk

__all__ = ["CachedEncoder", "Encoder", "Run", "normal"]
SURPRISE_ROWS = 128
"""Rows of logits held at a time."""
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

    A token's hidden state depends, bit for bit, on its window alone: linear layers multiply whole numbers, or run on blocks of rows, and
    attention on batches of sessions and groups of query positions, whose sizes were found to give equal bits on this machine
    (row_blocks.py); keys are read in lengths that the position alone decides. Needs one intra-op thread: its own threads share the sessions among them.
    """

    def __init__(self, trunk: Trunk, n_threads: int | None = None, product_type: torch.dtype | None = None):
        """n_threads: how many share a step; None takes two where the process has two cores.

        product_type: of the numbers in matrix products; None takes natural_type() of row_blocks.py.
        """
        product_type = product_type or natural_type()
        self.config = trunk.config
        self.embedding = trunk.embedding.weight.detach().clone().contiguous()
        self.unembedding = product(self.embedding.t().contiguous(), product_type)
        self.norm = trunk.norm.weight.detach().clone()
        tables = rotary_tables(self.config.max_positions, self.config.head_size, self.config.rope_base)
        self.turns = torch.complex(*tables)[:, None]
        """A rotation by position is a product of complex numbers: one operation for nine."""
        self.layers = [_Layer(block, self.config, product_type) for block in trunk.blocks]  # type: ignore[arg-type]
        self.attention_sizes = equal_attention_sizes(self.config)
        self.n_threads = n_threads or min(2, len(os.sched_getaffinity(0)))
        self.threads = ThreadPoolExecutor(max(1, self.n_threads - 1), "trunk", torch.set_num_threads, (1,))
        self.scratches = [Scratch(self.config) for _ in range(self.n_threads)]
        self.lock = threading.Lock()
        """One step at a time: its threads own the scratches."""

    def new_cache(self) -> KVCache:
        return KVCache(self.config)

    def missing_bytes(self, runs: Sequence[Run[KVCache]]) -> int:
        """None: a step may take more than the budget for as long as it lasts."""
        return 0

    @torch.inference_mode()
    def encode(self, runs: Sequence[Run[KVCache]]) -> list[Tensor]:
        shares = _shares([len(run.ids) for run in runs], self.n_threads)
        with self.lock:
            found = self._together([partial(self._encode, [runs[n] for n in share], thread) for thread, share in enumerate(shares)])
        hidden = [torch.empty(0)] * len(runs)
        for share, parts in zip(shares, found):
            for number, part in zip(share, parts):
                hidden[number] = part
        return hidden

    def _together(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """The tasks' results, in order; the caller takes part. All have ended when it returns or raises."""
        others = [self.threads.submit(task) for task in tasks[1:]]
        try:
            return [*(task() for task in tasks[:1]), *(other.result() for other in others)]
        finally:
            wait(others)

    @torch.inference_mode()
    def _encode(self, runs: Sequence[Run[KVCache]], thread: int) -> list[Tensor]:
        """One thread's share of a step."""
        c = self.config
        layout = Layout(runs, c, self.attention_sizes, self.unembedding.padded(sum(len(run.ids) for run in runs)))
        x = F.embedding(layout.ids, self.embedding)  # (R, C), R padded to blocks
        for run, first in zip(runs, layout.first_rows):
            self._remember(run, x[first : first + len(run.ids)])
            run.cache.reserve(run.cache.length + len(run.ids))
        step = _Step(layout, self.turns[layout.positions], self.scratches[thread], c)
        for number, layer in enumerate(self.layers):
            step.layer(number, layer, x)
        for run in runs:
            run.cache.window += array("H", run.ids).tobytes()
        hidden = normal(x) * self.norm
        return [hidden[first : first + len(run.ids)] for run, first in zip(runs, layout.first_rows)]

    def _remember(self, run: Run[KVCache], rows: Tensor) -> None:
        """Add the run's memory to the embeddings of the sinks it holds."""
        first, stop = max(run.cache.length, MARKS), min(run.cache.length + len(run.ids), self.config.n_sinks)
        if first < stop and run.memory is not None:
            rows[first - run.cache.length : stop - run.cache.length] += run.memory[first - MARKS : stop - MARKS]

    def nats(self, hidden: Tensor, targets: Sequence[int]) -> list[float]:
        rows = max(SHARED_ROWS, min(SURPRISE_ROWS, -(-len(targets) // self.n_threads)))
        parts = list(zip(hidden.split(rows), (targets[at : at + rows] for at in range(0, len(targets), rows))))
        n_shares = min(self.n_threads, len(parts))
        found = self._together([partial(self._nats, parts[n::n_shares]) for n in range(n_shares)])
        return [loss for n in range(len(parts)) for loss in found[n % n_shares][n // n_shares]]

    @torch.inference_mode()
    def _nats(self, parts: Iterable[tuple[Tensor, Sequence[int]]]) -> list[list[float]]:
        losses = []
        for hidden, targets in parts:
            wanted, n = torch.tensor(targets), len(targets)
            rows = torch.zeros(self.unembedding.padded(n), self.config.width)
            rows[:n] = hidden
            logits = self.unembedding(rows)
            chosen, largest = logits[:n].gather(1, wanted[:, None])[:, 0], logits.amax(dim=-1, keepdim=True)
            total = logits.sub_(largest).clamp_(min=-80).exp_().sum(dim=-1)[:n]  # in place, and no denormals: they are slow
            losses.append((total.double().log() + largest[:n, 0].double() - chosen.double()).tolist())
        return losses


def normal(x: Tensor) -> Tensor:
    """RMSNorm without its weights, which are folded into the matrix that follows."""
    return x * torch.rsqrt((x * x).mean(dim=-1, keepdim=True) + 1e-5)


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
    """One block's weights, laid out for products of rows, norms and the scale of the queries folded in.

    In a head of queries or keys, what is rotated together lies together.
    """

    def __init__(self, block: Block, config: ModelConfig, product_type: torch.dtype):
        c = config
        qkv = block.qkv.weight.detach() * block.attention_norm.weight.detach()
        queries, keys, values = qkv.split((c.width, c.n_kv_heads * c.head_size, c.n_kv_heads * c.head_size))
        qkv = torch.cat((_paired(queries * c.head_size**-0.5, c), _paired(keys, c), values))
        gate_up = block.gate_up.weight.detach() * block.feed_norm.weight.detach()
        weights = (qkv, block.output.weight.detach(), gate_up, block.down.weight.detach())
        self.qkv, self.output, self.gate_up, self.down = (product(weight.t().contiguous(), product_type) for weight in weights)


def _paired(rows: Tensor, config: ModelConfig) -> Tensor:
    """(heads * D, C) with row D / 2 + n of each head behind its row n."""
    return rows.view(-1, 2, config.head_size // 2, rows.shape[1]).transpose(1, 2).reshape(rows.shape)


class _Step:
    """One pass of a share's rows through the layers."""

    def __init__(self, layout: Layout, turns: Tensor, scratch: Scratch, config: ModelConfig):
        """turns: complex64 (R, 1, D / 2)."""
        self.layout, self.turns, self.config = layout, turns, config
        c, n_rows, n_attention_rows = config, len(layout.ids), len(layout.query_rows)
        self.queries = torch.empty(n_rows, c.n_heads, c.head_size)
        self.keys_values = torch.empty(2, n_rows, c.n_kv_heads, c.head_size, dtype=torch.float16)
        self.sorted_queries, self.sorted_outputs = torch.empty(n_attention_rows, c.head_size), torch.empty(n_attention_rows, c.head_size)
        self.attentions = [BatchedAttention(batch, self.sorted_queries, self.sorted_outputs, scratch) for batch in layout.batches]

    def layer(self, number: int, layer: _Layer, x: Tensor) -> None:
        """x: (R, C), changed in place. In blocks of rows, so that what one operation wrote the next still finds close by."""
        c, n_rows = self.config, x.shape[0]
        blocks = [slice(at, at + SIZES[0]) for at in range(0, n_rows, SIZES[0])]
        for rows in blocks:
            self._queries_keys_values(layer.qkv(normal(x[rows])), rows)
        keys, values = self.keys_values.numpy()
        for run, first in zip(self.layout.runs, self.layout.first_rows):
            last = first + len(run.ids)
            run.cache.write(number, run.cache.length, keys[first:last], values[first:last])
        torch.index_select(self.queries.view(-1, c.head_size), 0, self.layout.query_rows, out=self.sorted_queries)
        for attention in self.attentions:
            attention.layer(number, number == c.n_layers - 1)
        y = self.sorted_outputs[self.layout.output_rows].view(n_rows, c.width)
        for rows in blocks:
            here = x[rows]
            here += layer.output(y[rows])
            gate, up = layer.gate_up(normal(here)).chunk(2, dim=-1)
            here += layer.down(F.silu(gate).mul_(up))

    def _queries_keys_values(self, qkv: Tensor, rows: slice) -> None:
        c = self.config
        qkv = qkv.view(-1, c.n_heads + 2 * c.n_kv_heads, c.head_size)
        pairs = torch.view_as_complex(qkv[:, : c.n_heads + c.n_kv_heads].unflatten(-1, (-1, 2)))
        qk = torch.view_as_real(pairs * self.turns[rows]).flatten(-2)
        self.queries[rows] = qk[:, : c.n_heads]
        self.keys_values[0, rows], self.keys_values[1, rows] = qk[:, c.n_heads :], qkv[:, c.n_heads + c.n_kv_heads :]
