"""Ranks: the processes that train one model together, one a device, and what they tell each other.

Knows torch.distributed; leaves what a gradient is of to the stages. A single process is one rank and talks to nobody.
Gradients are averaged by one all-reduce after backward: it works under any autograd function, and the stop request of one rank travels with it.
Next: models/training/loop.py
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from models.config import ModelConfigError

CPU = torch.device("cpu")
PATIENCE = timedelta(hours=2)
"""How long ranks wait for the first one, which alone validates and writes."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together."""

    device: torch.device = CPU
    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        """The one that validates, writes and speaks."""
        return self.rank == 0

    def seed(self, seed: int) -> list[int]:
        """Entropy of this rank's data: the same for the same seed and rank."""
        return [seed, self.rank]

    def average(self, parameters: Sequence[nn.Parameter], stop: bool) -> bool:
        """Replace every gradient by its mean over the ranks; True where any rank wants to stop. A rank's missing gradient counts as 0."""
        if self.world == 1:
            return stop
        has = [p.grad is not None for p in parameters]
        flat = torch.cat(
            [(torch.zeros_like(p) if p.grad is None else p.grad).float().flatten() for p in parameters]
            + [torch.tensor([*map(float, has), float(stop)], device=self.device)]
        )
        dist.all_reduce(flat)
        met = flat[-len(parameters) - 1 :].tolist()
        at = 0
        for p, count in zip(parameters, met):
            if count:  # nowhere a gradient: the optimizer leaves the parameter alone, as it does in one process
                p.grad = (flat[at : at + p.numel()] / self.world).view_as(p).to(p.dtype)
            at += p.numel()
        return met[-1] > 0

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Give the first rank's values to all."""
        if self.world > 1:
            for t in tensors:
                dist.broadcast(t.detach(), 0)

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in order."""
        values: list[Any] = [value]
        if self.world > 1:
            values = [None] * self.world
            dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.world > 1:
            dist.barrier()


def join(device: str, environ: Mapping[str, str], init_method: str = "env://") -> Ranks:
    """Find the device (`cpu`, `cuda` or `auto`) and, where torchrun started this process, the other ranks."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelConfigError("--device cuda: torch sees no CUDA device; wanted one, or --device cpu")
    kind = "cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu"
    if "RANK" not in environ:
        return Ranks(torch.device(kind))
    rank, world = int(environ["RANK"]), int(environ["WORLD_SIZE"])
    here = torch.device(kind, int(environ.get("LOCAL_RANK", rank))) if kind == "cuda" else torch.device(kind)
    if kind == "cuda":
        torch.cuda.set_device(here)
    dist.init_process_group("nccl" if kind == "cuda" else "gloo", init_method, PATIENCE, world, rank)
    return Ranks(here, rank, world)


def leave(ranks: Ranks) -> None:
    if ranks.world > 1:
        dist.destroy_process_group()
