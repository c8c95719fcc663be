"""What whole sessions look like: how many lines of one template there are more than of another, for each two templates.

A session that ends early lacks what always comes; one that does something twice has a difference never seen. Differences keep
invariants ("as many closed as opened") that counts alone lose, and a count that varies freely has differences that vary, so its
novelty is cheap. Knows counts of finished sessions; leaves lines to models/latent_counts.py.
Source: Lou et al. 2010 (invariants of logs), as a distribution instead of a rule. Next: models/latent_model.py
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

SLOTS = 64
"""Templates compared with each other; slot 0 is no template and always counts 0, so that counts are differences too."""
EXACT = 8
"""Differences up to this have a bin each; beyond, two bins for each doubling."""
HALF = 16
BINS = 2 * HALF + 1
FULL = 1 << 20
"""Sessions before all counts are halved."""

_MAGNITUDES = np.array([*range(EXACT + 1), 12, 16, 24, 32, 64, 128, 256, 1024])
"""Lowest magnitude of each bin."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """Distributions over finished sessions. `with_more` makes a new one."""

    slots: NDArray[np.uint64]
    """(SLOTS,) keys of templates, 0 where free."""
    uses: NDArray[np.int32]
    """(SLOTS,) sessions that had the template, less the times another wanted the slot."""
    pairs: NDArray[np.int32]
    """(SLOTS, SLOTS, BINS) sessions by difference."""
    counted: int = 0

    @classmethod
    def empty(cls) -> "Sessions":
        return cls(np.zeros(SLOTS, np.uint64), np.zeros(SLOTS, np.int32), np.zeros((SLOTS, SLOTS, BINS), np.int32))

    def chance(self, session: Mapping[int, int]) -> tuple[float, int, int]:
        """The least likely difference of the session (key of template -> lines): its chance, 0..1, and the keys of its two templates.

        A template without a slot weighs as novelty among sessions: what only a slot's count never seen does.
        """
        lines, present, known = self._lines(session)
        rows = np.flatnonzero(present)
        if not len(rows) or not self.counted:
            return 1.0, 0, 0
        bins = bin_of(lines[rows, None] - lines[None, :])  # (present, SLOTS)
        counts = self.pairs[rows]  # (present, SLOTS, BINS)
        seen = np.take_along_axis(counts, bins[:, :, None], 2)[:, :, 0]
        total, once = counts.sum(2), (counts == 1).sum(2)
        share = np.where(seen > 0, seen, once + 0.5) / (total + 1.0)
        share[:, self.slots == 0] = 1.0
        share[:, 0] = np.where(seen[:, 0] > 0, seen[:, 0], once[:, 0] + 0.5) / (total[:, 0] + 1.0)
        share[rows == 0] = 1.0
        worst = int(share.argmin())
        left, right = rows[worst // SLOTS], worst % SLOTS
        found = float(share.flat[worst]), int(self.slots[left]), int(self.slots[right])
        if known < len(session):
            stranger = next(key for key in session if key not in self.slots)
            novelty = (int((self.uses == 1).sum()) + 0.5) / (self.counted + 1.0)
            if novelty < found[0]:
                return novelty, stranger, 0
        return found

    def with_more(self, sessions: Sequence[Mapping[int, int]]) -> "Sessions":
        """Count finished sessions, in order."""
        if not sessions:
            return self
        learned = replace(
            self, slots=self.slots.copy(), uses=self.uses.copy(), pairs=self.pairs.copy(), counted=self.counted + len(sessions)
        )
        everyone = np.arange(SLOTS)
        for session in sessions:
            for key in session:
                learned._seat(key)
            lines, _, _ = learned._lines(session)
            bins = bin_of(lines[:, None] - lines[None, :])
            known = learned.slots != 0
            known[0] = True
            learned.pairs[everyone[:, None], everyone[None, :], bins] += known[:, None] & known[None, :]
        if learned.counted < FULL:
            return learned
        return replace(learned, uses=(learned.uses + 1) >> 1, pairs=learned.pairs >> 1, counted=learned.counted >> 1)

    def _lines(self, session: Mapping[int, int]) -> tuple[NDArray[np.int64], NDArray[np.bool_], int]:
        """Lines of each slot, which slots the session has, and how many of its templates have one."""
        lines = np.zeros(SLOTS, np.int64)
        known = 0
        for key, count in session.items():
            where = np.flatnonzero(self.slots == np.uint64(key))
            if len(where):
                lines[where[0]] = count
                known += 1
        return lines, lines > 0, known

    def _seat(self, key: int) -> None:
        """Give a template a slot, or wear down the least used one's claim; in place."""
        where = np.flatnonzero(self.slots == np.uint64(key))
        if len(where):
            self.uses[where[0]] += 1
            return
        free = np.flatnonzero(self.slots[1:] == 0) + 1
        slot = int(free[0]) if len(free) else int(self.uses[1:].argmin()) + 1
        if not len(free) and self.uses[slot] > 1:
            self.uses[slot] -= 1
            return
        self.slots[slot], self.uses[slot] = key, 1
        self.pairs[slot], self.pairs[:, slot] = 0, 0


def bin_of(difference: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bin of a difference, 0..BINS-1, the same distance on both sides of HALF for both signs."""
    size = np.searchsorted(_MAGNITUDES, np.abs(difference), side="right") - 1
    found: NDArray[np.int64] = HALF + np.sign(difference) * size
    return found
