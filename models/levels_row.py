"""Levels of one session as one row of numbers: what the compiled step changes, and its bytes.

Knows where each field of hierarchy.Levels lies; leaves what the numbers mean to hierarchy.py. Next: models/levels_kernel.py
"""

import math
from dataclasses import fields
from functools import lru_cache
from itertools import groupby

import numpy as np
import torch

from models.config import ModelConfig
from models.hierarchy import Levels, shapes

HALF = frozenset(("sentences", "context", "paragraphs", "topic", "topics"))
"""Fields whose numbers are rounded to half precision before anything is made of them (hierarchy.py)."""
NAMES = tuple(f.name for f in fields(Levels))


@lru_cache(maxsize=8)
def places(config: ModelConfig) -> dict[str, slice]:
    """Field -> where it lies in a row, in the order of hierarchy.Levels."""
    found, at = {}, 0
    for name, shape in shapes(config).items():
        found[name] = slice(at, at + math.prod(shape))
        at += math.prod(shape)
    return found


def size(config: ModelConfig) -> int:
    """Numbers in a row."""
    return places(config)[NAMES[-1]].stop


def empty_row(config: ModelConfig) -> np.ndarray:
    """Levels of a session that has not said anything, float32 (size,)."""
    return np.zeros(size(config), np.float32)


def as_levels(row: np.ndarray, config: ModelConfig) -> Levels:
    """The tensors, (1, ...) each, in memory of its own: a product's bits may depend on alignment."""
    parts, told = places(config), shapes(config)
    whole = torch.from_numpy(row)
    return Levels(*(whole[parts[name]].clone().view(1, *told[name]) for name in NAMES))


@lru_cache(maxsize=8)
def _runs(config: ModelConfig) -> tuple[tuple[slice, type], ...]:
    """Neighbouring fields of one type."""
    found = []
    for kind, run in groupby(places(config).items(), lambda entry: np.float16 if entry[0] in HALF else np.float32):
        inside = [part for _, part in run]
        found.append((slice(inside[0].start, inside[-1].stop), kind))
    return tuple(found)


def pack(row: np.ndarray, config: ModelConfig) -> bytes:
    """The fields one behind the other, members of rings in half precision."""
    return b"".join(row[part].astype(kind).tobytes() for part, kind in _runs(config))


def unpack(data: bytes, config: ModelConfig) -> np.ndarray:
    """What pack() made bytes of: a row of its own."""
    row, at = np.empty(size(config), np.float32), 0
    for part, kind in _runs(config):
        count = part.stop - part.start
        row[part] = np.frombuffer(data, kind, count, at)
        at += count * np.dtype(kind).itemsize
    return row
