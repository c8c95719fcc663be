"""Words and what they mean by themselves: a table of word pieces, learned from the teacher, for words that training text never had.

Knows pieces, their vectors and how a pre-token is cut into them; leaves what a sentence makes of them to hierarchy.py.
The pieces are BERT's (Devlin et al. 2018, arXiv:1810.04805), the vectors come from training/word_table.py.
Next: models/hierarchy.py
"""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from models.tokenizer import split_words

TEACHER_WIDTH = 384
LONGEST_PIECE = 18
"""Characters of the longest piece of a word."""


class WordTable(nn.Module):
    """Piece -> vector, kept as INT8 with a scale a row: 30,000 pieces of 128 numbers are 4 MB."""

    def __init__(self, pieces: Sequence[str], width: int):
        super().__init__()
        self.pieces = tuple(pieces)
        self.numbers = {piece: n for n, piece in enumerate(self.pieces)}
        self.width = width
        self.codes: Tensor
        self.scales: Tensor
        self.basis: Tensor
        """(TEACHER_WIDTH, width): from the teacher's space into this one, its directions of most variance."""
        self.register_buffer("codes", torch.zeros(len(self.pieces), width, dtype=torch.int8))
        self.register_buffer("scales", torch.zeros(len(self.pieces)))
        self.register_buffer("basis", torch.zeros(TEACHER_WIDTH, width))
        self._rows: np.ndarray | None = None
        self.of_word = lru_cache(maxsize=65536)(self._of_word)

    def fill(self, vectors: Tensor) -> None:
        """Take vectors, float32 (pieces, width), rounded to codes."""
        self.scales = (vectors.abs().amax(dim=1) / 127).clamp_min(1e-8).half().float()
        self.codes = (vectors / self.scales[:, None]).round().clamp(-127, 127).to(torch.int8)
        self._rows = None
        self.of_word.cache_clear()

    def taught(self, vectors: np.ndarray) -> np.ndarray:
        """The teacher's vectors (n, TEACHER_WIDTH) in this space, float32 unit vectors (n, width)."""
        inside = vectors.astype(np.float32) @ self.basis.cpu().numpy()
        return inside / np.maximum(np.linalg.norm(inside, axis=1, keepdims=True), 1e-9)

    def rows(self) -> np.ndarray:
        """All vectors, float32 (pieces, width)."""
        if self._rows is None:
            self._rows = (self.codes.float() * self.scales[:, None]).cpu().numpy()
        return self._rows

    def vectors(self, text: str) -> np.ndarray:
        """A row per word of a text, float32 (words, width + 1): the sum of its pieces' vectors, and how many there are.

        The text begins and ends between pre-tokens; then the rows of two texts are the rows of both joined.
        """
        found = [row for word in split_words(text) if (row := self.of_word(word)) is not None]
        return np.stack(found) if found else np.empty((0, self.width + 1), np.float32)

    def mean(self, text: str) -> np.ndarray:
        """What a text's words mean on average, float32 (width,); zeros of a text without words."""
        rows = self.vectors(text)
        return rows[:, :-1].sum(0) / max(1.0, float(rows[:, -1].sum()))

    def numbers_of(self, text: str) -> list[int]:
        """Pieces of a text, by number."""
        return [n for word in split_words(text) for part in _parts(word) for n in self._cut(part)]

    def _of_word(self, pretoken: str) -> np.ndarray | None:
        numbers = [n for part in _parts(pretoken) for n in self._cut(part)]
        if not numbers:
            return None
        return np.append(self.rows()[numbers].sum(0), np.float32(len(numbers)))

    def _cut(self, word: str) -> list[int]:
        """The longest pieces from the left; none of a word that does not come out whole."""
        found, at = [], 0
        while at < len(word):
            for stop in range(min(len(word), at + LONGEST_PIECE), at, -1):
                number = self.numbers.get(("##" if at else "") + word[at:stop])
                if number is not None:
                    break
            else:
                return []
            found.append(number)
            at = stop
        return found


def _parts(pretoken: str) -> list[str]:
    """A pre-token in small letters without accents; signs one by one."""
    plain = "".join(c for c in unicodedata.normalize("NFD", pretoken.strip().lower()) if unicodedata.category(c) != "Mn")
    return [plain] if plain.isalnum() else list(plain)
