"""LatentModel: what normal lines and sessions of one system are, shared by all its sessions; judges lines and is taught by them.

Knows templates, their order, severities and finished sessions as chances; leaves which system a session is of to
models/latent_systems.py, its own state to models/log_state.py and when to learn to the learner. Values do not change once made.
Next: models/log_model.py
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import latent_density, latent_dynamics, latent_pace, latent_tensors
from models.latent_counts import Counts, Floats, Keys, key_of, mixed
from models.latent_dynamics import Moves
from models.latent_encoder import WIDTH, Encoder
from models.latent_probation import Probation
from models.latent_sessions import Sessions
from models.latent_views import (
    LINE_VIEWS,
    MOST,
    OF_LINES,
    OF_SESSIONS,
    SESSION_VIEWS,
    SURE,
    Tails,
    bins_of,
    chance_of,
    deviations_of,
    value_of,
)
from models.learnable import CONTEXT, Lesson

_TEMPLATE, _AFTER = np.uint64(0xA5A5_0001), np.uint64(0xA5A5_0002)
START, END = np.uint64(1), np.uint64(2)
"""Keys of what stands before a session's first line and after its last."""
SEVERITY_PRIOR = (0.02, 0.02, 0.2, 4.0, 20.0, 60.0, 400.0, 20.0)
"""Lines by severity that every model starts with: a fatal line is rare before the stream says otherwise."""

PRIOR_TIMES = 10.0
"""How often the lines of the prior count among the scores of severities."""
SUSPECT = SURE / MOST
"""Surprise of a lesson at which it goes on probation."""
LINE_WINDOW, SESSION_WINDOW = (500, 0.012), (100, 0.02)
"""Lessons of a window of probation, and the share of suspects up to which it is quiet."""
YOUNG_LINES, YOUNG_SESSIONS = 20_000, 1000
"""A model taught by fewer takes what it meets as normal."""
GRAVE = 2
"""Severity, and worse, that even a young model puts on probation: critical."""
DYNAMICS = "rectified"
DENSITY = "normal"
TRAINING_STEPS = 3
BLOCK = 64
"""Lines the nets see at once."""
FADING = np.float32(0.7) ** np.arange(CONTEXT - 1, dtype=np.float32) * np.float32(0.7)
"""Weight of each line before the last in a session's way, square sum about 1."""
WHOLE = 64
"""Templates of a session that are kept, at most."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines to be judged together, as columns. The end of a session is a line without text."""

    texts: Sequence[str]
    before: Sequence[Sequence[str]]
    """Templates of the lines before each in its session, oldest first."""
    severities: NDArray[np.int64]
    gaps_s: NDArray[np.float32]
    rates: NDArray[np.float64]

    @classmethod
    def of(cls, lessons: Sequence[Lesson]) -> "Lines":
        return cls(
            [x.text for x in lessons], [x.before for x in lessons], np.array([x.severity for x in lessons], np.int64),
            np.array([x.gap_s for x in lessons], np.float32), np.array([x.rate for x in lessons]),
        )  # fmt: skip

    def at(self, places: Sequence[int]) -> "Lines":
        return Lines(
            [self.texts[n] for n in places],
            [self.before[n] for n in places],
            self.severities[places],
            self.gaps_s[places],
            self.rates[places],
        )

    @property
    def keys(self) -> Keys:
        return np.array([key_of(text) or END for text in self.texts], np.uint64)

    @property
    def keys_before(self) -> Keys:
        """START at a session's first line."""
        return np.array([key_of(some[-1]) if some else START for some in self.before], np.uint64)


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
        single, together = self.tails.judged_lines(self._line_scores(lines))
        rates = latent_pace.chances(self.rates, latent_pace.bins_of(lines.rates)).tolist()
        return [
            _verdict(LINE_VIEWS, chance, chances, rate)
            for chance, chances, rate in zip(together.tolist(), single.T.tolist(), rates, strict=True)
        ]

    def judge_session(self, whole: Mapping[str, int], worst_line: float) -> Verdict:
        """A session as it would be were it to end now. `worst_line`: the most standard deviations of its lines and of its end."""
        chances = self.tails.judged_sessions(self._session_scores(whole, worst_line)[:, None])[:, 0].tolist()
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
    def _families(self) -> tuple[np.uint64, np.uint64]:
        """Of templates, and of what comes after a template: this system's own."""
        number = np.uint64(self.number << 32)
        return _TEMPLATE ^ number, _AFTER ^ number

    def knows(self, keys: Keys) -> NDArray[np.bool_]:
        """Which templates it learned."""
        return self.counts.seen(np.full(len(keys), self._families[0]), keys) > 0

    def taught(self, lessons: Sequence[Lesson], seed: int) -> "LatentModel":
        fresh = [lesson for lesson in lessons if not lesson.is_replay]
        lines, ends = [x for x in fresh if not x.whole], [x for x in fresh if x.whole]
        return self._taught_lines(lines)._taught_ends(ends)._trained([lesson for lesson in lessons if not lesson.whole], seed)

    def _trained(self, lessons: Sequence[Lesson], seed: int) -> "LatentModel":
        """The nets after some steps on lines above suspicion, replayed ones too."""
        is_calm = self.is_young or not self.suspects.is_loud
        usual = [x for x in lessons if (is_calm or x.is_replay) and x.surprise < SUSPECT and not x.is_held]
        released = [x for x in lessons if x.is_released]
        if not (released or (is_calm and usual)):
            return self
        known = [*usual, *released]
        lines = Lines.of(known)
        new = Lines.of([lesson for lesson in known if not lesson.is_replay])
        latents = self.encoder.with_severity(self.encoder.latents(new.texts), new.severities)
        steps = TRAINING_STEPS if self.is_young else 1
        made = replace(self, density=latent_density.added(self.density, latents))
        if self.kind != "none":
            weights, moments = latent_dynamics.learned(self.kind, self.weights, self.moments, self._moves(lines), steps, seed)
            made = replace(made, weights=weights, moments=moments)
        if self.density_kind == "flow":
            weights, moments = latent_dynamics.learned("flow", self.density_weights, self.density_moments, self._places(lines), steps, seed)
            made = replace(made, density_weights=weights, density_moments=moments)
        return made

    def _taught_lines(self, lessons: Sequence[Lesson]) -> "LatentModel":
        if not lessons:
            return self
        lines = Lines.of(lessons)
        scores = self.tails.with_loudest(self._line_scores(lines))
        rows = np.column_stack([lines.keys, lines.keys_before, lines.severities.astype(np.uint64)])
        is_young = self.is_young
        odd = np.array([x.surprise >= SUSPECT and (x.severity <= GRAVE or not is_young) for x in lessons])
        suspects, learned, is_quiet = self.suspects.after(rows, odd, is_young, *_standing(lessons))
        tails, pending = self._counted(OF_LINES, scores[:, ~odd] if is_young else scores, is_quiet, is_young)
        keys, before = learned[:, 0], learned[:, 1]
        template, after = self._families
        families = np.concatenate([np.full(len(keys), template), mixed(before, after)])
        return replace(
            self,
            counts=self.counts.with_more(families, np.concatenate([keys, keys])),
            severities=self.severities + np.bincount(learned[:, 2].astype(np.int64), minlength=8),
            rates=self.rates + np.bincount(latent_pace.bins_of(lines.rates), minlength=latent_pace.BINS),
            tails=tails,
            pending=pending,
            suspects=suspects,
        )

    def _taught_ends(self, lessons: Sequence[Lesson]) -> "LatentModel":
        if not lessons:
            return self
        scores = np.array([self._session_scores(dict(end.whole), end.worst_line * MOST) for end in lessons])
        rows = np.stack([as_row(keyed(dict(end.whole))) for end in lessons])
        is_young = self.sessions.counted < YOUNG_SESSIONS
        odd_ends, learned, is_quiet = self.odd_ends.after(
            rows, np.array([x.surprise >= SUSPECT and not is_young for x in lessons]), is_young, *_standing(lessons)
        )
        tails, pending = self._counted(OF_SESSIONS, scores.T, is_quiet, is_young)
        return replace(
            self,
            sessions=self.sessions.with_more([from_row(row) for row in learned]),
            tails=tails,
            pending=pending,
            odd_ends=odd_ends,
        )

    def _counted(self, views: slice, scores: Floats, is_quiet: bool | None, is_young: bool) -> tuple[Tails, Tails]:
        """Tails and those pending after these scores: a window's scores count when it ended quietly, and never when it did not; of a
        young model at once."""
        if is_young:
            return self.tails.with_more(views.start, scores), self.pending
        pending = self.pending.with_more(views.start, scores)
        if is_quiet is None:
            return self.tails, pending
        return self.tails.joined(views, pending) if is_quiet else self.tails, pending.without(views)

    def _line_scores(self, lines: Lines) -> Floats:
        """(line views, lines)"""
        keys = lines.keys
        of_templates, of_following = self._families
        families = np.concatenate([np.full(len(keys), of_templates), mixed(lines.keys_before, of_following)])
        template, after = self.counts.chance(families, np.concatenate([keys, keys])).reshape(2, -1)
        severity = (np.cumsum(self.severities) / self.severities.sum())[lines.severities]
        off = self._surprises(self.kind, self.weights, self._moves(lines))
        rare = -np.log(np.stack([template, after, severity]))
        # how often a template was met is known: where it lies cannot make it rarer. The density narrows as it learns, so a template far
        # from the others would else lie farther each time than ever before.
        return np.stack([*rare, np.minimum(self._far(lines), rare[0]), off])

    def _far(self, lines: Lines) -> Floats:
        """How far lines lie from where lines lie, nats (n,)"""
        if self.density_kind == "flow":
            return self._surprises("flow", self.density_weights, self._places(lines))
        latents = self.encoder.with_severity(self.encoder.latents(lines.texts), lines.severities)
        far: Floats = 0.5 * np.maximum(latent_density.distances(self.density, latents), 0.0) ** 2
        return far

    def _places(self, lines: Lines) -> Moves:
        """Lines as moves from nowhere."""
        latents = self.encoder.with_severity(self.encoder.latents(lines.texts), lines.severities)
        nowhere = torch.zeros(len(latents), WIDTH)
        return Moves(nowhere, nowhere, torch.zeros(len(latents), 1), torch.from_numpy(latents))

    def _moves(self, lines: Lines) -> Moves:
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

    def _session_scores(self, whole: Mapping[str, int], worst_line: float) -> Floats:
        """(session views,)"""
        odd, _, _ = self.sessions.chance(keyed(whole))
        return -np.log(np.array([chance_of(worst_line), odd]))

    def tensors(self) -> Mapping[str, Tensor]:
        return latent_tensors.tensors_of(self)

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "LatentModel":
        return replace(self, **latent_tensors.fields_of(self, tensors))


def _standing(lessons: Sequence[Lesson]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which are held, and which were."""
    return np.array([x.is_held for x in lessons], np.bool_), np.array([x.is_released for x in lessons], np.bool_)


def _first_tails() -> Tails:
    """Of severities alone, as the lines of SEVERITY_PRIOR would have scored: so that a new stream's first fatal line is rare."""
    prior = np.array(SEVERITY_PRIOR)
    scores = -np.log(np.cumsum(prior) / prior.sum())
    above = np.zeros_like(Tails.empty().above)
    for score, lines in zip(scores, prior, strict=True):
        above[LINE_VIEWS.index("rare severity"), : bins_of(score) + 1] += lines * PRIOR_TIMES
    return Tails(above)


def keyed(whole: Mapping[str, int]) -> dict[int, int]:
    return {key_of(text): count for text, count in whole.items() if text}


def as_row(session: Mapping[int, int]) -> NDArray[np.uint64]:
    """Keys, then counts, of the WHOLE templates with the most lines."""
    row = np.zeros(2 * WHOLE, np.uint64)
    for n, (key, count) in enumerate(sorted(session.items(), key=lambda pair: (-pair[1], pair[0]))[:WHOLE]):
        row[n], row[WHOLE + n] = key, count
    return row


def from_row(row: NDArray[np.uint64]) -> dict[int, int]:
    return {int(key): int(count) for key, count in zip(row[:WHOLE], row[WHOLE:], strict=True) if count}


def _verdict(views: Sequence[str], chance: float, chances: Sequence[float], rate: float = 1.0) -> Verdict:
    unusual = deviations_of(rate) if rate < CALM else 0.0
    if chance > CALM and min(chances) > CALM:
        return Verdict(deviations_of(chance), (), unusual)
    found = sorted(((deviations_of(one), view) for one, view in zip(chances, views, strict=True)), key=lambda pair: -pair[0])
    return Verdict(deviations_of(chance), tuple([view for deviations, view in found if deviations >= NAMED]), unusual)
