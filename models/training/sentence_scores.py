"""Score the shipped sentence ends on all public sets, played word by word through the reader, beside the `.!?` rule.

Knows pieces (a word and the white space after it), end offsets, pooled F1 with a document's last end given, calibration error and
speed; leaves training to sentences.py. Read by a person, and by docs/LOG.md.
Next: models/reader.py
"""

import itertools
import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.reader import Break, ReaderState, finish, read
from models.training.sentence_texts import Document, bared, load

PIECE = re.compile(r"\s*\S+\s*")
BINS = 15
"""Bins of equal mass for the calibration error."""


class NoTokens:
    """An encoder for those who want only boundaries."""

    def encode_word(self, pretoken: str) -> tuple[int, ...]:
        return (0,)

    def n_bytes(self, token_id: int) -> int:
        return 1


def pieces_of(text: str) -> list[str]:
    return PIECE.findall(text)


def breaks_of(pieces: Sequence[str]) -> list[Break]:
    """Sentence boundaries of a session."""
    state = ReaderState()
    found: list[Break] = []
    for position, piece in enumerate(pieces):
        state, reading = read(state, piece, position, NoTokens())
        found += reading.breaks
    found += finish(state, NoTokens())[1].breaks
    return [b for b in found if b.kind == "sentence"]


def by_reader(pieces: Sequence[str]) -> set[int]:
    """Items that begin a sentence, as the reader finds them."""
    return {b.position for b in breaks_of(pieces)}


def by_rule(pieces: Sequence[str]) -> set[int]:
    """After `.!?` and their closing marks before white space, and after a blank line."""
    ends = (n for n, p in enumerate(pieces, 1) if re.search(r"[.!?。！？؟।][\"'”’)\]»]*\s*$", p) or p.count("\n") > 1)
    return set(ends)


def end_offsets(pieces: Sequence[str], starts: Iterable[int]) -> set[int]:
    """Where sentences end in the text, white space left out; the last piece ends one."""
    at = list(itertools.accumulate(map(len, pieces), initial=0))
    return {at[n - 1] + len(pieces[n - 1].rstrip()) for n in {s for s in starts if 0 < s < len(pieces)} | {len(pieces)}}


@dataclass(frozen=True, slots=True)
class Score:
    """Precision, recall and F1 of end offsets, pooled over documents."""

    right: int
    found: int
    true: int

    def __str__(self) -> str:
        return f"F1 {2 * self.right / (self.found + self.true):.4f}  P {self.right / self.found:.4f}  R {self.right / self.true:.4f}"


def score_ends(documents: Iterable[Document], find: Callable[[Sequence[str]], set[int]]) -> Score:
    right = found = true = 0
    for text, ends in documents:
        pieces = pieces_of(text)
        answer = end_offsets(pieces, find(pieces))
        right, found, true = right + len(answer & ends), found + len(answer), true + len(ends)
    return Score(right, found, true)


def score_golden(path: Path, find: Callable[[Sequence[str]], set[int]]) -> str:
    """English golden rules whose sentences are all right."""
    right, wrong = 0, []
    for record in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        if record["lang"] == "english":
            pieces = pieces_of(record["text"])
            cuts = [0, *sorted(end_offsets(pieces, find(pieces)))]
            if [record["text"][a:b].strip() for a, b in itertools.pairwise(cuts)] == [s.strip() for s in record["sentences"]]:
                right += 1
            else:
                wrong.append(record["text"])
    return f"{right} of {right + len(wrong)}"


def calibration_error(documents: Iterable[Document]) -> float:
    """Expected calibration error of the boundaries' confidence, in bins of equal mass."""
    sure: list[tuple[float, bool]] = []
    for text, ends in documents:
        pieces = pieces_of(text)
        sure += ((b.confidence, bool(end_offsets(pieces, [b.position]) - {len(text.rstrip())} <= ends)) for b in breaks_of(pieces))
    sure.sort()
    bins = [sure[len(sure) * i // BINS : len(sure) * (i + 1) // BINS] for i in range(BINS)]
    return sum(abs(sum(c for c, _ in b) - sum(r for _, r in b)) for b in bins) / len(sure)


def score(data: Path) -> None:
    """Print the table."""
    folder = data / "sentences"
    dev = list(load(folder / "ewt.jsonl.gz", "dev"))
    sets = {
        "EWT dev": dev,
        "English PUD": list(load(folder / "en_pud.jsonl", None)),
        "Polish PUD": list(load(folder / "pl_pud.jsonl", None)),
        "EWT dev, bare": [bared(*d) for d in dev],
    }
    for name, documents in sets.items():
        print(f"{name:14} ours {score_ends(documents, by_reader)}   rule {score_ends(documents, by_rule)}", flush=True)
    golden = folder / "golden_rules.jsonl"
    print(f"{'golden, English':14} ours {score_golden(golden, by_reader)}   rule {score_golden(golden, by_rule)}")
    late = sorted(b.items_late for text, _ in dev for b in breaks_of(pieces_of(text)))
    shares = ", ".join(f"{n}: {sum(x == n for x in late) / len(late):.3f}" for n in sorted(set(late)))
    print(f"EWT dev: calibration error {calibration_error(dev):.4f}; share of boundaries by items late {shares}")
    began = time.process_time()
    n_words = sum(len(breaks_of(p)) * 0 + len(p) for p in (pieces_of(text) for text, _ in dev))
    print(f"EWT dev: {n_words / (time.process_time() - began):,.0f} words/s of processor time")
