"""What an update must not do: make weights that are not finite, or known lines more surprising.

Knows the Learnable protocol; leaves what follows from a refusal to models/learner.py.
"""

from collections.abc import Sequence

import torch

from models.learnable import Learnable, Lesson

GROWTH = 100.0
"""Times that weights may grow in one update once they are not zero; more is divergence. Weights are float32; float64 are sums over
lines, which grow with them."""


def diverged(before: Learnable, after: Learnable) -> str:
    """What is wrong with the new weights; empty where nothing is."""
    old = before.tensors()
    for name, tensor in after.tensors().items():
        if not tensor.is_floating_point():
            continue
        if not bool(torch.isfinite(tensor).all()):
            return f"weights {name} are not finite"
        was = float(old[name].double().norm()) if name in old and tensor.dtype == torch.float32 else 0.0
        if (size := float(tensor.double().norm())) > GROWTH * was > 0:
            return f"weights {name} grew from {was:.3g} to {size:.3g} in one update"
    return ""


def mean_surprise(model: Learnable, lessons: Sequence[Lesson]) -> float:
    """0 to 1; 0 where there is nothing to judge."""
    return sum(model.surprise(lessons)) / len(lessons) if lessons else 0.0
