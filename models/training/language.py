"""Stage one: the trunk learns to predict the next token.

Knows crops, the loss in blocks and the optimizers; leaves the loop to loop.py, the levels above to multitask.py.
Next: models/training/multitask.py
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.tokenizer import CHAT, TEXT, sinks
from models.training.loop import TOKENS, Stage
from models.training.ranks import Ranks
from models.trunk import Trunk

LOSS_ROWS = 1024
"""Rows of logits held at a time: all of them at once (8192 x 4096 floats) cost more in page faults than in arithmetic."""


def block_loss(rows: Tensor, table: Tensor, wanted: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Summed loss of a block of rows, and the gradient of the mean over n rows at its logits."""
    logits = (rows @ table.t()).float()
    places = torch.arange(table.shape[0], device=table.device)
    log_p = logits - torch.logsumexp(logits, dim=-1, keepdim=True)
    hit = places == wanted  # (rows, V)
    return -(log_p * hit).sum(), ((log_p.exp() - hit.float()) / n).to(rows.dtype)


class NextTokenLoss(torch.autograd.Function):
    """Mean cross-entropy of hidden states against their next tokens; the gradient is made in the same pass, block by block."""

    block = staticmethod(block_loss)

    @staticmethod
    def forward(ctx, hidden: Tensor, embedding: Tensor, targets: Tensor) -> Tensor:  # type: ignore[override]
        """hidden: (N, C), embedding: (V, C), targets: int64 (N,)."""
        n = hidden.shape[0]
        table = embedding.to(hidden.dtype)
        d_hidden, d_embedding, total = torch.empty_like(hidden), torch.zeros_like(embedding), torch.zeros((), device=hidden.device)
        for i in range(0, n, LOSS_ROWS):
            rows, wanted = hidden[i : i + LOSS_ROWS], targets[i : i + LOSS_ROWS, None]
            loss, gradient = NextTokenLoss.block(rows, table, wanted, n)
            total += loss
            d_hidden[i : i + LOSS_ROWS] = gradient @ table
            d_embedding += (gradient.t() @ rows).float()
        ctx.save_for_backward(d_hidden, d_embedding)
        return total / n

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        d_hidden, d_embedding = ctx.saved_tensors
        return d_hidden * grad, d_embedding * grad, None


def crops(
    streams: dict[int, np.ndarray],
    batch: int,
    length: int,
    chat_share: float,
    rng: np.random.Generator,
    n_sinks: int = ModelConfig.n_sinks,
) -> Tensor:
    """Random crops behind their sinks, int64 (batch, length + 1)."""
    rows = []
    for _ in range(batch):
        mode = CHAT if rng.random() < chat_share else TEXT
        stream = streams[mode]
        start = int(rng.integers(0, len(stream) - length))
        rows.append(np.concatenate([sinks(mode, n_sinks), stream[start : start + length + 1 - n_sinks].astype(np.int64)]))
    return torch.from_numpy(np.stack(rows).astype(np.int64))


def optimizers(model: nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the trunk's matrices, AdamW for the rest."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "blocks." in n]
    others = [p for n, p in model.named_parameters() if not (p.ndim == 2 and "blocks." in n)]
    return [
        torch.optim.Muon(matrices, lr=rate * 3, momentum=0.95, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate * 2, betas=(0.9, 0.95), weight_decay=0.0),
    ]


@torch.no_grad()
def nats_per_token(trunk: Trunk, streams: dict[int, np.ndarray], mode: int, length: int, limit: int) -> tuple[float, int]:
    """Mean loss over `limit` crops spread evenly over a stream, and the tokens it speaks of."""
    total, count, n = 0.0, 0, trunk.config.n_sinks
    stream, device = streams[mode], trunk.embedding.weight.device
    for start in range(0, len(stream) - length, max(length, (len(stream) - length) // limit)):
        row = np.concatenate([sinks(mode, n), stream[start : start + length - n]]).astype(np.int64)
        ids = torch.from_numpy(row)[None].to(device)
        with torch.autocast(device.type, torch.bfloat16):
            hidden = trunk(ids[:, :-1])
        losses = nn.functional.cross_entropy(trunk.logits(hidden.float())[0, n - 1 :], ids[0, n:], reduction="sum")
        total, count = total + losses.item(), count + ids.shape[1] - n
    return total / max(count, 1), count


def fresh_trunk(config: ModelConfig, seed: int) -> Trunk:
    """A trunk with the weights training starts from."""
    torch.manual_seed(seed)
    trunk = Trunk(config)
    for name, p in trunk.named_parameters():
        if p.ndim == 2:
            scale = 0.02 if "embedding" in name or ("output" not in name and "down" not in name) else 0.02 / math.sqrt(2 * config.n_layers)
            nn.init.normal_(p, std=scale)
    return trunk


def language_stage(
    trunk: Trunk,
    train: dict[int, np.ndarray],
    dev: dict[int, np.ndarray],
    steps: int,
    seed: int,
    ranks: Ranks,
    batch: int = 8,
    compiled: bool = True,
) -> Stage:
    """Stage one, in place on `trunk`. `batch`: windows of full length that a step reads, on each rank."""
    config, device = trunk.config, ranks.device
    rng = np.random.default_rng(ranks.seed(seed))
    trunk.to(device)
    run: Callable[[Tensor], Tensor] = torch.compile(trunk, dynamic=False) if compiled else trunk  # halves the time per step
    NextTokenLoss.block = staticmethod(torch.compile(block_loss, dynamic=False) if compiled else block_loss)
    n = config.n_sinks

    def step(number: int) -> dict[str, float]:
        length = config.max_positions if number % 4 == 0 else config.max_positions // 2  # short crops are cheaper and teach most
        ids = crops(train, batch * config.max_positions // length, length, 0.2, rng, n).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            hidden = run(ids[:, :-1])[:, n - 1 :].to(torch.bfloat16)
        loss = NextTokenLoss.apply(hidden.flatten(0, 1), trunk.embedding.weight, ids[:, n:].flatten())
        loss.backward()
        return {"text and chat": loss.item(), TOKENS: ids[:, 1:].numel()}

    modes = (("text", TEXT), ("chat", CHAT))

    def validate() -> dict[str, float]:
        return {name: nats_per_token(trunk, dev, mode, config.max_positions, 32)[0] for name, mode in modes}

    matrices, others = optimizers(trunk, 1e-3)
    units = dict.fromkeys(("text and chat", "text", "chat"), "nats per token")
    return Stage(
        "language", {"trunk": trunk}, {"matrices": matrices, "others": others}, step, validate, "text", steps, rng, seed, units=units
    )
