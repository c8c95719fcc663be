"""Figures of the text model for its card: topic boundaries, labels, calibration and bits per byte, on dev data.

Knows what is measured and by whose calibration: figures are cross-fitted, each half of the documents judged by what the other half chose,
so that none is read off the documents that chose it (talks of MTS-Dialog stand in several sets, as themselves and joined). Leaves fitting
to calibrate.py and wording to card.py.
Next: models/training/card.py
"""

import gzip
import lzma
import math
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.heads import Calibration
from models.labels import DEFAULT, scores
from models.training.calibrate import ends, fit, label_truths, segmentation, shift_truths, threshold_logit
from models.training.played import Played, held_out_texts, plain, play
from models.transformer import StreamingHierarchicalTransformer


def cross_fitted(documents: Sequence[Played], labels: Sequence[str], left_out: Container[str] = ()) -> list[tuple[Played, Calibration]]:
    """Each document with a calibration that it had no part in: fitted on the half it is not of; never on sets left out."""
    halves = [fit([d for d in documents[n::2] if d.source not in left_out], labels) for n in (0, 1)]
    return [(d, halves[1 - n % 2]) for n, d in enumerate(documents)]


def figures(judged: Sequence[tuple[Played, Calibration]], labels: Sequence[str]) -> dict[str, Any]:
    """Scores per set, label accuracy and calibration error of documents, each under its calibration."""
    out: dict[str, Any] = {"segments": {}, "labels": {}, "ece": {}}
    number, columns = {label: n for n, label in enumerate(labels)}, DEFAULT.columns(labels)
    confidences: dict[str, tuple[list[float], list[bool]]] = {}
    for source in sorted({d.source for d, _ in judged}):
        mine = [(d, c) for d, c in judged if d.source == source]
        chat = bool(mine[0][0].speakers)
        if mine[0][0].segment_ends:
            pairs = [(d.segment_ends or [], ends(d, threshold_logit(d, c))) for d, c in mine]
            every = segmentation((y, [0] + [0] * (len(y) - 1)) for y, _ in pairs)["score"]
            out["segments"][source] = segmentation(pairs) | {"documents": len(mine), "no_boundary_score": every}
            p, y = confidences.setdefault(f"shift {'chat' if chat else 'tokens'}", ([], []))
            for d, c in mine:
                t, b = (c.shift_temperature, c.shift_bias) if chat else (c.text_shift_temperature, c.text_shift_bias)
                for logit, truth in shift_truths(d):
                    p.append(1 / (1 + math.exp(-(logit / t + b))))
                    y.append(bool(truth))
        told: dict[str, list[tuple[np.ndarray, int]]] = {"topic": [], "document": []}
        for d, c in mine:
            units = [case for case in label_truths(d, threshold_logit(d, c)) if case[2] in number]
            wholes = [(*d.document, d.whole)] if d.whole in number and d.document else []
            for name, cases, scoring in (("topic", units, c.topics(chat)), ("document", wholes, c.document_scoring)):
                if cases:
                    heads, near = np.array([case[0] for case in cases]), np.stack([case[1] for case in cases])
                    told[name] += zip(np.exp(scores(near, heads, columns, scoring)), [number[str(case[2])] for case in cases])
        for name, answers in told.items():
            if answers:
                truths, hits = [truth for _, truth in answers], [bool(p.argmax() == truth) for p, truth in answers]
                most = max(np.bincount(truths).tolist()) / len(truths)
                out["labels"][f"{source} {name}"] = {"accuracy": sum(hits) / len(hits), "most_common": most, "n": len(hits)}
                kept, right = confidences.setdefault(f"{name}, {'sets of one label' if most == 1 else 'sets of many labels'}", ([], []))
                kept += [float(p.max()) for p, _ in answers]
                right += hits
    out["ece"] = {name: calibration_error(kept, right) for name, (kept, right) in confidences.items()}
    return out


def calibration_error(confidences: Sequence[float], right: Sequence[bool], bins: int = 15) -> float:
    """Expected calibration error over equal-mass bins."""
    order = np.argsort(confidences, kind="stable")
    c, r = np.asarray(confidences, float)[order], np.asarray(right, float)[order]
    parts = [part for part in np.array_split(np.arange(len(c)), bins) if len(part)]
    return float(sum(len(p) * abs(c[p].mean() - r[p].mean()) for p in parts) / max(1, len(c)))


def language_figures(model: StreamingHierarchicalTransformer, folder: Path, limit: int) -> dict[str, float]:
    """Bits per byte of held-out plain text, streamed; beside gzip and xz over the same text, as one file."""
    texts = held_out_texts(folder, limit)
    documents = plain(texts)
    play(model, documents, lambda line: None)
    data = "".join(texts).encode()
    return {"bytes": len(data), "model": sum(d.nats for d in documents) / math.log(2) / len(data), **compressor_figures(data)}


def compressor_figures(data: bytes) -> dict[str, float]:
    """Bits per byte that compressors of files need, at their best setting."""
    return {
        "gzip": 8 * len(gzip.compress(data, 9)) / len(data),
        "xz": 8 * len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)) / len(data),
    }
