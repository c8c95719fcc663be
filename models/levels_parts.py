"""What the levels' compiled step is made of: products, norms, a level's transformer, for one session's vectors.

Every sum is added up in one order. Knows float32 arrays; leaves what they mean to levels_kernel.py.
Next: models/levels_kernel.py
"""

import numpy as np

from models.machine_code import compiler
from models.vectors import LANES, add, div, exp, fma, load, number, splat, store, sub, sum_of

compiled = compiler("levels", nogil=True)
EPS, NORM_EPS, ZERO, ONE = np.float32(1e-6), np.float32(1e-5), np.float32(0), np.float32(1)


@compiled
def half(x, out):
    """Rounded to half precision, ties to even, as numpy rounds."""
    bits = x.view(np.uint32)
    whole = out.view(np.uint32)
    small = np.float32(2.0**-14)
    for n in range(x.shape[0]):
        if x[n] != x[n]:
            out[n] = x[n]
        elif abs(x[n]) < small:
            out[n] = np.float32(np.rint(x[n] * np.float32(2.0**24)) * np.float32(2.0**-24))
        else:
            b = bits[n]
            whole[n] = (b + np.uint32(0xFFF) + ((b >> np.uint32(13)) & np.uint32(1))) & np.uint32(0xFFFFE000)
            if abs(out[n]) > np.float32(65504.0):
                out[n] = np.float32(np.inf) if out[n] > 0 else np.float32(-np.inf)


@compiled
def multiply(x, w, y):
    """y = x @ w. x: (R, K), w: (K, N), float32 or the bits of half precision, y: (R, N). Sixteen columns of four rows at once; the rows and the columns left over one by one."""
    R, (K, N) = x.shape[0], w.shape
    weights, out = w.reshape(-1), y.reshape(-1)
    wide, fours = N // LANES * LANES, R // 4 * 4
    for j in range(0, wide, LANES):
        for r in range(0, fours, 4):
            a, b, c, d = splat(ZERO), splat(ZERO), splat(ZERO), splat(ZERO)
            for i in range(K):
                column = load(weights, i * N + j)
                a = fma(splat(x[r, i]), column, a)
                b = fma(splat(x[r + 1, i]), column, b)
                c = fma(splat(x[r + 2, i]), column, c)
                d = fma(splat(x[r + 3, i]), column, d)
            store(out, r * N + j, a)
            store(out, (r + 1) * N + j, b)
            store(out, (r + 2) * N + j, c)
            store(out, (r + 3) * N + j, d)
    for r in range(fours, R):
        _one_row(x[r], weights, N, wide, out[r * N : (r + 1) * N])
    for j in range(wide, N):
        for r in range(R):
            total = ZERO
            for i in range(K):
                total += x[r, i] * number(w[i, j])
            y[r, j] = total


@compiled
def _one_row(x, weights, N, wide, out):
    """Eighty columns at once, then sixteen: a sum waits four cycles for the one before, and one beside it need not."""
    j = 0
    while j + 5 * LANES <= wide:
        a, b, c, d, e = splat(ZERO), splat(ZERO), splat(ZERO), splat(ZERO), splat(ZERO)
        for i in range(x.shape[0]):
            at, value = i * N + j, splat(x[i])
            a = fma(value, load(weights, at), a)
            b = fma(value, load(weights, at + LANES), b)
            c = fma(value, load(weights, at + 2 * LANES), c)
            d = fma(value, load(weights, at + 3 * LANES), d)
            e = fma(value, load(weights, at + 4 * LANES), e)
        store(out, j, a)
        store(out, j + LANES, b)
        store(out, j + 2 * LANES, c)
        store(out, j + 3 * LANES, d)
        store(out, j + 4 * LANES, e)
        j += 5 * LANES
    while j < wide:
        a = splat(ZERO)
        for i in range(x.shape[0]):
            a = fma(splat(x[i]), load(weights, i * N + j), a)
        store(out, j, a)
        j += LANES


@compiled
def layer(x, w, y):
    """y = x @ w for one row. x: (K,), y: (N,)."""
    multiply(x.reshape(1, -1), w, y.reshape(1, -1))


@compiled
def dot(a, b):
    total, wide = splat(ZERO), a.shape[0] // LANES * LANES
    for n in range(0, wide, LANES):
        total = fma(load(a, n), load(b, n), total)
    rest = sum_of(total)
    for n in range(wide, a.shape[0]):
        rest += a[n] * b[n]
    return rest


@compiled
def rms_norm(x, weight, out):
    scale = np.float32(1) / np.sqrt(dot(x, x) / np.float32(x.shape[0]) + NORM_EPS)
    for n in range(x.shape[0]):
        out[n] = x[n] * scale * weight[n]


@compiled
def normalize(x):
    """In place, to length 1."""
    length = max(np.sqrt(dot(x, x)), np.float32(1e-12))
    for n in range(x.shape[0]):
        x[n] /= length


@compiled
def silu(x):
    """In place."""
    wide = x.shape[0] // LANES * LANES
    for n in range(0, wide, LANES):
        some = load(x, n)
        store(x, n, div(some, add(splat(ONE), exp(sub(splat(ZERO), some)))))
    for n in range(wide, x.shape[0]):
        x[n] = x[n] / (ONE + np.exp(-x[n]))


@compiled
def score(x, weight, bias):
    """Hierarchy.score."""
    return np.exp(np.float32(8) * np.tanh((dot(x, weight) + bias) / np.float32(8)))


@compiled
def block(newest, before, count, norms, query, key_value, output, distance, up, down, out):
    """LevelBlock.forward. newest: (S,); before: (R, S), the last min(count, R) of them members; norms: (2, S); distance: (H, R + 1)."""
    S, R, H = newest.shape[0], before.shape[0], distance.shape[0]
    D = S // H
    n = min(int(count), R) + 1
    members = np.empty((n, S), np.float32)
    for r in range(n - 1):
        rms_norm(before[R - n + 1 + r], norms[0], members[r])
    rms_norm(newest, norms[0], members[n - 1])
    kv = np.empty((n, 2 * S), np.float32)
    multiply(members, key_value, kv)
    q, mixed = np.empty(S, np.float32), np.zeros(S, np.float32)
    layer(members[n - 1], query, q)
    weights = np.empty(n, np.float32)
    scale = np.float32(D) ** np.float32(-0.5)
    for h in range(H):
        first, largest = h * D, np.float32(-np.inf)
        for r in range(n):
            weights[r] = dot(kv[r, first : first + D], q[first : first + D]) * scale + distance[h, R - n + 1 + r]
            largest = max(largest, weights[r])
        total = np.float32(0)
        for r in range(n):
            weights[r] = np.exp(weights[r] - largest)
            total += weights[r]
        for r in range(n):
            share = weights[r] / total
            for d in range(D):
                mixed[first + d] += share * kv[r, S + first + d]
    layer(mixed, output, out)
    for s in range(S):
        out[s] += newest[s]
    rms_norm(out, norms[1], q)
    wide, fed = np.empty(2 * S, np.float32), np.empty(S, np.float32)
    layer(q, up, wide)
    silu(wide)
    layer(wide, down, fed)
    for s in range(S):
        out[s] += fed[s]


@compiled
def two_layers(x, w1, b1, w2, b2):
    """Linear, SiLU, Linear."""
    hidden, out = np.empty(w1.shape[1], np.float32), np.empty(w2.shape[1], np.float32)
    layer(x, w1, hidden)
    hidden += b1
    silu(hidden)
    layer(hidden, w2, out)
    out += b2
    return out


@compiled
def softmax(x):
    largest, total, out = x.max(), np.float32(0), np.empty_like(x)
    for n in range(x.shape[0]):
        out[n] = np.exp(x[n] - largest)
        total += out[n]
    return out / total


@compiled
def pooled(total, weight):
    return total / max(weight, EPS)


@compiled
def meanings(x, meaning):
    """Pool.meanings. x: (R, S); returns (R, W) of length 1."""
    out = np.empty((x.shape[0], meaning.shape[1]), np.float32)
    multiply(np.ascontiguousarray(x), meaning, out)
    for r in range(len(out)):  # indexed, so that numba knows a row to be contiguous
        normalize(out[r])
    return out
