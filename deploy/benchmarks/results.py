"""What a part of the benchmark found: goals with what was seen, tables, curves; kept as one JSON file a part.

Knows values; leaves the page to page.py and pictures to plots.py.
Next: deploy/benchmarks/page.py
"""

import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import orjson
import psutil

PACKAGES = ("torch", "aiokafka", "faust-streaming", "chdb", "quixstreams")


@dataclass(frozen=True)
class Goal:
    """One line of what must be shown."""

    what: str
    against: str
    seen: float
    wanted: float
    unit: str = "times"
    at_most: bool = False
    """Whether less is better."""

    @property
    def reached(self) -> bool:
        return self.seen <= self.wanted if self.at_most else self.seen >= self.wanted


@dataclass(frozen=True)
class Table:
    """Figures of one kind; cells as they are shown."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Series:
    """One line of a plot."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Plot:
    """One picture."""

    name: str
    """Of its file, without ending."""
    title: str
    x: str
    """What the axis is, with its unit."""
    y: str
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False
    limit: float | None = None
    """A goal, drawn across."""


@dataclass(frozen=True)
class Result:
    """All of one part."""

    part: str
    title: str
    goals: Sequence[Goal] = ()
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    notes: Sequence[str] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    """Raw figures, for programs."""
    machine: Mapping[str, Any] = field(default_factory=dict)
    rounds: int = 0
    quick: bool = False
    took_s: float = 0.0


def save(result: Result, folder: Path) -> Path:
    """One file a part, replaced whole."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{result.part}.json"
    file.write_bytes(
        orjson.dumps(asdict(result), option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS) + b"\n"
    )
    return file


def load(file: Path) -> Result:
    """What `save` wrote."""
    found = orjson.loads(file.read_bytes())
    found["goals"] = [Goal(**g) for g in found["goals"]]
    found["tables"] = [Table(**t) for t in found["tables"]]
    found["plots"] = [Plot(**{**p, "series": [Series(**s) for s in p["series"]]}) for p in found["plots"]]
    return Result(**found)


def machine() -> dict[str, Any]:
    """Where figures were seen: processor, cores, memory, versions, and how busy it was."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def figure(value: float) -> str:
    """A number as people read it: three digits that count."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
