"""Train the sentence-end model: EWT's and Wiki-300's train documents -> weights/sentences.json, in about two minutes on one core.

Knows gold sentence ends and copies of the text made harder (lower case, spaced punctuation); leaves features and rules to
models/boundaries.py, so that training and streaming see the same. Run: python -m models.training.sentences DATA_FOLDER
Next: models/boundaries.py
"""

import gzip
import itertools
import json
import math
import re
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from models.boundaries import BLANK, WEIGHTS, Context, Scorer, Verdict, advance, features, probability, rule
from models.reader import UNIT, extend, gap_of, second_word

CARD = (
    "Logistic model of sentence ends, by models/training/sentences.py. Trained on the train documents of UD English EWT (CC BY-SA 4.0), with "
    "copies in lower case and with spaced punctuation, and of Wiki-300 (Wikipedia text, CC BY-SA); calibration and threshold on EWT dev."
)
HARDER, WIKI, WIKI_SENTENCES = 0.2, 0.2, 60
"""Weight of the harder copies, weight of Wikipedia, sentences taken of an article."""

MIN_COUNT, PENALTY, SMALLEST = 5, 1.0, 0.05
"""Times a feature must occur, L2 penalty on the weights (for a sum of losses), weights below which are dropped."""


Document = tuple[str, frozenset[int]]
"""A text and the offsets at which its sentences end."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One gap that the rules leave to the model."""

    names: tuple[str, ...]
    """Its features."""
    is_end: bool


def load(path: Path, split: str) -> Iterator[tuple[str, frozenset[int]]]:
    """Texts and the offsets at which their sentences end."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            if record["split"] == split:
                yield record["text"], frozenset(record["sent_end"])


def walk(text: str, ends: frozenset[int], model: Scorer | None) -> Iterator[tuple[Sample | Verdict, bool]]:
    """Every gap of a text as the reader meets it: what the rules say or a sample, and the truth.

    The history is what `model` decides, or the truth without one.
    """
    before, context, at = "", Context(), 0
    match = UNIT.match(text)
    while match is not None:
        start, stop = match.span(2)
        gap, indent = gap_of(text[at:start], 0, 0)
        following, word = UNIT.match(text, stop), match.group(2)
        second = (second_word(text, following, stop, final=True) or ("", 0))[0]
        begins = is_end = at in ends and bool(before)
        if before:
            verdict = rule(before, gap, indent, word, second, context)
            if verdict is None:
                names = features(before, word, context)
                begins = probability(names, model) >= model.threshold if model else is_end
                yield Sample(names, is_end), is_end
            else:
                begins = bool(verdict.kind) if model else is_end or gap == BLANK
                yield verdict, is_end
        context = advance(context, before, gap, word, begins)
        before = extend(before, gap, word)
        at, match = stop, following


def load_wiki(path: Path) -> Iterator[Document]:
    """Articles whose sentences are joined by a space: regular prose, which EWT lacks."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            sentences = [s.strip() for s in record["sentences"] if s.strip()][:WIKI_SENTENCES]
            if record["split"] == "train":
                yield " ".join(sentences), frozenset(n - 1 for n in itertools.accumulate(len(s) + 1 for s in sentences))


def lowered(text: str, ends: frozenset[int]) -> tuple[str, frozenset[int]]:
    """The text without capitals."""
    lower = text.lower()
    return (lower, ends) if len(lower) == len(text) else (text, ends)


def spaced(text: str, ends: frozenset[int]) -> tuple[str, frozenset[int]]:
    """The text with a space before , . ? ! at the end of a word, as transcripts have it."""
    cuts = [m.start() for m in re.finditer(r"(?<=\w)(?=[,.?!]+(?:\s|$))", text)]
    parts = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
    return " ".join(parts), frozenset(end + bisect_left(cuts, end) for end in ends)


def samples(documents: list[Document], model: Scorer | None = None) -> tuple[list[Sample], Counter[str]]:
    """Samples of documents, and what the rules got right and wrong: tp, fp, fn."""
    found: list[Sample] = []
    counts: Counter[str] = Counter()
    for text, ends in documents:
        for case, is_end in walk(text, ends, model):
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
    flat: list[int] = []
    offsets: list[int] = []
    for row in rows:
        offsets.append(len(flat))
        flat += [index[name] for name in row if name in index]
    bag, starts = torch.tensor(flat), torch.tensor(offsets)
    y, importance = torch.tensor(truth, dtype=torch.float32), torch.tensor(weights)
    w = torch.zeros(len(names), 1, requires_grad=True)
    b = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([w, b], max_iter=100, history_size=10, line_search_fn="strong_wolfe")

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


def learn(documents: list[tuple[float, Document]]) -> Scorer:
    """Weights from documents, each with its own weight, and from harder copies of them."""
    rows, truth, importance = [], [], []
    for weight, document in documents:
        for factor, copy in ((1.0, document), (HARDER, lowered(*spaced(*document)))):
            found, _ = samples([copy])
            rows += [s.names for s in found]
            truth += [s.is_end for s in found]
            importance += [weight * factor] * len(found)
    weights, bias = fit(rows, truth, importance)
    return Scorer(weights, bias, 1.0, 0.5)


def main(data: Path) -> None:
    torch.set_num_threads(1)
    path = data / "sentences" / "ewt.jsonl.gz"
    dev = list(load(path, "dev"))
    # 1. weights
    wiki = load_wiki(data / "text" / "wiki300.jsonl.gz")
    model = learn([(1.0, d) for d in load(path, "train")] + [(WIKI, d) for d in wiki])
    # 2. calibration and threshold on dev
    best = (0.0, model, Counter[str]())
    for step in range(30, 61, 2):
        candidate = replace(model, threshold=step / 100)
        found, counts = samples(dev, candidate)
        y = torch.tensor([s.is_end for s in found], dtype=torch.float64)
        z = logits([s.names for s in found], model.weights)
        scale, bias = calibrate(z, y, model.bias)
        h = torch.sigmoid(z + model.bias) >= candidate.threshold
        counts.update(tp=int((h * y).sum()), fp=int((h * (1 - y)).sum()), fn=int((~h * y).sum()))
        f1 = 2 * counts["tp"] / (2 * counts["tp"] + counts["fp"] + counts["fn"])
        logit = scale * (math.log(step / 100 / (1 - step / 100)) - model.bias) + bias  # the same cut after calibration
        candidate = Scorer(model.weights, bias, scale, round(1 / (1 + math.exp(-logit)), 4))
        best = max(best, (f1, candidate, counts), key=lambda b: b[0])
    f1, model, counts = best
    print(f"dev: inner sentence ends F1 {f1:.4f}, {dict(counts)}; {len(model.weights)} weights, threshold {model.threshold}")
    out = {"card": CARD} | asdict(model)
    (WEIGHTS / "sentences.json").write_text(json.dumps(out, ensure_ascii=False, indent=0, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
