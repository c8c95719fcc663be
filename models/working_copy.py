"""A working copy of one session's state: its fields and levels unpacked, what is asked of the levels now and then, and the state again.

Knows the state's fields and what each is packed as; leaves what changes them to walk.py, what can be said of them to answers.py and
arithmetic on levels to levels_step.py and hierarchy.py.
Next: models/answers.py
"""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from models.config import ModelConfig
from models.heads import Calibration, Heads
from models.hierarchy import Hierarchy, Levels, unit_flags
from models.labels import Labels
from models.levels_row import as_levels, pack, places, unpack
from models.levels_step import LevelsStep
from models.plan import Plan
from models.session_state import TextState
from models.window import pack_starts, to_bytes
from models.words import WordTable


@dataclass(frozen=True, slots=True)
class Above:
    """All that lies above the trunk."""

    config: ModelConfig
    hierarchy: Hierarchy
    heads: Heads
    step: LevelsStep
    calibration: Calibration
    words: WordTable
    labels: Labels


class WorkingCopy:
    """Of one session; changed by the one who holds it."""

    def __init__(self, above: Above, state: TextState, is_chat: bool):
        self.above, self.is_chat = above, is_chat
        self.fields: dict[str, Any] = msgspec.structs.asdict(state)
        self._open: np.ndarray | None = None
        self._asked: tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]] | None = None
        self._row: np.ndarray | None = None  # unpacked when a sentence closes, not at every token
        self.sums = np.frombuffer(state.sums, np.float32).copy()
        self.weights = {
            level: np.frombuffer(getattr(state, f"{level}_weights"), np.float32) for level in ("token", "paragraph", "topic", "document")
        }
        self.last_hidden = np.frombuffer(state.hidden, np.float16) if state.hidden else None

    @property
    def row(self) -> np.ndarray:
        """The levels (levels_row.py)."""
        if self._row is None:
            self._row = unpack(self.fields["levels"], self.above.config)
        return self._row

    @row.setter
    def row(self, row: np.ndarray) -> None:
        self._row, self._open = row, None
        self.fields["levels"] = pack(row, self.above.config)

    def level_tensors(self, row: np.ndarray | None = None) -> Levels:
        """For what is asked of the levels now and then."""
        return as_levels(self.row if row is None else row, self.above.config)

    def part(self, row: np.ndarray, name: str) -> np.ndarray:
        found: np.ndarray = row[places(self.above.config)[name]]
        return found

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["fields"][name]
        except KeyError:
            raise AttributeError(name) from None

    def advanced(self, speaker: int) -> tuple[np.ndarray, float, float]:
        """Levels after the open sentence, the logit that it began a topic, and its weight in its paragraph."""
        flags = unit_flags(
            speaker, self.last_speaker, self.begins_paragraph and not self.is_chat, self.is_chat, self.n_sentences == 0, self.n_tokens
        )
        return self.above.step.advance(self.row, self.sums, flags)

    def open_row(self) -> np.ndarray:
        """Levels as if the open sentence ended here; made once however many ask."""
        if not self.n_tokens:
            return self.row
        if self._open is None:
            self._open = self.advanced(-1)[0]
        return self._open

    def topic_of(self, row: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """LevelsStep.topic of levels, made once however many ask."""
        if self._asked is None or self._asked[0] is not row:
            self._asked = row, self.above.step.topic(row)
        return self._asked[1]

    def state(self, plan: Plan) -> TextState:
        """The new state, after all events."""
        kept = b"" if self.is_chat or self.last_hidden is None else self.last_hidden.tobytes()
        window = plan.window
        self.fields |= {
            "window": to_bytes(window.ids), "starts": pack_starts(window.starts), "since_us": window.since_us, "reader": plan.reader,
            "speakers": plan.speakers, "hidden": kept, "sums": self.sums.tobytes(),
        }  # fmt: skip
        self.fields |= {f"{level}_weights": weights.tobytes() for level, weights in self.weights.items()}
        return TextState(**self.fields)
