"""Checkpoint: a folder of weights, shape, tokenizer, calibration, model card and their hashes; written atomically, read with suspicion.

Knows what a model needs to run; leaves hashes and renames to models/sealed.py, training to models/training. Weights are safetensors in half
precision and compute in float32.
Next: models/transformer.py
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from models import sealed
from models.config import ModelConfig
from models.heads import Calibration, Heads, calibration_of
from models.hierarchy import Hierarchy
from models.sealed import CheckpointError, as_json
from models.tokenizer import WordTokenizer, load_tokenizer
from models.trunk import Trunk
from models.words import WordTable

SHIPPED = Path(__file__).parent / "weights" / "text-small"
"""The checkpoint that comes with the package."""
FILES = ("weights.safetensors", "config.json", "tokenizer.json", "words.txt", "calibration.json", "MODEL_CARD.md")


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
    """Write the folder atomically; see models/sealed.py."""
    tensors: dict[str, Tensor] = {name: _stored(p.detach()) for name, p in model.state_dict().items()}
    contents = {
        "weights.safetensors": save_tensors(tensors),
        "config.json": as_json(asdict(model.config)),
        "tokenizer.json": tokenizer.tokenizer.to_str().encode(),
        "words.txt": "\n".join(model.words.pieces).encode(),
        "calibration.json": as_json(asdict(calibration)),
        "MODEL_CARD.md": card.encode(),
    }
    sealed.write(folder, contents)


def load(folder: Path | None = None) -> Checkpoint:
    """The checkpoint of a folder, by default the shipped one. Raises CheckpointError naming the file and what is wrong with it."""
    folder = folder or SHIPPED
    contents, manifest = sealed.read(folder, FILES)
    try:
        shape = json.loads(contents["config.json"])
        config = ModelConfig(**(shape | {"labels": tuple(shape["labels"])}))
        model = TextModel(config, contents["words.txt"].decode().split("\n") if contents["words.txt"] else ())
        tensors = load_tensors(contents["weights.safetensors"])
        model.load_state_dict({name: t if t.dtype == torch.int8 else t.float() for name, t in tensors.items()})
        calibration = calibration_of(json.loads(contents["calibration.json"]))
    except (SafetensorError, RuntimeError, TypeError, KeyError, ValueError) as problem:
        raise CheckpointError(f"checkpoint {folder} does not fit this version ({problem}); take one that its release made") from problem
    version = f"{folder.name}-{hashlib.sha256(as_json(manifest)).hexdigest()[:12]}"
    return Checkpoint(model.eval().requires_grad_(False), load_tokenizer(folder / "tokenizer.json"), calibration, version)


def _stored(tensor: Tensor) -> Tensor:
    """Half precision; codes as they are."""
    return (tensor if tensor.dtype == torch.int8 else tensor.to(torch.float16)).contiguous()
