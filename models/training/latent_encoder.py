"""`python -m models.training.latent_encoder LOGS.csv.gz ...`: train the latent encoder on logs whose licence allows its weights to ship.

A variational autoencoder of single lines: mean and one spread per dimension, words and severity back from a sample. Input files have
a column `message` (Nezha's, MIT). Rare templates weigh by the root of their count. Takes about a minute.
Next: models/latent_encoder.py
"""

import csv
import gzip
import sys
from collections import Counter

import numpy as np
import torch
from safetensors.numpy import save_file

from models.latent_encoder import BUCKETS, WEIGHTS, WIDTH, buckets_of
from models.log_model import severity_of
from models.steps import Item
from models.templates import mask

STEPS, BATCH, SEED = 800, 128, 5
KL = 0.02


def templates(paths: list[str]) -> Counter[tuple[str, int]]:
    """Masked text and severity -> lines."""
    found: Counter[tuple[str, int]] = Counter()
    for path in paths:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                text = mask(row["message"])[0].replace("\x00", "<*>")[:256]
                found[text, severity_of(Item(0, row["message"], 0))[0]] += 1
    return found


def main(paths: list[str]) -> None:
    counts = templates(paths)
    kinds = list(counts)
    bags = np.zeros((len(kinds), BUCKETS), np.float32)
    for n, (text, _) in enumerate(kinds):
        np.add.at(bags[n], buckets_of(text) or [0], 1.0)
    torch.manual_seed(SEED)
    shares = torch.tensor([count**0.5 for count in counts.values()])
    words = torch.nn.Parameter(torch.randn(BUCKETS, WIDTH) * 0.5)
    severities = torch.nn.Parameter(torch.randn(8, WIDTH) * 0.1)
    spread = torch.nn.Parameter(torch.full((WIDTH,), -1.0))
    back, level = torch.nn.Linear(WIDTH, BUCKETS), torch.nn.Linear(WIDTH, 8)
    optimizer = torch.optim.Adam([words, severities, spread, *back.parameters(), *level.parameters()], lr=3e-3)
    for step in range(STEPS):
        rows = torch.multinomial(shares, BATCH, replacement=True)
        bag = torch.from_numpy(bags[rows.numpy()])
        bag = bag / bag.sum(1, keepdim=True)
        of = torch.tensor([kinds[row][1] for row in rows.tolist()])
        mean = bag @ words
        mean = mean * WIDTH**0.5 / mean.norm(dim=1, keepdim=True) + severities[of]
        sample = mean + spread.exp() * torch.randn_like(mean)
        lost = -(bag * back(sample).log_softmax(1)).sum(1).mean() + torch.nn.functional.cross_entropy(level(sample), of)
        kl = 0.5 * (mean.square() + (2 * spread).exp() - 1 - 2 * spread).sum(1).mean()
        optimizer.zero_grad()
        (lost + KL * kl).backward()
        optimizer.step()
        if step % 200 == 0:
            print(
                f"step {step} reconstruction {float(lost.detach()):.3f} nats, kl {float(kl.detach()):.2f} nats, {len(kinds)} templates",
                file=sys.stderr,
            )
    save_file({"words": words.detach().half().numpy(), "severities": severities.detach().half().numpy()}, WEIGHTS)


if __name__ == "__main__":
    main(sys.argv[1:])
