"""`python -m models.training.log_figures --data DIR`: what the log models reach on the shared data, and what a line costs.

Grouping accuracy per system with drain3 beside it where it is installed (development only), severity as shipped and with each
system left out, and with --speed the processor time of a line in rounds that alternate. Measures; trains nothing that is shipped.
Messages are the Content column, so headers are not part of it: through topics the referee measures the whole way.
Next: models/templates.py and models/severity_model.py
"""

import argparse
import csv
import gzip
import importlib
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from models import masking
from models.masking import mask
from models.severity_model import SeverityModel, shipped
from models.templates import Miner
from models.training.severity import PROGRAMS, all_statements, fitted, with_texts
from models.training.severity_statements import Statement

SYSTEMS = ("Android", "Apache", "BGL", "HDFS", "HPC", "Hadoop", "Linux", "OpenStack", "Spark", "Windows")
ROUNDS = 5

Told = tuple[int, float]
"""A severity's number and confidence."""


# 1. figures


def grouping_accuracy(truth: Sequence[str], groups: Sequence[object]) -> float:
    """Share of lines whose group holds exactly the lines of one true event. Source: Zhu et al. 2019, arXiv:1811.03509."""
    found, wanted = defaultdict(list), defaultdict(list)
    for line, (event, group) in enumerate(zip(truth, groups)):
        wanted[event].append(line)
        found[group].append(line)
    exact = {tuple(lines) for lines in wanted.values()}
    return sum(len(lines) for lines in found.values() if tuple(lines) in exact) / len(truth)


def macro_f1(truth: Sequence[int], answers: Sequence[int]) -> float:
    """Mean F1 of the levels in the truth or the answers."""
    right = Counter(t for t, a in zip(truth, answers) if t == a)
    sizes = Counter(truth) + Counter(answers)
    return sum(2 * right[level] / size for level, size in sizes.items()) / len(sizes)


def calibration_error(told: Sequence[Told], truth: Sequence[int]) -> float:
    """Mean distance of confidence and accuracy over ten equal bins, weighted by their size."""
    bins = defaultdict(list)
    for (answer, confidence), level in zip(told, truth):
        bins[min(int(confidence * 10), 9)].append(confidence - (answer == level))
    return sum(abs(sum(gaps)) for gaps in bins.values()) / len(truth)


def severity_line(name: str, told: Sequence[Told], lines: Sequence[dict[str, str]]) -> str:
    truth = [int(line["severity"]) for line in lines]
    answers = [number for number, _ in told]
    accuracy = sum(a == t for a, t in zip(answers, truth)) / len(truth)
    per_system = Counter(line["system"] for line, a, t in zip(lines, answers, truth) if a == t)
    systems = " ".join(f"{system} {per_system[system] / size:.3f}" for system, size in Counter(line["system"] for line in lines).items())
    f1 = macro_f1(truth, answers)
    return f"{name:<34} accuracy {accuracy:.3f}  macro-F1 {f1:.3f}  ECE {calibration_error(told, truth):.3f}  ({systems})"


# 2. data


def messages(data: Path, system: str) -> list[dict[str, str]]:
    with gzip.open(data / "logs" / "loghub_2k" / f"{system}_2k.structured.csv.gz", "rt", encoding="utf-8", newline="") as rows:
        return list(csv.DictReader(rows))


def severity_lines(data: Path) -> list[dict[str, str]]:
    with gzip.open(data / "logs" / "severity" / "loghub_severity.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


# 3. parts


def show_templates(data: Path) -> None:
    """Grouping accuracy, a fresh miner per system."""
    print(f"{'grouping accuracy':<12}  ours: EventId, corrected  drain3 defaults: EventId, corrected")
    ours, theirs = list[tuple[float, float]](), list[tuple[float, float]]()
    for system in SYSTEMS:
        rows = messages(data, system)
        truths = [row["EventId"] for row in rows], [row["EventTemplateCorrected"] for row in rows]
        texts = [row["Content"] for row in rows]
        miner = Miner()
        groups = [miner.learn(text).group_id for text in texts]
        ours.append((grouping_accuracy(truths[0], groups), grouping_accuracy(truths[1], groups)))
        line = f"{system:<12} {ours[-1][0]:.4f} {ours[-1][1]:.4f}"
        if learn := drain3():
            other = [learn(text) for text in texts]
            theirs.append((grouping_accuracy(truths[0], other), grouping_accuracy(truths[1], other)))
            line += f"   {theirs[-1][0]:.4f} {theirs[-1][1]:.4f}"
        print(line, flush=True)
    means = [f"{sum(figures) / len(SYSTEMS):.4f}" for side in (ours, theirs) for figures in zip(*side)]
    print(
        f"{'mean':<12} {' '.join(means)}{'' if theirs else '   (drain3 is not installed: pip install --no-deps drain3 cachetools jsonpickle)'}"
    )


def drain3() -> Callable[[str], object] | None:
    """drain3's miner with its default settings, as a function from a message to its cluster; None where it is not installed."""
    try:
        miner = importlib.import_module("drain3.drain").Drain()
    except ImportError:
        return None
    return lambda text: miner.add_log_message(text)[0].cluster_id


def read_with(model: SeverityModel, lines: Sequence[dict[str, str]]) -> list[Told]:
    return [model.read(mask(line["message"])[0], line["message"])[:2] for line in lines]


def show_severity(data: Path, left_out: bool, sources: Path | None) -> None:
    """Each line's severity from its message alone: as shipped, and with each system left out of the training on this set."""
    lines = severity_lines(data)
    print(severity_line("always informational", [(6, 0.715)] * len(lines), lines))
    print(severity_line("shipped weights", read_with(shipped(), lines), lines), flush=True)
    if left_out:
        print(severity_line("trained on the seven other systems", trained_on_others(lines, [], 2), lines), flush=True)
    if left_out and sources:
        print(severity_line("on these and log statements", trained_on_others(lines, all_statements(sources), PROGRAMS), lines))


def trained_on_others(lines: Sequence[dict[str, str]], told: Sequence[Statement], at_least: int) -> list[Told]:
    """Every system's lines, read by a model that met none of them."""
    answers: list[Told] = []
    for system in dict.fromkeys(line["system"] for line in lines):
        others = [Statement(line["system"], int(line["severity"]), mask(line["message"])[0]) for line in lines if line["system"] != system]
        model = fitted(with_texts([*told, *others]), at_least=at_least)
        answers += read_with(model, [line for line in lines if line["system"] == system])
    return answers


def show_speed(data: Path) -> None:
    """Microseconds of processor time a line, the best of ROUNDS rounds that alternate between systems and steps; caches start empty."""
    texts = {system: [row["Content"] for row in messages(data, system)] for system in SYSTEMS}
    model = shipped()
    best: dict[tuple[str, str], float] = defaultdict(lambda: float("inf"))
    for _ in range(ROUNDS):
        for system, lines in texts.items():
            masking.forget()
            model.known.clear()
            miner = Miner()
            began = time.process_time()
            mined = [miner.learn(line) for line in lines]
            middle = time.process_time()
            for one, line in zip(mined, lines):
                model.read(one.text, line)
            done = time.process_time()
            for step, seconds in (("template", middle - began), ("severity", done - middle), ("both", done - began)):
                best[system, step] = min(best[system, step], seconds * 1e6 / len(lines))
    print(f"{'us a line':<12} template severity   both")
    for system in SYSTEMS:
        print(f"{system:<12} {best[system, 'template']:8.1f} {best[system, 'severity']:8.1f} {best[system, 'both']:6.1f}")
    mean = sum(best[system, "both"] for system in SYSTEMS) / len(SYSTEMS)
    print(f"{'mean':<12} {'':8} {'':8} {mean:6.1f}   {1e6 / mean:,.0f} lines a second on one core")


def main(arguments: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(
        prog="python -m models.training.log_figures", description=(__doc__ or "").splitlines()[0], allow_abbrev=False
    )
    p.add_argument("--data", type=Path, required=True, help="folder with logs/loghub_2k and logs/severity")
    p.add_argument("--speed", action="store_true", help="processor time a line, and nothing else")
    p.add_argument("--left-out", action="store_true", help="severity also with each system left out, trained on the others (minutes)")
    p.add_argument(
        "--sources", type=Path, help="with --left-out: the folder of programs that training.severity reads, learned from as well"
    )
    a = p.parse_args(arguments)
    if not (a.data / "logs").is_dir():
        print(f"error: {a.data}: no folder logs in it; wanted the shared data", file=sys.stderr)
        return 2
    if a.speed:
        show_speed(a.data)
    else:
        show_templates(a.data)
        show_severity(a.data, a.left_out, a.sources)
    return 0


if __name__ == "__main__":
    sys.exit(main())
