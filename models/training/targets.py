"""What stage two is told about each unit beside its truths: its words' own meanings, and the meaning the teacher gives it.

Knows unit texts and caches; leaves the teacher's arithmetic to teacher.py and the word table to word_table.py.
Next: models/training/multitask.py
"""

import numpy as np
import torch
from torch import Tensor

from models.tokenizer import WordTokenizer
from models.training.data import Unit
from models.words import WordTable


def words_of(unit: Unit) -> tuple[int, ...]:
    """A unit's ids without its speaker's mark."""
    return unit.ids[1:] if unit.speaker >= 0 else unit.ids


class Targets:
    """Unit -> mean word vector and teacher's vector, float32 (W,) each; zeros where the teacher was not asked."""

    def __init__(self, table: WordTable, tokenizer: WordTokenizer, meanings: dict[tuple[int, ...], np.ndarray]):
        self.table, self.tokenizer, self.meanings = table, tokenizer, meanings
        self.width = table.width
        self._words: dict[tuple[int, ...], Tensor] = {}
        self._nothing = torch.zeros(table.width)

    def of(self, unit: Unit) -> tuple[Tensor, Tensor]:
        ids = words_of(unit)
        words = self._words.get(ids)
        if words is None:
            words = self._words[ids] = torch.from_numpy(self.table.mean(self.tokenizer.decode(ids)).astype(np.float32))
        meaning = self.meanings.get(ids)
        return words, self._nothing if meaning is None else torch.from_numpy(meaning.astype(np.float32))
