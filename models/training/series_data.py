"""Series to measure the detector on: the Numenta benchmark's files, and made-up series in which nothing is wrong.

Knows files, times and windows; leaves the score to models/training/series_nab.py. Next: models/training/series_nab.py
"""

import csv
import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

STEP_US = 300_000_000
A_DAY = 288


@dataclass(frozen=True)
class LabelledSeries:
    """One series and where it is known to be anomalous."""

    name: str
    """Category/file."""
    times_us: np.ndarray
    """int64 (n,), strictly rising."""
    values: np.ndarray
    """float64 (n,)."""
    windows: tuple[tuple[int, int], ...]
    """First and last row of each, both inside."""

    @property
    def category(self) -> str:
        return self.name.split("/")[0]


def benchmark(folder: Path) -> list[LabelledSeries]:
    """The series under folder/data, labels under folder/labels. A time that a clock change put back is 1 ms after the one before."""
    labels = json.loads((folder / "labels" / "combined_windows.json").read_text(encoding="utf-8"))
    found = []
    for path in sorted((folder / "data").glob("*/*.csv.gz")):
        name = f"{path.parent.name}/{path.name.removesuffix('.gz')}"
        with gzip.open(path, "rt", encoding="utf-8") as rows:
            stamps, values = zip(*((row["timestamp"], float(row["value"])) for row in csv.DictReader(rows)))
        times, last = [], 0
        for stamp in stamps:
            last = max(int(datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp()) * 1_000_000, last + 1000)
            times.append(last)
        windows = tuple((stamps.index(a[:19]), len(stamps) - 1 - stamps[::-1].index(b[:19])) for a, b in labels[name])
        found.append(LabelledSeries(name, np.array(times, np.int64), np.array(values), windows))
    return found


def _walk(chance: np.random.Generator, n: int) -> np.ndarray:
    noise, values = chance.normal(0, 1, n), np.zeros(n)
    for k in range(1, n):
        values[k] = 0.9 * values[k - 1] + noise[k]
    return values


def _day(n: int) -> np.ndarray:
    return 2 * np.pi * np.arange(n) / A_DAY


ORDINARY: Mapping[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "noise": lambda chance, n: 50 + chance.normal(0, 1, n),
    "autoregressive": _walk,
    "daily": lambda chance, n: 20 + 10 * np.sin(_day(n)) + chance.normal(0, 1, n),
    "counts": lambda chance, n: chance.poisson(5, n).astype(float),
    "log-normal": lambda chance, n: np.exp(chance.normal(0, 1, n)),
    "student t": lambda chance, n: chance.standard_t(3, n),
    "weekly counts": lambda chance, n: chance.poisson(6 + 3 * np.sin(_day(n)) + 2 * (np.arange(n) // A_DAY % 7 < 5)).astype(float),
    "daily steps": lambda chance, n: np.where(np.arange(n) % A_DAY < 96, 100.0, 20.0) + chance.normal(0, 1, n),
}
"""Kind -> values of a series with a point every five minutes in which nothing is wrong."""
