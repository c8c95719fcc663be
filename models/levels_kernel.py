"""One more sentence of one session, as machine code: Hierarchy.advance and the topic head without an operation's overhead.

A sentence is a few million multiplications in hundreds of tiny operations, whose cost is not arithmetic. Every sum is added up in one
order, so a session's bits are its own whatever else is stepped. Knows arrays and offsets; the arithmetic is that of hierarchy.py, which
stays the oracle (tests/models/test_levels.py); leaves tensors to levels_step.py.
Next: models/levels_step.py
"""

import numpy as np

from models.levels_parts import EPS, block, compiled, dot, half, layer, meanings, multiply, normalize, pooled, rms_norm, score, two_layers

SENTENCES, N_SENTENCES, CONTEXT, PARAGRAPH_SUM, PARAGRAPH_WEIGHT, PARAGRAPHS, N_PARAGRAPHS = range(7)
TOPIC_SUM, TOPIC_WEIGHT, TOPIC, TOPICS, N_TOPICS, GIST_SUM, GIST_WEIGHT, DOCUMENT_SUM, DOCUMENT_WEIGHT, HABITS = range(7, 17)
"""Places of the fields of hierarchy.Levels in `at`."""


@compiled
def add_tokens(sums, pooling, hidden):
    """Add tokens to a session's sums, one after the other: the same in any split. sums: (C + 1 + ...,), pooling: (T,), hidden: (T, C)."""
    width = hidden.shape[1]
    for t in range(hidden.shape[0]):
        for n in range(width):
            sums[n] += pooling[t] * hidden[t, n]
        sums[width] += pooling[t]


@compiled
def add_rows(sums, rows):
    """Add rows, one after the other. sums: (W,), rows: (R, W)."""
    for r in range(rows.shape[0]):
        for n in range(rows.shape[1]):
            sums[n] += rows[r, n]


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

    levels: the fields one behind the other from at[n] on; shape: S, S + flags, and the members of the three rings.
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
