"""What lessons change in a LatentModel: lines and finished sessions above suspicion are counted, and its nets take some steps.

Knows who is suspect, what a young model takes as normal and when scores count; leaves waiting to models/latent_probation.py, which lessons
there are, and when, to models/learner.py. Makes a new model; the old one stays.
Next: models/latent_systems.py
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models import latent_density, latent_dynamics, latent_pace
from models.latent_counts import Floats, mixed
from models.latent_lines import Lines, as_row, from_row, keyed
from models.latent_model import YOUNG_SESSIONS, LatentModel
from models.latent_views import MOST, OF_LINES, OF_SESSIONS, SURE, Tails
from models.learnable import Lesson

SUSPECT = SURE / MOST
"""Surprise of a lesson at which it goes on probation."""
GRAVE = 2
"""Severity, and worse, that even a young model puts on probation: critical."""
TRAINING_STEPS = 3


def taught(model: LatentModel, lessons: Sequence[Lesson], seed: int) -> LatentModel:
    """The model after these lessons. Of a replayed one only the nets learn: counts have it. seed: of what the nets draw."""
    fresh = [lesson for lesson in lessons if not lesson.is_replay]
    lines, ends = [x for x in fresh if not x.whole], [x for x in fresh if x.whole]
    return _trained(_taught_ends(_taught_lines(model, lines), ends), [lesson for lesson in lessons if not lesson.whole], seed)


def _trained(model: LatentModel, lessons: Sequence[Lesson], seed: int) -> LatentModel:
    """The nets after some steps on lines above suspicion, replayed ones too."""
    is_calm = model.is_young or not model.suspects.is_loud
    usual = [x for x in lessons if (is_calm or x.is_replay) and x.surprise < SUSPECT and not x.is_held]
    released = [x for x in lessons if x.is_released]
    if not (released or (is_calm and usual)):
        return model
    known = [*usual, *released]
    lines = Lines.of(known)
    new = Lines.of([lesson for lesson in known if not lesson.is_replay])
    latents = model.encoder.with_severity(model.encoder.latents(new.texts), new.severities)
    steps = TRAINING_STEPS if model.is_young else 1
    made = replace(model, density=latent_density.added(model.density, latents))
    if model.kind != "none":
        weights, moments = latent_dynamics.learned(model.kind, model.weights, model.moments, model.moves(lines), steps, seed)
        made = replace(made, weights=weights, moments=moments)
    if model.density_kind == "flow":
        weights, moments = latent_dynamics.learned("flow", model.density_weights, model.density_moments, model.places(lines), steps, seed)
        made = replace(made, density_weights=weights, density_moments=moments)
    return made


def _taught_lines(model: LatentModel, lessons: Sequence[Lesson]) -> LatentModel:
    if not lessons:
        return model
    lines = Lines.of(lessons)
    scores = model.tails.with_loudest(model.line_scores(lines))
    rows = np.column_stack([lines.keys, lines.keys_before, lines.severities.astype(np.uint64)])
    is_young = model.is_young
    odd = np.array([x.surprise >= SUSPECT and (x.severity <= GRAVE or not is_young) for x in lessons])
    suspects, learned, is_quiet = model.suspects.after(rows, odd, is_young, *_standing(lessons))
    tails, pending = _counted(model, OF_LINES, scores[:, ~odd] if is_young else scores, is_quiet, is_young)
    keys, before = learned[:, 0], learned[:, 1]
    template, after = model.families
    families = np.concatenate([np.full(len(keys), template), mixed(before, after)])
    return replace(
        model,
        counts=model.counts.with_more(families, np.concatenate([keys, keys])),
        severities=model.severities + np.bincount(learned[:, 2].astype(np.int64), minlength=8),
        rates=model.rates + np.bincount(latent_pace.bins_of(lines.rates), minlength=latent_pace.BINS),
        tails=tails,
        pending=pending,
        suspects=suspects,
    )


def _taught_ends(model: LatentModel, lessons: Sequence[Lesson]) -> LatentModel:
    if not lessons:
        return model
    scores = np.array([model.session_scores(dict(end.whole), end.worst_line * MOST) for end in lessons])
    rows = np.stack([as_row(keyed(dict(end.whole))) for end in lessons])
    is_young = model.sessions.counted < YOUNG_SESSIONS
    odd_ends, learned, is_quiet = model.odd_ends.after(
        rows, np.array([x.surprise >= SUSPECT and not is_young for x in lessons]), is_young, *_standing(lessons)
    )
    tails, pending = _counted(model, OF_SESSIONS, scores.T, is_quiet, is_young)
    return replace(
        model,
        sessions=model.sessions.with_more([from_row(row) for row in learned]),
        tails=tails,
        pending=pending,
        odd_ends=odd_ends,
    )


def _counted(model: LatentModel, views: slice, scores: Floats, is_quiet: bool | None, is_young: bool) -> tuple[Tails, Tails]:
    """Tails and those pending after these scores: a window's scores count when it ended quietly, and never when it did not; of a
    young model at once."""
    if is_young:
        return model.tails.with_more(views.start, scores), model.pending
    pending = model.pending.with_more(views.start, scores)
    if is_quiet is None:
        return model.tails, pending
    return model.tails.joined(views, pending) if is_quiet else model.tails, pending.without(views)


def _standing(lessons: Sequence[Lesson]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which are held, and which were."""
    return np.array([x.is_held for x in lessons], np.bool_), np.array([x.is_released for x in lessons], np.bool_)
