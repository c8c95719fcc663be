"""Probation: what was judged anomalous is learned only if it stays rare; a flood of it is not.

Suspects of a window wait. If at the window's end they were few, they were the oddities every normal stream has: learned, as rare.
If they were many, something is happening: none of them is learned, nor anything else once they are many, so that what an operator should see is still
seen however long it lasts. Who wants a flood to become normal teaches it again, with surprise 0.
Knows lessons as rows of numbers; leaves what learning them means to models/latent_model.py. Next: models/latent_model.py
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Probation:
    """Suspects of one window. `after` makes a new one."""

    rows: NDArray[np.uint64]
    """(waiting, columns) at most one more than are few."""
    suspects: int
    seen: int
    window: int
    """Lessons of a window."""
    few: int
    """Suspects of a quiet window, at most."""

    @classmethod
    def empty(cls, columns: int, window: int, share: float) -> "Probation":
        return cls(np.zeros((0, columns), np.uint64), 0, 0, window, int(window * share))

    def after(self, rows: NDArray[np.uint64], is_suspect: NDArray[np.bool_]) -> tuple["Probation", NDArray[np.uint64], bool | None]:
        """The probation after these lessons; the rows that may be learned now: those above suspicion, and the suspects whose window
        ended quietly; and, where a window ended, whether it was quiet. A window ends with the lessons that fill it."""
        waiting = np.concatenate([self.rows, rows[is_suspect]])[: self.few + 1]
        suspects, seen = self.suspects + int(is_suspect.sum()), self.seen + len(rows)
        learned = rows[~is_suspect] if self.suspects <= self.few else rows[:0]  # counts that grow in a flood would outrun their tails
        if seen < self.window:
            return Probation(waiting, suspects, seen, self.window, self.few), learned, None
        is_quiet = suspects <= self.few
        return Probation(waiting[:0], 0, 0, self.window, self.few), np.concatenate([learned, waiting]) if is_quiet else learned, is_quiet
