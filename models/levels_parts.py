"""What the levels' compiled step is made of: products, norms, a level's transformer, for one session's vectors.

Every sum is added up in one order. Knows float32 arrays; leaves what they mean to levels_kernel.py.
Next: models/levels_kernel.py
"""

import numpy as np

from models.machine_code import compiler

compiled = compiler("levels", nogil=True)
EPS, NORM_EPS = np.float32(1e-6), np.float32(1e-5)


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
    """y = x @ w. x: (R, K), w: (K, N), y: (R, N)."""
    K, N = w.shape
    R = x.shape[0]
    y[:] = np.float32(0)
    i = 0
    while i + 4 <= K:
        for r in range(R):
            a, b, c, d = x[r, i], x[r, i + 1], x[r, i + 2], x[r, i + 3]
            for j in range(N):
                y[r, j] += (a * w[i, j] + b * w[i + 1, j]) + (c * w[i + 2, j] + d * w[i + 3, j])
        i += 4
    while i < K:
        for r in range(R):
            a = x[r, i]
            for j in range(N):
                y[r, j] += a * w[i, j]
        i += 1


@compiled
def layer(x, w, y):
    """y = x @ w for one row. x: (K,), y: (N,)."""
    multiply(x.reshape(1, -1), w, y.reshape(1, -1))


@compiled
def dot(a, b):
    total = np.float32(0)
    for n in range(a.shape[0]):
        total += a[n] * b[n]
    return total


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
    for n in range(x.shape[0]):
        x[n] = x[n] / (np.float32(1) + np.exp(-x[n]))


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
    for row in out:
        normalize(row)
    return out
