"""StreamingHierarchicalTransformer: one step for many sessions of text and chat.

Knows the order of a step and which cache belongs to which state; leaves reading to plan.py, the trunk to encoder.py, decisions to
walk.py. Holds caches, never a session: the same state and items give the same bits in any batch, after any eviction or crash.
Next: models/plan.py
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from torch import Tensor

from models import checkpoint, session_state
from models.cache_pool import CachePool
from models.checkpoint import Checkpoint
from models.config import TextSettings, check
from models.encoder import CachedEncoder, Run
from models.hierarchy import SCORE_LIMIT
from models.kv_cache import BYTES_PER_ID, KVCache
from models.memory import keep_freed_memory
from models.plan import Plan, plan
from models.row_blocks import ROWS, RowBlocks
from models.session_state import TextState, new_state
from models.steps import Answer, StepResult, Work
from models.tokenizer import CHAT
from models.walk import Above, Encoded, Walk
from models.window import from_bytes

MAX_STEP_ROWS = 2048
"""Rows that go through the trunk at once; more wait for the next pass, so that a long replay needs no more memory than this."""


class BadStateError(ValueError):
    """A session's numbers are no longer finite; reset its window."""

    retriable = False


@dataclass(slots=True)
class _Job:
    """One session's way through a step."""

    work: Work
    state: TextState
    is_chat: bool
    plan: Plan
    cache: KVCache
    cache_hit: bool
    hidden: list[Tensor] = field(default_factory=list)
    attention: dict[int, np.ndarray] = field(default_factory=dict)
    before: Tensor | None = None
    """Hidden state before the next token to be read out; None: the one in the state."""


class StreamingHierarchicalTransformer:
    """SessionModel of tokens and chat (models/steps.py)."""

    walk: type[Walk] = Walk
    """What turns hidden states into findings; calibration listens in by a subclass."""

    def __init__(self, loaded: Checkpoint, settings: TextSettings | None = None):
        """Keeps freed memory with the process (memory.py), and steps on one intra-op thread: results must not depend on how many there are."""
        settings = settings or TextSettings()
        config = loaded.model.config
        check(settings, config)
        self._threads = threading.local()
        self._one_thread()
        keep_freed_memory()
        self.config, self.settings, self.version, self.tokenizer = config, settings, loaded.version, loaded.tokenizer
        self.encoder = CachedEncoder(loaded.model.trunk)
        self._embedding = self.encoder.embedding.numpy()
        self.above = Above(config, loaded.model.hierarchy, loaded.model.heads, loaded.calibration)
        self.pool = CachePool(settings.state.max_cache_size_mb * 2**20)
        scores = loaded.model.hierarchy.pool.scores
        self._scores = RowBlocks(torch.nn.functional.pad(scores.weight.t(), (0, 14)).contiguous())  # 16 columns: whole vectors
        self._score_bias = torch.nn.functional.pad(scores.bias, (0, 14))

    @classmethod
    def load(cls, path: Path | None = None, settings: TextSettings | None = None) -> "StreamingHierarchicalTransformer":
        """From a checkpoint's folder; by default the one that ships with the package."""
        return cls(checkpoint.load(path), settings)

    # 1. a step

    def step(self, works: Sequence[Work]) -> list[StepResult]:
        """One StepResult per Work, in order. A session that fails is found by stepping one by one, and keeps its state."""
        try:
            return self._step(works, closes=False)
        except Exception as problem:
            if len(works) == 1:
                self.drop(works[0].session)
                return [StepResult(works[0].state, error=problem)]
            return [result for work in works for result in self.step((work,))]

    def close(self, work: Work) -> StepResult:
        """Close an idle session: what is held back is read, and every span ends with its last item."""
        return self._step((work,), closes=True)[0]

    @torch.inference_mode()
    def _step(self, works: Sequence[Work], closes: bool) -> list[StepResult]:
        started = monotonic()
        self._one_thread()
        jobs: dict[int, _Job] = {}
        errors: dict[int, Exception] = {}
        for number, work in enumerate(works):
            try:
                jobs[number] = self._plan(work, closes)
            except Exception as problem:  # this session's data alone
                errors[number] = problem
        self._encode(list(jobs.values()))
        encoded = self._prepare(list(jobs.values()))
        encode_ms = (monotonic() - started) * 1000
        results = []
        for number, work in enumerate(works):
            if number in errors:
                results.append(StepResult(work.state, error=errors[number]))
            else:
                results.append(self._conclude(jobs[number], encoded.pop(0), encode_ms))
        self.pool.shrink()
        return results

    def _one_thread(self) -> None:
        """The matrix library counts threads per calling thread: a step from another one would use all cores."""
        if not hasattr(self._threads, "set"):
            torch.set_num_threads(1)
            self._threads.set = True

    def _plan(self, work: Work, closes: bool) -> _Job:
        is_chat = work.session.startswith("chat/")
        state = work.state if work.state is not None else new_state(self.config, is_chat)
        made = plan(state, work.items, self.tokenizer, self.settings.buffer, self.config.n_sinks, is_chat, closes)
        cache = self.pool.get(work.session)
        recompute = self.settings.hierarchical_update.token_level == "recompute"
        fits = cache is not None and cache.window[: len(state.window)] == state.window and (is_chat or bool(state.hidden))
        hit = fits and not recompute
        if cache is None or not hit:
            cache = KVCache(self.config)
        cache.window = state.window if hit else b""  # ahead of the state after a crash in between: what is beyond is overwritten
        is_new = len(state.window) == self.config.n_sinks * BYTES_PER_ID
        return _Job(work, state, is_chat, made, cache, hit or is_new)

    # 2. the trunk

    def _encode(self, jobs: Sequence[_Job]) -> None:
        """All stretches of all sessions: the first ones together, then the second ones of those whose window was cut, and so on."""
        for job in jobs:
            self.pool.drop(job.work.session)  # put back when its cache is sound again
        depth = max((len(job.plan.window.stretches) for job in jobs), default=0)
        for turn in range(depth):
            runs = [(job, *self._run(job, turn)) for job in jobs if turn < len(job.plan.window.stretches)]
            runs = [entry for entry in runs if entry[1].ids]
            while runs:
                rows, count = 0, 0
                while count < len(runs) and (count == 0 or rows + len(runs[count][1].ids) <= MAX_STEP_ROWS):
                    rows += len(runs[count][1].ids)
                    count += 1
                self._pass(runs[:count])
                runs = runs[count:]
        for job in jobs:
            if job.cache.window:
                self.pool.put(job.work.session, job.cache)

    def _run(self, job: _Job, turn: int) -> tuple[Run, int]:
        """The run of a stretch, and how many of its tokens only fill the cache."""
        stretch = job.plan.window.stretches[turn]
        if stretch.prefix is not None:
            job.cache.window = b""
            prefix = stretch.prefix
        else:
            prefix = [] if job.cache.window else from_bytes(job.state.window)
        if not stretch.ids:
            return Run(job.cache, []), 0
        done = sum(len(s.ids) for s in job.plan.window.stretches[:turn])
        shift = job.cache.length + len(prefix) - done
        watch = [place + shift for place in job.plan.watch if done <= place < done + len(stretch.ids)]
        return Run(job.cache, [*prefix, *stretch.ids], watch), len(prefix)

    def _pass(self, runs: Sequence[tuple[_Job, Run, int]]) -> None:
        starts = [run.cache.length for _, run, _ in runs]
        for (job, run, n_prefix), start, hidden in zip(runs, starts, self.encoder.encode([run for _, run, _ in runs])):
            if not job.hidden and not job.state.hidden and n_prefix:
                job.before = hidden[n_prefix - 1]
            done = sum(len(h) for h in job.hidden)
            job.hidden.append(hidden[n_prefix:])
            job.attention |= {position - start - n_prefix + done: weights.numpy() for position, weights in run.attention.items()}

    def _prepare(self, jobs: Sequence[_Job]) -> list[Encoded]:
        """Pooling weights of all new tokens, and their surprise, in block products for all sessions."""
        parts = [(job, part) for job in jobs for part in job.hidden if len(part)]
        pooling: dict[int, list[np.ndarray]] = {id(job): [] for job in jobs}
        nats: dict[int, list[float]] = {id(job): [] for job in jobs}
        while parts:
            rows, count = 0, 0
            while count < len(parts) and (count == 0 or rows + len(parts[count][1]) <= MAX_STEP_ROWS):
                rows += len(parts[count][1])
                count += 1
            self._read_out(parts[:count], rows, pooling, nats)
            parts = parts[count:]
        made = []
        for job in jobs:
            hidden = np.concatenate([part.numpy() for part in job.hidden]) if job.hidden else np.empty((0, self.config.width), np.float32)
            job.hidden = []
            weights = np.concatenate(pooling[id(job)]) if pooling[id(job)] else np.empty((0, 2), np.float32)
            made.append(Encoded(hidden, job.plan.ids, self._embedding, weights, nats[id(job)], job.attention))
        return made

    def _read_out(
        self, parts: Sequence[tuple[_Job, Tensor]], n_rows: int, pooling: dict[int, list[np.ndarray]], nats: dict[int, list[float]]
    ) -> None:
        """Pooling weights and nats of some rows, added to those of their sessions."""
        stacked = torch.zeros(-(-n_rows // ROWS) * ROWS, self.config.width)
        torch.cat([part for _, part in parts], out=stacked[:n_rows])
        weights = torch.exp(SCORE_LIMIT * torch.tanh((self._scores(stacked) + self._score_bias) / SCORE_LIMIT))[:, :2].numpy()
        at, before, targets = 0, [], list[int]()
        for job, part in parts:
            done = sum(map(len, pooling[id(job)]))
            pooling[id(job)].append(weights[at : at + len(part)])
            at += len(part)
            if not job.is_chat:
                before += [self._before(job)[None], part[:-1]]
                targets += job.plan.ids[done : done + len(part)]
                job.before = part[-1]
        found = self.encoder.nats(torch.cat(before), targets) if targets else []
        at = 0
        for job, part in parts:
            if not job.is_chat:
                nats[id(job)] += found[at : at + len(part)]
                at += len(part)

    def _before(self, job: _Job) -> Tensor:
        """Hidden state that predicts the next token to be read out."""
        if job.before is None:
            job.before = torch.from_numpy(np.frombuffer(job.state.hidden, np.float32).copy())
        return job.before

    # 3. what it means

    def _conclude(self, job: _Job, encoded: Encoded, encode_ms: float) -> StepResult:
        started = monotonic()
        try:
            if not np.isfinite(encoded.hidden.sum()):
                raise BadStateError(f"session {job.work.session}: hidden states are not finite; reset its window")
            state, items = self.walk(self.above, self.settings.hierarchical_update, job.state, job.is_chat).run(job.plan, encoded)
        except Exception as problem:
            self.drop(job.work.session)
            return StepResult(job.work.state, error=problem, encode_ms=encode_ms)
        update_ms = (monotonic() - started) * 1000
        return StepResult(state, tuple(items), None, job.cache_hit, encode_ms, update_ms)

    @torch.inference_mode()
    def answer(self, work: Work) -> tuple[Answer, ...]:
        """The open segment's topic, and the surprise since the last answer, as far as the session was read."""
        state = work.state
        if state is None or state.n_items in (0, state.closed_at):
            return ()
        return Walk(self.above, self.settings.hierarchical_update, state, work.session.startswith("chat/")).open_answers()

    # 4. states and caches

    def pack(self, state: TextState) -> bytes:
        return session_state.pack(state)

    def unpack(self, data: bytes) -> TextState:
        return session_state.unpack(data)

    def drop(self, session: str) -> None:
        self.pool.drop(session)

    @torch.inference_mode()
    def rebuild(self, session: str, state: TextState) -> None:
        """Prefill the session's window anew."""
        if state is None:
            return
        self._one_thread()
        cache = KVCache(self.config)
        self.encoder.encode([Run(cache, from_bytes(state.window))])
        self.pool.put(session, cache)
        self.pool.shrink()

    def reset(self, state: TextState) -> TextState:
        """The state with nothing in the window but the sinks, empty levels, and its counters kept."""
        if state is None:
            return state
        fresh = new_state(self.config, is_chat=from_bytes(state.window[: 2 * BYTES_PER_ID])[1:] == [CHAT])
        kept = {
            "window": fresh.window,
            "starts": b"",
            "since_us": -1,
            "hidden": b"",
            "levels": fresh.levels,
            "sums": fresh.sums,
            "n_tokens": 0,
        }
        return session_state.changed(state, **kept, token_weights=b"", paragraph_weights=b"", topic_weights=b"", document_weights=b"")

    def cache_bytes(self) -> int:
        return self.pool.n_bytes()
