"""Training checkpoints, to go on from (rolling/STAGE/STEP, the newest kept), and milestones, to keep (milestones/STAGE-STEP-FIGURE).

Knows their folders and files: modules.safetensors, optimizers.safetensors, state.json, each hashed in the manifest. Leaves atomic writing to
models/sealed.py, what is in a state to state.py. A damaged checkpoint is refused by name, and the one before it is used.
Next: models/training/loop.py
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from models import sealed
from models.sealed import CheckpointError, as_json

KEPT = 3
"""Training checkpoints of a stage that are kept."""
MODULES, OPTIMIZERS, STATE = "modules.safetensors", "optimizers.safetensors", "state.json"


@dataclass(frozen=True)
class Saved:
    """A stage after so many steps."""

    modules: dict[str, Tensor]
    optimizers: dict[str, Tensor]
    state: dict[str, Any]
    """JSON: step, best figure, optimizers' numbers, random generators by rank, settings."""

    @property
    def step(self) -> int:
        return int(self.state["step"])


def save(run: Path, stage: str, saved: Saved) -> Path:
    """Write rolling/STAGE/STEP; drop what is older than the last KEPT, what is newer (refused as damaged), what an interrupted write left."""
    folder = _rolling(run, stage) / f"{saved.step:07d}"
    sealed.write(folder, {MODULES: save_tensors(saved.modules), OPTIMIZERS: save_tensors(saved.optimizers), STATE: as_json(saved.state)})
    found = steps(run, stage)
    here = found.index(folder)
    for old in [*found[: max(0, here + 1 - KEPT)], *found[here + 1 :], *folder.parent.glob(".*")]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def load(folder: Path) -> Saved:
    """One training checkpoint. Raises CheckpointError naming the damaged file and the checkpoint before it, if there is one."""
    try:
        contents, _ = sealed.read(folder, (MODULES, OPTIMIZERS, STATE))
        try:
            return Saved(load_tensors(contents[MODULES]), load_tensors(contents[OPTIMIZERS]), json.loads(contents[STATE]))
        except (SafetensorError, ValueError) as problem:
            raise CheckpointError(f"checkpoint {folder} is not readable ({problem}); it was written by another version") from problem
    except CheckpointError as problem:
        before = [f for f in sorted(folder.parent.glob("[0-9]*")) if f.name < folder.name]
        advice = f"the one before it is {before[-1]}: --resume goes on from there" if before else "there is none before it: start anew"
        raise CheckpointError(f"{problem}; {advice}") from problem


def newest(run: Path, stage: str, tell: Callable[[str], None]) -> Saved | None:
    """The newest sound checkpoint of a stage, saying which damaged ones were passed over; None where a stage has none at all.

    Raises CheckpointError where all are damaged: starting anew must be said, not guessed.
    """
    found = steps(run, stage)
    for folder in reversed(found):
        try:
            return load(folder)
        except CheckpointError as problem:
            last = problem
            tell(f"damaged, passed over: {problem}")
    if found:
        raise CheckpointError(f"no sound checkpoint of stage {stage} in {run}: {last}") from last
    return None


def steps(run: Path, stage: str) -> list[Path]:
    """Folders of a stage's training checkpoints, oldest first."""
    return sorted(_rolling(run, stage).glob("[0-9]*"))


def holds_a_run(run: Path) -> bool:
    return any(run.glob("rolling/*/[0-9]*"))


def keep_milestone(run: Path, stage: str, step: int, figure: float, modules: dict[str, Tensor], about: dict[str, Any]) -> Path:
    """Write milestones/STAGE-STEP-FIGURE, which nothing deletes."""
    folder = run / "milestones" / f"{stage}-{step:07d}-{figure:.4f}"
    sealed.write(folder, {MODULES: save_tensors(modules), STATE: as_json(about)})
    return folder


def weights(folder: Path, module: str) -> dict[str, Tensor]:
    """Weights of one module out of a milestone or a training checkpoint, checked."""
    contents, _ = sealed.read(folder, (MODULES, STATE))
    found = {k.removeprefix(f"{module}/"): t for k, t in load_tensors(contents[MODULES]).items() if k.startswith(f"{module}/")}
    if not found:
        raise CheckpointError(f"checkpoint {folder} has no module {module!r}; wanted one of a stage that trains it")
    return found


def _rolling(run: Path, stage: str) -> Path:
    return run / "rolling" / stage
