"""Checkpoint: a folder of weights, shape, tokenizer, calibration, model card and their hashes; written atomically, read with suspicion.

Knows files; leaves training to models/training. Weights are safetensors in half precision and compute in float32.
Next: models/transformer.py
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from models.config import ModelConfig, ModelConfigError
from models.heads import Calibration, Heads
from models.hierarchy import Hierarchy
from models.tokenizer import WordTokenizer, load_tokenizer
from models.trunk import Trunk
from models.words import WordTable

SHIPPED = Path(__file__).parent / "weights" / "text-small"
"""The checkpoint that comes with the package."""
FILES = ("weights.safetensors", "config.json", "tokenizer.json", "words.txt", "calibration.json", "MODEL_CARD.md")
MANIFEST = "manifest.json"


class CheckpointError(ModelConfigError):
    """A checkpoint that is missing, cut short or changed; nothing of it is used."""

    retriable = False


class TextModel(nn.Module):
    """All weights of the text model."""

    def __init__(self, config: ModelConfig, pieces: Sequence[str] = ()):
        """pieces: of the word table, in the order of its rows."""
        super().__init__()
        self.config = config
        self.words = WordTable(pieces, config.word_width)
        self.trunk = Trunk(config)
        self.hierarchy = Hierarchy(config)
        self.heads = Heads(config)


@dataclass(frozen=True)
class Checkpoint:
    """What a folder holds, checked."""

    model: TextModel
    tokenizer: WordTokenizer
    calibration: Calibration
    version: str
    """Name and the first digits of the hash of all contents."""


def save(folder: Path, model: TextModel, tokenizer: WordTokenizer, calibration: Calibration, card: str) -> None:
    """Write all files beside the folder, then move it into place: a reader sees the old checkpoint or the new one, never a half."""
    tensors: dict[str, Tensor] = {name: _stored(p.detach()) for name, p in model.state_dict().items()}
    contents = {
        "weights.safetensors": save_tensors(tensors),
        "config.json": _json(asdict(model.config)),
        "tokenizer.json": tokenizer.tokenizer.to_str().encode(),
        "words.txt": "\n".join(model.words.pieces).encode(),
        "calibration.json": _json(asdict(calibration)),
        "MODEL_CARD.md": card.encode(),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        fresh = Path(temporary) / folder.name
        fresh.mkdir()
        for name, content in contents.items():
            _write(fresh / name, content)
        _write(fresh / MANIFEST, _json({name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}))
        if folder.exists():
            os.rename(folder, Path(temporary) / "replaced")
        os.rename(fresh, folder)
        shutil.rmtree(Path(temporary) / "replaced", ignore_errors=True)


def load(folder: Path | None = None) -> Checkpoint:
    """The checkpoint of a folder, by default the shipped one. Raises CheckpointError naming the file and what is wrong with it."""
    folder = folder or SHIPPED
    manifest = _read_json(folder / MANIFEST, folder)
    contents = {}
    for name in FILES:
        content = _read(folder / name, folder)
        wanted, seen = manifest.get(name), hashlib.sha256(content).hexdigest()
        if seen != wanted:
            raise CheckpointError(
                f"checkpoint file {folder / name} has sha256 {seen[:12]}..., its manifest says {str(wanted)[:12]}...: cut short or changed; restore the folder"
            )
        contents[name] = content
    try:
        shape = json.loads(contents["config.json"])
        config = ModelConfig(**(shape | {"labels": tuple(shape["labels"])}))
        model = TextModel(config, contents["words.txt"].decode().split("\n"))
        model.load_state_dict({name: t if t.dtype == torch.int8 else t.float() for name, t in load_tensors(contents["weights.safetensors"]).items()})
        calibration = Calibration(**json.loads(contents["calibration.json"]))
    except (SafetensorError, RuntimeError, TypeError, KeyError, ValueError) as problem:
        raise CheckpointError(f"checkpoint {folder} does not fit this version ({problem}); take one that its release made") from problem
    version = f"{folder.name}-{hashlib.sha256(_json(manifest)).hexdigest()[:12]}"
    return Checkpoint(model.eval().requires_grad_(False), load_tokenizer(folder / "tokenizer.json"), calibration, version)


def _stored(tensor: Tensor) -> Tensor:
    return (tensor if tensor.dtype == torch.int8 else tensor.to(torch.float16)).contiguous()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _write(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path, folder: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise CheckpointError(
            f"checkpoint {folder} lacks {path.name} ({problem.strerror}); wanted {', '.join((*FILES, MANIFEST))}"
        ) from problem


def _read_json(path: Path, folder: Path) -> dict[str, Any]:
    try:
        return json.loads(_read(path, folder))
    except ValueError as problem:
        raise CheckpointError(f"checkpoint file {path} is not JSON ({problem}): cut short or changed; restore the folder") from problem
