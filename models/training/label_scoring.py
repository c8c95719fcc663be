"""Fits how labels are scored: what similarity is worth, when nothing is similar enough, and how far the head is trusted beside it.

Knows dev cases as numbers; leaves embedding and the head to the caller, scoring to labels.py. Similarity is fitted as users will use it:
on sets of a few labels, as if the head knew none of them.
Next: models/training/calibrate.py
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from models.labels import REST, REST_OTHER, LabelScoring, scores

SCALES = tuple(float(x) for x in range(6, 62, 2))
OTHERS = tuple(x / 50 for x in range(31))
MIXES = tuple(x / 20 for x in range(21))
TEMPERATURES = tuple(0.3 * 1.1**n for n in range(25))
DRAWS, DRAWN = 12, 5
"""Sets of labels as a user might choose, and labels of each beside `other`."""


def log_loss(log_p: np.ndarray, truths: np.ndarray, balanced: bool = False) -> float:
    """Mean over cases, or over classes where common ones should not decide alone."""
    losses = -log_p[np.arange(len(truths)), truths]
    weights = 1 / np.bincount(truths)[truths] if balanced else np.ones(len(truths))
    return float((weights * losses).sum() / weights.sum())


def fit(near: np.ndarray, head_logits: np.ndarray, truths: np.ndarray, columns: np.ndarray, seed: int = 0) -> LabelScoring:
    """The scoring with the least log loss, by search.

    near: (n, L), similarities to the head's labels in their order; head_logits: (n, H), divided by their temperature; truths: int (n,);
    columns: (L,) of LabelSet.columns, with `other` among them.
    """
    # 1. similarity alone: how steep, and where `other` begins
    games = list(_draw(near, truths, columns, np.random.default_rng(seed)))

    def lost(scoring: LabelScoring) -> float:
        return sum(log_loss(scores(seen, None, places, scoring), truth, balanced=True) for seen, truth, places in games)

    scoring = LabelScoring()
    for _ in range(4):  # in turns, until neither moves
        scoring = min((replace(scoring, other_at=x) for x in OTHERS), key=lost)
        scoring = min((replace(scoring, scale=x) for x in SCALES), key=lost)

    # 2. beside the head, on the whole set: whom to trust, and how sure both are together
    tried = (with_temperature(replace(scoring, mix=mix), near, head_logits, truths, columns) for mix in MIXES)
    return min(tried, key=lambda s: log_loss(scores(near, head_logits, columns, s), truths))


def with_temperature(
    scoring: LabelScoring, near: np.ndarray, head_logits: np.ndarray, truths: np.ndarray, columns: np.ndarray
) -> LabelScoring:
    """The scoring with the temperature of least log loss on these cases (see fit)."""
    tried = (replace(scoring, temperature=t) for t in TEMPERATURES)
    return min(tried, key=lambda s: log_loss(scores(near, head_logits, columns, s), truths))


def _draw(
    near: np.ndarray, truths: np.ndarray, columns: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Similarities, truths and columns of a few labels and `other`, which is then right wherever none of them is."""
    other = int(np.flatnonzero(columns == REST_OTHER)[0])
    common = np.setdiff1d(truths, [other])
    for _ in range(DRAWS):
        chosen = rng.choice(common, min(DRAWN, len(common)), replace=False)
        places = np.full(len(columns), len(chosen))
        places[chosen] = np.arange(len(chosen))
        yield near[:, [*chosen, other]], places[truths], np.array([*[REST] * len(chosen), REST_OTHER])
