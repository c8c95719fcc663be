"""Plots as SVG text: intervals in rows, lines over time, a reliability diagram. No script, no file beside it; every text is escaped.

Knows pixels and scales; leaves which numbers are drawn to report.py. Colours are the page's (classes c0 to c7).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, ROW, PAD = 760, 280, 40, 22, 8
COLOURS = 8


@dataclass(frozen=True)
class Point:
    """A value with its interval."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    told: str = ""
    """Shown when the pointer rests on it."""


@dataclass(frozen=True)
class Scale:
    """Values -> pixels."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def at(self, value: float) -> float:
        low, high, value = (math.log10(max(v, 1e-12)) if self.is_log else v for v in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.is_log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            return [10.0**e for e in range(first, last + 1) if self.low <= 10.0**e <= self.high]
        step = _step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        return [step * i for i in range(first, first + 12) if step * i <= self.high + 1e-9]


def _step(rough: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    return next(m * power for m in (1, 2, 5, 10) if rough <= m * power * (1 + 1e-9))


def over(values: Sequence[float], start: float, end: float, is_log: bool = False, share: bool = False) -> Scale:
    """A scale that holds all values; of shares 0 to 1."""
    if share:
        return Scale(0.0, 1.0, start, end)
    if is_log:
        known = [v for v in values if v > 0] or [1.0]
        return Scale(10 ** math.floor(math.log10(min(known))), 10 ** math.ceil(math.log10(max(known) * 1.0001)), start, end, True)
    low, high = min([0.0, *values]), max([0.0, *values])
    return Scale(low, high if high > low else low + 1.0, start, end)


def intervals(series: Mapping[str, Sequence[Point]], is_log: bool = False, share: bool = False, mark: float | None = None) -> str:
    """One row a name, a dot a series, its interval as a line; `mark` is drawn across."""
    names = list(dict.fromkeys(p.name for points in series.values() for p in points))
    values = [v for points in series.values() for p in points for v in (p.value, p.low, p.high) if v is not None]
    x = over([*values, *([mark] if mark is not None else [])], LEFT, WIDTH - RIGHT, is_log, share)
    height = len(names) * ROW + 2 * PAD + 20
    parts = [_grid(x, height - 20)]
    if mark is not None:
        parts.append(f'<line class="mark" x1="{x.at(mark):.1f}" x2="{x.at(mark):.1f}" y1="0" y2="{height - 20}"/>')
    for row, name in enumerate(names):
        y = PAD + ROW * row + ROW / 2
        parts.append(f'<text class="name" x="{LEFT - 10}" y="{y + 4:.1f}">{escape(_short(name))}<title>{escape(name)}</title></text>')
        for number, points in enumerate(series.values()):
            for p in (p for p in points if p.name == name):
                colour = f"c{number % COLOURS}"
                if p.low is not None or p.high is not None:
                    ends = [x.at(v) for v in (p.low if p.low is not None else p.value, p.high if p.high is not None else p.value)]
                    parts.append(f'<line class="whisker {colour}" x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
                parts.append(
                    f'<circle class="{colour}" cx="{x.at(p.value):.1f}" cy="{y:.1f}" r="4"><title>{escape(p.told or f"{p.value:.4g}")}</title></circle>'
                )
    return _framed(parts, height) + _legend(list(series))


def lines(series: Mapping[str, Sequence[Point]], share: bool = False, is_log: bool = False) -> str:
    """A line a series over names in order (hours, days, tenths), its interval as a band."""
    names = sorted({p.name for points in series.values() for p in points})
    values = [v for points in series.values() for p in points for v in (p.value, p.low, p.high) if v is not None]
    y = over(values, 200, 10, is_log, share)
    left, right = 60, WIDTH - 20
    step = (right - left) / max(1, len(names) - 1)
    parts = [
        f'<line class="grid" x1="{left}" x2="{right}" y1="{y.at(t):.1f}" y2="{y.at(t):.1f}"/><text class="tick end" x="{left - 6}" y="{y.at(t) + 4:.1f}">{_number(t)}</text>'
        for t in y.ticks()
    ]
    for i in sorted({round(k * (len(names) - 1) / 5) for k in range(6)}):
        parts.append(f'<text class="tick" x="{left + i * step:.1f}" y="218">{escape(names[i])}</text>')
    for number, points in enumerate(series.values()):
        known = sorted(points, key=lambda p: p.name)
        spots = [(left + names.index(p.name) * step, p) for p in known]
        band = [(at, p.low, p.high) for at, p in spots if p.low is not None and p.high is not None]
        colour = f"c{number % COLOURS}"
        if len(band) > 1:
            outline = [f"{at:.1f},{y.at(high):.1f}" for at, _, high in band] + [
                f"{at:.1f},{y.at(low):.1f}" for at, low, _ in reversed(band)
            ]
            parts.append(f'<polygon class="band {colour}" points="{" ".join(outline)}"/>')
        parts.append(f'<polyline class="{colour}" points="{" ".join(f"{at:.1f},{y.at(p.value):.1f}" for at, p in spots)}"/>')
        parts += [
            f'<circle class="{colour}" cx="{at:.1f}" cy="{y.at(p.value):.1f}" r="2.5"><title>{escape(p.told or f"{p.value:.4g}")}</title></circle>'
            for at, p in spots[:400]
        ]
    return _framed(parts, 226) + _legend(list(series))


def reliability(series: Mapping[str, Sequence[tuple[float, Point]]]) -> str:
    """Accuracy over confidence, with the diagonal of a model that is as sure as it is right."""
    size = 320
    x, y = Scale(0, 1, 50, size - 10), Scale(0, 1, size - 30, 10)
    parts = [f'<line class="mark" x1="{x.at(0)}" y1="{y.at(0)}" x2="{x.at(1)}" y2="{y.at(1)}"/>']
    for tick in x.ticks():
        parts.append(
            f'<line class="grid" x1="{x.at(tick):.1f}" x2="{x.at(tick):.1f}" y1="10" y2="{size - 30}"/><line class="grid" x1="50" x2="{size - 10}" y1="{y.at(tick):.1f}" y2="{y.at(tick):.1f}"/>'
        )
        parts.append(
            f'<text class="tick" x="{x.at(tick):.1f}" y="{size - 14}">{_number(tick)}</text><text class="tick end" x="44" y="{y.at(tick) + 4:.1f}">{_number(tick)}</text>'
        )
    for number, spots in enumerate(series.values()):
        colour = f"c{number % COLOURS}"
        for confidence, p in spots:
            if p.low is not None and p.high is not None:
                parts.append(
                    f'<line class="whisker {colour}" x1="{x.at(confidence):.1f}" x2="{x.at(confidence):.1f}" y1="{y.at(p.low):.1f}" y2="{y.at(p.high):.1f}"/>'
                )
            parts.append(
                f'<circle class="{colour}" cx="{x.at(confidence):.1f}" cy="{y.at(p.value):.1f}" r="4"><title>{escape(p.told)}</title></circle>'
            )
    return f'<svg viewBox="0 0 {size} {size}" style="max-width:{size}px" role="img">{"".join(parts)}</svg>{_legend(list(series))}'


def _grid(x: Scale, height: float) -> str:
    parts = []
    for tick in x.ticks():
        at = x.at(tick)
        parts.append(
            f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{height}"/><text class="tick" x="{at:.1f}" y="{height + 14}">{_number(tick)}</text>'
        )
    return "".join(parts)


def _framed(parts: Sequence[str], height: float) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img">{"".join(parts)}</svg>'


def _legend(names: Sequence[str]) -> str:
    if len(names) < 2 and (not names or not names[0]):
        return ""
    return (
        '<p class="legend">'
        + "".join(f'<span><i class="c{i % COLOURS}"></i>{escape(name)}</span>' for i, name in enumerate(names))
        + "</p>"
    )


def _short(name: str) -> str:
    return name if len(name) <= 40 else name[:26] + "…" + name[-12:]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
