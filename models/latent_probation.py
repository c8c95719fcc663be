"""Probation: what comes while much is anomalous is not learned; what is anomalous now and then is, as rare.

Lessons of a window wait. If few of them were suspects at the window's end, all are learned: oddities belong to every normal stream.
If many were, something is happening and none is: what an operator should see is still seen however long it lasts, and counts do
not outrun the tails they are measured against. A young model does not wait.
Knows lessons as rows of numbers; leaves what learning them means to models/latent_teaching.py. Next: models/latent_teaching.py
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Probation:
    """Lessons of one window. `after` makes a new one."""

    rows: NDArray[np.uint64]
    """(waiting, columns)"""
    suspects: int
    seen: int
    window: int
    """Lessons of a window."""
    few: int
    """Suspects of a quiet window, at most."""
    is_calm: bool = True
    """The window before this one was quiet."""

    @property
    def is_loud(self) -> bool:
        """Something is happening, or was until a moment ago: nothing that cannot be taken back should be learned."""
        return self.suspects > self.few or not self.is_calm

    @classmethod
    def empty(cls, columns: int, window: int, share: float) -> "Probation":
        return cls(np.zeros((0, columns), np.uint64), 0, 0, window, int(window * share))

    def after(
        self,
        rows: NDArray[np.uint64],
        is_suspect: NDArray[np.bool_],
        is_young: bool,
        is_held: NDArray[np.bool_] | None = None,
        is_released: NDArray[np.bool_] | None = None,
    ) -> tuple["Probation", NDArray[np.uint64], bool | None]:
        """The probation after these lessons; the rows that are learned now; and, where a window ended, whether it was quiet.
        A window ends with the lessons that fill it. What is held is a suspect and never learned; what was released is learned at once."""
        nothing = np.zeros(len(rows), np.bool_)
        held, released = nothing if is_held is None else is_held, nothing if is_released is None else is_released
        is_suspect = (is_suspect | held) & ~released
        suspects, seen = self.suspects + int(is_suspect.sum()), self.seen + len(rows)
        at_once = released | (~is_suspect if is_young else nothing)
        now, later = rows[at_once], rows[~at_once & ~held]
        waiting = np.concatenate([self.rows, later])
        if suspects > self.few:
            waiting = waiting[:0]
        if seen < self.window:
            return Probation(waiting, suspects, seen, self.window, self.few, self.is_calm), now, None
        return (
            Probation(waiting[:0], 0, 0, self.window, self.few, suspects <= self.few),
            np.concatenate([now, waiting]),
            suspects <= self.few,
        )
