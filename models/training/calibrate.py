"""Stage three: thresholds and temperatures, fitted on dev documents as the running model saw them.

Knows what was true at each unit, the score a threshold is chosen by and how each number is fitted; leaves documents to played.py, labels to
label_scoring.py and figures to text_figures.py. What ships is fitted on all dev documents.
Next: models/training/text_figures.py
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from models.heads import Calibration
from models.labels import DEFAULT
from models.training import label_scoring
from models.training.played import Played

MOST_CASES = 400
"""Truths of a set that labels are fitted on."""


def fit(documents: Sequence[Played], labels: Sequence[str]) -> Calibration:
    """Every set counts the same, whatever its size."""
    c = Calibration()
    for modality in ("chat", "tokens"):
        chosen = [d for d in documents if d.segment_ends and bool(d.speakers) == (modality == "chat")]
        rows = [(logit, truth, d.source) for d in chosen for logit, truth in shift_truths(d)]
        sizes = {s: sum(r[2] == s for r in rows) for s in {r[2] for r in rows}}
        t, b = fit_platt([r[0] for r in rows], [r[1] for r in rows], [1 / sizes[r[2]] for r in rows])
        grid = np.linspace(0.04, 0.8, 77)
        sets = sorted(sizes)
        means = [
            np.mean(
                [segmentation((d.segment_ends or [], ends(d, (_logit(p) - b) * t)) for d in chosen if d.source == s)["score"] for s in sets]
            )
            for p in grid
        ]
        best = float(grid[int(np.argmax(means))])
        if modality == "chat":
            c = replace(c, shift_temperature=t, shift_bias=b, chat_threshold=best)
        else:
            c = replace(c, text_shift_temperature=t, text_shift_bias=b, text_threshold=best)
    columns = DEFAULT.columns(labels)
    of_chat, of_text = (
        _balanced(
            (z, near, label, d.source)
            for d in documents
            if bool(d.speakers) == is_chat
            for z, near, label in label_truths(d, threshold_logit(d, c))
            if label in labels
        )
        for is_chat in (True, False)
    )
    wholes = _balanced((*d.document, d.whole, d.source) for d in documents if d.whole in labels and d.document)
    topics, document = (label_scoring.fit(*_truths_of(cases, labels), columns) for cases in (of_chat + of_text, wholes))
    chat, text = (
        label_scoring.with_temperature(topics, *_truths_of(cases, labels), columns) if cases else topics for cases in (of_chat, of_text)
    )
    return replace(c, topic_scoring=chat, text_topic_temperature=text.temperature, document_scoring=document)


def fit_platt(logits: Sequence[float], truths: Sequence[int], weights: Sequence[float]) -> tuple[float, float]:
    """Temperature and bias that minimise the weighted log loss of logit / temperature + bias."""
    x, y, w = (torch.tensor(v, dtype=torch.float64) for v in (logits, truths, weights))
    slope, bias = torch.ones((), dtype=torch.float64, requires_grad=True), torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([slope, bias], max_iter=100)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (torch.nn.functional.binary_cross_entropy_with_logits(x * slope + bias, y, reduction="none") * w).sum() / w.sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(1 / slope.detach().clamp_min(0.05)), float(bias.detach())


# topic boundaries; the score is that of the data's README


def segmentation(pairs: Iterable[tuple[Sequence[int], Sequence[int]]]) -> dict[str, float]:
    """Mean Pk, WindowDiff, F1 and Score of (reference, answer) segment ends, one pair a document."""
    rows = []
    for y, h in pairs:
        k = max(2, round(len(y) / (sum(y) + 1) / 2))
        windows = [(sum(y[i : i + k]), sum(h[i : i + k])) for i in range(len(y) - k + 1)] or [(sum(y), sum(h))]
        pk = sum((a > 0) != (b > 0) for a, b in windows) / len(windows)
        wd = sum(a != b for a, b in windows) / len(windows)
        hits = sum(a and b for a, b in zip(y, h))
        f1 = 2 * hits / (sum(y) + sum(h)) if hits else 0.0
        rows.append((pk, wd, f1, 0.5 * f1 + 0.25 * (1 - pk) + 0.25 * (1 - wd)))
    return dict(zip(("pk", "wd", "f1", "score"), np.mean(rows, axis=0).tolist()))


def ends(document: Played, threshold_logit: float) -> list[int]:
    """Segment ends that a threshold gives, per utterance or reference sentence."""
    marks = [0] * len(document.segment_ends or [])
    for position, logit in document.shifts:
        if logit >= threshold_logit:
            unit = bisect_right(document.starts, position) - 1 if document.starts else position
            if unit > 0:
                marks[unit - 1] = 1
    marks[-1:] = [0]
    return marks


def threshold_logit(d: Played, c: Calibration) -> float:
    """The raw shift logit from which a boundary is told."""
    if d.speakers:
        return (_logit(c.chat_threshold) - c.shift_bias) * c.shift_temperature
    return (_logit(c.text_threshold) - c.text_shift_bias) * c.text_shift_temperature


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def shift_truths(d: Played) -> Iterator[tuple[float, int]]:
    """(logit, truth) of every unit that could start a topic."""
    seen = set()
    for position, logit in d.shifts:
        unit = bisect_right(d.starts, position) - 1 if d.starts else position
        if unit > 0 and unit not in seen and d.segment_ends:
            seen.add(unit)
            yield logit, d.segment_ends[unit - 1]


# labels

Case = tuple[list[float], np.ndarray, str | None, str]
"""Head's logits, likeness to the labels, the true label, the set."""


def _truths_of(cases: Sequence[Case], labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Likeness, head's logits and the place of the true label among `labels`."""
    return (
        np.stack([case[1] for case in cases]),
        np.array([case[0] for case in cases]),
        np.array([labels.index(str(case[2])) for case in cases]),
    )


def _balanced(cases: Iterable[Case]) -> list[Case]:
    """At most MOST_CASES of each set, spread evenly over it: no set decides by its size."""
    by_set: dict[str, list[Case]] = {}
    for case in cases:
        by_set.setdefault(case[3], []).append(case)
    return [mine[n] for mine in by_set.values() for n in np.unique(np.linspace(0, len(mine) - 1, MOST_CASES).astype(int))]


def label_truths(d: Played, threshold_logit: float) -> Iterator[tuple[list[float], np.ndarray, str | None]]:
    """(head's logits, likeness, truth) of every unit, as it would have been told then: half its own, half the mean over the segment the model was in."""
    shifts = dict(d.shifts)
    total, n = np.zeros(0), 0
    for position, topic, near in d.topics:
        if n == 0 or shifts.get(position, -99.0) >= threshold_logit:
            total, n = np.zeros(len(topic)), 0
        total, n = total + np.asarray(topic), n + 1
        if position < len(d.labels):
            yield ((np.asarray(topic) + total / n) / 2).tolist(), near, d.labels[position]
