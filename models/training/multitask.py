"""Stage two: topic shifts and labels on top of the trunk, which goes on predicting the next token.

Knows batches of documents as windows and units, and the losses; leaves thresholds and temperatures to calibrate.py.
Next: models/training/calibrate.py
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.checkpoint import TextModel
from models.hierarchy import Levels, no_levels, unit_flags
from models.tokenizer import CHAT, N_SPEAKERS, SPEAKER_0, TEXT
from models.training.data import Document
from models.training.language import NextTokenLoss, block_loss, optimizers, sinks
from models.training.loop import TOKENS, Stage
from models.training.ranks import Ranks

SHARES = {
    "dialseg711": 0.09, "superdialseg": 0.13, "tiage": 0.11, "sgd_multi": 0.16, "qmsum_meetings": 0.03, "mts_dialog": 0.10, "visits": 0.06,
    "aci_bench": 0.01, "wiki300": 0.13, "peps": 0.03, "standardebooks": 0.02, "visits as text": 0.05, "notes": 0.05, "aci notes": 0.02,
    "qmsum_meetings as text": 0.02, "sgd_multi as text": 0.03,
}  # fmt: skip
"""How often each set is drawn."""
OVERLAP = 128
UNKNOWN_NAMES = 0.15
"""Share of dialogues whose user and agent are given the marks of unknown speakers, in the order of their appearance."""
MAX_WINDOWS = 4
"""Of one document; a longer one is entered at a random unit."""


@dataclass(frozen=True)
class Batch:
    """Documents as windows of tokens and sequences of units."""

    ids: Tensor
    """int64 (windows, length), sinks first, padded with 0."""
    is_new: Tensor
    """bool (windows, length): tokens that count, not sinks, overlap or padding."""
    unit: Tensor
    """int64 (windows, length): document * units + place of the unit, where is_new."""
    n_documents: int
    n_units: int
    flags: Tensor
    """float32 (documents, units, N_FLAGS)."""
    closes: Tensor
    """float32 (documents, units): a paragraph ends before this unit."""
    present: Tensor
    starts_topic: Tensor
    """int64 (documents, units), -1 unknown."""
    label: Tensor
    whole: Tensor
    """int64 (documents,)."""
    is_chat: Tensor


def collate(documents: Sequence[tuple[Document, int]], length: int, n_windows: int) -> Batch:
    """Documents from the unit given on, as many windows as fit."""
    rows: list[tuple[list[int], list[int], int]] = []  # ids, unit per id (-1 not new), document
    kept = []
    for number, (document, first) in enumerate(documents):
        ids: list[int] = []
        owner: list[int] = []
        for n, unit in enumerate(document.units[first:]):
            if len(ids) + len(unit.ids) > (length - 4) + (MAX_WINDOWS - 1) * (length - 4 - OVERLAP):
                break
            ids += unit.ids
            owner += [n] * len(unit.ids)
        if not ids:
            ids, owner = list(document.units[first].ids[: length - 4]), [0] * min(length - 4, len(document.units[first].ids))
        mode = CHAT if document.modality == "chat" else TEXT
        at = 0
        while at < len(ids) and len(rows) < n_windows:
            old = min(at, OVERLAP)
            stop = min(len(ids), at - old + length - 4)
            rows.append((sinks(mode) + ids[at - old : stop], [-1] * (4 + old) + owner[at:stop], number))
            at = stop
        n_units = owner[at - 1] + 1 if at else 0
        kept.append((document, first, n_units))
    n_units = max(n for _, _, n in kept)
    ids_t = torch.zeros(n_windows, length, dtype=torch.int64)
    unit_t, new_t = torch.zeros_like(ids_t), torch.zeros_like(ids_t, dtype=torch.bool)
    for w, (row, owner, number) in enumerate(rows):
        owners = torch.tensor(owner)
        ids_t[w, : len(row)] = torch.tensor(row)
        new_t[w, : len(row)] = owners >= 0
        unit_t[w, : len(row)] = owners.clamp_min(0) + number * n_units
    D = len(kept)
    flags, truths = torch.zeros(D, n_units, 11), torch.full((3, D, n_units), -1)
    for d, (document, first, n) in enumerate(kept):
        is_chat, previous = document.modality == "chat", -1
        for u, unit in enumerate(document.units[first : first + n]):
            begins = unit.starts_paragraph or u == 0
            flags[d, u] = torch.tensor(unit_flags(unit.speaker, previous, begins and not is_chat, is_chat, u == 0, len(unit.ids)))
            truths[0, d, u] = unit.starts_topic if u else -1
            truths[1, d, u] = unit.label
            truths[2, d, u] = int(unit.starts_paragraph and u > 0)
            previous = unit.speaker
    present = torch.zeros(D, n_units)
    for d, (_, _, n) in enumerate(kept):
        present[d, :n] = 1
    whole = torch.tensor([document.label if first == 0 and n == len(document.units) else -1 for document, first, n in kept])
    is_chat_t = torch.tensor([document.modality == "chat" for document, _, _ in kept])
    return Batch(ids_t, new_t, unit_t, D, n_units, flags, (truths[2] == 1).float(), present, truths[0], truths[1], whole, is_chat_t)


@dataclass(frozen=True)
class Read:
    """What the levels say of a batch."""

    shift: Tensor
    """float32 (documents, units)."""
    topic: Tensor
    """(documents, units, classes)."""
    document: Tensor
    """(documents, classes), at each document's last unit."""
    sentence: Tensor
    gist: Tensor
    """(documents, units, S): the topic as it was read so far."""


def read(model: TextModel, batch: Batch, hidden: Tensor, dropout: float = 0.0) -> Read:
    """Pool the units of a batch and walk the levels along them."""
    pool, hierarchy = model.hierarchy.pool, model.hierarchy
    rows, unit = hidden[batch.is_new].float(), batch.unit[batch.is_new]
    embedded = model.trunk.embedding(batch.ids[batch.is_new]).float()
    weights = pool.weights(rows)
    n, width = batch.n_documents * batch.n_units, rows.shape[1]
    hidden_sum = torch.zeros(n, width).index_add(0, unit, weights[:, :1] * rows)
    embedded_sum = torch.zeros(n, width).index_add(0, unit, weights[:, 1:] * embedded)
    weight_sum = torch.zeros(n, 2).index_add(0, unit, weights)
    sentences = pool.sentence(hidden_sum, embedded_sum, weight_sum).view(batch.n_documents, batch.n_units, -1)
    if dropout:
        sentences = F.dropout(sentences, dropout)
    levels = no_levels(model.config, batch.n_documents)
    shifts, topics, wholes, gists = [], [], [], []
    for u in range(batch.n_units):
        here = batch.present[:, u, None]
        closed = hierarchy.close_paragraph(levels, batch.closes[:, u, None])
        after, logit = hierarchy.advance(closed, sentences[:, u], batch.flags[:, u])
        levels = Levels(**{f: here * getattr(after, f) + (1 - here) * getattr(levels, f) for f in Levels.__dataclass_fields__})
        shifts.append(logit)
        topics.append(model.heads.topic_logits(levels))
        wholes.append(levels.document_sum / levels.document_weight.clamp_min(1e-6))
        gists.append(levels.topic_sum / levels.topic_weight.clamp_min(1e-6))
    return Read(torch.stack(shifts, 1), torch.stack(topics, 1), model.heads.document_logits(levels), sentences, torch.stack(gists, 1))


def losses(batch: Batch, found: Read) -> dict[str, Tensor]:
    """Means over what is known; a set's missing truths cost nothing."""
    known = batch.starts_topic >= 0
    out = {}
    if known.any():
        out["shift"] = F.binary_cross_entropy_with_logits(found.shift[known], batch.starts_topic[known].float())
    if (batch.label >= 0).any():
        out["topic"] = F.cross_entropy(found.topic[batch.label >= 0], batch.label[batch.label >= 0])
    if (batch.whole >= 0).any():
        out["document"] = F.cross_entropy(found.document[batch.whole >= 0], batch.whole[batch.whole >= 0])
    # a sentence should resemble the topic it continues more than the topics of other documents
    follows = (batch.present[:, 1:] > 0) & (batch.starts_topic[:, 1:] != 1)
    if follows.sum() > 8 and batch.n_documents > 1:
        nexts, gists = found.sentence[:, 1:][follows], found.gist[:, :-1][follows]
        owner = torch.arange(batch.n_documents)[:, None].expand_as(follows)[follows]
        scores = F.normalize(gists, dim=-1) @ F.normalize(nexts, dim=-1).t() / 0.1
        same = owner[:, None] == owner[None]
        same.fill_diagonal_(False)
        out["continue"] = F.cross_entropy(scores.masked_fill(same, -1e9), torch.arange(len(owner)))
    return out


WEIGHTS = {"shift": 2.0, "topic": 0.5, "document": 0.7, "continue": 0.1}


def with_unknown_names(document: Document) -> Document:
    """The same dialogue between people whose roles nobody knows."""
    order = list(dict.fromkeys(u.speaker for u in document.units))[:N_SPEAKERS]
    marks = {speaker: SPEAKER_0 + n for n, speaker in enumerate(order)}
    named = (marks.get(u.speaker, SPEAKER_0 + N_SPEAKERS - 1) for u in document.units)
    return replace(document, units=tuple(replace(u, speaker=mark, ids=(mark, *u.ids[1:])) for u, mark in zip(document.units, named)))


class Sampler:
    """Draws documents by set, then by chance."""

    def __init__(self, documents: Sequence[Document], rng: np.random.Generator):
        self.by_source: dict[str, list[Document]] = {}
        for document in documents:
            if document.units:
                self.by_source.setdefault(document.source, []).append(document)
        self.sources = [s for s in SHARES if s in self.by_source]
        shares = np.array([SHARES[s] for s in self.sources])
        self.shares, self.rng = shares / shares.sum(), rng

    def batch(self, length: int, n_windows: int) -> Batch:
        """As many documents as fill the windows; `length` 256 takes short ones only."""
        drawn: list[tuple[Document, int]] = []
        room = n_windows
        while room > 0:
            source = self.sources[self.rng.choice(len(self.sources), p=self.shares)]
            pool = self.by_source[source]
            document = pool[self.rng.integers(len(pool))]
            if document.modality == "chat" and self.rng.random() < UNKNOWN_NAMES:
                document = with_unknown_names(document)
            size = sum(len(u.ids) for u in document.units)
            if (size <= 252) != (length == 256):
                continue
            windows = min(MAX_WINDOWS, 1 + max(0, -(-(size - length + 4) // (length - 4 - OVERLAP))))
            if windows > room:
                if room <= 1 and drawn:
                    break
                windows = room
            long = size > length + (MAX_WINDOWS - 1) * (length - 4 - OVERLAP)
            drawn.append((document, int(self.rng.integers(len(document.units))) if long and self.rng.random() < 0.7 else 0))
            room -= windows
        return collate(drawn, length, n_windows)


SHAPES = ((512, 8), (256, 16))
"""Length and number of windows, in turn: long documents, then short ones."""
DEV_BATCHES = 12
"""Drawn once from the dev documents, the same ones at every validation."""


def levels_stage(
    model: TextModel,
    documents: Sequence[Document],
    dev: Sequence[Document],
    steps: int,
    seed: int,
    ranks: Ranks,
    compiled: bool = True,
) -> Stage:
    """Stage two: everything is trained, in place."""
    device, rng = ranks.device, np.random.default_rng(ranks.seed(seed + 1))
    sampler, dev_sampler = Sampler(documents, rng), Sampler(dev, np.random.default_rng(0))
    dev_batches = [dev_sampler.batch(*SHAPES[n % 2]) for n in range(DEV_BATCHES)] if ranks.is_first else []
    model.to(device)
    matrices, others = optimizers(model.trunk, 4e-4)
    above = [*model.hierarchy.parameters(), *model.heads.parameters()]
    levels = torch.optim.AdamW(above, lr=1.5e-3, betas=(0.9, 0.98), weight_decay=0.02)
    run: Callable[[Tensor], Tensor] = torch.compile(model.trunk, dynamic=False) if compiled else model.trunk
    NextTokenLoss.block = staticmethod(torch.compile(block_loss, dynamic=True) if compiled else block_loss)

    def all_losses(batch: Batch, trunk: Callable[[Tensor], Tensor], dropout: float) -> dict[str, Tensor]:
        with torch.autocast(device.type, torch.bfloat16):
            hidden = trunk(batch.ids)
        is_new = batch.is_new[:, 1:]
        rows, wanted = hidden[:, :-1][is_new].to(torch.bfloat16), batch.ids[:, 1:][is_new]
        with device:  # what is made along the way is made there
            parts = losses(batch, read(model, batch, hidden, dropout))
        return {"language": NextTokenLoss.apply(rows, model.trunk.embedding.weight, wanted), **parts}

    def total(parts: dict[str, Tensor]) -> Tensor:
        return parts["language"] + sum(WEIGHTS[name] * part for name, part in parts.items() if name != "language")

    def step(number: int) -> dict[str, float]:
        batch = on(sampler.batch(*SHAPES[number % 2]), device)
        parts = all_losses(batch, run, 0.15)
        total(parts).backward()
        return {name: part.item() for name, part in parts.items()} | {TOKENS: float(batch.is_new.sum())}

    def validate() -> dict[str, float]:
        found: dict[str, list[float]] = {}
        for batch in dev_batches:
            parts = all_losses(on(batch, device), model.trunk, 0.0)
            for name, part in (parts | {"all": total(parts)}).items():
                found.setdefault(name, []).append(part.item())
        return {name: float(np.mean(values)) for name, values in found.items()}

    steppers: dict[str, torch.optim.Optimizer] = {"matrices": matrices, "others": others, "levels": levels}
    units = {
        "language": "nats per token", "shift": "nats per unit", "topic": "nats per unit", "document": "nats per session",
        "continue": "nats per unit", "all": "nats, weighted sum",
    }  # fmt: skip
    return Stage("levels", {"model": model}, steppers, step, validate, "all", steps, rng, seed + 1, units=units)


def on(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on a device."""
    moved: dict[str, Any] = {f.name: v.to(device) for f in fields(batch) if isinstance(v := getattr(batch, f.name), Tensor)}
    return replace(batch, **moved)
