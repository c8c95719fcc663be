"""StreamingHierarchicalTransformer: one step for many sessions of text and chat.

Knows the order of a step and which cache belongs to which state; leaves reading to plan.py, the trunk to encoder.py, decisions to
walk.py. Holds caches, never a session: the same state and items give the same bits in any batch, after any eviction or crash. With the
trunk on a GPU (devices.py) they give the same within a tolerance.
Next: models/plan.py
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from msgspec import structs
from torch import Tensor

from models import checkpoint, session_state
from models.answers import open_answers
from models.cache_pool import CachePool
from models.checkpoint import Checkpoint
from models.config import TextSettings, check
from models.devices import encoder_of
from models.encoder import Encoder, Run
from models.kv_cache import BYTES_PER_ID
from models.labels import Labels, label_set, label_vectors
from models.levels_step import LevelsStep
from models.memory import give_back_holes, keep_freed_memory
from models.plan import Event, plan
from models.readout import Job, Readout, passes
from models.session_ngrams import SessionNgrams
from models.session_state import TextState, begun, new_state, unpack_memory
from models.steps import Answer, ItemResult, StepResult, Work
from models.tokenizer import CHAT
from models.walk import Encoded, Walk
from models.window import from_bytes
from models.working_copy import Above, WorkingCopy

LONGEST_EMBEDDED = 256
"""Tokens of a label's text that are read."""
TIDY_EVERY = 64 << 20
"""Bytes that the caches grow or shrink by until memory is tidied: without it 1,000 hot sessions leave 170 MB of holes."""
LONG_TEXT = 16_384
"""Characters; a longer piece is stepped in parts, which changes nothing but the memory it takes."""


class BadStateError(ValueError):
    """A session's numbers are no longer finite; reset its window."""

    retriable = False


def is_chat(work: Work) -> bool:
    return work.session.startswith("chat/")


def is_long(work: Work) -> bool:
    return any(isinstance(item.text, str) and len(item.text) > LONG_TEXT for item in work.items)


class StreamingHierarchicalTransformer:
    """SessionModel of tokens and chat (models/steps.py)."""

    walk: type[Walk] = Walk
    """What turns hidden states into findings; calibration listens in by a subclass."""

    def __init__(self, loaded: Checkpoint, settings: TextSettings | None = None, encoder: Encoder | None = None):
        """Keeps freed memory with the process (memory.py), and steps on one intra-op thread: results must not depend on how many there are.

        encoder: of this checkpoint's trunk; None takes the one of the device that the settings name.
        """
        settings = settings or TextSettings()
        config = loaded.model.config
        check(settings, config)
        self._threads = threading.local()
        self._one_thread()
        keep_freed_memory()
        self.config, self.settings, self.version, self.tokenizer = config, settings, loaded.version, loaded.tokenizer
        self.encoder = encoder or encoder_of(loaded.model.trunk, settings)
        self.advanced_at = 0.0
        """When the last pass through the trunk began, monotonic clock: a long step shows by it that it goes on."""
        self.pool = CachePool(settings.state.max_cache_size_mb * 2**20)
        self._tidied_at = 0
        self.hierarchy, self.words = loaded.model.hierarchy, loaded.model.words
        self.readout = Readout(self.encoder, self.hierarchy.pool, SessionNgrams(loaded.calibration.ngram_weights))
        labels = label_set(settings.topics, config.labels)
        named = Labels(labels.names, label_vectors(labels, self.embed), labels.columns(config.labels))
        step = LevelsStep(self.hierarchy, loaded.model.heads)
        self.above = Above(config, self.hierarchy, loaded.model.heads, step, loaded.calibration, self.words, named)
        self.version += labels.suffix()

    @classmethod
    def load(cls, path: Path | None = None, settings: TextSettings | None = None) -> "StreamingHierarchicalTransformer":
        """From a checkpoint's folder; by default the one that ships with the package."""
        return cls(checkpoint.load(path), settings)

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """What short texts mean, each by itself, float32 (n, W), unit: as their sentences would be pooled in a session."""
        vectors, marks = np.zeros((len(texts), self.config.word_width), np.float32), from_bytes(new_state(self.config, False).window)
        for n, text in enumerate(texts):
            ids = self.tokenizer.encode(text)[: min(LONGEST_EMBEDDED, self.config.max_positions - len(marks))]
            if not ids:
                continue
            hidden = self._through([Run(self.encoder.new_cache(), [*marks, *ids])])[0][len(marks) :]
            weights = self.hierarchy.pool.weights(hidden)
            words = torch.from_numpy(self.words.mean(self.tokenizer.decode(ids)).astype(np.float32))[None]
            sentence = self.hierarchy.pool.sentence((weights * hidden).sum(0, keepdim=True) / weights.sum(), words)
            vectors[n] = self.hierarchy.pool.meanings(sentence)[0].numpy()
        return vectors

    # 1. a step

    def step(self, works: Sequence[Work]) -> list[StepResult]:
        """One StepResult per Work, in order. A session that fails is found by stepping one by one, and keeps its state."""
        if any(map(is_long, works)):
            return [self._step_long(work) if is_long(work) else self.step((work,))[0] for work in works]
        try:
            return self._step(works, closes=False)
        except Exception as problem:
            if len(works) == 1:
                self.drop(works[0].session)
                return [StepResult(works[0].state, error=problem)]
        # behind the except, in which the failed step would still hold its caches
        return [result for work in works for result in self.step((work,))]

    def _step_long(self, work: Work) -> StepResult:
        """Item by item, long texts in parts."""
        result, items = StepResult(work.state), list[ItemResult]()
        for item in work.items:
            quiet = structs.replace(item, wants_label=False, wants_state=False, wants_document=False, ends_session=False)
            whole = is_chat(work) or not isinstance(item.text, str)
            texts = [] if whole else [item.text[at : at + LONG_TEXT] for at in range(0, len(item.text), LONG_TEXT)]
            parts = [*(structs.replace(quiet, text=text) for text in texts[:-1]), structs.replace(item, text=texts[-1]) if texts else item]
            found: list[ItemResult] = []
            for part in parts:
                try:
                    result = self._step((Work(work.session, result.state, (part,)),), closes=False)[0]
                except Exception as problem:
                    result = StepResult(work.state, error=problem)
                if result.error is not None:
                    self.drop(work.session)
                    return StepResult(work.state, error=result.error)
                found += result.items
            findings = tuple(f for r in found for f in r.findings)
            items.append(ItemResult(item.position, found[0].first_token_id, findings, found[-1].buffer_tokens))
        return replace(result, items=tuple(items))

    def close(self, work: Work) -> StepResult:
        """Close an idle session: what is held back is read, and every span ends with its last item. Of one without a state nothing is known."""
        if work.state is None:
            return StepResult(None)
        return self._step((work,), closes=True)[0]

    @torch.inference_mode()
    def _step(self, works: Sequence[Work], closes: bool) -> list[StepResult]:
        started = monotonic()
        self._one_thread()
        jobs: list[Job | StepResult] = []
        for work in works:
            try:
                jobs.append(self._plan(work, closes))
            except Exception as problem:  # this session's data alone
                jobs.append(StepResult(work.state, error=problem))
        self._read([job for job in jobs if isinstance(job, Job)])
        step_ms = (monotonic() - started) * 1000
        encode_ms = step_ms - sum(job.update_ms for job in jobs if isinstance(job, Job))
        results = [self._conclude(job, encode_ms) if isinstance(job, Job) else job for job in jobs]
        self._keep_small()
        return results

    def _keep_small(self) -> None:
        """Caches within their budget, and what their growth left between them given back."""
        self.pool.shrink()
        if abs(self.pool.n_bytes - self._tidied_at) > TIDY_EVERY:
            give_back_holes()
            self._tidied_at = self.pool.n_bytes

    def _one_thread(self) -> None:
        """The matrix library counts threads per calling thread: a step from another one would use all cores."""
        if not hasattr(self._threads, "set"):
            torch.set_num_threads(1)
            self._threads.set = True

    def _plan(self, work: Work, closes: bool) -> Job:
        chat = is_chat(work)
        state = work.state if work.state is not None else begun(self.config, chat, work.items[0].position)
        made = plan(state, work.items, self.tokenizer, self.settings.buffer, self.config.n_sinks, chat, closes)
        cache = self.pool.get(work.session)
        recompute = self.settings.hierarchical_update.token_level == "recompute"
        fits = cache is not None and cache.memory == state.memory and cache.window[: len(state.window)] == state.window
        fits = fits and (chat or bool(state.hidden))
        hit = fits and not recompute
        if cache is None or not hit:
            cache = self.encoder.new_cache()
            cache.memory = state.memory
        cache.window = state.window if hit else b""  # ahead of the state after a crash in between: what is beyond is overwritten
        is_new = len(state.window) == self.config.n_sinks * BYTES_PER_ID
        walk = self.walk(self.above, self.settings.hierarchical_update, state, chat)
        return Job(work, state, chat, made, cache, hit or is_new, walk)

    # 2. the trunk, and what it means

    def _read(self, jobs: Sequence[Job]) -> None:
        """All stretches of all sessions: the first ones together, then the second ones of those whose window was cut, and so on."""
        events = {id(job): iter(job.plan.events) for job in jobs}
        for job in jobs:
            self.pool.drop(job.work.session)  # put back when its cache is sound again
        depth = max((len(job.plan.window.stretches) for job in jobs), default=0)
        for turn in range(depth):
            live = [job for job in jobs if turn < len(job.plan.window.stretches) and job.error is None]
            self._encode(live, turn)
            for job, encoded in zip(live, self.readout(live, turn)):
                self._walk(job, events[id(job)], encoded)
        for job in jobs:
            if job.cache.window and job.error is None:
                self.pool.put(job.work.session, job.cache)

    def _encode(self, jobs: Sequence[Job], turn: int) -> None:
        runs = [(job, *self._run(job, turn)) for job in jobs]
        for job in jobs:
            job.hidden, job.attention = None, {}
        runs = [entry for entry in runs if entry[1].ids]
        for part in passes([len(run.ids) for _, run, _ in runs]):
            self._pass(runs[part])

    def _run(self, job: Job, turn: int) -> tuple[Run, int]:
        """The run of a stretch, and how many of its tokens only fill the cache."""
        stretch = job.plan.window.stretches[turn]
        if stretch.prefix is not None:
            job.cache.window, job.cache.memory = b"", job.walk.memory
            prefix = stretch.prefix
        else:
            prefix = from_bytes(b"" if job.cache.window else job.state.window)
        if not stretch.ids:
            return Run(job.cache, []), 0
        done = sum(len(s.ids) for s in job.plan.window.stretches[:turn])
        shift = job.cache.length + len(prefix) - done
        watch = [place + shift for place in job.plan.watch if done <= place < done + len(stretch.ids)]
        return Run(job.cache, [*prefix, *stretch.ids], watch, memory=self._memory(job.cache.memory) if prefix else None), len(prefix)

    def _memory(self, packed: bytes) -> Tensor | None:
        """What the sinks behind the marks carry, (n_sinks - MARKS, C)."""
        return self.hierarchy.memory(*unpack_memory(packed)[:, None].unbind(0))[0] if packed else None

    def _pass(self, runs: Sequence[tuple[Job, Run, int]]) -> None:
        self.advanced_at = monotonic()
        starts = [run.cache.length for _, run, _ in runs]
        for (job, run, n_prefix), start, hidden in zip(runs, starts, self._through([run for _, run, _ in runs])):
            if job.before is None and not job.state.hidden and n_prefix:
                job.before = hidden[n_prefix - 1]
            job.hidden = hidden[n_prefix:]
            job.attention = {position - start - n_prefix: weights.numpy() for position, weights in run.attention.items()}

    def _through(self, runs: Sequence[Run]) -> list[Tensor]:
        """Through the trunk; idle caches make room where it is bounded."""
        if missing := self.encoder.missing_bytes(runs):
            self.pool.shrink(missing)
        return self.encoder.encode(runs)

    def _walk(self, job: Job, events: Iterator[Event], encoded: Encoded) -> None:
        started = monotonic()
        try:
            if not np.isfinite(encoded.hidden.sum()):
                raise BadStateError(f"session {job.work.session}: hidden states are not finite; reset its window")
            job.walk.read(events, encoded, job.results)
        except Exception as problem:  # this session's data alone
            job.error = problem
        job.update_ms += (monotonic() - started) * 1000

    def _conclude(self, job: Job, encode_ms: float) -> StepResult:
        if job.error is not None:
            return StepResult(job.work.state, error=job.error, encode_ms=encode_ms)
        return StepResult(job.walk.state(job.plan), tuple(job.results), None, job.cache_hit, encode_ms, job.update_ms)

    @torch.inference_mode()
    def answer(self, work: Work) -> tuple[Answer, ...]:
        """The open segment's topic, and the surprise since the last answer, as far as the session was read."""
        self._one_thread()
        state = work.state
        if state is None or state.n_items in (0, state.closed_at):
            return ()
        return open_answers(WorkingCopy(self.above, state, is_chat(work)))

    # 3. states and caches

    def pack(self, state: TextState) -> bytes:
        return session_state.pack(state)

    def unpack(self, data: bytes) -> TextState:
        return session_state.unpack(data, self.config)

    def drop(self, session: str) -> None:
        self.pool.drop(session)

    @torch.inference_mode()
    def rebuild(self, session: str, state: TextState) -> None:
        """Prefill the session's window anew."""
        if state is None:
            return
        self._one_thread()
        cache = self.encoder.new_cache()
        cache.memory = state.memory
        self._through([Run(cache, from_bytes(state.window), memory=self._memory(state.memory))])
        self.pool.put(session, cache)
        self._keep_small()

    def reset(self, state: TextState) -> TextState:
        """The state with nothing in the window but the sinks, empty levels, and its counters kept."""
        if state is None:
            return state
        fresh = new_state(self.config, is_chat=from_bytes(state.window)[1] == CHAT)
        kept = {
            "window": fresh.window,
            "starts": b"",
            "since_us": -1,
            "hidden": b"",
            "memory": b"",
            "n_sentences": 0,
            "topic_logits": b"",
            "n_topic": 0,
            "session_classes": b"",
            "session_meaning": b"",
            "levels": fresh.levels,
            "sums": fresh.sums,
            "n_tokens": 0,
        }
        return session_state.changed(state, **kept, token_weights=b"", paragraph_weights=b"", topic_weights=b"", document_weights=b"")

    def cache_bytes(self) -> int:
        return self.pool.n_bytes
