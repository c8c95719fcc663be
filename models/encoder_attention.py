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
                _four_sums(query, D, D, k, at, capacity, length, weights, width)  # keys lie transposed; beyond the length: anything
                for h in range(n):
                    _softmax(weights[h * width : (h + 1) * width], length)
                _four_sums(weights, length, width, v, at, D, D, found, D)
                for h in range(n):
                    for d in range(D):
                        out[r, head * group + first + h, d] = found[h * D + d]
                    if watched[r] >= 0:
                        for p in range(length):
                            told[watched[r], p] += weights[h * width + p] / np.float32(H)


@compiled
def _four_sums(factors, n, each, matrix, at, stride, columns, out, width):  # type: ignore[no-untyped-def]
    """For each of four heads the sum of n rows of a matrix, row i times the head's factor i, in sixteen columns at once: one row after the other.

    Head h: its factors from h * each on, its sums from h * width on. matrix: half precision, row i from at + i * stride on.
    """
    for column in range(0, columns, LANES):
        a, b, c, d = splat(ZERO), splat(ZERO), splat(ZERO), splat(ZERO)
        for i in range(n):
            row = load(matrix, at + i * stride + column)
            a = fma(splat(factors[i]), row, a)
            b = fma(splat(factors[each + i]), row, b)
            c = fma(splat(factors[2 * each + i]), row, c)
            d = fma(splat(factors[3 * each + i]), row, d)
        store(out, column, a)
        store(out, width + column, b)
        store(out, 2 * width + column, c)
        store(out, 3 * width + column, d)


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


def scratch_of(max_positions: int, head_size: int) -> np.ndarray:
    """One thread's memory: weights of four heads over a window, their queries, what they found."""
    return np.zeros(HEADS * (-(-max_positions // LANES) * LANES + 2 * head_size), np.float32)
