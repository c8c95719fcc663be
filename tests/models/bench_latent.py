"""`python -m tests.models.bench_latent`: what the trajectory net costs a line in float32, bfloat16 and INT8, and how far their answers are from float32's.

Blocks of 64 lines, as the model judges them. Rounds of the three take turns, so that what else the machine does meets all; the least time of each counts.
"""

import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from models import latent_dynamics
from models.latent_dynamics import WIDTH, Moves
from models.latent_model import BLOCK

ROUNDS, CALLS = 60, 20


def moves_of(seed: int) -> Moves:
    chance = torch.Generator().manual_seed(seed)
    start, way, to = (torch.randn(BLOCK, WIDTH, generator=chance) for _ in range(3))
    return Moves(start, way, torch.rand(BLOCK, 1, generator=chance), to)


def as_layers(weights: dict[str, Tensor]) -> nn.Sequential:
    """The same net as layers, which is what can be made INT8."""
    parts: list[nn.Module] = []
    for name in ("in", "mid", "out"):
        layer = nn.Linear(weights[name].shape[1] - 1, weights[name].shape[0])
        layer.weight.data, layer.bias.data = weights[name][:, :-1].clone(), weights[name][:, -1].clone()
        parts += [layer, nn.ReLU()]
    return nn.Sequential(*parts[:-1]).eval()


def scores_of(net: nn.Module, moves: Moves) -> Tensor:
    """latent_dynamics.scores of the rectified flow, with this net."""
    whole, total = moves.to - moves.start, torch.zeros(BLOCK)
    for place in latent_dynamics.SEEN_AT:
        at = torch.full((BLOCK, 1), place)
        out = net(torch.cat([moves.start + at * whole, moves.start, moves.way, moves.gap, at], 1))
        total = total + 0.5 * (out.float() - whole).square().sum(1)
    return total


class Bfloat16(nn.Module):
    def __init__(self, net: nn.Sequential):
        super().__init__()
        self.net = net.to(torch.bfloat16)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.net(inputs.to(torch.bfloat16))
        return found


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    weights, moments = latent_dynamics.new_weights("rectified", 0), dict[str, Tensor]()
    for seed in range(200):
        weights, moments = latent_dynamics.learned("rectified", weights, moments, moves_of(seed % 4), 3, seed)
    moves = moves_of(1)
    int8 = torch.ao.quantization.quantize_dynamic(as_layers(weights), {nn.Linear}, dtype=torch.qint8)
    layers = as_layers(weights)
    brain = Bfloat16(as_layers(weights))
    ways: dict[str, Callable[[], Tensor]] = {
        "float32": lambda: latent_dynamics.scores("rectified", weights, moves),
        "float32, as layers": lambda: scores_of(layers, moves),
        "bfloat16": lambda: scores_of(brain, moves),
        "INT8, dynamic": lambda: scores_of(int8, moves),
    }
    best = dict.fromkeys(ways, float("inf"))
    with torch.inference_mode():
        exact = ways["float32"]()
        for _ in range(ROUNDS):
            for name, way in ways.items():
                began = time.process_time()
                for _ in range(CALLS):
                    way()
                best[name] = min(best[name], (time.process_time() - began) / CALLS)
        for name, way in ways.items():
            off = float(((way() - exact).abs() / exact.abs().clamp_min(1.0)).max())
            print(f"{name:20} {1e6 * best[name] / BLOCK:6.2f} us a line   largest relative error {off:.4f}")


if __name__ == "__main__":
    main()
