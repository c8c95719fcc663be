"""A language model of counts: modified Kneser-Ney, interpolated, the floor that a trunk of any size has to beat on held-out text.

Knows token ids, counts and probabilities; leaves tokenizers and texts to baselines.py. It is a proper distribution over all `vocab_size` ids
after any context, so its bits are those an arithmetic coder would need. Each order hands what it takes off its counts to the order below, and
the lowest hands its own to the uniform distribution: an id that was never seen has a share of 1 / vocab_size, and after a context that was
never seen the shorter one speaks alone. No text is outside the vocabulary, for the shipped tokenizer knows every byte.
Source: Chen and Goodman 1998, TR-10-98, An Empirical Study of Smoothing Techniques for Language Modeling.
Next: models/training/baselines.py
"""

from dataclasses import dataclass

import numpy as np

LEAST_DISCOUNT = 0.1
"""What a count gives away at least: nothing would leave unseen ids without probability."""
FEW_DISCOUNTS = (0.0, 0.5, 0.5, 0.5)
"""Of counts 0, 1, 2 and more, where a table is too small to estimate them."""


@dataclass(frozen=True)
class Order:
    """The n-grams of one length. Keys hold the ids side by side, the latest in the lowest bits."""

    keys: np.ndarray
    """uint64 (G,), ascending."""
    counts: np.ndarray
    """int64 (G,): occurrences at the highest order, distinct ids before the n-gram below it."""
    discounts: np.ndarray
    """float64 (4,), of counts 0, 1, 2 and more."""
    contexts: np.ndarray
    """uint64 (C,), ascending: keys without their latest id."""
    totals: np.ndarray
    """int64 (C,): counts of a context's n-grams together."""
    freed: np.ndarray
    """float64 (C,): share of a context's probability that goes to the order below."""

    def mixed(self, keys: np.ndarray, bits: int, below: np.ndarray) -> np.ndarray:
        """Probability of each n-gram's latest id, given what the order below says of it."""
        place, known = _find(self.contexts, keys >> np.uint64(bits))
        at, seen = _find(self.keys, keys)
        counts = np.where(seen, self.counts[at], 0)
        own = (counts - self.discounts[np.minimum(counts, 3)]) / self.totals[place]
        return np.where(known, own + self.freed[place] * below, below)


@dataclass(frozen=True)
class Ngrams:
    """A trained model."""

    vocab_size: int
    bits: int
    """Of an id within a key."""
    orders: tuple[Order, ...]
    """From one id to the longest."""

    def probabilities(self, ids: np.ndarray) -> np.ndarray:
        """float64 (n,): of each id after those before it, as many as there are up to the order."""
        p = np.full(len(ids), 1 / self.vocab_size)
        for n, order in enumerate(self.orders[: len(ids)], 1):
            p[n - 1 :] = order.mixed(packed(ids, n, self.bits), self.bits, p[n - 1 :])
        return p

    def code_length_bits(self, ids: np.ndarray) -> float:
        """Bits of a text that begins with ids[0] and is cut into ids in this way; its end is not told."""
        return float(-np.log2(self.probabilities(ids)).sum())


def fit(ids: np.ndarray, vocab_size: int, order: int = 5) -> Ngrams:
    """Counts of one stream of ids. 14 million ids take about 1.5 GB while they are counted."""
    bits = max(1, (vocab_size - 1).bit_length())
    if bits * order > 64:
        raise ValueError(f"{order} ids of {bits} bits do not fit a key of 64: take an order of {64 // bits} or a smaller vocabulary")
    if len(ids) < order or int(ids.max()) >= vocab_size:
        raise ValueError(f"{len(ids)} ids, wanted {order} or more, each below {vocab_size}: is this the tokenizer of the stream?")
    keys, counts = np.unique(packed(ids, order, bits), return_counts=True)
    orders = [_order(keys, counts, bits)]
    for n in range(order - 1, 0, -1):
        keys, counts = np.unique(keys & np.uint64((1 << bits * n) - 1), return_counts=True)  # how many ids an n-gram was seen after
        orders.append(_order(keys, counts, bits))
    return Ngrams(vocab_size, bits, tuple(reversed(orders)))


def packed(ids: np.ndarray, n: int, bits: int) -> np.ndarray:
    """uint64 keys of all n-grams of a stream, in its order."""
    size = len(ids) - n + 1
    keys = np.zeros(size, np.uint64)
    for start in range(n):
        keys <<= np.uint64(bits)
        keys |= ids[start : start + size].astype(np.uint64)
    return keys


def discounts(counts: np.ndarray) -> np.ndarray:
    """float64 (4,): what to take off counts 0, 1, 2 and more, from how many there are of 1 to 4."""
    n1, n2, n3, n4 = (int((counts == n).sum()) for n in range(1, 5))
    if 0 in (n1, n2, n3, n4):
        return np.array(FEW_DISCOUNTS)
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return np.array([0.0, *(min(max(d, LEAST_DISCOUNT), n) for n, d in enumerate(found, 1))])


def _order(keys: np.ndarray, counts: np.ndarray, bits: int) -> Order:
    taken = discounts(counts)
    contexts = keys >> np.uint64(bits)
    starts = np.flatnonzero(np.r_[True, contexts[1:] != contexts[:-1]])
    totals = np.add.reduceat(counts, starts)
    freed = np.add.reduceat(taken[np.minimum(counts, 3)], starts) / totals
    return Order(keys, counts, taken, contexts[starts], totals, freed)


def _find(ascending: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each wanted key is, and whether it is there."""
    at = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return at, ascending[at] == wanted
