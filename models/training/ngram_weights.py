"""How much the session's own n-grams are believed: weights of the mixture, by expectation maximisation on held-out text.

Knows what the running model says of each token and what followed its like before; leaves the mixture itself to session_ngrams.py.
Next: models/session_ngrams.py
"""

from collections.abc import Callable, Sequence

import numpy as np

from models.session_ngrams import ORDERS, TRUNK_ALONE, SessionNgrams, Weights, followers
from models.training.played import Played, play
from models.transformer import StreamingHierarchicalTransformer

ROUNDS = 200
LEAST_TOKENS = 200
"""With fewer of a kind the trunk goes on alone."""


class _Listening(SessionNgrams):
    """Keeps what the mixture could be made of."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[np.ndarray, np.ndarray]] = []

    def mixed(self, before: np.ndarray, targets: Sequence[int], nats: Sequence[float]) -> list[float]:
        shares, longest = followers(np.concatenate((before, np.asarray(targets, np.uint16))), len(before))
        self.heard.append((np.column_stack((np.exp(-np.asarray(nats)), shares)), longest))
        return list(nats)


def fit(model: StreamingHierarchicalTransformer, documents: Sequence[Played], tell: Callable[[str], None]) -> Weights:
    """Stream the documents, and return the weights under which their tokens are likeliest; of no text the trunk alone."""
    usual, listening = model.readout.ngrams, _Listening()
    model.readout.ngrams = listening
    try:
        play(model, documents, tell)
    finally:
        model.readout.ngrams = usual
    if not listening.heard:
        return TRUNK_ALONE
    parts, longest = (np.concatenate(part) for part in zip(*listening.heard))
    return tuple(likeliest(parts[longest == order], order) for order in range(ORDERS + 1))


def likeliest(parts: np.ndarray, order: int) -> tuple[float, ...]:
    """Shares of the mixture's parts, (tokens, ORDERS + 2) probabilities each; of runs up to `order`."""
    shares = np.zeros(ORDERS + 2)
    if len(parts) < LEAST_TOKENS:
        shares[0] = 1
    else:
        shares[: order + 2] = 1 / (order + 2)
        for _ in range(ROUNDS):
            owed = parts * shares
            shares = (owed / owed.sum(axis=1, keepdims=True)).mean(axis=0)
    return tuple(shares.tolist())
