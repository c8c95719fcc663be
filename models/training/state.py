"""The state of a stage as tensors and JSON: modules, optimizers, random generators. Nothing is pickled.

Knows how torch and numpy keep their state; leaves files to rolling.py.
Next: models/training/rolling.py
"""

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from models.sealed import CheckpointError


class Stateful(Protocol):
    """What a stage must show to be saved."""

    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    rng: np.random.Generator


def module_tensors(modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    """Weights by module and name, on the CPU."""
    return {f"{m}/{name}": _kept(t) for m, module in modules.items() for name, t in module.state_dict().items()}


def load_modules(modules: dict[str, nn.Module], tensors: dict[str, Tensor]) -> None:
    """Put weights back. Raises CheckpointError where they are of another shape."""
    for m, module in modules.items():
        mine = {k.removeprefix(f"{m}/"): t for k, t in tensors.items() if k.startswith(f"{m}/")}
        try:
            module.load_state_dict(mine)
        except RuntimeError as problem:
            raise CheckpointError(f"saved weights do not fit module {m!r}: {problem}; wanted those of the same settings") from problem


def optimizer_state(optimizers: dict[str, torch.optim.Optimizer]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What optimizers gathered for each parameter (moments, momentum, step counts). Their rates are the schedule's and not kept."""
    tensors, plain = {}, {}
    for o, optimizer in optimizers.items():
        for n, kept in optimizer.state_dict()["state"].items():
            for key, value in kept.items():
                if isinstance(value, Tensor):
                    tensors[f"{o}/{n}/{key}"] = _kept(value)
                else:
                    plain[f"{o}/{n}/{key}"] = value
    return tensors, plain


def load_optimizers(optimizers: dict[str, torch.optim.Optimizer], tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
    for o, optimizer in optimizers.items():
        state: dict[int, dict[str, Any]] = {}
        for name, value in (tensors | plain).items():
            owner, _, rest = name.partition("/")
            if owner == o:
                n, _, key = rest.partition("/")
                state.setdefault(int(n), {})[key] = value
        sizes = [p.shape for group in optimizer.param_groups for p in group["params"]]
        for n, kept in state.items():
            for key, value in kept.items():
                if n >= len(sizes) or (isinstance(value, Tensor) and value.ndim and value.shape != sizes[n]):
                    raise CheckpointError(
                        f"saved state {key!r} of optimizer {o!r} does not fit its parameter {n}; wanted the same settings"
                    )
        optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def random_state(rng: np.random.Generator, device: torch.device) -> dict[str, Any]:
    """This process's generators, as JSON."""
    cuda = bytes(torch.cuda.get_rng_state(device).tolist()).hex() if device.type == "cuda" else ""
    return {"numpy": rng.bit_generator.state, "torch": bytes(torch.get_rng_state().tolist()).hex(), "cuda": cuda}


def load_random(rng: np.random.Generator, device: torch.device, state: dict[str, Any]) -> None:
    rng.bit_generator.state = state["numpy"]
    torch.set_rng_state(torch.tensor(list(bytes.fromhex(state["torch"])), dtype=torch.uint8))
    if device.type == "cuda" and state["cuda"]:
        torch.cuda.set_rng_state(torch.tensor(list(bytes.fromhex(state["cuda"])), dtype=torch.uint8), device)


def _kept(t: Tensor) -> Tensor:
    return t.detach().cpu().contiguous().clone()
