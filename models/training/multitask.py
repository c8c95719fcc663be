"""Stage two: sentence meaning, topic shifts and labels on top of the trunk, which goes on predicting the next token.

Knows batches of documents as windows and units, and the losses; leaves which documents are drawn to sampling.py, thresholds and
temperatures to calibrate.py.
Next: models/training/played.py
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.checkpoint import TextModel
from models.config import MARKS
from models.hierarchy import N_FLAGS, choose, no_levels, unit_flags
from models.tokenizer import CHAT, TEXT, sinks
from models.training.data import Document
from models.training.language import NextTokenLoss, block_loss, optimizers
from models.training.loop import TOKENS, Stage
from models.training.ranks import Ranks
from models.training.sampling import MAX_WINDOWS, OVERLAP, Sampler
from models.training.targets import Targets

WEIGHTS = {"shift": 1.0, "topic": 0.5, "document": 0.7, "meaning": 1.0, "likeness": 5.0}


@dataclass(frozen=True)
class Batch:
    """Documents as windows of tokens and sequences of units."""

    ids: Tensor
    """int64 (windows, length), sinks first, padded with 0."""
    is_new: Tensor
    """bool (windows, length): tokens that count, not sinks, overlap or padding."""
    unit: Tensor
    """int64 (windows, length): document * units + place of the unit, where is_new."""
    before: Tensor
    """int64 (windows,): document * units + place of the last unit that ended before the window's new tokens; -1 for none."""
    n_documents: int
    n_units: int
    flags: Tensor
    """float32 (documents, units, N_FLAGS)."""
    words: Tensor
    """float32 (documents, units, W): mean word vectors."""
    meaning: Tensor
    """float32 (documents, units, W): what the teacher says; zeros where it was not asked."""
    closes: Tensor
    """float32 (documents, units): a paragraph ends before this unit."""
    present: Tensor
    starts_topic: Tensor
    """int64 (documents, units), -1 unknown."""
    label: Tensor
    whole: Tensor
    """int64 (documents,)."""


def collate(documents: Sequence[tuple[Document, int]], length: int, n_windows: int, targets: Targets, n_sinks: int) -> Batch:
    """Documents from the unit given on, as many windows as fit."""
    rows: list[tuple[list[int], list[int], int]] = []  # ids, unit per id (-1 not new), document
    kept, room = [], length - n_sinks
    for number, (document, first) in enumerate(documents):
        ids: list[int] = []
        owner: list[int] = []
        for n, unit in enumerate(document.units[first:]):
            if len(ids) + len(unit.ids) > room + (MAX_WINDOWS - 1) * (room - OVERLAP):
                break
            ids += unit.ids
            owner += [n] * len(unit.ids)
        if not ids:
            ids, owner = list(document.units[first].ids[:room]), [0] * min(room, len(document.units[first].ids))
        mode = CHAT if document.modality == "chat" else TEXT
        at = 0
        while at < len(ids) and len(rows) < n_windows:
            old = min(at, OVERLAP)
            stop = min(len(ids), at - old + room)
            rows.append((sinks(mode, n_sinks) + ids[at - old : stop], [-1] * (n_sinks + old) + owner[at:stop], number))
            at = stop
        kept.append((document, first, owner[at - 1] + 1 if at else 0))
    n_units = max(n for _, _, n in kept)
    ids_t = torch.zeros(n_windows, length, dtype=torch.int64)
    unit_t, new_t = torch.zeros_like(ids_t), torch.zeros_like(ids_t, dtype=torch.bool)
    before = torch.full((n_windows,), -1)
    for w, (row, owner, number) in enumerate(rows):
        owners = torch.tensor(owner)
        ids_t[w, : len(row)] = torch.tensor(row)
        new_t[w, : len(row)] = owners >= 0
        unit_t[w, : len(row)] = owners.clamp_min(0) + number * n_units
        first_new = next((n for n in owner if n >= 0), 0)
        before[w] = number * n_units + first_new - 1 if first_new else -1
    D, W = len(kept), targets.width
    flags, truths = torch.zeros(D, n_units, N_FLAGS), torch.full((3, D, n_units), -1)
    words, meaning, present = torch.zeros(D, n_units, W), torch.zeros(D, n_units, W), torch.zeros(D, n_units)
    for d, (document, first, n) in enumerate(kept):
        is_chat, previous = document.modality == "chat", -1
        for u, unit in enumerate(document.units[first : first + n]):
            begins = unit.starts_paragraph or u == 0
            flags[d, u] = torch.tensor(unit_flags(unit.speaker, previous, begins and not is_chat, is_chat, u == 0, len(unit.ids)))
            truths[:, d, u] = torch.tensor((unit.starts_topic if u else -1, unit.label, int(unit.starts_paragraph and u > 0)))
            words[d, u], meaning[d, u] = targets.of(unit)
            previous = unit.speaker
        present[d, :n] = 1
    whole = torch.tensor([document.label if first == 0 and n == len(document.units) else -1 for document, first, n in kept])
    closes = (truths[2] == 1).float()
    return Batch(ids_t, new_t, unit_t, before, D, n_units, flags, words, meaning, closes, present, truths[0], truths[1], whole)


@dataclass(frozen=True)
class Read:
    """What the levels say of a batch."""

    shift: Tensor
    """float32 (documents, units)."""
    topic: Tensor
    """(documents, units, classes)."""
    document: Tensor
    """(documents, classes), at each document's last unit."""
    meaning: Tensor
    """(documents, units, W), unit vectors."""
    remembered: Tensor
    """(documents * units, 3, S): document, topic and paragraph after each unit."""


def read(model: TextModel, batch: Batch, hidden: Tensor, dropout: float = 0.0) -> Read:
    """Pool the units of a batch and walk the levels along them."""
    pool, hierarchy = model.hierarchy.pool, model.hierarchy
    rows, unit = hidden[batch.is_new].float(), batch.unit[batch.is_new]
    weights = pool.weights(rows)
    n, D, U = batch.n_documents * batch.n_units, batch.n_documents, batch.n_units
    total = torch.zeros(n, rows.shape[1]).index_add(0, unit, weights * rows)
    weight = torch.zeros(n, 1).index_add(0, unit, weights)
    sentences = pool.sentence(total / weight.clamp_min(1e-6), F.dropout(batch.words.view(n, -1), dropout)).view(D, U, -1)
    meaning = pool.meanings(sentences)
    if dropout:
        sentences = F.dropout(sentences, dropout)
    # 1. all sentences of a document see those before them at once
    units = torch.cat((sentences, batch.flags), dim=-1)
    reach = model.config.sentence_reach
    before = F.pad(units, (0, 0, reach, 0)).unfold(1, reach, 1)[:, :U].transpose(2, 3)  # (D, U, R, S + N_FLAGS)
    places = torch.arange(U, dtype=torch.float32).repeat(D)[:, None]
    contexts = hierarchy.contexts(units.flatten(0, 1), before.flatten(0, 1), places).view(D, U, -1)
    # 2. the levels above, unit by unit
    levels = no_levels(model.config, D)
    shifts, topics, documents, remembered = [], [], [], []
    for u in range(U):
        closed = hierarchy.close_paragraph(levels, batch.closes[:, u, None]) if batch.closes[:, u].any() else levels
        after, logit = hierarchy.advance(closed, sentences[:, u], batch.flags[:, u], contexts[:, u])
        levels = choose(batch.present[:, u, None], after, levels)
        shifts.append(logit)
        topics.append(levels.topic)
        kept = hierarchy.remembered(levels)
        documents.append(kept[0])
        remembered.append(torch.stack(kept, dim=1))
    topic, document = torch.stack(topics, 1), torch.stack(documents, 1)
    heads = model.heads
    return Read(
        torch.stack(shifts, 1),
        heads.topic_logits(topic, contexts, sentences),
        heads.document_logits(document[:, -1], topic[:, -1], levels.context),
        meaning,
        torch.stack(remembered, 1).view(n, 3, -1),
    )


def memory_of(model: TextModel, batch: Batch, found: Read) -> Tensor:
    """What each window's sinks carry: the levels as they were before it. float32 (windows, 3, C)."""
    known = batch.before >= 0
    levels = found.remembered[batch.before.clamp_min(0)].detach() * known[:, None, None]
    return model.hierarchy.memory(*levels.unbind(1))


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
    asked = batch.meaning.abs().sum(-1) > 0
    if asked.sum() > 8:
        mine, its = found.meaning[asked], batch.meaning[asked]
        out["meaning"] = 1 - (mine * its).sum(-1).mean()
        out["likeness"] = (mine @ mine.t() - its @ its.t()).square().mean()
    return out


SHAPES = ((512, 8), (256, 16))
"""Length and number of windows, in turn: long documents, then short ones."""
DEV_BATCHES = 12
"""Drawn once from the dev documents, the same ones at every validation."""
REMEMBER_EVERY = 4
"""In every so many-th step the windows of a document carry what the levels made of those before, which costs a second pass."""


def levels_stage(
    model: TextModel,
    documents: Sequence[Document],
    dev: Sequence[Document],
    targets: Targets,
    steps: int,
    seed: int,
    ranks: Ranks,
    compiled: bool = True,
) -> Stage:
    """Stage two: everything but the word table is trained, in place."""
    device, rng = ranks.device, np.random.default_rng(ranks.seed(seed + 1))
    sampler, dev_sampler, n_sinks = Sampler(documents, rng), Sampler(dev, np.random.default_rng(0)), model.config.n_sinks

    def drawn(source: Sampler, number: int) -> Batch:
        length, n_windows = SHAPES[number % 2]
        return collate(source.draw(length, n_windows), length, n_windows, targets, n_sinks)

    dev_batches = [drawn(dev_sampler, n) for n in range(DEV_BATCHES)] if ranks.is_first else []
    model.to(device)
    matrices, others = optimizers(model.trunk, 4e-4)
    above = [*model.hierarchy.parameters(), *model.heads.parameters()]
    levels = torch.optim.AdamW(above, lr=1.5e-3, betas=(0.9, 0.98), weight_decay=0.02)
    run: Callable[..., Tensor] = torch.compile(model.trunk, dynamic=False) if compiled else model.trunk
    NextTokenLoss.block = staticmethod(torch.compile(block_loss, dynamic=True) if compiled else block_loss)

    def all_losses(batch: Batch, trunk: Callable[..., Tensor], dropout: float, remembers: bool) -> dict[str, Tensor]:
        memory = torch.zeros(len(batch.ids), n_sinks - MARKS, model.config.width, device=device)
        if remembers and (batch.before >= 0).any():
            with torch.no_grad():
                with torch.autocast(device.type, torch.bfloat16):
                    first = trunk(batch.ids, memory)
                with device:
                    found = read(model, batch, first)
            memory = memory_of(model, batch, found)
        with torch.autocast(device.type, torch.bfloat16):
            hidden = trunk(batch.ids, memory)
        is_new = batch.is_new[:, 1:]
        rows, wanted = hidden[:, :-1][is_new].to(torch.bfloat16), batch.ids[:, 1:][is_new]
        with device:  # what is made along the way is made there
            parts = losses(batch, read(model, batch, hidden, dropout))
        return {"language": NextTokenLoss.apply(rows, model.trunk.embedding.weight, wanted), **parts}

    def total(parts: dict[str, Tensor]) -> Tensor:
        return parts["language"] + sum(WEIGHTS[name] * part for name, part in parts.items() if name != "language")

    def step(number: int) -> dict[str, float]:
        batch = on(drawn(sampler, number), device)
        parts = all_losses(batch, run, 0.2, number % REMEMBER_EVERY == 0)
        total(parts).backward()
        return {name: part.item() for name, part in parts.items()} | {TOKENS: float(batch.is_new.sum())}

    def validate() -> dict[str, float]:
        found: dict[str, list[float]] = {}
        for batch in dev_batches:
            parts = all_losses(on(batch, device), model.trunk, 0.0, True)
            for name, part in (parts | {"all": total(parts)}).items():
                found.setdefault(name, []).append(part.item())
        return {name: float(np.mean(values)) for name, values in found.items()}

    steppers: dict[str, torch.optim.Optimizer] = {"matrices": matrices, "others": others, "levels": levels}
    units = {
        "language": "nats per token", "shift": "nats per unit", "topic": "nats per unit", "document": "nats per session",
        "meaning": "1 - cosine with the teacher", "likeness": "squared difference of cosines", "all": "nats, weighted sum",
    }  # fmt: skip
    return Stage("levels", {"model": model}, steppers, step, validate, "all", steps, rng, seed + 1, units=units)


def on(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on a device."""
    moved: dict[str, Any] = {f.name: v.to(device) for f in fields(batch) if isinstance(v := getattr(batch, f.name), Tensor)}
    return replace(batch, **moved)
