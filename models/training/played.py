"""Dev documents and held-out texts with their truths, streamed through the running model to see what it thinks at each unit.

Knows which documents there are and how one is played; leaves fitting to calibrate.py, figures to text_figures.py, and how talks and notes
are joined to visits.py.
Next: models/training/calibrate.py
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from models.answers import document_logits
from models.heads import OTHER
from models.labels import similarities, unit
from models.steps import Answer, Item, Work
from models.tokenizer import split_words
from models.training import visits
from models.training.data import CHAT_SETS, plain_sources, records
from models.transformer import StreamingHierarchicalTransformer
from models.walk import Walk

PIECE = re.compile(r"\s*\S+\s*")
STEP_ITEMS = {"chat": 4, "tokens": 200}
SESSIONS = 40


@dataclass
class Played:
    """A dev document, its truths and what the model thought at each unit."""

    source: str
    items: list[str]
    speakers: list[str] = field(default_factory=list)
    segment_ends: list[int] | None = None
    starts: list[int] = field(default_factory=list)
    """tokens: first item of each reference sentence."""
    labels: list[str | None] = field(default_factory=list)
    """Per item; None unknown."""
    whole: str | None = None
    shifts: list[tuple[int, float]] = field(default_factory=list)
    """(position, logit) per unit, the session's first left out."""
    topics: list[tuple[int, list[float], np.ndarray]] = field(default_factory=list)
    """(position, head's logits, likeness to each label) per unit."""
    document: tuple[list[float], np.ndarray] | None = None
    """The same of the whole session."""
    nats: float = 0.0


class ListeningWalk(Walk):
    """Keeps the raw logits of every unit it closes."""

    def advanced(self, speaker: int) -> tuple[np.ndarray, float, float]:
        row, logit, weight = super().advanced(speaker)
        logits, gist, _ = self.topic_of(row)
        self.trace.append((self.sentence[0], logit, logits.tolist(), similarities(gist[None], self.above.labels.vectors)[0]))
        return row, logit, weight

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.trace: list[tuple[int, float, list[float], np.ndarray]] = []
        LISTENERS.append(self)


LISTENERS: list[ListeningWalk] = []
"""Of the step at work, in the order of its sessions."""


def dev_documents(folder: Path, limits: dict[str, int], split: str = "dev") -> Iterator[Played]:
    """Dialogues, sections and articles of the dev split, in file order."""
    for name in CHAT_SETS:
        for n, r in enumerate(records(folder / f"chat/{name}.jsonl.gz", split)):
            if n < limits.get(name, 10**9):
                turns = r["turns"]
                labels: list[str | None] = (
                    [str(t) for t in r["topic"]] if "topic" in r else [OTHER if name in ("tiage", "superdialseg") else None] * len(turns)
                )
                whole = max(sorted(set(labels), key=str), key=labels.count)
                yield Played(name, [t["text"] for t in turns], [t["role"] for t in turns], r["seg_end"], [], labels, whole)
    for r in records(folder / "text/mts_dialog.jsonl.gz", split):
        turns = r["turns"]
        yield Played(
            "mts_dialog", [t["text"] for t in turns], [t["speaker"] for t in turns], None, [], [r["section"]] * len(turns), r["section"]
        )
    talks = list(records(folder / "text/mts_dialog.jsonl.gz", split))
    for r in visits.visits(talks, 0):
        turns = r["turns"]
        yield Played("visits", [t["text"] for t in turns], [t["speaker"] for t in turns], r["seg_end"], [], list(r["topic"]))
    for n, r in enumerate(visits.visits(talks, 1)):
        yield script("visits as text", visits.spoken(r, n))
    for note in visits.joined_notes(talks, 2):
        yield script("notes", note)
    for r in records(folder / "text/aci_bench.jsonl.gz", split):
        yield script("aci notes", visits.headed_note(r))
    for n, r in enumerate(records(folder / "text/wiki300.jsonl.gz", split)):
        if n < limits.get("wiki300", 10**9):
            ends = r["seg_end"]
            starts = (0, *(n for n, end in enumerate(ends, 1) if end))
            yield script("wiki300", visits.Script(r["name"], tuple(r["sentences"]), " ", starts, (OTHER,) * len(ends)))


def script(source: str, written: visits.Script) -> Played:
    """A text as words, its parts as reference units; a boundary is judged by the part that holds it."""
    pieces = [PIECE.findall(part.strip() + written.joint) for part in written.parts]
    starts = np.cumsum([0] + [len(p) for p in pieces])[:-1].tolist()
    ends = [0] * len(pieces)
    for topic in written.topics or ():
        if topic:
            ends[topic - 1] = 1
    labels = [label or None for p, label in zip(pieces, written.labels) for _ in p]
    whole = written.labels[0] if len(set(written.labels)) == 1 and written.labels[0] else None
    return Played(source, [w for p in pieces for w in p], [], ends if written.topics is not None else None, starts, labels, whole)


def held_out_texts(folder: Path, limit: int, behind: int = 0) -> list[str]:
    """Beginnings of dev texts, of 30,000 characters at most: of each set the same share of `limit` characters, as far as it has them.

    behind: of the texts that come after those that are taken for a `limit` of so many characters.
    """
    found: list[str] = []
    sources = [list(texts) for _, texts in plain_sources(folder, "dev")]
    for texts in sources:
        passed, left = behind // len(sources), limit // len(sources)
        for text in texts:
            if passed > 0:
                passed -= min(30_000, len(text))
            elif left > 0:
                found.append(text[: min(30_000, left)])
                left -= len(found[-1])
    return found


def plain(texts: Iterable[str]) -> list[Played]:
    """Running texts in pieces of 50 words."""
    return [Played("plain", ["".join(words) for words in _groups(split_words(text), 50)]) for text in texts]


def _groups(words: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for at in range(0, len(words), size):
        yield words[at : at + size]


def play(model: StreamingHierarchicalTransformer, documents: Sequence[Played], tell: Callable[[str], None]) -> None:
    """Stream documents, SESSIONS at a time, and keep what was thought."""
    model.walk = ListeningWalk
    for first in range(0, len(documents), SESSIONS):
        group = documents[first : first + SESSIONS]
        states: list[Any] = [None] * len(group)
        at = [0] * len(group)
        while live := [n for n, d in enumerate(group) if at[n] < len(d.items)]:
            works = []
            for n in live:
                d = group[n]
                modality = "chat" if d.speakers else "tokens"
                stop = min(len(d.items), at[n] + STEP_ITEMS[modality])
                items = [
                    Item(i, d.items[i], i * 1_000_000, d.speakers[i] if d.speakers else "", ends_session=i == len(d.items) - 1)
                    for i in range(at[n], stop)
                ]
                at[n] = stop
                works.append(Work(f"{modality}/{n}", states[n], items))
            LISTENERS.clear()
            results = model.step(works)
            for n, walk, result in zip(live, LISTENERS, results, strict=True):
                if result.error:
                    raise result.error
                states[n] = result.state
                _keep(group[n], walk, result)
        for n in range(len(group)):
            model.drop(f"chat/{n}")
            model.drop(f"tokens/{n}")
        tell(f"calibrate {first + len(group)} of {len(documents)} dev documents")
    model.walk = Walk


def _keep(document: Played, walk: ListeningWalk, result: Any) -> None:
    for position, logit, topic, near in walk.trace:
        if position > 0:
            document.shifts.append((position, logit))
        document.topics.append((position, topic, near))
    if result.state.closed_at >= 0:
        meaning = unit(np.frombuffer(result.state.session_meaning, np.float32))
        document.document = document_logits(walk).tolist(), similarities(meaning[None], walk.above.labels.vectors)[0]
    for item in result.items:
        document.nats += sum(f.output["nats"] for f in item.findings if isinstance(f, Answer) and f.task == "surprise")
