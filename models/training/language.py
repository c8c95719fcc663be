"""Stage one: the trunk learns to predict the next token.

Knows crops, the loss in blocks and the optimizers; leaves the levels above to multitask.py.
Next: models/training/multitask.py
"""

import math
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from models.config import MARKS, ModelConfig
from models.tokenizer import BOS, CHAT, SINK, TEXT
from models.trunk import Trunk

LOSS_ROWS = 1024
"""Rows of logits held at a time: all of them at once (8192 x 4096 floats) cost more in page faults than in arithmetic."""


def block_loss(rows: Tensor, table: Tensor, wanted: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Summed loss of a block of rows, and the gradient of the mean over n rows at its logits."""
    logits = (rows @ table.t()).float()
    places = torch.arange(table.shape[0])
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
        d_hidden, d_embedding, total = torch.empty_like(hidden), torch.zeros_like(embedding), 0.0
        for i in range(0, n, LOSS_ROWS):
            rows, wanted = hidden[i : i + LOSS_ROWS], targets[i : i + LOSS_ROWS, None]
            loss, gradient = NextTokenLoss.block(rows, table, wanted, n)
            total += loss.item()
            d_hidden[i : i + LOSS_ROWS] = gradient @ table
            d_embedding += (gradient.t() @ rows).float()
        ctx.save_for_backward(d_hidden, d_embedding)
        return torch.tensor(total / n)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        d_hidden, d_embedding = ctx.saved_tensors
        return d_hidden * grad, d_embedding * grad, None


def sinks(mode: int, n_sinks: int) -> list[int]:
    """What stands in front of every window."""
    return [BOS, mode, *[SINK] * (n_sinks - MARKS)]


def crops(streams: dict[int, np.ndarray], batch: int, length: int, chat_share: float, rng: np.random.Generator, n_sinks: int) -> Tensor:
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


def warm_then_fall(done: float) -> float:
    """Learning rate factor at a share of the time: up for 3 %, level, down over the last 40 %."""
    return min(1.0, done / 0.03 + 0.02, max(0.02, (1 - done) / 0.4))


@torch.no_grad()
def nats_per_token(trunk: Trunk, streams: dict[int, np.ndarray], mode: int, length: int, limit: int) -> tuple[float, int]:
    """Mean loss over the first `limit` crops of a stream, side by side, and the tokens it speaks of."""
    total, count, n = 0.0, 0, trunk.config.n_sinks
    stream = streams[mode]
    for start in range(0, min(len(stream) - length, limit * length), length):
        ids = torch.tensor(np.concatenate([sinks(mode, n), stream[start : start + length - n]]).astype(np.int64))[None]
        with torch.autocast("cpu", torch.bfloat16):
            hidden = trunk(ids[:, :-1])
        losses = nn.functional.cross_entropy(trunk.logits(hidden.float())[0, n - 1 :], ids[0, n:], reduction="sum")
        total, count = total + losses.item(), count + ids.shape[1] - n
    return total / max(count, 1), count


def pretrain(
    config: ModelConfig,
    train: dict[int, np.ndarray],
    dev: dict[int, np.ndarray],
    minutes: float,
    seed: int,
    tell: Callable[[str], None],
    save: Callable[[Trunk], None],
    batch: int = 8,
    compiled: bool = True,
) -> Trunk:
    """Train a trunk for `minutes` of one core's time. The steps that fit depend on the machine; the order of data only on the seed."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    trunk = Trunk(config)
    for name, p in trunk.named_parameters():
        if p.ndim == 2:
            scale = 0.02 if "embedding" in name or ("output" not in name and "down" not in name) else 0.02 / math.sqrt(2 * config.n_layers)
            nn.init.normal_(p, std=scale)
    steps = optimizers(trunk, 1e-3)
    rates = [o.param_groups[0]["lr"] for o in steps]
    run: Callable[[Tensor], Tensor] = torch.compile(trunk, dynamic=False) if compiled else trunk  # halves the time per step
    if compiled:
        NextTokenLoss.block = staticmethod(torch.compile(block_loss, dynamic=False))
    budget = minutes * 60 * torch.get_num_threads()
    began = time.process_time()
    step, mean = 0, 0.0
    while (done := (time.process_time() - began) / budget) < 1:
        length = config.max_positions if step % 4 == 0 else config.max_positions // 2  # short crops are cheaper and teach most
        ids = crops(train, batch * config.max_positions // length, length, 0.2, rng, config.n_sinks)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = run(ids[:, :-1])[:, config.n_sinks - 1 :].to(torch.bfloat16)
        loss = NextTokenLoss.apply(hidden.flatten(0, 1), trunk.embedding.weight, ids[:, config.n_sinks :].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(trunk.parameters(), 1.0)
        for optimizer, rate in zip(steps, rates):
            optimizer.param_groups[0]["lr"] = rate * warm_then_fall(done)
            optimizer.step()
            optimizer.zero_grad()
        mean = loss.item() if step == 0 else 0.97 * mean + 0.03 * loss.item()
        step += 1
        if step % 100 == 0:
            dev_nats, _ = nats_per_token(trunk, dev, TEXT, 512, 16)
            tell(f"pretrain {done:5.1%} step {step} tokens {step * batch * 512:,} loss {mean:.3f} dev text {dev_nats:.3f}")
            save(trunk)
    save(trunk)
    return trunk
