"""What whole sessions look like: how many lines of one template there are more than of another, for each two templates.

A session that ends early lacks what always comes; one that does something twice has a difference never seen. Differences keep
invariants ("as many closed as opened") that counts alone lose, and a count that varies freely has differences that vary, so its
novelty is cheap. Knows counts of finished sessions; leaves lines to models/latent_counts.py.
Source: Lou et al. 2010 (invariants of logs), as a distribution instead of a rule. Next: models/latent_model.py
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.latent_counts import NEVER

SLOTS = 64
"""Templates compared with each other; slot 0 is no template and always counts 0, so that counts are differences too."""
EXACT = 8
"""Differences up to this have a bin each; beyond, two bins for each doubling."""
HALF = 16
BINS = 2 * HALF + 1
KNOWN = 5e-4
"""Share of a difference that was seen at all, at least: the longer a stream, the rarer would be what came once among many."""
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
    last: NDArray[np.int32]
    """(SLOTS,) number of the session that had it last."""
    pairs: NDArray[np.int32]
    """(SLOTS, SLOTS, BINS) sessions that had the first template by how many more lines of it than of the second: what is odd in a rare
    kind of session is measured against its kind."""
    counted: int = 0
    strangers: int = 0
    """Of them, those with a template that found no slot."""
    places: dict[int, int] = field(init=False, repr=False, compare=False)
    """Key -> slot; made again from slots, as what follows is from pairs."""
    totals: NDArray[np.int64] = field(init=False, repr=False, compare=False)
    once: NDArray[np.int64] = field(init=False, repr=False, compare=False)
    """(used, used) sessions that both templates were known to, and bins that one session fell in; slots in use stand first."""

    def __post_init__(self) -> None:
        used = 1 + int((self.slots != 0).sum())
        pairs = self.pairs[:used, :used]
        object.__setattr__(self, "places", {int(key): slot for slot, key in enumerate(self.slots[:used]) if key})
        object.__setattr__(self, "totals", pairs.sum(2, dtype=np.int64))
        object.__setattr__(self, "once", (pairs == 1).sum(2, dtype=np.int64))

    @classmethod
    def empty(cls) -> "Sessions":
        return cls(
            np.zeros(SLOTS, np.uint64), np.zeros(SLOTS, np.int32), np.zeros(SLOTS, np.int32), np.zeros((SLOTS, SLOTS, BINS), np.int32)
        )

    def chance(self, session: Mapping[int, int]) -> tuple[float, int, int]:
        """The least likely difference of the session (key of template -> lines): its chance, 0..1, and the keys of its two templates.

        A template without a slot weighs as novelty among sessions, or as sessions that have one, where these are many.
        """
        places = self.places
        slots = [places[key] for key in session if key in places]
        if not self.counted:
            return 1.0, 0, 0
        found = self._least_likely(session, slots) if slots else (1.0, 0, 0)
        if len(slots) < len(session):
            novelty = (max(int((self.uses == 1).sum()), self.strangers) + NEVER) / (self.counted + 1.0)
            if novelty < found[0]:
                return novelty, next(key for key in session if key not in places), 0
        return found

    def _least_likely(self, session: Mapping[int, int], slots: list[int]) -> tuple[float, int, int]:
        used = len(self.totals)
        lines = np.zeros(used, np.int64)
        lines[slots] = [count for key, count in session.items() if key in self.places]
        bins = bin_of(lines[slots, None] - lines)  # (present, used)
        seen = self.pairs[np.array(slots)[:, None], np.arange(used), bins]
        once, totals = self.once[slots], self.totals[slots]
        share = np.where(seen > 0, np.maximum(seen / (totals + 1.0), KNOWN), (once + NEVER) / (totals + 1.0))
        share[np.arange(len(slots)), slots] = 1.0
        worst = int(share.argmin())
        left, right = slots[worst // used], worst % used
        return float(share.flat[worst]), int(self.slots[left]), int(self.slots[right])

    def with_more(self, sessions: Sequence[Mapping[int, int]]) -> "Sessions":
        """Count finished sessions, in order."""
        if not sessions:
            return self
        slots, uses, last, pairs = self.slots.copy(), self.uses.copy(), self.last.copy(), self.pairs.copy()
        counted, strangers = self.counted, self.strangers
        places = dict(self.places)
        everyone = np.arange(SLOTS)
        for session in sessions:
            counted += 1
            seated = [_seat(key, counted, places, slots, uses, last, pairs) for key in session]
            strangers += not all(seated)
            lines = np.zeros(SLOTS, np.int64)
            for key, count in session.items():
                if key in places:
                    lines[places[key]] = count
            known, present = 1 + len(places), np.flatnonzero(lines)
            bins = bin_of(lines[present, None] - lines[:known])
            pairs[present[:, None], everyone[:known], bins] += 1
        if counted < FULL:
            return Sessions(slots, uses, last, pairs, counted, strangers)
        return Sessions(slots, (uses + 1) >> 1, last >> 1, pairs >> 1, counted >> 1, strangers >> 1)


def _seat(
    key: int, session: int, places: dict[int, int], slots: NDArray[np.uint64], uses: NDArray[np.int32], last: NDArray[np.int32],
    pairs: NDArray[np.int32],
) -> bool:  # fmt: skip
    """Give a template a slot, in place: the one that was used least and then longest ago, where it was used once; else wear down its
    claim. Never one of the same session: a system whose templates are new would take its only free slot from itself for ever."""
    if key in places:
        uses[places[key]] += 1
        last[places[key]] = session
        return True
    slot = 1 + len(places)
    if slot >= SLOTS:
        slot = int(np.lexsort((last[1:], uses[1:]))[0]) + 1
        if uses[slot] > 1 or last[slot] == session:
            uses[slot] -= uses[slot] > 1
            return False
        del places[int(slots[slot])]
    places[key] = slot
    slots[slot], uses[slot], last[slot] = key, 1, session
    pairs[slot], pairs[:, slot] = 0, 0
    return True


def bin_of(difference: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bin of a difference, 0..BINS-1, the same distance on both sides of HALF for both signs."""
    size = np.searchsorted(_MAGNITUDES, np.abs(difference), side="right") - 1
    found: NDArray[np.int64] = HALF + np.sign(difference) * size
    return found
