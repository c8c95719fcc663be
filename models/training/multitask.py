"""Stage two: sentence meaning, topic shifts and labels on top of the trunk, which goes on predicting the next token.

Knows batches of documents as windows and units, and the losses; leaves which documents are drawn to sampling.py, thresholds and
temperatures to calibrate.py.
Next: models/training/calibrate.py
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.checkpoint import TextModel
from models.hierarchy import N_FLAGS, choose, no_levels, unit_flags
from models.tokenizer import CHAT, TEXT
from models.training.data import Document
from models.training.language import NextTokenLoss, block_loss, optimizers, sinks, warm_then_fall
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
    shifts, topics, documents, paragraphs = [], [], [], []
    for u in range(U):
        closed = hierarchy.close_paragraph(levels, batch.closes[:, u, None]) if batch.closes[:, u].any() else levels
        after, logit = hierarchy.advance(closed, sentences[:, u], batch.flags[:, u], contexts[:, u])
        levels = choose(batch.present[:, u, None], after, levels)
        shifts.append(logit)
        topics.append(levels.topic)
        documents.append(hierarchy.document(levels))
        paragraphs.append(levels.paragraph_sum / levels.paragraph_weight.clamp_min(1e-6))
    topic, document = torch.stack(topics, 1), torch.stack(documents, 1)
    remembered = torch.stack((document, topic, torch.stack(paragraphs, 1)), dim=2).view(n, 3, -1)
    heads = model.heads
    return Read(
        torch.stack(shifts, 1),
        heads.topic_logits(topic, contexts, sentences),
        heads.document_logits(document[:, -1], topic[:, -1], levels.context),
        meaning,
        remembered,
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


def train_levels(
    model: TextModel,
    documents: Sequence[Document],
    targets: Targets,
    n_steps: int,
    seed: int,
    tell: Callable[[str], None],
    compiled: bool = True,
    trunk_rate: float = 4e-4,
    above_rate: float = 1.5e-3,
    shares: dict[str, float] | None = None,
) -> None:
    """Train everything, in place."""
    torch.manual_seed(seed + 1)
    sampler = Sampler(documents, seed + 1, shares)
    trunk_steps = optimizers(model.trunk, trunk_rate)
    above = [*model.hierarchy.parameters(), *model.heads.parameters()]
    steps = [*trunk_steps, torch.optim.AdamW(above, lr=above_rate, betas=(0.9, 0.98), weight_decay=0.02)]
    rates = [o.param_groups[0]["lr"] for o in steps]
    run: Callable[..., Tensor] = torch.compile(model.trunk, dynamic=False) if compiled else model.trunk
    if compiled:
        NextTokenLoss.block = staticmethod(torch.compile(block_loss, dynamic=True))
    means: dict[str, float] = {}
    model.train()
    n_sinks = model.config.n_sinks
    nothing = {length: torch.zeros(n, n_sinks - 2, model.config.width) for length, n in ((512, 8), (256, 16))}
    began = time.time()
    for step in range(n_steps):
        length, n_windows = (512, 8) if step % 2 == 0 else (256, 16)
        batch = collate(sampler.draw(length, n_windows), length, n_windows, targets, n_sinks)
        memory = nothing[length]
        if step % 4 == 0 and (batch.before >= 0).any():
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                first = run(batch.ids, memory)
            with torch.no_grad():
                found = read(model, batch, first)
            memory = memory_of(model, batch, found)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = run(batch.ids, memory)
        target_is_new = batch.is_new[:, 1:]
        language = NextTokenLoss.apply(
            hidden[:, :-1][target_is_new].to(torch.bfloat16), model.trunk.embedding.weight, batch.ids[:, 1:][target_is_new]
        )
        parts = losses(batch, read(model, batch, hidden, dropout=0.15))
        total = language + sum(WEIGHTS[name] * part for name, part in parts.items())
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, rate in zip(steps, rates):
            optimizer.param_groups[0]["lr"] = rate * warm_then_fall(step / n_steps)
            optimizer.step()
            optimizer.zero_grad()
        for name, part in {"language": language, **parts}.items():
            means[name] = 0.95 * means.get(name, part.item()) + 0.05 * part.item()
        if (step + 1) % 25 == 0:
            tell(f"levels step {step + 1} of {n_steps} {(time.time() - began) / (step + 1):.2f} s a step " + " ".join(f"{k} {v:.3f}" for k, v in means.items()))
    model.eval()
