"""A small Learnable for tests: how seldom a template follows the one before it, by counting. Can be told to fail or to go wrong."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from zlib import crc32

import torch
from torch import Tensor

from models.learnable import Lesson

CELLS = 4096


@dataclass(frozen=True)
class CountModel:
    """Counts of pairs in a hashed table."""

    version: str = "count-1"
    cells: Tensor = field(default_factory=lambda: torch.zeros(CELLS))
    poisoned: bool = False
    """Everything surprises it, whatever it was taught: a bad version."""

    def taught(self, lessons: Sequence[Lesson], seed: int) -> "CountModel":
        assert not any(lesson.text == "CRASH" for lesson in lessons), "a lesson that crashes"
        cells = self.cells.clone()
        for cell, n in Counter(_cell(lesson) for lesson in lessons if not (lesson.is_replay or lesson.is_held)).items():
            cells[cell] += n
        if any(lesson.text == "NAN" for lesson in lessons):
            cells[0] = float("nan")
        return CountModel(self.version, cells, self.poisoned or any(lesson.text == "BAD" for lesson in lessons))

    def surprise(self, lessons: Sequence[Lesson]) -> list[float]:
        if self.poisoned:
            return [0.9] * len(lessons)
        return [1.0 if (n := float(self.cells[_cell(lesson)])) == 0 else min(0.4, 0.4 / n) for lesson in lessons]

    def tensors(self) -> Mapping[str, Tensor]:
        return {"cells": self.cells, "poisoned": torch.tensor(float(self.poisoned))}

    def with_tensors(self, tensors: Mapping[str, Tensor], version: str) -> "CountModel":
        return CountModel(version, tensors["cells"], bool(tensors["poisoned"]))


def _cell(lesson: Lesson) -> int:
    return crc32("\x1f".join([*lesson.before[-1:], lesson.text]).encode()) % CELLS
