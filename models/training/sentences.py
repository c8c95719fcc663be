"""Train the sentence-end model: UD English EWT's train documents -> weights/sentences.json.

Knows gold sentence ends and copies of the text made harder (lower case, spaced punctuation); leaves features and rules to
models/boundaries.py, so that training and streaming see the same. Run: python -m models.training.sentences DATA_FOLDER
Next: models/boundaries.py
"""

import gzip
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from models.boundaries import BLANK, WEIGHTS, Context, Verdict, advance, features, rule
from models.reader import LOOKBACK, UNIT, _gap, _on_line

CARD = (
    "Logistic model of sentence ends. Trained by models/training/sentences.py on the train documents of UD English EWT "
    "(CC BY-SA 4.0, English Web Treebank), with copies in lower case and with spaced punctuation; calibration and threshold on dev."
)
MIN_COUNT, PENALTY, SMALLEST = 4, 1.0, 0.03
"""Times a feature must occur, L2 penalty on the weights (for a sum of losses), weights below which are dropped."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One gap that the rules leave to the model."""

    early: tuple[str, ...]
    """Its features before the second word is known."""
    late: tuple[str, ...]
    """And after."""
    is_end: bool


def load(path: Path, split: str) -> Iterator[tuple[str, frozenset[int]]]:
    """Texts and the offsets at which their sentences end."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            if record["split"] == split:
                yield record["text"], frozenset(record["sent_end"])


def walk(text: str, ends: frozenset[int]) -> Iterator[tuple[Sample | Verdict, bool]]:
    """Every gap of a text as the reader meets it, with the gold history: what the rules say or a sample, and the truth."""
    before, context, at = "", Context(), 0
    match = UNIT.match(text)
    while match is not None:
        start, stop = match.span(2)
        gap, indent = _gap(text[at:start], 0, 0)
        following, word = UNIT.match(text, stop), match.group(2)
        second = _on_line(following, stop)
        is_end = at in ends and bool(before)
        if before:
            verdict = rule(before, gap, indent, word, second, context)
            if verdict is None:
                early, late = (features(before, word, s, context) for s in (None, second))
                yield Sample(early, late, is_end), is_end
            else:
                yield verdict, is_end
        context = advance(context, gap, word, is_end or gap == BLANK)
        before = (before + ("", " ", "\n", "\n\n")[gap] + word)[-LOOKBACK:] if before else word
        at, match = stop, following


def lowered(text: str, ends: frozenset[int]) -> tuple[str, frozenset[int]]:
    """The text without capitals."""
    lower = text.lower()
    return (lower, ends) if len(lower) == len(text) else (text, ends)


def spaced(text: str, ends: frozenset[int]) -> tuple[str, frozenset[int]]:
    """The text with a space before , . ? ! at the end of a word, as transcripts have it."""
    out, moved, last = [], set(), 0
    length = 0
    for match in re.finditer(r"(?<=\w)(?=[,.?!]+(?:\s|$))", text):
        out += [text[last : match.start()], " "]
        last = match.start()
    cuts = [m.start() for m in re.finditer(r"(?<=\w)(?=[,.?!]+(?:\s|$))", text)]
    for end in ends:
        length = sum(cut < end for cut in cuts)
        moved.add(end + length)
    return "".join([*out, text[last:]]), frozenset(moved)


def samples(documents: list[tuple[str, frozenset[int]]]) -> tuple[list[Sample], Counter[str]]:
    """Samples of documents, and what the rules got right and wrong: tp, fp, fn."""
    found: list[Sample] = []
    counts: Counter[str] = Counter()
    for text, ends in documents:
        for case, is_end in walk(text, ends):
            if isinstance(case, Sample):
                found.append(case)
            else:
                counts[("tp" if is_end else "fp") if case.kind else ("fn" if is_end else "tn")] += 1
    return found, counts


def fit(rows: list[tuple[str, ...]], truth: list[bool], weights: list[float]) -> tuple[dict[str, float], float]:
    """Logistic regression by L-BFGS: weights by feature and a bias."""
    counts = Counter(name for row in rows for name in row)
    names = sorted(name for name, n in counts.items() if n >= MIN_COUNT)
    index = {name: i for i, name in enumerate(names)}
    flat, offsets = [], []
    for row in rows:
        offsets.append(len(flat))
        flat += [index[name] for name in row if name in index]
    bag, starts = torch.tensor(flat), torch.tensor(offsets)
    y, importance = torch.tensor(truth, dtype=torch.float32), torch.tensor(weights)
    w = torch.zeros(len(names), 1, requires_grad=True)
    b = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([w, b], max_iter=150, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = torch.nn.functional.embedding_bag(bag, w, starts, mode="sum").squeeze(1) + b
        value = torch.nn.functional.binary_cross_entropy_with_logits(logits, y, importance, reduction="sum") + PENALTY * (w * w).sum()
        value.backward()
        return value

    optimizer.step(loss)
    values = w.detach().squeeze(1).tolist()
    return {name: round(v, 3) for name, v in zip(names, values) if abs(v) >= SMALLEST}, float(b.detach())


def logits(rows: list[tuple[str, ...]], weights: dict[str, float]) -> torch.Tensor:
    return torch.tensor([sum(weights.get(name, 0.0) for name in row) for row in rows], dtype=torch.float64)


def calibrate(z: torch.Tensor, truth: torch.Tensor, start: float) -> tuple[float, float]:
    """Platt scaling: scale and bias that make sigmoid(scale * z + bias) a probability."""
    p = torch.tensor([1.0, start], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([p], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(p[0] * z + p[1], truth)
        value.backward()
        return value

    optimizer.step(loss)
    return round(float(p[0].detach()), 4), round(float(p[1].detach()), 4)


def main(data: Path) -> None:
    torch.manual_seed(0)
    path = data / "sentences" / "ewt.jsonl.gz"
    plain = list(load(path, "train"))
    rows, truth, importance = [], [], []
    for change, weight in ((None, 1.0), (lowered, 0.2), (spaced, 0.2), (lambda t, e: lowered(*spaced(t, e)), 0.2)):
        found, _ = samples([change(*d) if change else d for d in plain])
        for part in ("early", "late"):
            rows += [getattr(s, part) for s in found]
            truth += [s.is_end for s in found]
            importance += [weight / 2 * (1 if part == "early" else 1)] * len(found)
    weights, bias = fit(rows, truth, importance)
    found, counts = samples(list(load(path, "dev")))
    y = torch.tensor([s.is_end for s in found], dtype=torch.float64)
    z = logits([s.late for s in found], weights)
    scale, bias = calibrate(z, y, bias)
    p = torch.sigmoid(scale * z + bias)
    best = (0.0, 0.0)
    for step in range(30, 61, 2):
        h = p >= step / 100
        tp, fp, fn = (float(v) for v in ((h * y).sum(), (h * (1 - y)).sum(), (~h * y).sum()))
        tp, fp, fn = tp + counts["tp"], fp + counts["fp"], fn + counts["fn"]
        best = max(best, (2 * tp / (2 * tp + fp + fn), step / 100))
    print(len(weights), "weights; rules", dict(counts), "model gaps", len(found), "F1 and threshold on dev", best, scale, bias)
    out = {"card": CARD, "bias": bias, "scale": scale, "threshold": best[1], "sure": 0.08, "weights": weights}
    (WEIGHTS / "sentences.json").write_text(json.dumps(out, ensure_ascii=False, indent=0, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
