"""Train the boundary net: millions of words with known sentence ends, case and marks taken away in part -> weights/boundary_net.npz.

Knows vocabulary, copies, windows and the net as torch trains it; models/boundary_net.py runs it. The net never sees EWT, so that
training/sentences.py can weigh its answers there honestly.
Next: models/training/sentences.py
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.boundary_net import AFTER, APART, BEFORE, LENGTHS, PATH, WIDTH, length_class, names_of, net, products
from models.training.sentence_texts import Unit, unlabelled, without_marks

HIDDEN, UNITS = 128, 32
SIZES = (12_000, 2_000, 150, 100)
"""Most frequent words, endings, outlines and marks that get a row."""

COPIES = (("as it is", 0.2), ("small letters", 0.1), ("no marks", 0.1), ("bare", 0.4), ("ends without marks", 0.2))
"""How often a document is read in which form."""

EPOCHS, BATCH, RATE, LONGEST = 1, 1024, 0.003, 1500
"""Passes, gaps a step, Adam's first step size, words of a document's part."""

MOST_WORDS = 40
"""The open sentence counts no more words than that."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some hundred words: numbers of their texts, whether a sentence ends after each, whether a line does."""

    words: np.ndarray
    ends: np.ndarray
    lines: np.ndarray


class Corpus:
    """All parts, every word once as text and as a number; number 0 is a word of which nothing is left."""

    def __init__(self, documents: Iterator[list[Unit]]):
        self._numbers: dict[str, int] = {"": 0}
        self.parts: list[Part] = []
        counts: Counter[str] = Counter()
        for document in documents:
            words = [self._number(w) for unit, _ in document for w in unit]
            counts.update(w for unit, _ in document for w in unit)
            ends = [e for _, unit in document for e in unit]
            lines = [i == len(unit) - 1 for unit, _ in document for i in range(len(unit))]
            for at in range(0, len(words), LONGEST):
                cut = slice(at, at + LONGEST)
                self.parts.append(Part(np.array(words[cut]), np.array(ends[cut]), np.array(lines[cut])))
        texts = list(self._numbers)
        self.small = np.array([self._number(w.lower()) for w in texts])
        self.unmarked = np.array([self._number(without_marks(w)) for w in texts])
        self.bare = np.array([self._number(without_marks(w.lower())) for w in texts])
        self.spoken = np.array([self._number(without_marks(w.lower().replace("’", "'"), "'").strip("'")) for w in texts])
        self.open = np.array([self._number(w.rstrip(".!?,:;…")) for w in texts])
        self.texts = list(self._numbers)
        self.vocabulary = tuple(self._rows(counts, field, size) for field, size in zip(("word", "ending", "outline", "marks"), SIZES))
        self.rows = np.array([self._rows_of(w) for w in self.texts], np.int32)
        self.nothing = (len(self.vocabulary[0]) + 1, 0, 0, 0)

    def _number(self, word: str) -> int:
        return self._numbers.setdefault(word, len(self._numbers))

    @staticmethod
    def _rows(counts: Counter[str], field: str, size: int) -> dict[str, int]:
        found: Counter[str] = Counter()
        for word, n in counts.items():
            found[getattr(names_of(word), field)] += n
        best = sorted((-n, name) for name, n in found.items() if n > 2 and "\n" not in name and APART not in name)[:size]
        return {name: row for row, (_, name) in enumerate(best, 1)}

    def _rows_of(self, word: str) -> tuple[int, ...]:
        names = names_of(word)
        return tuple(
            rows.get(name, 0) for rows, name in zip(self.vocabulary, (names.word, names.ending, names.outline, names.marks), strict=True)
        )

    def copy(self, part: Part, form: str, random: np.random.Generator) -> Part:
        """The part in another form; words of which nothing is left give their ends to the word before."""
        words, ends = part.words, part.ends
        lines = part.lines & (random.random(len(words)) < random.choice((0.0, 0.5, 1.0)))  # else a line goes on where the next begins
        if form == "small letters":
            words = self.small[words]
        elif form == "no marks":
            words = self.unmarked[words]
        elif form == "bare":
            words = (self.spoken if random.random() < 0.3 else self.bare)[words]
        elif form == "ends without marks":
            words = np.where(ends & (random.random(len(words)) < 0.5), self.open[words], words)
        kept = words != 0
        if kept.all():
            return Part(words, ends, lines)
        place = np.cumsum(kept) - 1
        e, b = np.zeros(kept.sum(), bool), np.zeros(kept.sum(), bool)
        np.logical_or.at(e, place[place >= 0], ends[place >= 0])
        np.logical_or.at(b, place[place >= 0], lines[place >= 0])
        return Part(words[kept], e, b)

    def windows(self, part: Part, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of all gaps within lines: rows of the words around (gaps, places, 4), classes of length, truth."""
        n = len(part.words)
        line = np.concatenate(([0], np.cumsum(part.lines)[:-1]))
        gaps = np.flatnonzero(~part.lines[:-1])
        places = np.arange(-BEFORE + 1, AFTER + 1)
        at = gaps[:, None] + places
        known = (at >= 0) & (at < n)
        known &= line[np.clip(at, 0, n - 1)] == line[gaps][:, None]
        shown = np.where(random.random(len(gaps)) < 0.1, random.integers(1, AFTER + 1, len(gaps)), AFTER)  # a live text may end here
        known &= places <= shown[:, None]
        rows = self.rows[part.words][np.clip(at, 0, n - 1)]
        rows[~known] = self.nothing
        began = np.concatenate(([True], (part.ends | part.lines)[:-1]))
        first = np.maximum.accumulate(np.where(began, np.arange(n), 0))
        lengths = CLASSES[np.minimum(gaps - first[gaps] + 1, MOST_WORDS)]
        return rows, lengths, part.ends[gaps]

    def batches(self, random: np.random.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """One pass over all parts, shuffled within sixty."""
        forms, shares = [form for form, _ in COPIES], [share for _, share in COPIES]
        order = random.permutation(len(self.parts))
        for start in range(0, len(order), 60):
            copies = [self.copy(self.parts[i], str(random.choice(forms, p=shares)), random) for i in order[start : start + 60]]
            found = [self.windows(c, random) for c in copies if len(c.words) > 1]
            rows, lengths, truth = (np.concatenate(column) for column in zip(*found))
            mixed = random.permutation(len(truth))
            for at in range(0, len(mixed) - BATCH + 1, BATCH):
                chosen = mixed[at : at + BATCH]
                yield (
                    torch.from_numpy(rows[chosen]).long(),
                    torch.from_numpy(lengths[chosen]).long(),
                    torch.from_numpy(truth[chosen]).float(),
                )


CLASSES = np.array([length_class(n) for n in range(MOST_WORDS + 1)])


class Trainee(torch.nn.Module):
    """The net of models/boundary_net.py, and the output that only training needs."""

    def __init__(self, vocabulary: tuple[dict[str, int], ...]):
        super().__init__()
        self.tables = torch.nn.ModuleList(torch.nn.Embedding(len(v) + 1 + (i == 0), WIDTH) for i, v in enumerate(vocabulary))
        for table in self.tables:
            torch.nn.init.normal_(table.weight, 0, 0.3)  # type: ignore[arg-type]
        self.first = torch.nn.Linear((BEFORE + AFTER) * WIDTH, HIDDEN)
        self.lengths = torch.nn.Embedding(len(LENGTHS), HIDDEN)
        torch.nn.init.zeros_(self.lengths.weight)
        self.second = torch.nn.Linear(HIDDEN, UNITS)
        self.output = torch.nn.Linear(UNITS, 1)
        torch.nn.init.constant_(self.output.bias, -2.5)

    def forward(self, rows: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """rows: (B, places, 4), lengths: (B,). Returns logits, (B,)."""
        vectors = sum(table(rows[..., i]) for i, table in enumerate(self.tables))  # (B, places, WIDTH)
        hidden = self.first(vectors.flatten(1)) + self.lengths(lengths)  # (B, HIDDEN)
        hidden = torch.nn.functional.dropout(torch.relu(hidden), 0.1, self.training)
        return self.output(torch.relu(self.second(hidden))).squeeze(1)


def train(corpus: Corpus, seed: int) -> Trainee:
    """Adam with a step size that falls to nothing."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    model = Trainee(corpus.vocabulary)
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    steps = EPOCHS * sum(len(p.words) for p in corpus.parts) * 0.92 / BATCH
    losses, step = [], 0
    for _ in range(EPOCHS):
        for rows, lengths, truth in corpus.batches(random):
            step += 1
            optimizer.param_groups[0]["lr"] = RATE * min(step / 100, max(0.02, 1 - step / steps))
            loss = torch.nn.functional.binary_cross_entropy_with_logits(model(rows, lengths), truth)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
            if step % 500 == 0:
                print(f"net: step {step} of {steps:.0f}, loss {np.mean(losses[-500:]):.4f}", flush=True)
    return model.eval()


def save(model: Trainee, vocabulary: tuple[dict[str, int], ...], path: Path = PATH) -> None:
    """Write the net in small whole numbers: vectors in 1/32, weights in 1/128."""

    def whole(values: torch.Tensor, step: int, kind: type) -> np.ndarray:
        limit = np.iinfo(kind).max
        return np.clip(np.rint(values.detach().numpy() * step), -limit, limit).astype(kind)

    first = model.first.weight.reshape(HIDDEN, BEFORE + AFTER, WIDTH).permute(2, 1, 0).reshape(WIDTH, -1)
    tables = {n: whole(t.weight, 32, np.int8) for n, t in zip(("words", "endings", "outlines", "marks"), model.tables)}  # type: ignore[arg-type]
    np.savez_compressed(
        path,
        names=np.frombuffer(APART.join("\n".join(v) for v in vocabulary).encode(), np.uint8),
        first=whole(first, 128, np.int16),
        lengths=whole(model.lengths.weight + model.first.bias, 128, np.int16),
        second=whole(torch.cat([model.second.weight.T, model.second.bias[None]]), 128, np.int16),
        **tables,  # type: ignore[arg-type]
    )


def make(folder: Path, marker: Callable[[str], set[int]], seed: int = 0) -> None:
    """Train on all unlabelled texts and write the net. marker: where the sentences of a text start."""
    corpus = Corpus(unlabelled(folder, marker))
    print(f"net: {sum(len(p.words) for p in corpus.parts):,} words, {[len(v) for v in corpus.vocabulary]} names", flush=True)
    save(train(corpus, seed), corpus.vocabulary)
    net.cache_clear()
    products.cache_clear()
