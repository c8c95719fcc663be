"""What a step reads off the trunk for each session: hidden states, pooling weights and the surprise of its new tokens.

Knows rows of many sessions in blocks; leaves what they mean to walk.py. Next: models/walk.py
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from models.encoder import CachedEncoder
from models.hierarchy import SCORE_LIMIT, Pool
from models.kv_cache import KVCache
from models.plan import Plan
from models.row_blocks import ROWS, RowBlocks
from models.session_state import TextState
from models.steps import Work
from models.walk import Encoded

MAX_STEP_ROWS = 2048
"""Rows that are worked on at once; more wait for the next pass, so that a long replay needs no more memory than this."""


@dataclass(slots=True)
class Job:
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


class Readout:
    """Pooling weights and surprise, in block products for all sessions."""

    def __init__(self, encoder: CachedEncoder, pool: Pool):
        self.encoder = encoder
        self.embedding = encoder.embedding.numpy()
        padded = torch.nn.functional.pad(pool.scores.weight.t(), (0, 14)).contiguous()  # 16 columns: whole vectors
        self.scores, self.bias = RowBlocks(padded), torch.nn.functional.pad(pool.scores.bias, (0, 14))

    def __call__(self, jobs: Sequence[Job]) -> list[Encoded]:
        """One Encoded per job; empties their `hidden`."""
        parts = [(job, part) for job in jobs for part in job.hidden if len(part)]
        pooling: dict[int, list[np.ndarray]] = {id(job): [] for job in jobs}
        nats: dict[int, list[float]] = {id(job): [] for job in jobs}
        while parts:
            rows, count = 0, 0
            while count < len(parts) and (count == 0 or rows + len(parts[count][1]) <= MAX_STEP_ROWS):
                rows += len(parts[count][1])
                count += 1
            self._read(parts[:count], rows, pooling, nats)
            parts = parts[count:]
        made = []
        width = self.encoder.config.width
        for job in jobs:
            hidden = np.concatenate([part.numpy() for part in job.hidden]) if job.hidden else np.empty((0, width), np.float32)
            job.hidden = []
            weights = np.concatenate(pooling[id(job)]) if pooling[id(job)] else np.empty((0, 2), np.float32)
            made.append(Encoded(hidden, job.plan.ids, self.embedding, weights, nats[id(job)], job.attention))
        return made

    def _read(
        self, parts: Sequence[tuple[Job, Tensor]], n_rows: int, pooling: dict[int, list[np.ndarray]], nats: dict[int, list[float]]
    ) -> None:
        """Add the weights and nats of some rows to those of their sessions."""
        stacked = torch.zeros(-(-n_rows // ROWS) * ROWS, self.encoder.config.width)
        torch.cat([part for _, part in parts], out=stacked[:n_rows])
        weights = torch.exp(SCORE_LIMIT * torch.tanh((self.scores(stacked) + self.bias) / SCORE_LIMIT))[:, :2].numpy()
        at, before, targets = 0, [], list[int]()
        for job, part in parts:
            done = sum(map(len, pooling[id(job)]))
            pooling[id(job)].append(weights[at : at + len(part)])
            at += len(part)
            if not job.is_chat:
                before += [_before(job)[None], part[:-1]]
                targets += job.plan.ids[done : done + len(part)]
                job.before = part[-1]
        found = self.encoder.nats(torch.cat(before), targets) if targets else []
        at = 0
        for job, part in parts:
            if not job.is_chat:
                nats[id(job)] += found[at : at + len(part)]
                at += len(part)


def _before(job: Job) -> Tensor:
    """Hidden state that predicts the next token to be read out."""
    return job.before if job.before is not None else torch.from_numpy(np.frombuffer(job.state.hidden, np.float32).copy())
