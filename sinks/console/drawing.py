"""A stored session's strata as shapes in percent of its length, for SVG that needs no script and no inline style.

Knows spans and shares; leaves colours to static/console.css, markup to templates/session.html.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from sinks.console.layers import SEVERITIES
from sinks.console.sessions import Prediction, View

HUES = 10
MOST_SHAPES = 700
"""Of one band; more are joined, a screen has no more points."""


@dataclass(frozen=True)
class Shape:
    """One stretch of a band."""

    x: float
    width: float
    """Percent of the session."""
    kind: str
    """CSS class that colours it."""
    title: str
    text: str = ""
    anchor: str = ""
    late: bool = False


@dataclass
class Band:
    """One layer."""

    name: str
    height: int
    """Pixels; deeper layers are thicker."""
    shapes: list[Shape] = field(default_factory=list)
    y: int = 0
    path: str = ""
    """In a view box 1000 wide and 10 high, in place of shapes that are all alike."""


def ticks(count: int) -> str:
    """A tick for each item, until they run together."""
    shown = min(max(count, 1), 400)
    width = 1000 / shown
    return (
        "".join(f"M{n * width:.1f} 0h{width * 0.7:.1f}v10h-{width * 0.7:.1f}z" for n in range(shown))
        if count <= 400
        else "M0 0h1000v10h-1000z"
    )


def hue(label: str | None) -> int:
    """A colour's number for a label: the same for the same label everywhere (static/strata.js computes it too)."""
    h = 0
    for c in (label or "").encode():
        h = (h * 31 + c) & 0xFFFFFFFF
    return h % HUES


def bands(view: View) -> list[Band]:
    """The layers from the surface (items) to the bedrock (the whole)."""
    if not view.items:
        return []
    made = _text(view) if view.modality in ("tokens", "chat") else _lines(view) if view.modality == "logs" else []
    whole = view.document
    name = "document" if view.modality in ("tokens", "chat") else "session"
    if whole is not None:
        sure = whole.confidence if whole.value is None else whole.value
        text = f"{whole.label or ''} {'' if sure is None else f'{sure:.0%}'}".strip()
        kind = f"hue h{hue(whole.label)}" if view.modality in ("tokens", "chat") else f"whole {whole.label or ''}"
        made.append(Band(name, 18, [Shape(0, 100, kind, f"as a whole: {text}" + ("" if whole.final else ", so far"), text)]))
    y = 0
    for band in made:
        band.y = y
        y += band.height + 3
    return made


def _text(view: View) -> list[Band]:
    span = max(view.n_items - view.first, 1)

    def x(position: int) -> float:
        return round(100 * (position - view.first) / span, 3)

    surface = Band("turn" if view.modality == "chat" else "token", 12)
    chat = view.modality == "chat"
    if not chat:  # ticks of one colour are one path
        surface.path = ticks(len(view.items))
    step = max(1, -(-len(view.items) // MOST_SHAPES))
    for n in range(0, len(view.items), step) if chat else ():
        item = view.items[n]
        at = int(item["position"])
        kind = f"speaker s{hue(item['metadata'].get('speaker', '')) % 4}"
        surface.shapes.append(Shape(x(at), round(100 * step / span, 3), kind, f"{at}: {item['text'][:60]}", "", f"item-{at}"))
    made = [surface]
    for level, height in (("sentence", 13), ("paragraph", 15), ("topic", 22)):
        if level not in view.levels:
            continue
        band = Band(level, height)
        for n, one in enumerate(view.levels[level]):
            sure = "" if one.confidence is None else f", begins with {one.confidence:.0%} by {one.detected_by}"
            late = f", seen {one.late} items later" if one.late >= 3 else ""
            text, kind = "", level
            if level == "topic" and one.prediction:
                p = one.prediction
                text = f"{p.label} {'' if p.confidence is None else f'{p.confidence:.0%}'}"
                kind = f"hue h{hue(p.label)}"
            elif level == "sentence" and one.prediction and one.prediction.value is not None:
                kind = f"sentence q{surprise_step(one.prediction)}"
                sure += f", surprise {one.prediction.value:.1f} nats per token"
            title = f"{level} {n + 1}: items {one.start} to {one.end - 1}{sure}{late}"
            shape = Shape(x(one.start), round(x(one.end) - x(one.start), 3), kind, title, text, f"{level}-{one.start}", one.late >= 3)
            band.shapes.append(shape)
        made.append(band)
    return made


def surprise_step(prediction: Prediction) -> int:
    """0 (expected) to 4 (never read the like) of a surprise in nats per token."""
    return min(max(int((prediction.value or 0.0) - 1.5), 0), 4)


def _lines(view: View) -> list[Band]:
    span = max(view.n_items - view.first, 1)
    step = max(1, -(-len(view.items) // MOST_SHAPES))
    severity = {p.span_start: p.label or "" for p in view.predictions if p.task == "severity"}
    template = {p.span_start: p for p in view.predictions if p.task == "template"}
    score = {p.span_start: p for p in view.predictions if p.task == "anomaly"}
    surface, below, odd = Band("severity", 14), Band("template", 18), Band("anomaly", 16)
    for n in range(0, len(view.items), step):
        some = view.items[n : n + step]
        positions = [int(r["position"]) for r in some]
        at, width = round(100 * (positions[0] - view.first) / span, 3), round(100 * step / span, 3)
        worst = max((severity.get(p, "") for p in positions), key=lambda s: SEVERITIES.index(s) if s in SEVERITIES else -1)
        surface.shapes.append(
            Shape(at, width, f"severity {worst}", f"{positions[0]}: {worst} {some[0]['text'][:80]}", "", f"item-{positions[0]}")
        )
        labels = [template[p].label or "" for p in positions if p in template]
        if labels:
            label = Counter(labels).most_common(1)[0][0]
            text = next(str(template[p].output.get("template", "")) for p in positions if p in template)
            below.shapes.append(Shape(at, width, f"hue h{hue(label)}", text[:120], "", f"item-{positions[0]}"))
        worst_score = max((score[p].value or 0.0 for p in positions if p in score), default=0.0)
        if worst_score > 0:
            flagged = any(score[p].label == "anomaly" for p in positions if p in score)
            kind = f"score a{min(int(worst_score * 5), 4)}" + (" flagged" if flagged else "")
            odd.shapes.append(Shape(at, width, kind, f"{positions[0]}: score {worst_score:.2f}", "", f"item-{positions[0]}"))
    return [surface, below, odd]


@dataclass
class Curve:
    """One series drawn: its points, what was forecast, what was called an anomaly; y in pixels from the top."""

    name: str
    unit: str
    path: str
    forecast: str
    flags: list[tuple[float, float, str]]
    low: float
    high: float
    n: int
    last: float


CURVE_WIDTH, CURVE_HEIGHT = 1000, 120


def curves(view: View) -> list[Curve]:
    """The series of a metrics session, each with its forecast's band."""
    points: dict[str, list[tuple[int, float]]] = {}
    units: dict[str, str] = {}
    for item in view.items:
        try:
            value = float(item["text"])
        except ValueError:
            continue
        name = item["metadata"].get("name", "")
        points.setdefault(name, []).append((int(item["position"]), value))
        units[name] = item["metadata"].get("unit", "")
    ranges = {p.span_start: (p.output.get("low"), p.output.get("high")) for p in view.predictions if p.task == "forecast"}
    flagged = {p.span_start: p for p in view.predictions if p.task == "anomaly" and p.label == "anomaly"}
    return [_curve(name, units[name], mine, ranges, flagged) for name, mine in points.items()]


def _curve(
    name: str,
    unit: str,
    points: Sequence[tuple[int, float]],
    ranges: dict[int, tuple[float | None, float | None]],
    flagged: dict[int, Prediction],
) -> Curve:
    values = [v for _, v in points]
    low, high = min(values), max(values)
    spread = (high - low) or abs(high) or 1.0
    bottom, top = low - 0.08 * spread, high + 0.08 * spread
    first, last = points[0][0], max(points[-1][0], points[0][0] + 1)

    def x(position: int) -> float:
        return round(CURVE_WIDTH * (position - first) / (last - first), 2)

    def y(value: float) -> float:
        return round(min(max(CURVE_HEIGHT * (1 - (value - bottom) / (top - bottom)), 0), CURVE_HEIGHT), 2)

    path = "M" + "L".join(f"{x(p)} {y(v)}" for p, v in points)
    both = [(p, ranges[p]) for p, _ in points if p in ranges and None not in ranges[p]]
    upper = [f"{x(p)} {y(float(r[1] or 0))}" for p, r in both]
    lower = [f"{x(p)} {y(float(r[0] or 0))}" for p, r in reversed(both)]
    forecast = "M" + "L".join(upper + lower) + "Z" if len(both) > 1 else ""
    flags = [
        (round(x(p) / CURVE_WIDTH * 100, 3), y(v), f"{p}: {v:g} {unit}, score {flagged[p].value or 0:.2f}")
        for p, v in points
        if p in flagged
    ]
    return Curve(name, unit, path, forecast, flags, low, high, len(points), values[-1])


def shares(weights: Sequence[float]) -> list[tuple[float, float, float]]:
    """(x percent, width percent, share of the largest) of a row of weights."""
    most = max(weights, default=0.0) or 1.0
    width = 100 / max(len(weights), 1)
    return [(round(n * width, 3), round(width, 3), round(w / most, 4)) for n, w in enumerate(weights)]


def step(share: float, steps: int = 8) -> int:
    """0 to steps-1 of a share of 0 to 1, finer for small ones: attention is a few large weights and many small ones."""
    return min(int((max(share, 0.0) ** 0.5) * steps), steps - 1)


def stable(text: str) -> str:
    """A short name for an element, whatever is in `text`."""
    return blake2b(text.encode("utf-8", "replace"), digest_size=6).hexdigest()
