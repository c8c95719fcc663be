"""A stage small enough for tests: a two-layer regression with dropout, Muon and AdamW, data drawn from the stage's generator."""

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.training.loop import TOKENS, Stage
from models.training.ranks import Ranks

WIDTH = 6


def small_stage(
    ranks: Ranks | None = None,
    steps: int = 20,
    seed: int = 3,
    batch: int = 4,
    dropout: float = 0.2,
    before: Callable[[int], None] = lambda n: None,
    joined: int = 1,
) -> Stage:
    """`before(n)` is called in front of step n. `joined`: draw the batches of so many ranks and train on all of them."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Dropout(dropout), nn.Linear(WIDTH, 1))
    unused = nn.Linear(2, 2)  # never gets a gradient
    ranks = ranks or Ranks()
    model.to(ranks.device)
    rngs = [np.random.default_rng(ranks.seed(seed))] if joined == 1 else [np.random.default_rng([seed, r]) for r in range(joined)]
    wanted = torch.linspace(-1, 1, WIDTH, device=ranks.device)

    def step(n: int) -> dict[str, float]:
        before(n)
        x = torch.from_numpy(np.concatenate([rng.normal(size=(batch, WIDTH)) for rng in rngs]).astype(np.float32)).to(ranks.device)
        loss = ((model(x)[:, 0] - x @ wanted) ** 2).mean()
        loss.backward()
        return {"square": loss.item(), TOKENS: float(len(x))}

    def validate() -> dict[str, float]:
        x = torch.eye(WIDTH, device=ranks.device)
        return {"square": ((model(x)[:, 0] - x @ wanted) ** 2).mean().item()}

    matrices = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in [*model.parameters(), *unused.parameters()] if p.ndim == 1 or p is unused.weight]
    optimizers: dict[str, torch.optim.Optimizer] = {
        "matrices": torch.optim.Muon(matrices, lr=0.05),
        "others": torch.optim.AdamW(others, lr=0.02),
    }
    return Stage(
        "small", {"model": model, "unused": unused}, optimizers, step, validate, "square", steps, rngs[0], seed,
        units={"square": "squared units"}, validate_every=5, save_every=4,
    )  # fmt: skip


def weights(stage: Stage) -> dict[str, torch.Tensor]:
    return {f"{m}.{k}": v.clone() for m, module in stage.modules.items() for k, v in module.state_dict().items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def ask_at(step: int, number: int = signal.SIGTERM) -> Callable[[int], None]:
    """Send this process a signal in front of a step."""
    return lambda n: signal.raise_signal(number) if n == step else None


def files(folder: Path) -> dict[str, bytes]:
    """Everything under a folder, pictures left out."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix != ".png"}
