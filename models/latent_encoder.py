"""Latent encoder: a template's words and severity -> 32 numbers, the same for the same template ever after.

A bag of hashed words in a small table, trained as a variational autoencoder (models/training/latent_encoder.py) of which only the mean
is kept. It is not changed while streaming, so a known template costs one look-up, and words never met still differ, since each
bucket of the table begins at random. Knows texts; leaves how lines follow each other to models/latent_dynamics.py.
Next: models/latent_dynamics.py
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

Array = NDArray[np.float32]

WIDTH = 32
BUCKETS = 4096
WEIGHTS = Path(__file__).parent / "weights" / "latent_encoder.safetensors"
CACHED = 16_384
"""Templates whose latent is kept: 2 MB."""
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|<\*>|[^\w\s]")


def buckets_of(text: str) -> list[int]:
    """Of the words of a template: camelCase taken apart, lower case, punctuation counted as words."""
    return [crc32(word.lower().encode()) % BUCKETS for word in _WORD.findall(text)][:64]


@dataclass(frozen=True, slots=True)
class Table:
    """Latents of the templates met, a row each; row 0 is no text."""

    rows: dict[str, int]
    latents: Array
    """(CACHED, WIDTH)"""


class Encoder:
    """The weights, and what they made of the templates met. May be used by several threads."""

    def __init__(self, words: Array, severities: Array):
        """words: (BUCKETS, WIDTH); severities: (8, WIDTH)."""
        self.words = words
        self.severities = severities
        self._table = Table({"": 0}, np.zeros((CACHED, WIDTH), np.float32))
        self._lock = Lock()

    @classmethod
    def shipped(cls) -> "Encoder":
        tensors = load_file(WEIGHTS)
        return cls(tensors["words"].astype(np.float32), tensors["severities"].astype(np.float32))

    def latents(self, texts: Sequence[str]) -> Array:
        """(n, WIDTH), mean square 1; all 0 for no text."""
        table = self._table
        places = [table.rows.get(text, -1) for text in texts]
        if -1 in places:
            with self._lock:
                table = self._table
                if len(table.rows) + len(texts) > CACHED:  # start anew: a flood of templates must not grow the table
                    table = self._table = Table({"": 0}, np.zeros((max(CACHED, len(texts) + 1), WIDTH), np.float32))
                for text in texts:
                    if text not in table.rows:
                        table.latents[len(table.rows)] = self.latent(text)
                        table.rows[text] = len(table.rows)
            places = [table.rows[text] for text in texts]
        found: Array = table.latents[places]
        return found

    def latent(self, text: str) -> Array:
        """(WIDTH,) of one template, computed."""
        return unit(self.words[buckets_of(text) or [0]].mean(0)) if text else np.zeros(WIDTH, np.float32)

    def with_severity(self, latents: Array, severities: NDArray[np.int64]) -> Array:
        """Latents of lines: of their templates, moved by how severe they are."""
        found: Array = latents + self.severities[severities]
        return found


def unit(latent: Array) -> Array:
    found: Array = (latent * np.float32(np.sqrt(WIDTH)) / max(float(np.linalg.norm(latent)), 1e-6)).astype(np.float32)
    return found
