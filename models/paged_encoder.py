"""The trunk over pages of a device: what encoder.py does, for many sessions in few large operations.

Knows the order of a step, what goes to the device and what comes back; leaves pages to paged_cache.py, batches to paged_shapes.py, graphs
to step_graphs.py. Equal to a full forward within a tolerance, and not to the bit: see docs/adr/0016-pages-and-graphs-on-a-gpu.md.
Next: models/step_graphs.py
"""

import gc
import threading
from array import array
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.paged_attention import weights
from models.paged_cache import PagedCache, PagePool
from models.paged_shapes import Shape, batches, written
from models.paged_step import PagedStep
from models.step_graphs import CudaGraphs, Record, StepGraphs, as_it_is
from models.step_layout import Run, check_windows
from models.trunk import Trunk

SURPRISE_ROWS = 2048
"""Rows of logits held at a time."""


class PagedEncoder:
    """Encoder of encoder.py on a device."""

    def __init__(self, trunk: Trunk, device: torch.device, max_bytes: float, record: Record | None = None):
        """max_bytes: of all keys and values, taken at once. record: how a step is recorded; None records CUDA graphs on CUDA."""
        self.config, self.n_threads = trunk.config, 1
        self.pool = PagePool(trunk.config, max_bytes, device)
        self.step = PagedStep(trunk, self.pool)
        self.graphs = StepGraphs(self.step, record or (CudaGraphs() if device.type == "cuda" else as_it_is))
        self.lock = threading.Lock()
        """One step at a time: it owns the buffers."""

    def new_cache(self) -> PagedCache:
        return PagedCache(self.pool)

    def missing_bytes(self, runs: Sequence[Run[PagedCache]]) -> int:
        wanted = sum(run.cache.wants(run.cache.length + len(run.ids)) for run in runs)
        return max(0, wanted - self.pool.n_free) * self.pool.page_bytes

    @torch.inference_mode()
    def encode(self, runs: Sequence[Run[PagedCache]]) -> list[Tensor]:
        """As CachedEncoder.encode. Raises PagesExhaustedError before anything is changed."""
        self._check(runs)
        hidden = [torch.empty(0, self.config.width)] * len(runs)
        with self.lock:
            self._reserve(runs)
            for shape, numbers in batches(runs, self.config):
                for number, rows in zip(numbers, self._batch(shape, [runs[n] for n in numbers])):
                    hidden[number] = rows
            for run in runs:
                run.cache.window += array("H", run.ids).tobytes()
        return hidden

    def _check(self, runs: Sequence[Run[PagedCache]]) -> None:
        """On the device an index beside its table would end the process's use of it."""
        c = self.config
        for run in runs:
            if run.ids and not 0 <= min(run.ids) <= max(run.ids) < c.vocab_size:
                raise IndexError(f"token ids from {min(run.ids)} to {max(run.ids)}, wanted 0 to {c.vocab_size - 1}; reset the window")
        check_windows(runs, c.max_positions)

    def _reserve(self, runs: Sequence[Run[PagedCache]]) -> None:
        """Pages for all runs, or for none."""
        lengths = [run.cache.length + len(run.ids) for run in runs]
        wanted = sum(run.cache.wants(length) for run, length in zip(runs, lengths))
        if wanted > self.pool.n_free:
            gc.collect()  # a session's error, its traceback and the failed step's caches may hold each other in a circle
        if wanted > self.pool.n_free:
            self.pool.take(wanted)  # raises, with the numbers
        order = sorted(zip(runs, lengths), key=lambda pair: pair[0].cache.wants(pair[1]))  # first those that give pages back
        self.pool.clear([page for run, length in order for page in run.cache.fit(length)])

    def _batch(self, shape: Shape, runs: Sequence[Run[PagedCache]]) -> list[Tensor]:
        """Hidden states of each run, on the CPU."""
        n_sinks = self.config.n_sinks
        memories = {n: run.memory for n, run in enumerate(runs) if run.memory is not None and run.cache.length < n_sinks}
        hidden, queries = self.graphs(shape, written(shape, runs), memories)
        for number, run in enumerate(runs):
            if run.watch:
                self._watch(run, queries[number])
        counts = [len(run.ids) for run in runs]
        present = np.concatenate([np.arange(count) + n * shape.tokens for n, count in enumerate(counts)])
        found = hidden.flatten(0, 1).index_select(0, torch.from_numpy(present).to(hidden.device))  # a copy: the next replay writes there
        return list(found.cpu().split(counts))

    def _watch(self, run: Run[PagedCache], queries: Tensor) -> None:
        """queries: (T, H, D), the last layer's."""
        pages, positions = (torch.tensor(numbers, device=queries.device) for numbers in (run.cache.pages, list(run.watch)))
        found = weights(queries[positions - run.cache.length], self.pool.keys[-1], pages, positions).cpu()
        for position, row in zip(run.watch, found):
            run.attention[position] = row[: position + 1].clone()

    @torch.inference_mode()
    def nats(self, hidden: Tensor, targets: Sequence[int]) -> list[float]:
        """Negative log-likelihood of each row's next token, nats. hidden: float32 (N, C)."""
        found, wanted = list[float](), torch.tensor(targets)
        for rows, ids in zip(hidden.split(SURPRISE_ROWS), wanted.split(SURPRISE_ROWS)):
            logits = self.step.trunk.logits(rows.to(self.pool.device))
            found += F.cross_entropy(logits, ids.to(self.pool.device), reduction="none").tolist()
        return found
