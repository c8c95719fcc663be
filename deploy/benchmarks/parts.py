"""The parts of `strata bench`, in the order of the page, and how they are run: each by itself, so that one that fails stops no other.

Knows names; leaves measuring to the files named.
Next: deploy/benchmarks/plumbing.py
"""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from deploy.benchmarks import end_to_end, idle, loaded, naive, page, plots, plumbing, results, step
from deploy.benchmarks.ground import Ground
from deploy.benchmarks.results import Result
from deploy.errors import StackError
from schemas.errors import SettingError

Part = Callable[[Ground], Result]
PARTS: Mapping[str, Part] = {
    "plumbing": plumbing.measure,
    "trunk": step.trunk,
    "alone": step.alone,
    "lengths": step.lengths,
    "memory": step.memory,
    "tokens": end_to_end.tokens,
    "naive": naive.measure,
    "latency": loaded.measure,
    "idle": idle.measure,
    "logs": end_to_end.logs,
    "metrics": end_to_end.metrics,
    "workers": end_to_end.workers,
}


class FailedPartsError(StackError):
    """Some parts were not measured; the others were."""


def chosen(only: str | None) -> list[str]:
    """Names of the parts to run, in order. Raises SettingError."""
    names = [n.strip() for n in only.split(",")] if only else list(PARTS)
    if unknown := set(names) - set(PARTS):
        raise SettingError(f"--only {', '.join(sorted(unknown))}: wanted some of {', '.join(PARTS)}")
    return [name for name in PARTS if name in names]


def run(
    names: Sequence[str], ground: Ground, folder: Path | None, parts: Mapping[str, Part] = PARTS
) -> tuple[list[Result], dict[str, str]]:
    """Measure the parts; write each one's file and pictures, and the page, as soon as it is done, where there is a folder.

    Returns the results, and the parts that failed with why.
    """
    found, failed = list[Result](), dict[str, str]()
    for number, name in enumerate(names):
        ground.progress.line(f"part {number + 1} of {len(names)}: {name}")
        began = time.monotonic()
        try:
            result = parts[name](ground)
        except Exception as problem:  # whatever it is, it is this part's
            ground.progress.done()
            failed[name] = f"{type(problem).__name__}: {problem}"
            ground.progress.line(f"part {name} failed after {time.monotonic() - began:.0f} s: {failed[name]}")
            (ground.folder / f"{name}.traceback").write_text(traceback.format_exc(), encoding="utf-8")
            continue
        result = replace(
            result, machine=results.machine(), rounds=ground.rounds, quick=ground.quick, took_s=round(time.monotonic() - began, 1)
        )
        found.append(result)
        if folder is not None:
            results.save(result, folder)
            page.write(folder, list(PARTS))
            if result.plots and not plots.draw(result.plots, folder):
                ground.progress.line("no pictures: matplotlib is missing, install the extra `train`")
    return found, failed
