"""What the detector of metric series is worth: `python -m models.training.series_figures --data DIR`, DIR the Numenta benchmark's folder.

Prints the benchmark's score with the shipped threshold, the best one and those of the other categories; what each view adds; how rare a
score is among ordinary points; forecasts beside simple ones, with the coverage of their intervals; speed and memory.
Knows tables; leaves the score to models/training/series_nab.py and forecasts to models/training/series_forecasts.py.
"""

import argparse
import itertools
import sys
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from models.series import UNUSUAL, VIEWS, new_rows, pack_many, read_many
from models.series_compile import compiled
from models.series_score import REST, SHORTEST_REST, TAIL_WEIGHT
from models.training.series_data import ORDINARY, STEP_US, LabelledSeries, benchmark
from models.training.series_forecasts import forecast_rows
from models.training.series_nab import PROFILES, Places, judge, judge_choice, normal, places, table

SHIPPED = np.array([1.0, 1.0, TAIL_WEIGHT, TAIL_WEIGHT, TAIL_WEIGHT])
SECTIONS = ("nab", "views", "settings", "calibration", "forecast", "speed")


def read_all(series: LabelledSeries) -> np.ndarray:
    """VERDICT of every point."""
    return read_many(new_rows(1), np.zeros(len(series.values), np.int64), series.values, series.times_us)


@compiled
def evidence_of(views, weights, rest):
    """The evidence of a series' points from its views, with other weights and another rest than the shipped ones."""
    evidence, worst, worst_at = np.zeros(len(views)), 0.0, 0
    for n in range(len(views)):
        said = 0.0
        for k in range(views.shape[1]):
            said += views[n, k] * weights[k]
        held = worst * max(0.0, 1.0 - (n - worst_at) / max(rest * n, SHORTEST_REST))
        if said >= held:
            worst, worst_at = said, n
        evidence[n] = max(said - held, 0.0)
    return evidence


def corpus_of(views: Sequence[np.ndarray], weights: np.ndarray = SHIPPED, rest: float = REST) -> list[np.ndarray]:
    return [evidence_of(one, weights, rest) for one in views]


def nab_rows(verdicts: Sequence[np.ndarray], at: Sequence[Places]) -> Iterator[str]:
    yield "| profile | shipped label | best threshold | at score | threshold from the other categories |"
    yield "|---|---|---|---|---|"
    windows, labels = sum(place.n_windows for place in at), [(v["score"] >= UNUSUAL).astype(float) for v in verdicts]
    for name, profile in PROFILES.items():
        found = judge([v["score"] for v in verdicts], at, profile)
        own = normal(float(table(labels, at, np.array([1.0]), profile).sum()), windows, profile)
        yield f"| {name} | {own:.1f} | {found.oracle:.1f} | {found.threshold:.5f} | {found.left_out:.1f} |"


def view_rows(views: Sequence[np.ndarray], at: Sequence[Places]) -> Iterator[str]:
    """Without each, alone, and added one by one: standard / low FP / low FN, best threshold (threshold from the other categories)."""
    yield "| view | alone | all but it | added in this order |"
    yield "|---|---|---|---|"

    def figures(keep: Sequence[int]) -> str:
        corpus = corpus_of(views, np.where(np.isin(np.arange(len(SHIPPED)), keep), SHIPPED, 0.0))
        found = [judge(corpus, at, profile) for profile in PROFILES.values()]
        return f"{' / '.join(f'{f.oracle:.1f}' for f in found)} ({' / '.join(f'{f.left_out:.1f}' for f in found)})"

    every = range(len(SHIPPED))
    for k in every:
        yield f"| {VIEWS[k + 1]} | {figures([k])} | {figures([j for j in every if j != k])} | {figures(range(k + 1))} |"


def setting_rows(views: Sequence[np.ndarray], at: Sequence[Places]) -> Iterator[str]:
    """The threshold, which views, their weight and the rest, all chosen on the other categories."""
    keeps = [np.array(keep, float) for keep in itertools.product((0, 1), repeat=len(SHIPPED)) if keep[0]]
    settings = list(itertools.product(keeps, (0.1, 0.125, 0.15, 0.2), (0.05, 0.08, 0.12)))
    candidates = [corpus_of(views, np.array([1, 1, w, w, w]) * keep, rest) for keep, w, rest in settings]
    found = [judge_choice(candidates, at, profile) for profile in PROFILES.values()]
    yield f"threshold and settings ({len(settings)} of them) from the other categories: {' / '.join(f'{f:.1f}' for f in found)}"


def calibration_rows(verdicts: Sequence[np.ndarray], at: Sequence[Places]) -> Iterator[str]:
    """Share of ordinary points with at least this score, times a thousand, beside what the score says."""
    levels = (0.98, 0.99, 0.997, 0.999, 0.9995, 0.9999)
    yield f"| in a thousand points | {' | '.join(str(level) for level in levels)} |"
    yield f"|---|{'---|' * len(levels)}"
    yield f"| the score says | {' | '.join(f'{1000 * (1 - level):.2f}' for level in levels)} |"
    outside = np.concatenate([v["score"][place.window == -1] for v, place in zip(verdicts, at)])
    yield f"| benchmark, outside windows | {' | '.join(f'{1000 * np.mean(outside >= level):.2f}' for level in levels)} |"
    for name, make in ORDINARY.items():
        scores = []
        for seed in range(5):
            values = make(np.random.default_rng(1000 + seed), 12_000)
            found = read_many(new_rows(1), np.zeros(len(values), np.int64), values, STEP_US * np.arange(len(values)))
            scores.append(found["score"][500:])
        yield f"| {name} | {' | '.join(f'{1000 * np.mean(np.concatenate(scores) >= level):.2f}' for level in levels)} |"


def speed_rows(n_series: int = 1000, n_rounds: int = 200) -> Iterator[str]:
    """Points a second of process time, one point of each series a call; bytes of a row before and after."""
    chance, rows, slots = np.random.default_rng(0), new_rows(n_series), np.arange(n_series)
    values = chance.normal(0, 1, (n_rounds, n_series)).cumsum(axis=0)
    read_many(rows.copy(), slots, values[0], np.full(n_series, STEP_US))  # compiles
    took = []
    for n in range(n_rounds):
        start = time.process_time()
        read_many(rows, slots, values[n], np.full(n_series, STEP_US * (n + 1)))
        took.append(time.process_time() - start)
    yield f"{n_series} series, one point of each a call: {n_series / np.median(took):,.0f} points/s (median of {n_rounds} calls)"
    pack_many(rows[:1])
    start = time.process_time()
    packed = pack_many(rows)
    yield f"packed after {n_rounds} points: {np.mean([len(p) for p in packed]):,.0f} bytes a series, {1e6 * (time.process_time() - start) / n_series:.1f} us each"
    one, values, slots = new_rows(1), chance.normal(0, 1, 1_000_000).cumsum(), np.zeros(1_000_000, np.int64)
    tracemalloc.start()
    for million in range(10):
        read_many(one, slots, values, STEP_US * (np.arange(1_000_000) + 1_000_000 * million))
        if million in (0, 9):
            held = tracemalloc.get_traced_memory()[0]
            yield f"after {million + 1} million points of one series: {len(pack_many(one)[0]):,} bytes packed, {held:,} bytes held by Python"
    tracemalloc.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m models.training.series_figures", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the Numenta benchmark: data/, labels/")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="sections to print")
    args = parser.parse_args(arguments)
    corpus = benchmark(args.data)
    verdicts, at = [read_all(series) for series in corpus], [places(series) for series in corpus]
    views = [np.ascontiguousarray(v["views"]) for v in verdicts]
    sections = {
        "nab": lambda: nab_rows(verdicts, at),
        "views": lambda: view_rows(views, at),
        "settings": lambda: setting_rows(views, at),
        "calibration": lambda: calibration_rows(verdicts, at),
        "forecast": lambda: forecast_rows(corpus, verdicts),
        "speed": speed_rows,
    }
    for name in args.only:
        print(f"\n## {name}\n")
        for line in sections[name]():
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
