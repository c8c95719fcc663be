"""Train the sentence-end models -> weights/sentences.json and boundary_net.npz, or score what is there.

Run: python -m models.training.sentences DATA [--keep-net | --score]. Knows gold sentence ends, the fits, calibration and thresholds;
leaves features and rules to models/boundary_scorer.py and models/boundaries.py, so that training and streaming see the same.
Next: models/training/sentence_scores.py
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from models.boundaries import BLANK, WAIT, WEIGHTS, Context, Verdict, advance, is_bare, rule
from models.boundary_net import units
from models.boundary_scorer import Scorer, Weights, features, further, inner, probability, scorer, total
from models.reader import UNIT, extend, gap_of, second_word, words_ahead
from models.training import boundary_net
from models.training.sentence_scores import score
from models.training.sentence_texts import Document, bared, load, load_wiki, lowered, spaced

CARD = (
    "Sentence ends, by models/training/sentences.py. The logistic models are trained on the train documents of UD English EWT "
    "(CC BY-SA 4.0), with copies in lower case, with spaced punctuation and without case and marks, and of Wiki-300 (Wikipedia text, "
    "CC BY-SA); calibration and thresholds on EWT dev. boundary_net.npz is trained on Standard Ebooks, PEPs, Prometheus documentation, "
    "Wiki-300, QMSum, MTS-Dialog, ACI-Bench, SGD, DialSeg711, SuperDialseg and TIAGE (train parts)."
)
HARDER, WIKI = 0.2, 0.2
"""Weight of the harder copies and of Wikipedia."""

MIN_COUNT, PENALTY, SMALLEST = 5, 1.0, 0.05
"""Times a name must occur, L2 penalty on the weights (for a sum of losses), weights below which are dropped."""

LOW, HIGH = 0.02, 0.97
"""The first look decides outside of these probabilities: on EWT dev it is then as often right as the second."""


@dataclass(frozen=True)
class Sample:
    """One gap that the rules leave to the models."""

    before: str
    word: str
    ahead: tuple[str, ...]
    context: Context
    is_end: bool
    weight: float

    @cached_property
    def first(self) -> tuple[str, ...]:
        return features(self.before, self.word, self.context)

    @cached_property
    def second(self) -> tuple[str, ...]:
        return (*self.first, *further(self.before, self.word, self.ahead))

    @cached_property
    def units(self) -> np.ndarray:
        return units(self.before, self.word, self.ahead, self.context.words)

    @property
    def is_bare(self) -> bool:
        return is_bare(self.context)


Decide = Callable[[Sample], bool]


def walk(document: Document, decide: Decide | None = None, weight: float = 1.0) -> Iterator[tuple[int, Sample | Verdict, bool, bool]]:
    """Every gap of a text as the reader meets it: where the word after it starts, a sample or what the rules say, the truth, the decision.

    Without `decide` the decision, and so the history, is the truth.
    """
    text, ends = document
    before, context, at = "", Context(), 0
    match = UNIT.match(text)
    while match is not None:
        start, stop = match.span(2)
        gap, indent = gap_of(text[at:start], 0, 0)
        following, word = UNIT.match(text, stop), match.group(2)
        begins = is_end = at in ends and bool(before)
        if before:
            case: Sample | Verdict | None = rule(before, gap, indent, word, None, context)
            if case is WAIT:
                case = rule(before, gap, indent, word, (second_word(text, following, stop, final=True) or ("", 0))[0], context)
            if case is None:
                ahead = (words_ahead(text, stop, final=True) or ((), 0))[0]
                case = Sample(before, word, ahead, context, is_end, weight)
                begins = decide(case) if decide else is_end
            else:
                begins = bool(case.kind) if decide else is_end or gap == BLANK  # type: ignore[union-attr]
            yield start, case, is_end, begins
        context = advance(context, before, gap, word, begins)
        before = extend(before, gap, word)
        at, match = stop, following


def judged(sample: Sample, model: Scorer) -> tuple[bool, float]:
    """What boundary_scorer.py would say of a sample: whether a sentence ends, and how likely."""
    if not sample.is_bare:
        p = probability(total(sample.first, model.first), model.first)
        if not model.low <= p < model.high:
            return p >= model.high, p
    weights = model.bare if sample.is_bare else model.second
    p = probability(raw(sample, weights), weights)
    return p >= weights.threshold, p


def raw(sample: Sample, weights: Weights) -> float:
    """The sum of a model for a sample, before calibration."""
    if not weights.units:
        return total(sample.first, weights)
    value = inner(sample.units, weights)
    return value + total(sample.second, weights) if weights.names else value


def collect(documents: Iterable[Document], weight: float = 1.0) -> list[Sample]:
    return [case for document in documents for _, case, _, _ in walk(document, None, weight) if isinstance(case, Sample)]


def fit(samples: list[Sample], names_of: str) -> Weights:
    """Logistic regression by L-BFGS. names_of: `first`, `second` (all names and the net's units) or `bare` (units alone)."""
    rows = [() if names_of == "bare" else s.first if names_of == "first" else s.second for s in samples]
    counts = Counter(name for row in rows for name in row)
    index = {name: i for i, name in enumerate(sorted(name for name, n in counts.items() if n >= MIN_COUNT), 1)}
    flat: list[int] = []
    offsets: list[int] = []
    for row in rows:
        offsets.append(len(flat))
        flat += [0, *(index[name] for name in row if name in index)]
    bag, starts = torch.tensor(flat), torch.tensor(offsets)
    seen = torch.tensor(np.stack([s.units for s in samples]) if names_of != "first" else np.zeros((len(samples), 0)), dtype=torch.float32)
    truth, importance = torch.tensor([float(s.is_end) for s in samples]), torch.tensor([s.weight for s in samples])
    w = torch.zeros(len(index) + 1, 1, requires_grad=True)
    u = torch.zeros(seen.shape[1], requires_grad=True)
    b = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([w, u, b], max_iter=100, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        z = torch.nn.functional.embedding_bag(bag, w, starts, mode="sum").squeeze(1) - w[0] + seen @ u + b
        value = torch.nn.functional.binary_cross_entropy_with_logits(z, truth, importance, reduction="sum")
        value = value + PENALTY * ((w * w).sum() + (u * u).sum())
        value.backward()
        return value

    optimizer.step(loss)
    values = w.detach().squeeze(1).tolist()
    names = {name: round(values[i], 3) for name, i in index.items() if abs(values[i]) >= SMALLEST}
    # multiples of 1/1024: the sums over units are exact
    return Weights(names, tuple(round(v * 1024) / 1024 for v in u.detach().tolist()), 1.0, float(b.detach()), 0.5)


def calibrate(weights: Weights, samples: list[Sample]) -> Weights:
    """Platt scaling: scale and bias that make the answer a probability."""
    z = torch.tensor([raw(s, weights) for s in samples], dtype=torch.float64)
    truth = torch.tensor([s.is_end for s in samples], dtype=torch.float64)
    p = torch.tensor([1.0, weights.bias], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([p], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(p[0] * z + p[1], truth)
        value.backward()
        return value

    optimizer.step(loss)
    return replace(weights, scale=round(float(p[0].detach()), 4), bias=round(float(p[1].detach()), 4))


def count_ends(documents: Sequence[Document], model: Scorer) -> Counter[str]:
    """Sentence ends right, found and true, the history being the model's own; the last end of a document is given."""
    counts = Counter(right=len(documents), found=len(documents), true=sum(len(ends) for _, ends in documents))
    for document in documents:
        for _, _, is_end, begins in walk(document, lambda s: judged(s, model)[0]):
            counts["found"] += begins
            counts["right"] += begins and is_end
    return counts


def f1(counts: Counter[str]) -> float:
    return 2 * counts["right"] / (counts["found"] + counts["true"])


def best_threshold(documents: Sequence[Document], model: Scorer, name: str) -> Scorer:
    """The threshold of `second` or `bare` with the highest F1 on documents."""
    candidates = [replace(model, **{name: replace(getattr(model, name), threshold=step / 100)}) for step in range(16, 61, 4)]
    found = [f1(count_ends(documents, c)) for c in candidates]
    near = [found[max(0, i - 1) : i + 2] for i in range(len(found))]  # neighbours count too: one lucky step says little
    return max(zip((sum(n) / len(n) for n in near), candidates), key=lambda pair: pair[0])[1]


def cross_fitted(documents: Sequence[Document], model: Scorer, name: str) -> float:
    """F1 when the threshold comes from the other half of the documents."""
    halves = (documents[::2], documents[1::2])
    counts = [count_ends(judge, best_threshold(choose, model, name)) for choose, judge in (halves, halves[::-1])]
    return f1(counts[0] + counts[1])


def marker(gold: list[Document], wiki: list[Document]) -> Callable[[str], set[int]]:
    """Where sentences of well-written text start, by rules and a first look learned from gold alone."""
    samples = [s for s in collect(gold) + collect(wiki, WIKI) if not s.is_bare]
    first = fit(samples, "first")

    def is_end(sample: Sample) -> bool:
        return not sample.is_bare and probability(total(sample.first, first), first) >= 0.5

    return lambda text: {start for start, _, _, begins in walk((text, frozenset()), is_end) if begins}


def train(data: Path, keep_net: bool) -> Scorer:
    """Fit all on EWT train, calibrate and choose thresholds on EWT dev."""
    path = data / "sentences" / "ewt.jsonl.gz"
    documents, dev = list(load(path, "train")), list(load(path, "dev"))
    wiki, bare_dev = list(load_wiki(data / "text" / "wiki300.jsonl.gz")), [bared(*d) for d in dev]
    # 1. the net
    if not keep_net:
        boundary_net.make(data, marker(documents, wiki))
    # 2. samples
    written = [
        s for s in collect(documents) + collect([lowered(*spaced(*d)) for d in documents], HARDER) + collect(wiki, WIKI) if not s.is_bare
    ]
    bare = [s for s in collect([bared(*d) for d in documents]) if s.is_bare]
    print(f"{len(written):,} gaps of written text, {len(bare):,} of bare text", flush=True)
    # 3. weights
    model = Scorer(fit(written, "first"), fit(written, "second"), fit(bare, "bare"), LOW, HIGH)
    # 4. calibration and thresholds
    held = [s for s in collect(dev) if not s.is_bare]
    first = calibrate(model.first, held)
    unsure = [s for s in held if LOW <= probability(raw(s, first), first) < HIGH]
    bare = [s for s in collect(bare_dev) if s.is_bare]
    model = replace(model, first=first, second=calibrate(model.second, unsure), bare=calibrate(model.bare, bare))
    model = best_threshold(bare_dev, best_threshold(dev, model, "second"), "bare")
    for name, texts in (("second", dev), ("bare", bare_dev)):
        print(
            f"{name}: threshold {getattr(model, name).threshold}, F1 cross-fitted on halves {cross_fitted(texts, model, name):.4f}",
            flush=True,
        )
    return model


def write(model: Scorer) -> None:
    out = {"card": CARD} | asdict(model)
    (WEIGHTS / "sentences.json").write_text(json.dumps(out, ensure_ascii=False, indent=0, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.training.sentences", description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("--keep-net", action="store_true", help="train only the logistic models")
    parser.add_argument("--score", action="store_true", help="train nothing, score the shipped weights")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    if not wanted.score:
        write(train(wanted.data, wanted.keep_net))
        scorer.cache_clear()
    score(wanted.data)


if __name__ == "__main__":
    main()
