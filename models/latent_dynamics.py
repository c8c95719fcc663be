"""How a session moves through latent space: three ways to say how surprising the next line's latent is, given where the session was.

`sde`: prior drift and diffusion learned, the posterior a bridge to the line that came; the surprise is the likelihood of the bridge's
Euler-Maruyama steps under the prior. `rectified`: a velocity net on the straight way from one line to the next, in place of a
solver; the surprise is how far the velocity misses. `flow`: affine coupling layers conditioned on the session, an exact density.
Where the session was: the last line's latent, and the lines before it faded. All are a few small matrices, learned by Adam while
lines stream in; the same lessons give the same bits. Leaves encoding to models/latent_encoder.py, and what a score is worth to
models/latent_views.py. Sources: Li et al. 2020 (latent SDE), Liu et al. 2022 (rectified flow), Dinh et al. 2017 (affine coupling).
Next: models/latent_model.py
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear

from models.latent_encoder import WIDTH

HIDDEN = 64
KINDS = ("rectified", "sde", "flow")
SEEN_AT = (0.25, 0.75)
"""Places on the way from one latent to the next where drift and velocity are compared with it."""
COUPLINGS = 4
LEAST_SPREAD = 0.05
NOISE = 0.05
"""Added to latents while learning: there are only so many templates, and a density on points is none."""
RATE, STEADY, SQUARES = 2e-3, 0.9, 0.99

Weights = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Moves:
    """Lines as moves through latent space, float32, a row each."""

    start: Tensor
    """(n, WIDTH) latent of the line before, 0 at a first line."""
    way: Tensor
    """(n, WIDTH) of the lines before that, faded."""
    gap: Tensor
    """(n, 1) logarithm of one plus the seconds between."""
    to: Tensor
    """(n, WIDTH) latent of the line."""

    def columns(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.start, self.way, self.gap, self.to


def new_weights(kind: str, seed: int) -> dict[str, Tensor]:
    """Small random matrices; Adam's moments beside them."""
    chance = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, int]] = {}
    if kind == "flow":
        for n in range(COUPLINGS):
            shapes |= {f"{n}.in": (HIDDEN, WIDTH // 2 + 2 * WIDTH + 2), f"{n}.out": (WIDTH, HIDDEN + 1)}
    else:
        out = 2 * WIDTH if kind == "sde" else WIDTH
        shapes = {"in": (HIDDEN, 3 * WIDTH + 3), "mid": (HIDDEN, HIDDEN + 1), "out": (out, HIDDEN + 1)}
    weights = {
        name: torch.randn(shape, generator=chance) * (0.3 if name.endswith("out") else 1.0) / shape[1] ** 0.5
        for name, shape in shapes.items()
    }
    return weights


def scores(kind: str, weights: Weights, moves: Moves) -> Tensor:
    """Surprise of each move, at least 0; only the order counts. float32 (n,)"""
    return (_flow if kind == "flow" else _on_the_way)(kind, weights, moves)


def learned(
    kind: str, weights: Weights, moments: Weights, moves: Moves, steps: int, seed: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights and moments after some steps of Adam on batches drawn from these moves."""
    chance = torch.Generator().manual_seed(seed)
    now = {name: value.clone().requires_grad_(True) for name, value in weights.items()}
    kept = {name: value.clone() for name, value in moments.items()}
    for _ in range(steps):
        rows = torch.randint(len(moves.to), (min(128, len(moves.to)),), generator=chance)
        noisy = moves.to[rows] + NOISE * torch.randn(len(rows), WIDTH, generator=chance)
        batch = Moves(moves.start[rows], moves.way[rows], moves.gap[rows], noisy)
        at = torch.rand(len(rows), 1, generator=chance)
        loss = (_flow(kind, now, batch) if kind == "flow" else _missed(kind, now, batch, at)).mean()
        gradients = torch.autograd.grad(loss, list(now.values()))
        kept["steps"] = kept.get("steps", torch.zeros(1)) + 1
        count = float(kept["steps"])
        with torch.no_grad():
            for (name, value), gradient in zip(now.items(), gradients, strict=True):
                gradient = gradient.clamp(-1.0, 1.0)
                mean = kept[f"{name}.mean"] = STEADY * kept.get(f"{name}.mean", torch.zeros_like(value)) + (1 - STEADY) * gradient
                square = kept[f"{name}.square"] = (
                    SQUARES * kept.get(f"{name}.square", torch.zeros_like(value)) + (1 - SQUARES) * gradient**2
                )
                value -= RATE * (mean / (1 - STEADY**count)) / ((square / (1 - SQUARES**count)).sqrt() + 1e-8)
    return {name: value.detach() for name, value in now.items()}, kept


def _net(weights: Weights, inputs: Tensor) -> Tensor:
    """Two hidden layers; the last column of each matrix is its bias."""
    hidden = torch.relu(linear(inputs, weights["in"][:, :-1], weights["in"][:, -1]))
    hidden = torch.relu(linear(hidden, weights["mid"][:, :-1], weights["mid"][:, -1]))
    return linear(hidden, weights["out"][:, :-1], weights["out"][:, -1])


def _missed(kind: str, weights: Weights, moves: Moves, at: Tensor) -> Tensor:
    """What the net misses at one place of the straight way, at: 0..1, (n, 1). Rectified: square of the velocity's error, halved.
    SDE: negative log-likelihood of a step of the bridge, whose mean way is straight."""
    whole = moves.to - moves.start
    out = _net(weights, _inputs(moves, at, whole))
    if kind == "rectified":
        return 0.5 * (out - whole).square().sum(1)
    spread = LEAST_SPREAD + torch.nn.functional.softplus(out[:, WIDTH:])
    return (0.5 * ((out[:, :WIDTH] - whole) / spread).square() + (spread / LEAST_SPREAD).log()).sum(1)


def _inputs(moves: Moves, at: Tensor, whole: Tensor) -> Tensor:
    return torch.cat([moves.start + at * whole, moves.start, moves.way, moves.gap, at], 1)


def _on_the_way(kind: str, weights: Weights, moves: Moves) -> Tensor:
    n = len(moves.to)
    places = torch.tensor(SEEN_AT).repeat_interleave(n)[:, None]
    twice = Moves(*[torch.cat([part] * len(SEEN_AT)) for part in moves.columns()])
    return _missed(kind, weights, twice, places).view(len(SEEN_AT), n).sum(0)


def _flow(kind: str, weights: Weights, moves: Moves) -> Tensor:
    """Negative log-likelihood of the latent, above what the least spread everywhere would give."""
    left, right = moves.to[:, : WIDTH // 2], moves.to[:, WIDTH // 2 :]
    given = torch.cat([moves.start, moves.way, moves.gap], 1)
    log_scale = torch.zeros(len(left))
    for n in range(COUPLINGS):
        first, last = weights[f"{n}.in"], weights[f"{n}.out"]
        hidden = torch.relu(linear(torch.cat([left, given], 1), first[:, :-1], first[:, -1]))
        shift, scale = linear(hidden, last[:, :-1], last[:, -1]).chunk(2, 1)
        scale = 2.0 * torch.tanh(scale / 2.0)
        left, right = right * scale.exp() + shift, left
        log_scale = log_scale + scale.sum(1)
    energy = 0.5 * (left.square().sum(1) + right.square().sum(1)) - log_scale
    return energy + COUPLINGS * WIDTH  # at least 0: no scale is above e^2 for half of the width
