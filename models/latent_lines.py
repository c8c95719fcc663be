"""What a LatentModel is shown: lines as columns, and finished sessions as how many lines they had of each template.

Knows texts and their keys; leaves what is normal of them to models/latent_model.py.
Next: models/latent_model.py
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.latent_counts import Keys, key_of
from models.learnable import Lesson

START, END = np.uint64(1), np.uint64(2)
"""Keys of what stands before a session's first line and after its last."""
WHOLE = 64
"""Templates of a session that are kept, at most."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines to be judged together, as columns. The end of a session is a line without text."""

    texts: Sequence[str]
    before: Sequence[Sequence[str]]
    """Templates of the lines before each in its session, oldest first."""
    severities: NDArray[np.int64]
    gaps_s: NDArray[np.float32]
    rates: NDArray[np.float64]

    @classmethod
    def of(cls, lessons: Sequence[Lesson]) -> "Lines":
        return cls(
            [x.text for x in lessons], [x.before for x in lessons], np.array([x.severity for x in lessons], np.int64),
            np.array([x.gap_s for x in lessons], np.float32), np.array([x.rate for x in lessons]),
        )  # fmt: skip

    def at(self, places: Sequence[int]) -> "Lines":
        return Lines(
            [self.texts[n] for n in places],
            [self.before[n] for n in places],
            self.severities[places],
            self.gaps_s[places],
            self.rates[places],
        )

    @property
    def keys(self) -> Keys:
        return np.array([key_of(text) or END for text in self.texts], np.uint64)

    @property
    def keys_before(self) -> Keys:
        """START at a session's first line."""
        return np.array([key_of(some[-1]) if some else START for some in self.before], np.uint64)


def keyed(whole: Mapping[str, int]) -> dict[int, int]:
    """Lines by key, of lines by template; lines without text left out."""
    return {key_of(text): count for text, count in whole.items() if text}


def as_row(session: Mapping[int, int]) -> NDArray[np.uint64]:
    """Keys, then counts, of the WHOLE templates with the most lines."""
    row = np.zeros(2 * WHOLE, np.uint64)
    for n, (key, count) in enumerate(sorted(session.items(), key=lambda pair: (-pair[1], pair[0]))[:WHOLE]):
        row[n], row[WHOLE + n] = key, count
    return row


def from_row(row: NDArray[np.uint64]) -> dict[int, int]:
    """What as_row was given, as far as it is kept."""
    return {int(key): int(count) for key, count in zip(row[:WHOLE], row[WHOLE:], strict=True) if count}
