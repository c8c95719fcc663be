"""One more sentence of one session, as machine code: Hierarchy.advance and the topic head without an operation's overhead.

A sentence is a few million multiplications in hundreds of tiny operations, whose cost is not arithmetic. Every sum is added up in one
order, so a session's bits are its own whatever else is stepped. Knows arrays and offsets; the arithmetic is that of hierarchy.py, which
stays the oracle (tests/models/test_levels.py); leaves tensors to levels_step.py.
Next: models/levels_step.py
"""

import numpy as np

from models.machine_code import compiler

compiled = compiler("levels", nogil=True)

EPS, NORM_EPS = np.float32(1e-6), np.float32(1e-5)
SENTENCES, N_SENTENCES, CONTEXT, PARAGRAPH_SUM, PARAGRAPH_WEIGHT, PARAGRAPHS, N_PARAGRAPHS = range(7)
TOPIC_SUM, TOPIC_WEIGHT, TOPIC, TOPICS, N_TOPICS, GIST_SUM, GIST_WEIGHT, DOCUMENT_SUM, DOCUMENT_WEIGHT, HABITS = range(7, 17)
"""Places of the fields of hierarchy.Levels in `at`."""


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


@compiled
def sentence_of(sums, split, words_width, project, bias, norm):
    """Pool.sentence of a session's sums: weighted hidden states and their weight in the first `split`, word vectors and their number behind."""
    x = np.empty(split - 1 + words_width, np.float32)
    x[: split - 1] = sums[: split - 1] / max(sums[split - 1], EPS)
    words = sums[split:-1] / max(sums[-1], np.float32(1))
    normalize(words)
    x[split - 1 :] = np.float32(4) * words
    y, out = np.empty(project.shape[1], np.float32), np.empty(project.shape[1], np.float32)
    layer(x, project, y)
    y += bias
    rms_norm(y, norm, out)
    return out


@compiled
def topic_of(levels, at, shape, head, meaning):
    """Logits of the topic being read, and what its sentences and the last of them mean."""
    S = shape[0]
    topic, context = levels[at[TOPIC] : at[TOPIC] + S], levels[at[CONTEXT] : at[CONTEXT] + S]
    last_at = at[N_SENTENCES] - shape[1]
    last = levels[last_at : last_at + S]
    logits = two_layers(np.concatenate((topic, context, last)), head[0], head[1], head[2], head[3])
    both = np.empty((2, S), np.float32)
    both[0] = pooled(levels[at[GIST_SUM] : at[GIST_SUM] + S], levels[at[GIST_WEIGHT]])
    both[1] = last
    means = meanings(both, meaning)
    return logits, means[0], means[1]


@compiled
def likeness_of(levels, at, shape, similar_to, sentence, gist, meaning, out):
    """Hierarchy._likeness into out, (similar_to + 3,)."""
    S, width = shape[0], shape[1]
    n, n_sentences, reach = similar_to, levels[at[N_SENTENCES]], shape[2]
    rows = np.empty((n + 2, S), np.float32)
    ring = levels[at[SENTENCES] : at[SENTENCES] + reach * width].reshape(reach, width)
    for r in range(n):
        rows[r] = ring[reach - n + r, :S]
    rows[n], rows[n + 1] = gist, sentence
    means = meanings(rows, meaning)
    for r in range(n):
        out[r] = dot(means[r], means[n + 1]) if n - 1 - r < n_sentences else np.float32(0)
    out[n] = dot(means[n], means[n + 1]) if levels[at[GIST_WEIGHT]] > 0 else np.float32(0)
    habits = levels[at[HABITS] : at[HABITS] + 5]
    count = habits[4] + np.float32(2)
    for k in range(2):
        value = out[n - 1 + k]
        average = (habits[2 * k] + np.float32(0.5)) / count
        square = (habits[2 * k + 1] + np.float32(0.2)) / count
        out[n + 1 + k] = (value - average) / np.sqrt(max(square - average * average, np.float32(1e-2)))


@compiled
def push(ring, member):
    """Drop the oldest of a ring (R, S), in place, and add a new one."""
    for r in range(ring.shape[0] - 1):
        ring[r] = ring[r + 1]
    ring[-1] = member


@compiled
def open_paragraph(levels, at, shape, blocks, distances):
    """Hierarchy.open_paragraph: what is pooled of its sentences, and that as its level's transformer sees it. (S,) each"""
    S = shape[0]
    norms, query, key_value, output, up, down = blocks
    paragraphs = levels[at[PARAGRAPHS] : at[PARAGRAPHS] + shape[3] * S].reshape(shape[3], S)
    total = pooled(levels[at[PARAGRAPH_SUM] : at[PARAGRAPH_SUM] + S], levels[at[PARAGRAPH_WEIGHT]])
    paragraph = np.empty(S, np.float32)
    block(
        total, paragraphs, levels[at[N_PARAGRAPHS]], norms[1], query[1], key_value[1], output[1], distances[1], up[1], down[1], paragraph
    )  # fmt: skip
    return total, paragraph


@compiled
def close_paragraph(levels, at, shape, blocks, distances, scores):
    """Hierarchy.close_paragraph, `levels` changed in place; returns the paragraph, (S,)."""
    S = shape[0]
    total, paragraph = open_paragraph(levels, at, shape, blocks, distances)
    if levels[at[PARAGRAPH_WEIGHT]] > 0:
        weight = score(paragraph, scores[0][1], scores[1][1])
        levels[at[TOPIC_SUM] : at[TOPIC_SUM] + S] += weight * paragraph
        levels[at[TOPIC_WEIGHT]] += weight
        member = np.empty(S, np.float32)
        half(total, member)
        push(levels[at[PARAGRAPHS] : at[PARAGRAPHS] + shape[3] * S].reshape(shape[3], S), member)
        levels[at[N_PARAGRAPHS]] += np.float32(1)
        levels[at[PARAGRAPH_SUM] : at[PARAGRAPH_SUM] + S] = np.float32(0)
        levels[at[PARAGRAPH_WEIGHT]] = np.float32(0)
    return paragraph


@compiled
def advance(levels, at, shape, similar_to, fade, sentence, flags, flag_weights, blocks, distances, scores, shift, meaning):
    """Hierarchy.advance, `levels` changed in place; returns the logit that the sentence starts a new topic, and its weight in its paragraph.

    levels: (at[-1],), the fields one behind the other from at[n] on; shape: S, S + flags, and the members of the three rings.
    flags: (F,); flag_weights: (F, S); blocks: arrays of the three levels' transformers, stacked; distances: of each its own;
    scores: weights (3, S) and biases (3,) of sentence, paragraph, topic; shift: its two layers; meaning: (S, W).
    """
    S, width = shape[0], shape[1]
    norms, query, key_value, output, up, down = blocks
    unit = np.empty(width, np.float32)
    half(np.concatenate((sentence, flags)), unit)
    sentence = unit[:S]
    ring = levels[at[SENTENCES] : at[SENTENCES] + shape[2] * width].reshape(shape[2], width)
    topics = levels[at[TOPICS] : at[TOPICS] + shape[4] * S].reshape(shape[4], S)
    n_sentences, gist_weight = levels[at[N_SENTENCES]], levels[at[GIST_WEIGHT]]
    topic, gist_sum = levels[at[TOPIC] : at[TOPIC] + S], levels[at[GIST_SUM] : at[GIST_SUM] + S]
    # 0. the sentence as its level sees it
    n = min(int(n_sentences), shape[2]) + 1
    flagged, seen_flags = np.zeros((shape[2] + 1, S), np.float32), np.empty((n, S), np.float32)
    only_flags = np.empty((n, width - S), np.float32)
    for r in range(n - 1):
        only_flags[r] = ring[shape[2] - n + 1 + r, S:]
    only_flags[n - 1] = unit[S:]
    multiply(only_flags, flag_weights, seen_flags)
    for r in range(n - 1):
        flagged[shape[2] - n + 1 + r] = ring[shape[2] - n + 1 + r, :S] + seen_flags[r]
    flagged[shape[2]] = sentence + seen_flags[n - 1]
    seen, context = np.empty(S, np.float32), np.empty(S, np.float32)
    block(
        flagged[shape[2]], flagged[: shape[2]], n_sentences, norms[0], query[0], key_value[0], output[0], distances[0], up[0], down[0], seen
    )  # fmt: skip
    half(seen, context)
    # 1. does it belong to the topic?
    gist = pooled(gist_sum, gist_weight)
    likeness = np.empty(similar_to + 3, np.float32)
    likeness_of(levels, at, shape, similar_to, sentence, gist, meaning, likeness)
    last = ring[shape[2] - 1, :S]
    weight_seen = np.empty(1, np.float32)
    weight_seen[0] = np.log1p(gist_weight)
    asked = np.concatenate((context, sentence, topic, sentence * last, sentence * gist, likeness, weight_seen, flags))
    logit = two_layers(asked, shift[0], shift[1], shift[2], shift[3])[0]
    shifts = np.float32(1) / (np.float32(1) + np.exp(-logit))
    stays = np.float32(1) - shifts
    # 2. what ends with the topic before
    if gist_weight > 0:
        weight = score(topic, scores[0][2], scores[1][2]) * shifts
        levels[at[DOCUMENT_SUM] : at[DOCUMENT_SUM] + S] += weight * topic
        levels[at[DOCUMENT_WEIGHT]] += weight
        if shifts > np.float32(0.5):
            push(topics, topic)
            levels[at[N_TOPICS]] += np.float32(1)
    # 3. what goes on
    habits = levels[at[HABITS] : at[HABITS] + 5]
    counts = np.float32(1) if n_sentences > 0 else np.float32(0)
    for k in range(2):
        value = likeness[similar_to - 1 + k]
        habits[2 * k] = fade * habits[2 * k] + counts * value
        habits[2 * k + 1] = fade * habits[2 * k + 1] + counts * (value * value)
    habits[4] = fade * habits[4] + counts
    own = score(context, scores[0][0], scores[1][0])
    push(ring, unit)
    levels[at[N_SENTENCES]] += np.float32(1)
    levels[at[CONTEXT] : at[CONTEXT] + S] = context
    paragraph_sum, topic_sum = levels[at[PARAGRAPH_SUM] : at[PARAGRAPH_SUM] + S], levels[at[TOPIC_SUM] : at[TOPIC_SUM] + S]
    for s in range(S):
        paragraph_sum[s] = stays * paragraph_sum[s] + own * context[s]
        topic_sum[s] *= stays
        gist_sum[s] = stays * gist_sum[s] + sentence[s]
    levels[at[PARAGRAPH_WEIGHT]] = stays * levels[at[PARAGRAPH_WEIGHT]] + own
    levels[at[TOPIC_WEIGHT]] *= stays
    levels[at[GIST_WEIGHT]] = stays * gist_weight + np.float32(1)
    # 4. the topic as its level sees it, from its closed paragraphs and the open one
    _, paragraph = open_paragraph(levels, at, shape, blocks, distances)
    weight = score(paragraph, scores[0][1], scores[1][1]) if levels[at[PARAGRAPH_WEIGHT]] > 0 else np.float32(0)
    total = pooled(topic_sum + weight * paragraph, levels[at[TOPIC_WEIGHT]] + weight)
    block(
        total, topics, levels[at[N_TOPICS]], norms[2], query[2], key_value[2], output[2], distances[2], up[2], down[2], seen
    )  # fmt: skip
    half(seen, topic)
    return logit, own
