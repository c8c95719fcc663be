"""LatentModel: what normal lines and sessions of one system are, shared by all its sessions, and how unusual others are beside them.

Knows templates, their order, severities and finished sessions as chances; leaves learning to models/latent_teaching.py, which system a
session is of to models/latent_systems.py and its own state to models/log_state.py. Values do not change once made.
Next: models/latent_teaching.py
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import latent_density, latent_dynamics, latent_pace, latent_tensors
from models.latent_counts import Counts, Floats, Keys, mixed
from models.latent_dynamics import Moves
from models.latent_encoder import WIDTH, Encoder
from models.latent_lines import WHOLE, Lines, keyed
from models.latent_probation import Probation
from models.latent_sessions import Sessions
from models.latent_views import (
    LINE_VIEWS,
    SESSION_VIEWS,
    Tails,
    bins_of,
    chance_of,
    deviations_of,
    value_of,
)
from models.learnable import CONTEXT

_TEMPLATE, _AFTER = np.uint64(0xA5A5_0001), np.uint64(0xA5A5_0002)
SEVERITY_PRIOR = (0.02, 0.02, 0.2, 4.0, 20.0, 60.0, 400.0, 20.0)
"""Lines by severity that every model starts with: a fatal line is rare before the stream says otherwise."""

PRIOR_TIMES = 10.0
"""How often the lines of the prior count among the scores of severities."""
LINE_WINDOW, SESSION_WINDOW = (500, 0.012), (100, 0.02)
"""Lessons of a window of probation, and the share of suspects up to which it is quiet."""
YOUNG_LINES, YOUNG_SESSIONS = 20_000, 1000
"""A model taught by fewer takes what it meets as normal."""
DYNAMICS = "rectified"
DENSITY = "normal"
BLOCK = 64
"""Lines the nets see at once."""
FADING = np.float32(0.7) ** np.arange(CONTEXT - 1, dtype=np.float32) * np.float32(0.7)
"""Weight of each line before the last in a session's way, square sum about 1."""


class Verdict(NamedTuple):
    """How unusual a line or a session is, in standard deviations, and which views say so, the loudest first."""

    deviations: float
    reasons: tuple[str, ...]
    rate: float = 0.0
    """How unusual it is that lines come so fast, or so slowly: told beside the rest, and no reason to learn less. Everything would be
    odd otherwise when a system is merely busier than ever."""

    @property
    def value(self) -> float:
        return value_of(self.deviations)


NAMED = 2.0
"""Standard deviations at which a view is named as a reason."""
CALM = 0.03
"""A chance above it names no view."""


@dataclass(frozen=True, slots=True)
class LatentModel:
    """Of one system."""

    counts: Counts
    """Of all systems of a tenant, told apart by their number."""
    sessions: Sessions
    severities: Floats
    """(8,) lines by severity."""
    rates: Floats
    """(latent_pace.BINS,) lines by how many times as fast as usual they came."""
    tails: Tails
    pending: Tails
    """Scores of the windows that have not ended."""
    suspects: Probation
    """Of lines: key, key before, severity."""
    odd_ends: Probation
    """Of sessions: keys and counts."""
    encoder: Encoder
    density: Floats
    """Sums of models/latent_density.py."""
    kind: str
    """How trajectories are judged: one of models/latent_dynamics.py, or none."""
    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    density_kind: str = DENSITY
    """How far a line lies from all lines: normal, by mean and spread, or flow."""
    density_weights: Mapping[str, Tensor] = field(default_factory=dict)
    density_moments: Mapping[str, Tensor] = field(default_factory=dict)
    number: int = 1

    @classmethod
    def new(cls, kind: str = DYNAMICS, density: str = DENSITY, seed: int = 0, number: int = 1) -> "LatentModel":
        """Knows what the shipped encoder knows, and no line."""
        suspects = Probation.empty(3, *LINE_WINDOW)
        odd_ends = Probation.empty(2 * WHOLE, *SESSION_WINDOW)
        weights = latent_dynamics.new_weights(kind, seed) if kind != "none" else {}
        return cls(
            Counts.empty(), Sessions.empty(), np.array(SEVERITY_PRIOR), np.zeros(latent_pace.BINS), _first_tails(), Tails.empty(), suspects, odd_ends,
            Encoder.shipped(), latent_density.new_sums(), kind, weights, {}, density,
            latent_dynamics.new_weights("flow", seed) if density == "flow" else {}, {}, number,
        )  # fmt: skip

    def judge(self, lines: Lines) -> list[Verdict]:
        """One verdict a line; what one line gets does not depend on the others."""
        if not len(lines.texts):
            return []
        single, together = self.tails.judged_lines(self.line_scores(lines))
        rates = latent_pace.chances(self.rates, latent_pace.bins_of(lines.rates)).tolist()
        return [
            _verdict(LINE_VIEWS, chance, chances, rate)
            for chance, chances, rate in zip(together.tolist(), single.T.tolist(), rates, strict=True)
        ]

    def judge_session(self, whole: Mapping[str, int], worst_line: float) -> Verdict:
        """A session as it would be were it to end now. `worst_line`: the most standard deviations of its lines and of its end."""
        chances = self.tails.judged_sessions(self.session_scores(whole, worst_line)[:, None])[:, 0].tolist()
        return _verdict(SESSION_VIEWS, min(chances), chances)

    @property
    def lines(self) -> float:
        """That it learned."""
        return float(self.severities.sum()) - sum(SEVERITY_PRIOR)

    @property
    def is_young(self) -> bool:
        return bool(self.severities.sum() < YOUNG_LINES)

    @property
    def steps(self) -> int:
        """Of its nets."""
        return int(self.moments.get("steps", 0))

    @property
    def families(self) -> tuple[np.uint64, np.uint64]:
        """Of templates, and of what comes after a template: this system's own."""
        number = np.uint64(self.number << 32)
        return _TEMPLATE ^ number, _AFTER ^ number

    def knows(self, keys: Keys) -> NDArray[np.bool_]:
        """Which templates it learned."""
        return self.counts.seen(np.full(len(keys), self.families[0]), keys) > 0

    def line_scores(self, lines: Lines) -> Floats:
        """(line views, lines)"""
        keys = lines.keys
        of_templates, of_following = self.families
        families = np.concatenate([np.full(len(keys), of_templates), mixed(lines.keys_before, of_following)])
        template, after = self.counts.chance(families, np.concatenate([keys, keys])).reshape(2, -1)
        severity = (np.cumsum(self.severities) / self.severities.sum())[lines.severities]
        off = self._surprises(self.kind, self.weights, self.moves(lines))
        rare = -np.log(np.stack([template, after, severity]))
        # how often a template was met is known: where it lies cannot make it rarer. The density narrows as it learns, so a template far
        # from the others would else lie farther each time than ever before.
        return np.stack([*rare, np.minimum(self._far(lines), rare[0]), off])

    def _far(self, lines: Lines) -> Floats:
        """How far lines lie from where lines lie, nats (n,)"""
        if self.density_kind == "flow":
            return self._surprises("flow", self.density_weights, self.places(lines))
        latents = self.encoder.with_severity(self.encoder.latents(lines.texts), lines.severities)
        far: Floats = 0.5 * np.maximum(latent_density.distances(self.density, latents), 0.0) ** 2
        return far

    def places(self, lines: Lines) -> Moves:
        """Lines as moves from nowhere."""
        latents = self.encoder.with_severity(self.encoder.latents(lines.texts), lines.severities)
        nowhere = torch.zeros(len(latents), WIDTH)
        return Moves(nowhere, nowhere, torch.zeros(len(latents), 1), torch.from_numpy(latents))

    def moves(self, lines: Lines) -> Moves:
        """Lines as moves; what stood before a line fades."""
        n = len(lines.texts)
        padded = [text for some in lines.before for text in (*some[::-1], *[""] * (CONTEXT - len(some)))]
        before = self.encoder.latents(padded).reshape(n, CONTEXT, WIDTH)
        way = np.einsum("nkw,k->nw", before[:, 1:], FADING)
        gaps = np.log1p(lines.gaps_s)[:, None].astype(np.float32)
        return Moves(*[torch.from_numpy(part) for part in (before[:, 0].copy(), way, gaps, self.encoder.latents(lines.texts))])

    @staticmethod
    def _surprises(kind: str, weights: Mapping[str, Tensor], moves: Moves) -> Floats:
        """Nats or so, compressed (n,): in blocks of one size, so that a line's bits do not depend on how many share its step."""
        n = len(moves.to)
        if kind == "none":
            return np.zeros(n)
        with torch.inference_mode():
            padded = torch.zeros(-(-n // BLOCK) * BLOCK, 3 * WIDTH + 1)
            torch.cat(moves.columns(), 1, out=padded[:n])
            parts = [Moves(*block.split((WIDTH, WIDTH, 1, WIDTH), 1)) for block in padded.split(BLOCK)]
            found = [latent_dynamics.scores(kind, weights, part) for part in parts]
        return 3.0 * np.log1p(torch.cat(found)[:n].double().numpy().clip(0.0) / 4.0)

    def session_scores(self, whole: Mapping[str, int], worst_line: float) -> Floats:
        """(session views,)"""
        odd, _, _ = self.sessions.chance(keyed(whole))
        return -np.log(np.array([chance_of(worst_line), odd]))

    def tensors(self) -> Mapping[str, Tensor]:
        return latent_tensors.tensors_of(self)

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "LatentModel":
        return replace(self, **latent_tensors.fields_of(self, tensors))


def _first_tails() -> Tails:
    """Of severities alone, as the lines of SEVERITY_PRIOR would have scored: so that a new stream's first fatal line is rare."""
    prior = np.array(SEVERITY_PRIOR)
    scores = -np.log(np.cumsum(prior) / prior.sum())
    above = np.zeros_like(Tails.empty().above)
    for score, lines in zip(scores, prior, strict=True):
        above[LINE_VIEWS.index("rare severity"), : bins_of(score) + 1] += lines * PRIOR_TIMES
    return Tails(above)


def _verdict(views: Sequence[str], chance: float, chances: Sequence[float], rate: float = 1.0) -> Verdict:
    unusual = deviations_of(rate) if rate < CALM else 0.0
    if chance > CALM and min(chances) > CALM:
        return Verdict(deviations_of(chance), (), unusual)
    found = sorted(((deviations_of(one), view) for one, view in zip(chances, views, strict=True)), key=lambda pair: -pair[0])
    return Verdict(deviations_of(chance), tuple([view for deviations, view in found if deviations >= NAMED]), unusual)
