"""Learning curves: every loss and every validation as a line of curves.jsonl, and as pictures.

Knows lines and drawings; leaves what is measured to the stages. A resumed run drops the lines of steps it does again, so that no step is there twice.
Drawing needs matplotlib (the extra `train`); without it training goes on. Run: python -m models.training.curves RUN_FOLDER
Next: models/training/loop.py
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models import sealed

HOW_TO_DRAW = (
    "no pictures of the curves: matplotlib is not installed; `pip install -e '.[train]'`, then `python -m models.training.curves {run}`"
)
TRAIN, DEV, MARK = "#7a9cc6", "#c2410c", "#166534"


class Curves:
    """Appends to RUN/curves.jsonl."""

    def __init__(self, run: Path, stage: str, after: int, about: Mapping[str, Any]) -> None:
        """Keep the lines of other stages and of this one's first `after` steps; `about` (merit, units, steps) begins a stage."""
        self.path, self.stage = run / "curves.jsonl", stage
        run.mkdir(parents=True, exist_ok=True)
        kept = [line for line in lines(self.path) if line["stage"] != stage or line["step"] <= after]
        if after == 0:
            kept = [line for line in kept if line["stage"] != stage] + [{"stage": stage, "step": 0, "about": dict(about)}]
        sealed.write_file(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 - open as long as the stage runs

    def add(self, step: int, **what: Any) -> None:
        """`train`, `dev`: figures by name; `milestone`: the figure of merit that was the best so far."""
        self._file.write(json.dumps({"stage": self.stage, "step": step} | what) + "\n")

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines of curves.jsonl; one that a crash cut short is left out."""

    def whole() -> Iterator[dict[str, Any]]:
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                yield json.loads(line)
            except ValueError:
                continue

    return list(whole())


def draw(run: Path) -> list[Path]:
    """One picture a stage, RUN/curves-STAGE.png, one panel a figure. Raises ImportError without matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = []
    by_stage: dict[str, list[dict[str, Any]]] = {}
    for line in lines(run / "curves.jsonl"):
        by_stage.setdefault(line["stage"], []).append(line)
    for stage, rows in by_stage.items():
        about: dict[str, Any] = next((r["about"] for r in rows if "about" in r), {})
        merit, units, best_is = (
            about.get("merit", ""),
            about.get("units", {}),
            "lowest" if about.get("lower_is_better", True) else "highest",
        )
        names = list(dict.fromkeys(name for r in rows for kind in ("dev", "train") for name in r.get(kind, {})))
        names.sort(key=lambda name: (name != merit, not any(name in r.get("dev", {}) for r in rows)))
        if not names:
            continue
        columns = min(3, len(names))
        n_rows = -(-len(names) // columns)
        figure = Figure(figsize=(4.6 * columns, 3.1 * n_rows + 0.5), dpi=130, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        for place, name in enumerate(names):
            panel = figure.add_subplot(n_rows, columns, place + 1)
            _panel(panel, name, rows, name == merit)
            panel.set_title(
                name + (f" (figure of merit, {best_is} is best)" if name == merit else ""), fontsize=9.5, loc="left", fontweight="bold"
            )
            panel.set_ylabel(units.get(name, "loss, nats"), fontsize=8.5)
            panel.set_xlabel("optimizer steps", fontsize=8.5)
        last = max(r["step"] for r in rows)
        figure.suptitle(f"Stage {stage}: {last:,} of {about.get('steps', last):,} steps", x=0.01, ha="left", fontsize=11)
        path = run / f"curves-{stage}.png"
        beside = path.with_name(f".{path.name}")
        figure.savefig(beside, format="png")
        beside.replace(path)
        drawn.append(path)
    return drawn


def _panel(panel: Any, name: str, rows: list[dict[str, Any]], is_merit: bool) -> None:
    train = [(r["step"], r["train"][name]) for r in rows if name in r.get("train", {})]
    dev = [(r["step"], r["dev"][name]) for r in rows if name in r.get("dev", {})]
    shown: list[float] = [y for _, y in dev]
    if train:
        x, y = np.array(train).T
        smooth = smoothed(y, max(1.0, len(y) / 60))
        panel.plot(x, y, color=TRAIN, linewidth=0.5, alpha=0.35)
        panel.plot(x, smooth, color=TRAIN, linewidth=1.8, label="train, smoothed")
        shown += [*smooth[len(smooth) // 50 :].tolist()]
    if dev:
        x, y = np.array(dev).T
        panel.plot(x, y, color=DEV, linewidth=1.4, marker="o", markersize=3, label="dev")
    marks = {r["step"]: r["milestone"] for r in rows if "milestone" in r} if is_merit else {}
    if marks:
        panel.plot(
            list(marks), list(marks.values()), linestyle="none", marker="*", markersize=8, color=MARK, label="milestone kept", zorder=5
        )
        step, value = list(marks.items())[-1]
        panel.annotate(f"{value:.3f}", (step, value), textcoords="offset points", xytext=(-4, 8), ha="right", fontsize=8.5, color=MARK)
    if shown:  # the first steps, far off, would flatten all the rest
        low, high = min(shown), max(shown)
        room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
        panel.set_ylim(low - room, high + 2 * room)
    panel.grid(color="#e5e7eb", linewidth=0.7)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=8)
    panel.legend(fontsize=8, frameon=False, loc="best")


def smoothed(y: np.ndarray, steps: float) -> np.ndarray:
    """Exponential mean over about so many steps, the start not pulled towards 0."""
    out, mean, weight, keep = np.empty(len(y)), 0.0, 0.0, 1 - 1 / steps
    for n, value in enumerate(y):
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        out[n] = mean / weight
    return out


if __name__ == "__main__":
    try:
        print("\n".join(map(str, draw(Path(sys.argv[1])))))
    except ImportError:
        sys.exit(HOW_TO_DRAW.format(run=sys.argv[1]))
