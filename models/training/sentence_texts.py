"""Texts whose sentence ends are known: gold (EWT, Wiki-300) or marked by rules and a simple model (books, PEPs, talks, chat).

Knows which parts of the data may be learned from, and how a text is made harder: lower case, no marks, ends without their full stop.
Leaves features and nets to its readers. Only `train` parts are read for learning.
Next: models/training/boundary_net.py, models/training/sentences.py
"""

import gzip
import itertools
import json
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from models.training.data import records

WORD = re.compile(r"\S+")
NOTE = re.compile(r"\{\w+\}|<\w+>")
"""Marks of a transcript that nobody said, as {disfmarker}."""

PLAIN = (("standardebooks", 6), ("peps", 2), ("prometheus_docs", 1))
TALKS = (
    ("text/qmsum_meetings", 1), ("text/mts_dialog", 1), ("text/aci_bench", 1), ("chat/sgd_multi", 2), ("chat/dialseg711", 1),
    ("chat/superdialseg", 1), ("chat/tiage", 1),
)  # fmt: skip
"""Sets, and one document in how many is read."""

WIKI_SENTENCES = 60
"""Sentences taken of an article as gold."""

Document = tuple[str, frozenset[int]]
"""A text and the offsets at which its sentences end."""

Unit = tuple[list[str], list[bool]]
"""Words of a paragraph or turn, and whether a sentence ends after each."""


def load(path: Path, split: str | None) -> Iterator[Document]:
    """Texts and the offsets at which their sentences end."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            if split is None or record["split"] == split:
                yield record["text"], frozenset(record["sent_end"])


def load_wiki(path: Path) -> Iterator[Document]:
    """Articles whose sentences are joined by a space: regular prose, which EWT lacks."""
    for record in records(path, "train"):
        sentences = [s.strip() for s in record["sentences"] if s.strip()][:WIKI_SENTENCES]
        yield " ".join(sentences), frozenset(n - 1 for n in itertools.accumulate(len(s) + 1 for s in sentences))


def lowered(text: str, ends: frozenset[int]) -> Document:
    """The text without capitals."""
    lower = text.lower()
    return (lower, ends) if len(lower) == len(text) else (text, ends)


def spaced(text: str, ends: frozenset[int]) -> Document:
    """The text with a space before , . ? ! at the end of a word, as transcripts have it."""
    cuts = [m.start() for m in re.finditer(r"(?<=\w)(?=[,.?!]+(?:\s|$))", text)]
    parts = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
    return " ".join(parts), frozenset(end + bisect_left(cuts, end) for end in ends)


def bared(text: str, ends: frozenset[int], keep: str = "") -> Document:
    """The text as a speech recogniser writes it: small letters, no punctuation or symbols but `keep`, one space between words."""
    words: list[str] = []
    found: set[int] = set()
    size = -1
    for match in WORD.finditer(text):
        word = without_marks(match.group().lower(), keep)
        if word:
            words.append(word)
            size += len(word) + 1
        if words and any(end in ends for end in range(match.start() + 1, match.end() + 1)):
            found.add(size)
    return " ".join(words), frozenset(found)


@lru_cache(maxsize=4096)
def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


def without_marks(word: str, keep: str = "") -> str:
    return "".join(c for c in word if c in keep or not _is_mark(c))


def units(text: str, starts: set[int]) -> list[Unit]:
    """The lines of a text as words, with the sentence ends that lie between words. starts: where sentences begin."""
    found: list[Unit] = []
    words: list[str] = []
    ends: list[bool] = []
    at = 0
    for match in WORD.finditer(text):
        if words:
            ends.append(match.start() in starts)
            if "\n" in text[at : match.start()]:
                ends[-1] = True
                found.append((words, ends))
                words, ends = [], []
        words.append(match.group())
        at = match.end()
    return [*found, (words, [*ends, True])] if words else found


def unlabelled(folder: Path, marker: Callable[[str], set[int]]) -> Iterator[list[Unit]]:
    """Documents to learn language from: books, PEPs, documentation, articles, meetings, visits, chat.

    marker: where the sentences of a text start.
    """

    def marked(text: str) -> list[Unit]:
        return units(text, marker(text))

    for name, every in PLAIN:
        for record in itertools.islice(records(folder / f"plain/{name}.jsonl.gz", "train"), 0, None, every):
            yield marked("\n\n".join(p if isinstance(p, str) else p["text"].replace("\n", " ") for p in record["paragraphs"]))
    for record in records(folder / "text/wiki300.jsonl.gz", "train"):
        words = [s.split() for s in record["sentences"] if s.split()]
        yield [([w for s in words for w in s], [i == len(s) - 1 for s in words for i in range(len(s))])]
    for name, every in TALKS:
        for record in itertools.islice(records(folder / f"{name}.jsonl.gz", "train"), 0, None, every):
            turns = (" ".join(NOTE.sub(" ", turn["text"]).split()) for turn in record["turns"])
            yield [unit for turn in turns if turn for unit in marked(turn)]
