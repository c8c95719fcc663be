"""The word table: word pieces by themselves as the teacher sees them, then moved so that a sentence's mean is what the teacher says of it.

Knows bags of pieces and their loss; leaves the pieces to models/words.py. The four labelled chat sets are left out, so that a figure with one
of them left out stays true.
Next: models/training/meanings.py
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from models.tokenizer import WordTokenizer
from models.training.teacher import Teacher
from models.words import WordTable

EPOCHS, BATCH, RATE = 4, 1024, 2e-3
RARE = 1e-3
"""A piece that makes up this share of all text starts with half its length (Arora et al. 2017, smooth inverse frequency)."""
LIKENESS = 5.0
"""Weight of the squared difference of cosines."""


def learn(
    teacher: Teacher,
    units: Sequence[tuple[int, ...]],
    vectors: np.ndarray,
    tokenizer: WordTokenizer,
    width: int,
    tell: Callable[[str], None],
) -> WordTable:
    """units: token ids of texts; vectors: what the teacher says of them, (n, 384)."""
    tell("reading every word piece")
    names, alone = teacher.pieces()
    table = WordTable(names, width)
    said = vectors.astype(np.float32)
    _, directions = np.linalg.eigh(said.T @ said)
    table.basis = torch.from_numpy(directions[:, ::-1][:, :width].copy().astype(np.float32))
    bags = [table.numbers_of(tokenizer.decode(ids)) for ids in units]
    counts = Counter(n for bag in bags for n in bag)
    total = sum(counts.values())
    often = np.array([RARE / (RARE + (counts[n] + 1) / total) for n in range(len(names))], np.float32)
    start = table.taught(alone - alone.mean(0)) * often[:, None]
    rows = torch.nn.Embedding.from_pretrained(torch.from_numpy(start), freeze=False)
    optimizer, wanted = torch.optim.Adam(rows.parameters(), lr=RATE), torch.from_numpy(table.taught(said))
    known = [n for n, bag in enumerate(bags) if bag]
    for epoch in range(EPOCHS):
        random.Random(epoch).shuffle(known)
        optimizer.param_groups[0]["lr"] = RATE * (1 - epoch / EPOCHS)
        losses = []
        for at in range(0, len(known) - BATCH + 1, BATCH):
            chosen = known[at : at + BATCH]
            offsets = np.cumsum([0] + [len(bags[n]) for n in chosen])[:-1]
            flat = torch.tensor([piece for n in chosen for piece in bags[n]])
            mine = F.normalize(F.embedding_bag(flat, rows.weight, torch.from_numpy(offsets), mode="mean"), dim=-1)
            its = wanted[chosen]
            loss = 1 - (mine * its).sum(-1).mean() + LIKENESS * (mine @ mine.t() - its @ its.t()).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        tell(f"word table, pass {epoch + 1} of {EPOCHS}: loss {np.mean(losses):.4f}")
    table.fill(rows.weight.detach())
    return table
