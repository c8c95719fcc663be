"""Attention of new tokens over the windows of their sessions, read where they lie.

One query after the other, four of its heads at once against the key head they share; a query reads its own window and nothing else, so
its bits are its own whatever else is in the step. Knows caches by their addresses (kv_cache.py); leaves layers to encoder.py.
Next: models/encoder.py
"""

import numba
import numpy as np

from models.encoder_rows import compiled
from models.vectors import LANES, add, exp, fma, halves_at, larger, largest_of, load, mul, splat, store, sub, sum_of

HEADS = 4
"""Query heads at once: a key is widened once for all of them."""
ZERO, ONE, LOWEST = np.float32(0), np.float32(1), np.float32(-3e38)


@compiled
def attend(queries, positions, keys, values, capacities, layer, n_kv_heads, scratch, watched, told, out):  # type: ignore[no-untyped-def]
    """queries: float32 (R, H, D), scaled; positions: int64 (R,), in their windows; keys, values: int64 (R,), addresses of their caches;
    capacities: int64 (R,), positions these have room for; scratch: see scratch_of(); watched: int64 (R,), row of `told` to which the mean
    weights of all heads are added, -1 for none; out: float32 (R, H, D).
    """
    R, H, D = queries.shape
    group = H // n_kv_heads
    weights, query, found = scratch[: scratch.shape[0] - 2 * HEADS * D], scratch[-2 * HEADS * D : -HEADS * D], scratch[-HEADS * D :]
    width = weights.shape[0] // HEADS
    for r in range(R):
        length, capacity = positions[r] + 1, capacities[r]
        stop = (layer + 1) * n_kv_heads * D * capacity
        k, v = numba.carray(halves_at(keys[r]), (stop,)), numba.carray(halves_at(values[r]), (stop,))
        for head in range(n_kv_heads):
            at = (layer * n_kv_heads + head) * D * capacity
            for first in range(0, group, HEADS):
                n = min(HEADS, group - first)
                for h in range(HEADS):
                    for d in range(D):
                        query[h * D + d] = queries[r, head * group + first + h, d] if h < n else ZERO
                _weigh(query, k, at, capacity, length, D, weights, width)
                for h in range(n):
                    _softmax(weights[h * width : (h + 1) * width], length)
                _gather(weights, width, v, at, length, D, found)
                for h in range(n):
                    for d in range(D):
                        out[r, head * group + first + h, d] = found[h * D + d]
                    if watched[r] >= 0:
                        for p in range(length):
                            told[watched[r], p] += weights[h * width + p] / np.float32(H)


@compiled
def _weigh(query, keys, at, capacity, length, D, scores, width):  # type: ignore[no-untyped-def]
    """Products of four heads' queries with the keys, sixteen positions at once; keys lie transposed, (D, capacity). Beyond the length: anything."""
    for p in range(0, length, LANES):
        a, b, c, e = splat(ZERO), splat(ZERO), splat(ZERO), splat(ZERO)
        for d in range(D):
            key = load(keys, at + d * capacity + p)
            a = fma(splat(query[d]), key, a)
            b = fma(splat(query[D + d]), key, b)
            c = fma(splat(query[2 * D + d]), key, c)
            e = fma(splat(query[3 * D + d]), key, e)
        store(scores, p, a)
        store(scores, width + p, b)
        store(scores, 2 * width + p, c)
        store(scores, 3 * width + p, e)


@compiled
def _softmax(scores, length):  # type: ignore[no-untyped-def]
    """In place; zeros behind the length, up to whole vectors. No number where one score is none: a session that is broken must be found."""
    stop = (length + LANES - 1) // LANES * LANES
    scores[length:stop] = LOWEST
    top, wrong = splat(LOWEST), splat(ZERO)
    for p in range(0, stop, LANES):
        top = larger(load(scores, p), top)
        wrong = fma(load(scores, p), splat(ZERO), wrong)
    top = splat(largest_of(top))
    for p in range(0, stop, LANES):
        store(scores, p, exp(sub(load(scores, p), top)))
    scores[length:stop] = ZERO
    total = splat(ZERO)
    for p in range(0, stop, LANES):
        total = add(total, load(scores, p))
    share = splat(ONE / sum_of(total) + sum_of(wrong))
    for p in range(0, stop, LANES):
        store(scores, p, mul(load(scores, p), share))


@compiled
def _gather(weights, width, values, at, length, D, out):  # type: ignore[no-untyped-def]
    """Sums of the values under four heads' weights, one position after the other; values lie as (capacity, D)."""
    for d in range(0, D, LANES):
        a, b, c, e = splat(ZERO), splat(ZERO), splat(ZERO), splat(ZERO)
        for p in range(length):
            value = load(values, at + p * D + d)
            a = fma(splat(weights[p]), value, a)
            b = fma(splat(weights[width + p]), value, b)
            c = fma(splat(weights[2 * width + p]), value, c)
            e = fma(splat(weights[3 * width + p]), value, e)
        store(out, d, a)
        store(out, D + d, b)
        store(out, 2 * D + d, c)
        store(out, 3 * D + d, e)


def scratch_of(max_positions: int, head_size: int) -> np.ndarray:
    """One thread's memory: weights of four heads over a window, their queries, what they found."""
    return np.zeros(HEADS * (-(-max_positions // LANES) * LANES + 2 * head_size), np.float32)
