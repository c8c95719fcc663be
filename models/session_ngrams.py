"""What a session's own words say of its next token, mixed into what the trunk says: a cache language model.

Names, terms and phrases come back within a text, and a small trunk copies badly. Wherever the last tokens stood before in the window, what
followed them then is likely to follow again (Kuhn and De Mori 1990; Grave, Joulin and Usunier 2017, "continuous cache"). Knows token ids
and probabilities; leaves logits to encoder.py and how the weights are fitted to training/ngram_weights.py.
Next: models/walk.py
"""

from collections.abc import Sequence

import numpy as np

from models.config import ModelConfigError
from models.machine_code import compiler

ORDERS = 3
"""Longest run of tokens looked for."""
Weights = tuple[tuple[float, ...], ...]
"""Row n: when a run of n tokens is the longest that stood in the window before, the shares of the trunk, and of what followed runs of 0, 1, ... tokens."""
TRUNK_ALONE: Weights = ((1.0,) + (0.0,) * (ORDERS + 1),) * (ORDERS + 1)

compiled = compiler("session_ngrams")


class SessionNgrams:
    """Mixes the trunk's probability of each token with the session's own n-grams."""

    def __init__(self, weights: Weights = TRUNK_ALONE):
        self.weights = checked(weights)
        _mixed(np.ones(1), *followers(np.zeros(2, np.uint16), 1), self.weights)  # machine code is made now, not in the first step

    def mixed(self, before: np.ndarray, targets: Sequence[int], nats: Sequence[float]) -> list[float]:
        """Negative log-likelihood of each target, nats.

        before: uint16, the window's tokens before the first target, sinks left out; nats: what the trunk says of each.
        """
        if (self.weights[:, 0] == 1).all():
            return list(nats)
        shares, longest = followers(np.concatenate((before, np.asarray(targets, np.uint16))), len(before))
        found: list[float] = _mixed(np.asarray(nats, np.float64), shares, longest, self.weights).tolist()
        return found


def checked(weights: Weights) -> np.ndarray:
    """float64 (ORDERS + 1, ORDERS + 2). Raises ModelConfigError where the mixture would not be a probability."""
    table = np.asarray(weights, np.float64)
    beyond = np.triu(np.ones((ORDERS + 1, ORDERS + 1)), 1)  # runs longer than the longest found: nothing followed them
    if table.shape != (ORDERS + 1, ORDERS + 2) or not (
        (table >= 0).all() and np.allclose(table.sum(1), 1) and (table[:, 0] > 0).all() and not (table[:, 1:] * beyond).any()
    ):
        raise ModelConfigError(
            f"n-gram weights {table.tolist()}: wanted {ORDERS + 1} rows of {ORDERS + 2} shares that sum to 1, the first of each above 0, "
            "none for runs longer than the row's; calibrate the checkpoint anew"
        )
    return table


def followers(ids: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
    """For each token from place `first` on, where the tokens before it stood earlier in `ids`, and what followed there.

    Returns float64 (tokens, ORDERS + 1): of the places at which the last n tokens stood, the share that this very token followed; and
    int64 (tokens,): the longest n for which there was a place, -1 at the very first token.
    """
    shares, longest = np.zeros((len(ids) - first, ORDERS + 1)), np.full(len(ids) - first, -1)
    _followers(ids, first, shares, longest)
    return shares, longest


@compiled
def _followers(ids, first, shares, longest):  # type: ignore[no-untyped-def]
    for n in range(first, len(ids)):
        places = np.zeros(ORDERS + 1, np.int64)
        for place in range(n):
            order = 0
            while True:
                places[order] += 1
                if ids[place] == ids[n]:
                    shares[n - first, order] += 1
                if order == ORDERS or place - order < 1 or ids[place - order - 1] != ids[n - order - 1]:
                    break
                order += 1
        for order in range(ORDERS + 1):
            if places[order]:
                shares[n - first, order] /= places[order]
                longest[n - first] = order


@compiled
def _mixed(nats, shares, longest, weights):  # type: ignore[no-untyped-def]
    found = nats.copy()
    for n in range(len(nats)):
        row = longest[n]
        if row >= 0:
            p = 0.0
            for order in range(row + 1):
                p += weights[row, order + 1] * shares[n, order]
            if p > 0:
                found[n] = -np.log(weights[row, 0] * np.exp(-nats[n]) + p)
            else:  # however unlikely the trunk found it
                found[n] = nats[n] - np.log(weights[row, 0])
    return found
