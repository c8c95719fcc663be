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

from models.attention import BLOCK, BUCKET, bucket_of, rotary_tables, rotate
from models.config import ModelConfig
from models.kv_cache import KVCache
from models.row_blocks import ROWS, RowBlocks, equal_attention_rows
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
    attention: dict[int, Tensor] = field(default_factory=dict)
    """position -> (position + 1,), mean over heads; set by encode."""


class CachedEncoder:
    """The trunk over caches: prefill and decode are the same call, runs of any length of many sessions at once.

    A token's hidden state depends, bit for bit, on its window alone: linear layers run on blocks of rows whose sizes were
    found to give equal bits on this machine (`RowBlocks`), attention on blocks of 4 query positions, aligned, against keys in
    lengths that the position alone decides. Needs one intra-op thread.
    """

    def __init__(self, trunk: Trunk):
        self.config = trunk.config
        self.embedding = trunk.embedding.weight.detach().clone().contiguous()
        self.unembedding = RowBlocks(self.embedding.t().contiguous())
        self.norm = trunk.norm.weight.detach().clone()
        self.cos, self.sin = (
            table[:, None] for table in rotary_tables(self.config.max_positions, self.config.head_size, self.config.rope_base)
        )
        self.layers = [_Layer(block) for block in trunk.blocks]  # type: ignore[arg-type]
        self.attention_rows = equal_attention_rows(self.config)

    @torch.inference_mode()
    def encode(self, runs: Sequence[Run]) -> list[Tensor]:
        """Append each run to its cache and return its hidden states, float32 (tokens, C), normalised.

        Each cache may stand in one run only. On an exception the caches of the runs are no longer valid.
        """
        layout = _Layout(runs, self.config, self.attention_rows)
        for run in runs:
            run.cache.reserve(run.cache.length + len(run.ids))
        x = F.embedding(layout.ids, self.embedding)  # (R, C), R a multiple of 8
        cos, sin = self.cos[layout.positions], self.sin[layout.positions]  # (R, 1, D / 2)
        for number, layer in enumerate(self.layers):
            x = self._layer(number, layer, x, cos, sin, layout)
        for run in runs:
            run.cache.window += array("H", run.ids).tobytes()
        hidden = F.rms_norm(x, (self.config.width,), self.norm, 1e-5)
        return [hidden[first : first + len(run.ids)] for run, first in zip(runs, layout.first_rows)]

    def _layer(self, number: int, layer: "_Layer", x: Tensor, cos: Tensor, sin: Tensor, layout: "_Layout") -> Tensor:
        c = self.config
        R = x.shape[0]
        qkv = layer.qkv(F.rms_norm(x, (c.width,), layer.attention_norm, 1e-5)).view(R, c.n_heads + 2 * c.n_kv_heads, c.head_size)
        qk = rotate(qkv[:, : c.n_heads + c.n_kv_heads], cos, sin)
        kv = torch.stack((qk[:, c.n_heads :], qkv[:, c.n_heads + c.n_kv_heads :]), dim=1)  # (R, 2, H_kv, D)
        for run, first in zip(layout.runs, layout.first_rows):
            run.cache.write(number, run.cache.length, kv[first : first + len(run.ids)])
        queries = (qk[:, : c.n_heads] * c.head_size**-0.5).reshape(R * c.n_heads, c.head_size)
        y = self._attend(number, queries, layout)
        x = x + layer.output(y.view(R, c.width))
        gate, up = layer.gate_up(F.rms_norm(x, (c.width,), layer.feed_norm, 1e-5)).chunk(2, dim=-1)
        return x + layer.down((F.silu(gate) * up).contiguous())

    def _attend(self, number: int, queries: Tensor, layout: "_Layout") -> Tensor:
        """queries: (R * H, D). Returns (R * H, D)."""
        c = self.config
        gathered = queries[layout.query_rows]  # (attention rows, D), in blocks
        outputs = torch.empty_like(gathered)
        for bucket in layout.buckets:
            scores = torch.empty(bucket.stop - bucket.start, bucket.keys)
            for job in bucket.jobs:
                keys, _ = job.cache.read(number, bucket.keys)
                a, b = job.start - bucket.start, job.stop - bucket.start
                torch.bmm(
                    gathered[job.start : job.stop].view(c.n_kv_heads, -1, c.head_size),
                    keys,
                    out=scores[a:b].view(c.n_kv_heads, -1, bucket.keys),
                )
            scores.add_(bucket.mask)
            weights = torch.softmax(scores, dim=-1)
            for job in bucket.jobs:
                _, values = job.cache.read(number, bucket.keys)
                a, b = job.start - bucket.start, job.stop - bucket.start
                torch.bmm(
                    weights[a:b].view(c.n_kv_heads, -1, bucket.keys),
                    values,
                    out=outputs[job.start : job.stop].view(c.n_kv_heads, -1, c.head_size),
                )
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


class _Layer:
    """One block's weights, laid out for blocks of rows."""

    def __init__(self, block: Block):
        self.attention_norm, self.feed_norm = block.attention_norm.weight.detach(), block.feed_norm.weight.detach()
        linears = (block.qkv, block.output, block.gate_up, block.down)
        self.qkv, self.output, self.gate_up, self.down = (RowBlocks(layer.weight.detach().t().contiguous()) for layer in linears)


@dataclass(slots=True)
class _Job:
    """Query blocks of one run against one bucket of its keys: attention rows start..stop, (H_kv, blocks * BLOCK * group) of them."""

    cache: KVCache
    start: int
    stop: int


@dataclass(slots=True)
class _Bucket:
    """All jobs of a step with the same number of keys; their attention rows are next to each other."""

    keys: int
    start: int
    jobs: list[_Job]
    limits: list[np.ndarray]
    """Keys that each attention row may see."""
    watched: list[tuple[Run, Tensor, int]]
    stop: int = 0
    mask: Tensor = field(default_factory=lambda: torch.empty(0))
    """(rows, keys), 0 or -inf where a key is later than the query."""


class _Layout:
    """Where each token of a step lies: its row in the linear layers, its rows in the attention blocks."""

    def __init__(self, runs: Sequence[Run], config: ModelConfig, sizes: Sequence[int]):
        n = sum(len(run.ids) for run in runs)
        n_rows = -(-(n + 1) // ROWS) * ROWS  # at least one row of padding: absent queries point to it
        ids, positions = np.zeros(n_rows, np.int64), np.zeros(n_rows, np.int64)
        self.runs, self.first_rows = runs, list[int]()
        by_keys: dict[int, list[tuple[Run, int, int, int]]] = {}
        row = 0
        for run in runs:
            start, count = run.cache.length, len(run.ids)
            self.first_rows.append(row)
            ids[row : row + count], positions[row : row + count] = run.ids, np.arange(start, start + count)
            for block, blocks in _block_groups(start, start + count, sizes):
                by_keys.setdefault(bucket_of(block * BLOCK), []).append((run, row - start, block, blocks))
            row += count
        self.ids, self.positions = torch.from_numpy(ids), torch.from_numpy(positions)
        self.buckets: list[_Bucket] = []
        query_rows, output_rows, at = [], np.zeros((n_rows, config.n_heads), np.int64), 0
        heads = np.arange(config.n_heads).reshape(config.n_kv_heads, 1, config.group)
        for keys, entries in sorted(by_keys.items()):
            bucket = _Bucket(keys, at, [], [], [])
            for run, shift, block, blocks in entries:
                place = np.arange(block * BLOCK, (block + blocks) * BLOCK)[None, :, None]  # (1, positions, 1)
                start, stop = run.cache.length, run.cache.length + len(run.ids)
                present = (place >= start) & (place < stop)
                size = config.n_kv_heads * blocks * BLOCK * config.group
                mine = np.arange(at, at + size).reshape(config.n_kv_heads, blocks * BLOCK, config.group)
                query_rows.append((np.where(present, place + shift, n) * config.n_heads + heads).ravel())
                here = present[0, :, 0]
                output_rows[place[0, here, 0] + shift] = mine[:, here].transpose(1, 0, 2).reshape(-1, config.n_heads)
                bucket.limits.append(np.broadcast_to(place + 1, mine.shape).ravel())
                first = block * BLOCK
                for position in run.watch:
                    if first <= position < first + blocks * BLOCK:
                        bucket.watched.append((run, torch.from_numpy(mine[:, position - first].ravel() - bucket.start), position))
                bucket.jobs.append(_Job(run.cache, at, at + size))
                at += size
            bucket.stop = at
            limits = torch.from_numpy(np.concatenate(bucket.limits))
            bucket.mask = torch.where(torch.arange(keys) >= limits[:, None], float("-inf"), 0.0)  # adding is 7 times faster than filling
            self.buckets.append(bucket)
        self.query_rows = torch.from_numpy(np.concatenate(query_rows))
        self.output_rows = torch.from_numpy(output_rows.ravel())


def _block_groups(start: int, stop: int, sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Aligned blocks that positions start..stop touch, as (first block, blocks), never across a bucket."""
    block, end, per_bucket = start // BLOCK, -(-stop // BLOCK), BUCKET // BLOCK
    while block < end:
        room = min(end, (block // per_bucket + 1) * per_bucket) - block
        blocks = next(size for size in sizes if size <= room)
        yield block, blocks
        block += blocks
