"""Which documents a batch of stage two is made of: sets by their shares, dialogues between people nobody knows, and joined talk.

Joined talk is segments of different dialogues of one set after each other: a change of topic that owes nothing to a set's own habits.
Knows documents and chance; leaves tensors to multitask.py.
Next: models/training/multitask.py
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from models.config import ModelConfig
from models.tokenizer import N_SPEAKERS, SPEAKER_0
from models.training.data import Document, Unit

SHARES = {
    "dialseg711": 0.11, "superdialseg": 0.13, "tiage": 0.13, "sgd_multi": 0.16, "qmsum_meetings": 0.03, "mts_dialog": 0.09, "visits": 0.06,
    "aci_bench": 0.01, "wiki300": 0.12, "peps": 0.03, "standardebooks": 0.02, "visits as text": 0.05, "notes": 0.05, "aci notes": 0.02,
    "qmsum_meetings as text": 0.02, "sgd_multi as text": 0.03, "joined": 0.12,
}  # fmt: skip
"""How often each set is drawn."""
JOINED = ("dialseg711", "superdialseg", "tiage", "sgd_multi", "qmsum_meetings")
"""Sets whose segments are joined."""
LONGEST_PART = 12
OVERLAP = 128
UNKNOWN_NAMES = 0.15
"""Share of dialogues whose user and agent are given the marks of unknown speakers, in the order of their appearance."""
MAX_WINDOWS = 4
"""Of one document; a longer one is entered at a random unit."""


def with_unknown_names(document: Document) -> Document:
    """The same dialogue between people whose roles nobody knows."""
    order = list(dict.fromkeys(u.speaker for u in document.units))[:N_SPEAKERS]
    marks = {speaker: SPEAKER_0 + n for n, speaker in enumerate(order)}
    named = (marks.get(u.speaker, SPEAKER_0 + N_SPEAKERS - 1) for u in document.units)
    return replace(document, units=tuple(replace(u, speaker=mark, ids=(mark, *u.ids[1:])) for u, mark in zip(document.units, named)))


def segments(document: Document) -> list[tuple[Unit, ...]]:
    """The document cut where its topics start."""
    found: list[list[Unit]] = [[]]
    for unit in document.units:
        if unit.starts_topic == 1:
            found.append([])
        found[-1].append(unit)
    return [tuple(part) for part in found if part]


class Sampler:
    """Draws documents by set, then by chance."""

    def __init__(self, documents: Sequence[Document], rng: np.random.Generator):
        self.rng = rng
        self.by_source: dict[str, list[Document]] = {}
        for document in documents:
            if document.units:
                self.by_source.setdefault(document.source, []).append(document)
        self.joined = [s for s in JOINED if s in self.by_source]
        self.sources = [s for s in SHARES if s in self.by_source or (s == "joined" and self.joined)]
        weights = np.array([SHARES[s] for s in self.sources])
        self.weights = weights / weights.sum()

    def document(self) -> Document:
        source = self.sources[self.rng.choice(len(self.sources), p=self.weights)]
        document = self._join() if source == "joined" else self._any(source)
        return with_unknown_names(document) if document.modality == "chat" and self.rng.random() < UNKNOWN_NAMES else document

    def _any(self, source: str) -> Document:
        pool = self.by_source[source]
        return pool[self.rng.integers(len(pool))]

    def _join(self) -> Document:
        """Two to six segments of different dialogues of one set."""
        source = self.joined[self.rng.integers(len(self.joined))]
        units: list[Unit] = []
        for _ in range(self.rng.integers(2, 7)):
            parts = segments(self._any(source))
            part = parts[self.rng.integers(len(parts))]
            if len(part) > LONGEST_PART:
                first = self.rng.integers(len(part) - LONGEST_PART + 1)
                part = part[first : first + LONGEST_PART]
            units += [replace(unit, starts_topic=int(n == 0 and bool(units))) for n, unit in enumerate(part)]
        return Document("joined", "joined", "chat", tuple(units))

    def draw(self, length: int, n_windows: int) -> list[tuple[Document, int]]:
        """As many documents, and the unit each begins at, as fill the windows; `length` 256 takes short ones only."""
        drawn: list[tuple[Document, int]] = []
        room, room_of_one = n_windows, length - ModelConfig.n_sinks
        while room > 0:
            document = self.document()
            size = sum(len(u.ids) for u in document.units)
            if (size <= 250) != (length == 256):
                continue
            windows = min(MAX_WINDOWS, 1 + max(0, -(-(size - room_of_one) // (room_of_one - OVERLAP))))
            if windows > room:
                if room <= 1 and drawn:
                    break
                windows = room
            long = size > length + (MAX_WINDOWS - 1) * (room_of_one - OVERLAP)
            drawn.append((document, int(self.rng.integers(len(document.units))) if long and self.rng.random() < 0.7 else 0))
            room -= windows
        return drawn
