"""The loop that trains every stage: steps, schedule, clipping, validation, checkpoints, milestones, curves, progress.

Knows when what happens; leaves losses and batches to the stages (language.py, multitask.py), files to rolling.py and curves.py, other processes
to ranks.py. The same seed, settings and data give the same run, step by step; a run that was stopped and resumed is that same run to the bit.
Next: models/training/language.py
"""

import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models.training import curves, rolling, state
from models.training.curves import Curves
from models.training.progress import Teller
from models.training.ranks import Ranks
from models.training.rolling import Saved

TOKENS = "tokens"
"""The name under which a step tells how many tokens it read; not a loss."""


class StoppedError(Exception):
    """A signal ended the run; its state is saved."""


class DivergedError(Exception):
    """A loss or a gradient is no number any more."""


@dataclass
class Stage:
    """One part of the training. All that changes while it runs is in `modules`, `optimizers`, `rng` and torch's generators."""

    name: str
    modules: dict[str, nn.Module]
    """Saved; put on the device by whoever builds the stage."""
    optimizers: dict[str, torch.optim.Optimizer]
    """The rate each parameter group has at the start is multiplied by the schedule's factor."""
    step: Callable[[int], dict[str, float]]
    """Forward and backward of step n (0-based) into .grad; returns losses by name, and how many tokens it read as `tokens`."""
    validate: Callable[[], dict[str, float]]
    """Figures by name, on dev data. Called in eval mode without gradients, by the first rank; draws on no generator but its own."""
    merit: str
    """The figure of `validate` that decides what is a milestone."""
    steps: int
    rng: np.random.Generator
    """Of the data; seeded by the builder with Ranks.seed."""
    seed: int = 0
    """Of torch's generators (dropout), set when the stage begins."""
    lower_is_better: bool = True
    units: Mapping[str, str] = field(default_factory=dict)
    """Of losses and figures, for the axes: {"text": "nats per token"}."""
    schedule: Callable[[float], float] | None = None
    """Learning rate factor at a share of the steps; None is warm_then_fall."""
    clip: float = 1.0
    validate_every: int = 0
    """Steps; 0 is a twentieth of all."""
    save_every: int = 0
    """Steps between training checkpoints; 0 is a fortieth of all."""


def warm_then_fall(done: float) -> float:
    """Learning rate factor at a share of the steps: up for 3 %, level, down over the last 40 %."""
    return min(1.0, done / 0.03 + 0.02, max(0.02, (1 - done) / 0.4))


def finished(run: Path, stage: str, steps: int, tell: Callable[[str], None]) -> Saved | None:
    """What a run saved of a stage whose steps are all made; None where some are left. Spares reading its data."""
    saved = rolling.newest(run, stage, tell)
    return saved if saved is not None and saved.step >= steps else None


def train(stage: Stage, run: Path, ranks: Ranks, tell: Teller) -> None:
    """Make the steps that `run` has not made yet, in place. Raises StoppedError after SIGINT or SIGTERM, with the state saved."""
    # 1. where the run is
    saved = rolling.newest(run, stage.name, tell)
    begin, best = (0, None) if saved is None else (saved.step, saved.state["best"])
    torch.manual_seed(stage.seed * 1009 + ranks.rank)
    if saved is not None:
        _restore(stage, saved, ranks)
        tell(f"{stage.name} goes on after step {begin:,} of {stage.steps:,}")
    ranks.share(t for m in stage.modules.values() for t in m.state_dict().values())
    if begin >= stage.steps:
        return
    groups = [(g, float(g["lr"])) for o in stage.optimizers.values() for g in o.param_groups]
    parameters = [p for g, _ in groups for p in g["params"]]
    validate_every, save_every = stage.validate_every or max(1, stage.steps // 20), stage.save_every or max(1, stage.steps // 40)
    about = {"merit": stage.merit, "lower_is_better": stage.lower_is_better, "units": dict(stage.units), "steps": stage.steps}
    written = Curves(run, stage.name, begin, about) if ranks.is_first else None
    tell.begin(stage.name, begin, stage.steps)
    try:
        with _stop_signal(ranks.world > 1, tell) as asked:
            for n in range(begin, stage.steps):
                # 2. one step
                factor = (stage.schedule or warm_then_fall)(n / stage.steps)
                for group, rate in groups:
                    group["lr"] = rate * factor
                for optimizer in stage.optimizers.values():
                    optimizer.zero_grad()
                losses = stage.step(n)
                stop = ranks.average(parameters, asked.is_set())
                norm = float(nn.utils.clip_grad_norm_(parameters, stage.clip))
                if not math.isfinite(norm + sum(losses.values())):
                    raise DivergedError(
                        f"stage {stage.name}, step {n + 1}: losses {losses}, gradient norm {norm}; wanted numbers. "
                        f"The last training checkpoint in {run} is from before; lower the learning rates and start anew"
                    )
                for optimizer in stage.optimizers.values():
                    optimizer.step()
                # 3. what is seen of it
                done = n + 1
                tokens = losses.pop(TOKENS, 0.0)
                tell.step(done, losses, tokens * ranks.world)
                if written:
                    written.add(done, train=losses)
                    if done % validate_every == 0 or done == stage.steps:
                        best = _validated(stage, run, done, best, written, ranks.device, tell)
                # 4. what is kept of it
                if done % save_every == 0 or done == stage.steps or stop:
                    if written:
                        written.flush()
                    _save(stage, run, done, best, ranks)
                if stop:
                    raise StoppedError(f"stopped after step {done:,} of {stage.steps:,} of stage {stage.name}; saved in {run}")
    finally:
        tell.end()
        if written:
            written.close()
            _draw(run, tell)


def _save(stage: Stage, run: Path, done: int, best: float | None, ranks: Ranks) -> None:
    """All ranks' generators, the first rank's everything else; all wait until it is on the disk."""
    random = ranks.gather(state.random_state(stage.rng, ranks.device))
    if ranks.is_first:
        tensors, plain = state.optimizer_state(stage.optimizers)
        about: dict[str, Any] = {"stage": stage.name, "step": done, "best": best, "optimizers": plain, "random": random}
        rolling.save(run, stage.name, Saved(state.module_tensors(stage.modules), tensors, about))
    ranks.wait()


def _restore(stage: Stage, saved: Saved, ranks: Ranks) -> None:
    random = saved.state["random"]
    if len(random) != ranks.world:
        raise rolling.CheckpointError(
            f"stage {stage.name} was saved by {len(random)} processes, this run has {ranks.world}; go on with as many, or start anew"
        )
    state.load_modules(stage.modules, saved.modules)
    state.load_optimizers(stage.optimizers, saved.optimizers, saved.state["optimizers"])
    state.load_random(stage.rng, ranks.device, random[ranks.rank])


def _validated(stage: Stage, run: Path, done: int, best: float | None, written: Curves, device: torch.device, tell: Teller) -> float | None:
    """Measure, write down, keep a milestone where the figure of merit is the best so far. Returns the best."""
    for module in stage.modules.values():
        module.eval()
    with (
        torch.no_grad(),
        torch.random.fork_rng([device] if device.type == "cuda" else []),
    ):  # however often it is measured, the run is the same
        found = stage.validate()
    for module in stage.modules.values():
        module.train()
    written.add(done, dev=found)
    figure = found[stage.merit]
    is_better = math.isfinite(figure) and (best is None or (figure < best if stage.lower_is_better else figure > best))
    tell(
        f"{stage.name} step {done:,} dev " + " ".join(f"{name} {value:.4f}" for name, value in found.items()) + (" *" if is_better else "")
    )
    if not is_better:
        return best
    rolling.keep_milestone(
        run, stage.name, done, figure, state.module_tensors(stage.modules), {"stage": stage.name, "step": done, "dev": found}
    )
    written.add(done, milestone=figure)
    written.flush()
    _draw(run, tell)
    return figure


def _draw(run: Path, tell: Teller) -> None:
    try:
        curves.draw(run)
    except ImportError:
        tell.once(curves.HOW_TO_DRAW.format(run=run))
    except Exception as problem:  # a picture is not worth a run
        tell.once(f"the curves could not be drawn: {problem}")


@contextmanager
def _stop_signal(patient: bool, tell: Teller) -> Iterator[threading.Event]:
    """Set by SIGINT and SIGTERM while inside. A second SIGINT ends at once, unless `patient`: torchrun passes on what the terminal sent already."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: object) -> None:
        if asked.is_set() and number == signal.SIGINT and not patient:
            raise KeyboardInterrupt
        if not asked.is_set():
            tell("stopping: this step is made, then all is saved" + ("" if patient else "; Ctrl-C again ends at once"))
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
