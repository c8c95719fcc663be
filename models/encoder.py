"""The trunk over caches: prefill and decode, for many sessions at once, with bits that no batch can change.

Knows rows, blocks and buckets; leaves windows and sessions to transformer.py.
Next: models/hierarchy.py
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.attention import BUCKET, bucket_of, rotary_tables, rotate
from models.config import ModelConfig
from models.kv_cache import KVCache
from models.row_blocks import ROWS, RowBlocks, equal_attention_sizes
from models.trunk import Block, Trunk

SURPRISE_ROWS = 128
"""Rows of logits held at a time."""


@dataclass(slots=True)
class Run:
    """Consecutive new tokens of one session, to be appended to its cache."""

    cache: KVCache
    ids: Sequence[int]
    watch: Sequence[int] = ()
    """Positions among them whose attention over the window, in the last layer, is reported."""
    memory: Tensor | None = None
    """float32 (n_sinks - 2, C), added to the sinks' embeddings when the run begins with them; None for zeros."""
    attention: dict[int, Tensor] = field(default_factory=dict)
    """position -> (position + 1,), mean over heads; set by encode."""


class CachedEncoder:
    """The trunk over caches: prefill and decode are the same call, runs of any length of many sessions at once.

    A token's hidden state depends, bit for bit, on its window alone: linear layers run on blocks of rows, and attention on groups of
    query positions, whose sizes were found to give equal bits on this machine (row_blocks.py); keys are read in lengths that the
    position alone decides. Needs one intra-op thread.
    """

    def __init__(self, trunk: Trunk):
        self.config = trunk.config
        self.embedding = trunk.embedding.weight.detach().clone().contiguous()
        self.unembedding = RowBlocks(self.embedding.t().contiguous())
        self.norm = trunk.norm.weight.detach().clone()
        self.cos, self.sin = (
            table[:, None] for table in rotary_tables(self.config.max_positions, self.config.head_size, self.config.rope_base)
        )
        self.layers = [_Layer(block, self.config) for block in trunk.blocks]  # type: ignore[arg-type]
        self.attention_sizes = equal_attention_sizes(self.config)

    @torch.inference_mode()
    def encode(self, runs: Sequence[Run]) -> list[Tensor]:
        """Append each run to its cache and return its hidden states, float32 (tokens, C), normalised.

        Each cache may stand in one run only. On an exception the caches of the runs are no longer valid.
        """
        layout = _Layout(runs, self.config, self.attention_sizes)
        for run in runs:
            run.cache.reserve(run.cache.length + len(run.ids))
        x = F.embedding(layout.ids, self.embedding)  # (R, C), R a multiple of 8
        for run, first in zip(runs, layout.first_rows):
            if run.memory is not None and run.cache.length == 0:
                x[first + 2 : first + self.config.n_sinks] += run.memory
        cos, sin = self.cos[layout.positions], self.sin[layout.positions]  # (R, 1, D / 2)
        for number, layer in enumerate(self.layers):
            x = self._layer(number, layer, x, cos, sin, layout)
        for run in runs:
            run.cache.window += array("H", run.ids).tobytes()
        hidden = normal(x) * self.norm
        return [hidden[first : first + len(run.ids)] for run, first in zip(runs, layout.first_rows)]

    def _layer(self, number: int, layer: "_Layer", x: Tensor, cos: Tensor, sin: Tensor, layout: "_Layout") -> Tensor:
        c = self.config
        R, n_queries_keys = x.shape[0], c.n_heads + c.n_kv_heads
        qkv = layer.qkv(normal(x)).view(R, n_queries_keys + c.n_kv_heads, c.head_size)
        qk = rotate(qkv[:, :n_queries_keys], cos, sin)
        keys, values = qk[:, c.n_heads :], qkv[:, n_queries_keys:]
        for run, first in zip(layout.runs, layout.first_rows):
            last = first + len(run.ids)
            run.cache.write(number, run.cache.length, keys[first:last], values[first:last])
        queries = qk[:, : c.n_heads].reshape(R * c.n_heads, c.head_size)
        y = self._attend(number, queries, layout)
        x = x + layer.output(y.view(R, c.width))
        gate, up = layer.gate_up(normal(x)).chunk(2, dim=-1)
        return x + layer.down((F.silu(gate) * up).contiguous())

    def _attend(self, number: int, queries: Tensor, layout: "_Layout") -> Tensor:
        """queries: (R * H, D). Returns (R * H, D)."""
        c = self.config
        gathered = queries[layout.query_rows]  # (attention rows, D), a group of rows per job
        outputs = torch.empty_like(gathered)
        for bucket in layout.buckets:
            scores = torch.empty(bucket.stop - bucket.start, bucket.keys)
            here, there = gathered[bucket.start : bucket.stop], outputs[bucket.start : bucket.stop]
            pairs = [job.cache.read(number, bucket.keys) for job in bucket.jobs]
            for (keys, _), query, score in zip(pairs, bucket.parts(here), bucket.parts(scores)):
                torch.bmm(query, keys, out=score)
            weights = torch.softmax(scores.add_(bucket.mask), dim=-1)
            for (_, values), weight, output in zip(pairs, bucket.parts(weights), bucket.parts(there)):
                torch.bmm(weight, values, out=output)
            if number == c.n_layers - 1:
                for run, rows, position in bucket.watched:
                    run.attention[position] = weights[rows].mean(dim=0)[: position + 1].clone()
        return outputs[layout.output_rows]

    @torch.inference_mode()
    def nats(self, hidden: Tensor, targets: Sequence[int]) -> list[float]:
        """Negative log-likelihood of each row's next token, nats. hidden: float32 (N, C)."""
        losses: list[float] = []
        for first in range(0, len(targets), SURPRISE_ROWS):
            wanted = torch.tensor(targets[first : first + SURPRISE_ROWS])
            n = len(wanted)
            rows = torch.zeros(-(-n // ROWS) * ROWS, self.config.width)
            rows[:n] = hidden[first : first + n]
            logits = self.unembedding(rows)
            chosen, largest = logits[:n].gather(1, wanted[:, None])[:, 0], logits.amax(dim=-1, keepdim=True)
            total = logits.sub_(largest).clamp_(min=-80).exp_().sum(dim=-1)[:n]  # in place, and no denormals: they are slow
            losses += (total.double().log() + largest[:n, 0].double() - chosen.double()).tolist()
        return losses


def normal(x: Tensor) -> Tensor:
    """RMSNorm without its weights, which are folded into the matrix that follows."""
    return x * torch.rsqrt((x * x).mean(dim=-1, keepdim=True) + 1e-5)


class _Layer:
    """One block's weights, laid out for blocks of rows, norms and the scale of the queries folded in."""

    def __init__(self, block: Block, config: ModelConfig):
        qkv = block.qkv.weight.detach() * block.attention_norm.weight.detach()
        qkv = torch.cat((qkv[: config.width] * config.head_size**-0.5, qkv[config.width :]))
        gate_up = block.gate_up.weight.detach() * block.feed_norm.weight.detach()
        weights = (qkv, block.output.weight.detach(), gate_up, block.down.weight.detach())
        self.qkv, self.output, self.gate_up, self.down = (RowBlocks(weight.t().contiguous()) for weight in weights)


@dataclass(slots=True)
class _Job:
    """Neighbouring query positions of one run against one bucket of its keys."""

    run: Run
    cache: KVCache
    position: int
    n_positions: int
    row: int
    """Of the first position, in the linear layers."""


@dataclass(slots=True)
class _Bucket:
    """All jobs of a step with the same number of keys; their attention rows are next to each other, jobs of one position first."""

    keys: int
    jobs: list[_Job]
    n_kv_heads: int
    group: int
    start: int
    stop: int = 0
    watched: list[tuple[Run, Tensor, int]] = field(default_factory=list)
    mask: Tensor = field(default_factory=lambda: torch.empty(0))
    """(rows, keys), 0 or -inf where a key is later than the query."""

    def parts(self, rows: Tensor) -> list[Tensor]:
        """(attention rows of this bucket, N) -> (H_kv, positions * group, N) per job."""
        n_single = sum(job.n_positions == 1 for job in self.jobs)
        size, width = self.n_kv_heads * self.group, rows.shape[1]
        found = list(rows[: n_single * size].view(n_single, self.n_kv_heads, self.group, width).unbind(0))
        at = n_single * size
        for job in self.jobs[n_single:]:
            found.append(rows[at : at + size * job.n_positions].view(self.n_kv_heads, -1, width))
            at += size * job.n_positions
        return found


class _Layout:
    """Where each token of a step lies: its row in the linear layers, its rows in the attention of its bucket."""

    def __init__(self, runs: Sequence[Run], config: ModelConfig, sizes: Sequence[int]):
        n = sum(len(run.ids) for run in runs)
        n_rows = -(-n // ROWS) * ROWS
        ids, positions = np.zeros(n_rows, np.int64), np.zeros(n_rows, np.int64)
        self.runs, self.first_rows = runs, list[int]()
        by_keys: dict[int, list[_Job]] = {}
        row = 0
        for run in runs:
            start, count = run.cache.length, len(run.ids)
            self.first_rows.append(row)
            ids[row : row + count], positions[row : row + count] = run.ids, np.arange(start, start + count)
            for position, n_positions in _groups(start, start + count, sizes):
                by_keys.setdefault(bucket_of(position), []).append(_Job(run, run.cache, position, n_positions, row + position - start))
            row += count
        self.ids, self.positions = torch.from_numpy(ids), torch.from_numpy(positions)
        self.buckets: list[_Bucket] = []
        query_rows, output_rows, at = [], np.zeros((n_rows, config.n_heads), np.int64), 0
        for keys, jobs in sorted(by_keys.items()):
            jobs.sort(key=lambda job: job.n_positions > 1)
            bucket = _Bucket(keys, jobs, config.n_kv_heads, config.group, at)
            rows = _attention_rows(jobs, config)  # which linear row and head each attention row is
            query_rows.append(rows)
            stop = bucket.stop = at + len(rows)
            output_rows.reshape(-1)[rows] = np.arange(at, stop)
            limits = torch.from_numpy(positions[rows // config.n_heads])
            bucket.mask = torch.where(torch.arange(keys) > limits[:, None], float("-inf"), 0.0)  # adding is 7 times faster than filling
            for job in jobs:
                for position in job.run.watch:
                    if job.position <= position < job.position + job.n_positions:
                        mine = output_rows[job.row + position - job.position] - at
                        bucket.watched.append((job.run, torch.from_numpy(mine), position))
            self.buckets.append(bucket)
            at = stop
        self.query_rows = torch.from_numpy(np.concatenate(query_rows))
        self.output_rows = torch.from_numpy(output_rows.ravel())


def _attention_rows(jobs: Sequence[_Job], config: ModelConfig) -> np.ndarray:
    """For each attention row, linear row * heads + head: per job key head by key head, in it position by position."""
    heads = np.arange(config.n_heads)
    singles = np.array([job.row for job in jobs if job.n_positions == 1], np.int64)
    parts = [(singles[:, None] * config.n_heads + heads).ravel()]
    by_key_head = heads.reshape(config.n_kv_heads, 1, config.group)
    for job in jobs[len(singles) :]:
        rows = np.arange(job.row, job.row + job.n_positions)[None, :, None]
        parts.append((rows * config.n_heads + by_key_head).ravel())
    return np.concatenate(parts)


def _groups(start: int, stop: int, sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Positions start..stop as (first, how many), of the sizes allowed, never across a bucket."""
    while start < stop:
        room = min(stop, (start // BUCKET + 1) * BUCKET) - start
        size = next(size for size in sizes if size <= room)
        yield start, size
        start += size
