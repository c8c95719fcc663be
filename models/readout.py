"""What a step reads off the trunk for each session: hidden states, pooling weights and the surprise of its new tokens.

Knows rows of many sessions in blocks; leaves what they mean to walk.py. Next: models/walk.py
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from models.encoder import Encoder
from models.hierarchy import SCORE_LIMIT, Pool
from models.kv_cache import SessionCache
from models.plan import Plan
from models.row_blocks import RowBlocks
from models.session_ngrams import SessionNgrams
from models.session_state import TextState
from models.steps import ItemResult, Work
from models.walk import Encoded, Walk

MAX_STEP_ROWS = 2048
"""Rows that are worked on at once; more wait for the next pass, so that a long replay needs no more memory than this."""


def passes(sizes: Sequence[int]) -> Iterator[slice]:
    """Neighbours that are worked on at once: of MAX_STEP_ROWS rows together, or one that is larger alone."""
    first, rows = 0, 0
    for place, size in enumerate(sizes):
        if place > first and rows + size > MAX_STEP_ROWS:
            yield slice(first, place)
            first, rows = place, 0
        rows += size
    if first < len(sizes):
        yield slice(first, len(sizes))


@dataclass(slots=True)
class Job:
    """One session's way through a step."""

    work: Work
    state: TextState
    is_chat: bool
    plan: Plan
    cache: SessionCache
    cache_hit: bool
    walk: Walk
    results: list[ItemResult] = field(default_factory=list)
    hidden: Tensor | None = None
    """float32 (tokens, C), of the stretch at work."""
    attention: dict[int, np.ndarray] = field(default_factory=dict)
    """Place among the stretch's tokens -> attention over the window."""
    before: Tensor | None = None
    """Hidden state before the next token to be read out; None: the one in the state."""
    error: Exception | None = None
    update_ms: float = 0.0


class Readout:
    """Pooling weights and surprise, in block products for all sessions."""

    def __init__(self, encoder: Encoder, pool: Pool, ngrams: SessionNgrams):
        self.encoder, self.ngrams = encoder, ngrams
        padded = torch.nn.functional.pad(pool.scores.weight.t(), (0, 15)).contiguous()  # 16 columns: whole vectors
        self.scores, self.bias = RowBlocks(padded), torch.nn.functional.pad(pool.scores.bias, (0, 15))

    def __call__(self, jobs: Sequence[Job], turn: int) -> list[Encoded]:
        """One Encoded per job: its stretch of this turn."""
        sizes = [_size(job) for job in jobs]
        return [made for part in passes(sizes) for made in self._read(jobs[part], turn)]

    def _read(self, jobs: Sequence[Job], turn: int) -> list[Encoded]:
        empty = torch.empty(0, self.encoder.config.width)
        parts = [job.hidden if job.hidden is not None else empty for job in jobs]
        scores = torch.from_numpy(self.scores(torch.cat(parts).numpy()))
        weights = torch.exp(SCORE_LIMIT * torch.tanh((scores + self.bias) / SCORE_LIMIT))[:, 0].contiguous().numpy()
        before, targets = [], list[int]()
        for job, part in zip(jobs, parts):
            if not job.is_chat and len(part):
                part = part.half().float()  # as a state keeps the last one: the same surprise in any split
                before += [_before(job)[None], part[:-1]]
                targets += job.plan.window.stretches[turn].ids
                job.before = part[-1]
        found = self.encoder.nats(torch.cat(before), targets) if targets else []
        made, at, told = [], 0, 0
        for job, part in zip(jobs, parts):
            n_told = 0 if job.is_chat else len(part)
            nats = self._with_ngrams(job, turn, found[told : told + n_told]) if n_told else []
            made.append(Encoded(part.numpy(), weights[at : at + len(part)], nats, job.attention))
            at, told = at + len(part), told + n_told
        return made

    def _with_ngrams(self, job: Job, turn: int, nats: Sequence[float]) -> list[float]:
        """The stretch's surprise once the session's own words in the window have their say."""
        stretch = job.plan.window.stretches[turn]
        window = np.frombuffer(job.state.window, np.uint16) if stretch.prefix is None else np.asarray(stretch.prefix, np.uint16)
        return self.ngrams.mixed(window[self.encoder.config.n_sinks :], stretch.ids, nats)


def _size(job: Job) -> int:
    return 0 if job.hidden is None else len(job.hidden)


def _before(job: Job) -> Tensor:
    """Hidden state that predicts the next token to be read out."""
    return job.before if job.before is not None else torch.from_numpy(np.frombuffer(job.state.hidden, np.float16).astype(np.float32))
