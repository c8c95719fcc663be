"""What the trunk does to each row by itself: norms, whole numbers and back, rotation into the caches, gates, surprise.

Knows float32 rows; leaves products of rows to row_blocks.py and attention to encoder_attention.py. Each row has its bits whatever stands beside it.
Next: models/encoder_attention.py
"""

import numba
import numpy as np

from models.machine_code import compiler
from models.vectors import (
    LANES,
    absolute,
    add,
    div,
    exp,
    fma,
    half,
    halves_at,
    larger,
    largest_of,
    load,
    mul,
    rint,
    splat,
    store,
    sub,
    sum_of,
)

compiled = compiler("encoder_", nogil=True)
ZERO, ONE, EPS = np.float32(0), np.float32(1), np.float32(1e-5)
LARGEST, TINY = np.float32(127), np.float32(1e-12)
"""Of whole numbers; of scales, for a row of zeros."""


@compiled
def normal(x, out):  # type: ignore[no-untyped-def]
    """RMSNorm without its weights, which are folded into the matrix that follows. x, out: float32 (R, C)."""
    for r in range(x.shape[0]):
        row, squares = x[r], splat(ZERO)
        for n in range(0, x.shape[1], LANES):
            squares = fma(load(row, n), load(row, n), squares)
        scale = splat(ONE / np.sqrt(sum_of(squares) / np.float32(x.shape[1]) + EPS))
        for n in range(0, x.shape[1], LANES):
            store(out[r], n, mul(load(row, n), scale))


@compiled
def to_whole(x, whole, scales):  # type: ignore[no-untyped-def]
    """Each row in whole numbers from -127 to 127 and its scale. x: float32 (R, K), whole: int8 (R, K), scales: float32 (R,)."""
    for r in range(x.shape[0]):
        row, top, wrong = x[r], splat(ZERO), splat(ZERO)
        for n in range(0, x.shape[1], LANES):
            top = larger(absolute(load(row, n)), top)
            wrong = fma(load(row, n), splat(ZERO), wrong)
        scales[r] = max(largest_of(top), TINY) / LARGEST
        scale = splat(scales[r])
        for n in range(0, x.shape[1], LANES):
            store(whole[r], n, rint(div(load(row, n), scale)))
        scales[r] += sum_of(wrong)  # 0; no number where one in the row is none, which no whole number could say


@compiled
def from_whole(sums, scales, columns, out):  # type: ignore[no-untyped-def]
    """sums: int32 (R, N), scales: float32 (R,), columns: float32 (N,), the weight's scales; out: float32 (R, N)."""
    for r in range(sums.shape[0]):
        for n in range(sums.shape[1]):
            out[r, n] = np.float32(sums[r, n]) * scales[r] * columns[n]


@compiled
def turn(qkv, positions, cos, sin, keys, values, capacities, layer, n_kv_heads, queries):  # type: ignore[no-untyped-def]
    """Rotate queries and keys by their positions; keys and values go into the caches, in half precision.

    qkv: float32 (R, (H + 2 * H_kv) * D); cos, sin: float32 (positions, D / 2); keys, values, capacities: see encoder_attention.py;
    queries: float32 (R, H, D), written.
    """
    R, H, D = queries.shape
    for r in range(R):
        capacity, position = capacities[r], positions[r]
        stop = (layer + 1) * n_kv_heads * D * capacity
        k, v = numba.carray(halves_at(keys[r]), (stop,)), numba.carray(halves_at(values[r]), (stop,))
        c, s = cos[position], sin[position]
        for h in range(H):
            row, turned = qkv[r, h * D : (h + 1) * D], queries[r, h]
            for n in range(D // 2):
                turned[n] = row[n] * c[n] - row[n + D // 2] * s[n]
                turned[n + D // 2] = row[n] * s[n] + row[n + D // 2] * c[n]
        for h in range(n_kv_heads):
            at = (layer * n_kv_heads + h) * D * capacity
            key, value = qkv[r, (H + h) * D : (H + h + 1) * D], qkv[r, (H + n_kv_heads + h) * D : (H + n_kv_heads + h + 1) * D]
            for n in range(D // 2):
                k[at + n * capacity + position] = half(key[n] * c[n] - key[n + D // 2] * s[n])
                k[at + (n + D // 2) * capacity + position] = half(key[n] * s[n] + key[n + D // 2] * c[n])
            for n in range(D):
                v[at + position * D + n] = half(value[n])


@compiled
def gate(gate_up, out):  # type: ignore[no-untyped-def]
    """SwiGLU's middle: silu(gate) * up. gate_up: float32 (R, 2 * F), out: float32 (R, F)."""
    F = out.shape[1]
    for r in range(out.shape[0]):
        for n in range(0, F, LANES):
            x = load(gate_up[r], n)
            store(out[r], n, mul(div(x, add(splat(ONE), exp(sub(splat(ZERO), x)))), load(gate_up[r], F + n)))


@compiled
def surprise(logits, targets, nats):  # type: ignore[no-untyped-def]
    """Negative log-likelihood of each row's target. logits: float32 (R, V), targets: int64 (R,), nats: float64 (R,), written."""
    for r in range(targets.shape[0]):
        row, top, wrong = logits[r], splat(np.float32(-np.inf)), splat(ZERO)
        for n in range(0, logits.shape[1], LANES):
            top = larger(load(row, n), top)
            wrong = fma(load(row, n), splat(ZERO), wrong)
        largest = largest_of(top)
        total, top = splat(ZERO), splat(largest)
        for n in range(0, logits.shape[1], LANES):
            total = add(total, exp(sub(load(row, n), top)))
        nats[r] = np.log(np.float64(sum_of(total))) + np.float64(largest) - np.float64(row[targets[r]]) + np.float64(sum_of(wrong))
