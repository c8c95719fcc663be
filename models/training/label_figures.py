"""How well labels are told by similarity alone, without a head that was trained on them: `python -m models.training.label_figures --data DIR`.

Dev dialogues whose labels are known, an embedding, and the labels' own vectors; the nearest label is the answer. Knows sets and accuracy;
an embedding is any function of texts, so that student, teacher and the floor of bare words are measured alike.
Next: models/training/label_scoring.py
"""

import argparse
import itertools
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from models.labels import DEFAULT, Embed, LabelSet, label_vectors, unit
from models.training.data import records
from models.training.teacher import Teacher
from models.transformer import StreamingHierarchicalTransformer

WANTED_SHARE = 0.85
"""Of the teacher's accuracy, for the student to be worth its speed."""
HASHED_WIDTH = 2048


@dataclass(frozen=True)
class Case:
    """Utterances and what they are about."""

    texts: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class LabelFigure:
    """What one set of cases says of an embedding."""

    n: int
    accuracy: float
    balanced: float
    """Mean over the labels that occur of the share found: rare sections count as much as common ones."""
    most_common: float
    """Accuracy of always saying the most common label."""


def turns(data: Path, limit: int) -> list[Case]:
    """SGD dev: each utterance alone, its domain. Many are `Yes, please.` and cannot be told alone."""
    return [Case((t["text"],), str(topic)) for r in _sgd(data, limit) for t, topic in zip(r["turns"], r["topic"])]


def segments(data: Path, limit: int) -> list[Case]:
    """SGD dev: utterances between changes of domain."""
    cases = []
    for r in _sgd(data, limit):
        for topic, pairs in itertools.groupby(zip(r["topic"], r["turns"]), key=lambda pair: str(pair[0])):
            cases.append(Case(tuple(turn["text"] for _, turn in pairs), topic))
    return cases


def sections(data: Path, limit: int) -> list[Case]:
    """MTS-Dialog dev: whole dialogues, the note section they belong to."""
    found = itertools.islice(records(data / "text/mts_dialog.jsonl.gz", "dev"), limit)
    return [Case(tuple(t["text"] for t in r["turns"]), r["section"]) for r in found]


def _sgd(data: Path, limit: int) -> Iterator[dict[str, Any]]:
    return itertools.islice(records(data / "chat/sgd_multi.jsonl.gz", "dev"), limit)


SETS: Mapping[str, tuple[Callable[[Path, int], list[Case]], slice]] = {
    "SGD turn": (turns, slice(0, 16)),
    "SGD segment": (segments, slice(0, 16)),
    "MTS-Dialog section": (sections, slice(16, 36)),
}
"""Name -> its cases, and which of the default labels they choose from."""


def case_vectors(cases: Sequence[Case], embed: Embed) -> np.ndarray:
    """float32 (n, E), unit: the mean of a case's utterances, each normalised, as a running session adds them up. Each text is embedded once."""
    texts = list(dict.fromkeys(text for case in cases for text in case.texts))
    places = {text: n for n, text in enumerate(texts)}
    vectors = unit(embed(texts))
    return unit(np.stack([vectors[[places[text] for text in case.texts]].mean(axis=0) for case in cases]))


def nearest(cases: Sequence[Case], labels: LabelSet, embed: Embed) -> list[str]:
    """The most similar label of each case."""
    near = case_vectors(cases, embed) @ label_vectors(labels, embed).T
    return [labels.names[n] for n in near.argmax(axis=1)]


def figure(cases: Sequence[Case], answers: Sequence[str]) -> LabelFigure:
    """Accuracy of answers, plain and by label."""
    counts = Counter(case.label for case in cases)
    hits = Counter(case.label for case, answer in zip(cases, answers, strict=True) if case.label == answer)
    n = len(cases)
    balanced = float(np.mean([hits[label] / count for label, count in counts.items()]))
    return LabelFigure(n, hits.total() / n, balanced, max(counts.values()) / n)


def figures(data: Path, embed: Embed, labels: LabelSet = DEFAULT, limit: int = 10**9) -> dict[str, LabelFigure]:
    """The figure of each set; `labels` are described as they will be shipped, in the default order. limit: dialogues of a set."""
    found = {}
    for name, (make, chosen) in SETS.items():
        cases = make(data, limit)
        found[name] = figure(cases, nearest(cases, LabelSet(labels.labels[chosen]), embed))
    return found


def retained(student: Mapping[str, LabelFigure], teacher: Mapping[str, LabelFigure]) -> dict[str, float]:
    """Set -> the student's accuracy as a share of the teacher's."""
    return {name: student[name].accuracy / max(teacher[name].accuracy, 1e-9) for name in student}


def hashed_words(texts: Sequence[str]) -> np.ndarray:
    """Words hashed into a vector, each by the square root of its count: the floor, which knows spelling and no meaning."""
    vectors = np.zeros((len(texts), HASHED_WIDTH), np.float32)
    for row, text in enumerate(texts):
        for word in re.findall(r"\w+", text.lower()):
            vectors[row, crc32(word.encode()) % HASHED_WIDTH] += 1
    return np.sqrt(vectors)


EMBEDDINGS: dict[str, Callable[[], Embed]] = {
    "words": lambda: hashed_words,
    "teacher": lambda: Teacher().embed,
    "student": lambda: StreamingHierarchicalTransformer.load().embed,
}
"""Name on the command line -> what loads it."""


def table(student: Mapping[str, LabelFigure], teacher: Mapping[str, LabelFigure]) -> str:
    """The figures as Markdown."""
    shares = retained(student, teacher)
    rows = [
        f"| {name} | {s.n} | {s.accuracy:.3f} | {teacher[name].accuracy:.3f} | {shares[name]:.1%} | {s.balanced:.3f} | {teacher[name].balanced:.3f} | {s.most_common:.3f} |"
        for name, s in student.items()
    ]
    return "\n".join(
        (
            "| set | n | student | teacher | retained | student, balanced | teacher, balanced | most common |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
        )
    )


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 where the student keeps less than WANTED_SHARE of the teacher's accuracy in any set."""
    parser = argparse.ArgumentParser(prog="python -m models.training.label_figures", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with text/ and chat/")
    parser.add_argument("--student", choices=EMBEDDINGS, default="words")
    parser.add_argument("--teacher", choices=EMBEDDINGS, default="words")
    parser.add_argument("--limit", type=int, default=10**9, help="dialogues of a set")
    a = parser.parse_args(arguments)
    found = {name: figures(a.data, EMBEDDINGS[name](), limit=a.limit) for name in dict.fromkeys((a.student, a.teacher))}
    print(table(found[a.student], found[a.teacher]))
    return int(min(retained(found[a.student], found[a.teacher]).values()) < WANTED_SHARE)


if __name__ == "__main__":
    sys.exit(main())
