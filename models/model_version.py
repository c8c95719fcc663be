"""A learned version of a model: what it is called, and its weights as bytes.

Knows safetensors and zstd; leaves rows and topics to streams/learned.py. The same weights have the same bytes and the same name.
"""

from hashlib import blake2b
from typing import TypeVar

import zstandard
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from models.learnable import Learnable

M = TypeVar("M", bound=Learnable)


def name_of(base: str, subject: str, model: Learnable) -> str:
    """A version's name: what was shipped, whose and which update, and eight digits of its weights: two different ones never share it."""
    digest = blake2b(digest_size=4)
    for name, tensor in sorted(model.tensors().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return f"{base}+{subject}.{digest.hexdigest()}"


def to_bytes(model: Learnable) -> bytes:
    """All that was learned."""
    return zstandard.compress(save_tensors({name: tensor.contiguous() for name, tensor in model.tensors().items()}), 1)


def from_bytes(base: M, data: bytes, version: str) -> M:
    """The version whose weights these are; `base` is the shipped model that it began from."""
    return base.with_tensors(load_tensors(zstandard.decompress(data)), version)
