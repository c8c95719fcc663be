"""The figure of every question of the evaluation, computed from the raw rows by other means: scikit-learn, SciPy, NumPy and plain Python.

Knows definitions, not how anything is summed up; rows are dictionaries as the tables have them, times in microseconds. `ORACLES` has a function a
question: it gives the figure for each row the answer must have, by what the row is about. tests/sinks/test_console_figures.py compares them on made rows,
tests/console/check_figures.py on what a running stack holds.
"""

import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import stats
from scipy.spatial import distance
from sklearn import metrics

Row = Mapping[str, Any]
Key = frozenset[tuple[str, Any]]
Figures = dict[Key, Any]
"""A figure each, or (least, most) where an answer is a digest's."""
HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000
NUMERIC = ("confidence", "surprise", "input_length")


def key(**about: Any) -> Key:
    """What a row is about; what is empty is not said."""
    return frozenset((name, value) for name, value in about.items() if value not in (None, ""))


def of(row: Row, *names: str, **more: Any) -> Key:
    return key(**{name: row[name] for name in names}, **more)


@dataclass(frozen=True)
class Stored:
    """Rows by table."""

    predictions: Sequence[Row]
    labels: Sequence[Row]
    boundaries: Sequence[Row]
    input_stream: Sequence[Row]
    model_state: Sequence[Row]
    performance: Sequence[Row]
    failures: Sequence[Row]
    hash_of_token: Mapping[int, str]
    """Vocabulary category of a token id: the hash is ClickHouse's own."""

    @cached_property
    def answers(self) -> list[dict[str, Any]]:
        """Predictions with their level and the truth that came last."""
        told: dict[tuple[str, str, Any], tuple] = {}
        for label in sorted(self.labels, key=lambda r: (r["timestamp"], r["kafka_partition"], r["kafka_offset"])):
            for target in _spoken_of(label):
                told[label["session_id"], label["task"], target] = (label["timestamp"], label["label"], label["value"])
        found = []
        for row in self.predictions:
            level = json.loads(row["output"] or "{}").get("level", "")
            single = [("item", row["position"]), ("time", row["timestamp"])]
            targets = [("id", row["prediction_id"]), *([("span", row["span_start"], row["span_end"]), ("whole",)] if level else single)]
            truths = [told[at] for t in targets if (at := (row["session_id"], row["task"], t)) in told]
            last = max(truths, default=None, key=lambda t: t[0])
            final = int(row["prediction_type"] == "final")
            found.append(
                {
                    **row,
                    "level": level,
                    "final": final,
                    "is_labelled": last is not None,
                    "truth": last and last[1],
                    "true_value": last and last[2],
                }
            )
        return found

    @cached_property
    def judged(self) -> list[dict[str, Any]]:
        return [a for a in self.answers if a["truth"] is not None and a["label"] is not None]

    @cached_property
    def cut(self) -> int:
        """Where drift has its reference end: the middle hour of the answers."""
        hours = [row["timestamp"] // HOUR_US * 3600 for row in self.predictions]
        return (min(hours) + max(hours) + 3600) // 2 // 3600 * HOUR_US

    def halves(self, rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
        before = [r for r in rows if r["timestamp"] // HOUR_US * HOUR_US < self.cut]
        return before, [r for r in rows if r["timestamp"] // HOUR_US * HOUR_US >= self.cut]


def _spoken_of(label: Row) -> list[tuple]:
    if label["prediction_id"] is not None:
        return [("id", label["prediction_id"])]
    if label["position"] is not None:
        first, end = label["position"], label["span_end"]
        return [
            *(("item", n) for n in range(first, end if end is not None else first + 1)),
            *([("span", first, end)] if end is not None else []),
        ]
    return [("time", label["event_timestamp"])] if label["event_timestamp"] is not None else [("whole",)]


def grouped(rows: Sequence[Row], *names: str) -> Iterator[tuple[Key, list[Row]]]:
    found: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        found[of(row, *names)].append(row)
    yield from found.items()


ABOUT = ("model_version", "modality", "task", "level")


def quality(s: Stored) -> Figures:
    return {
        k: metrics.accuracy_score([r["truth"] for r in some], [r["label"] for r in some]) for k, some in grouped(s.judged, *ABOUT, "final")
    }


def f1(s: Stored) -> Figures:
    finals = [r for r in s.judged if r["final"]]
    return {
        k: metrics.f1_score([r["truth"] for r in some], [r["label"] for r in some], average="macro", zero_division=0)
        for k, some in grouped(finals, *ABOUT)
    }


def labels(s: Stored) -> Figures:
    found = {}
    for k, some in grouped([r for r in s.judged if r["final"]], *ABOUT):
        true, said = [r["truth"] for r in some], [r["label"] for r in some]
        names = sorted({*true, *said})
        each = metrics.f1_score(true, said, labels=names, average=None, zero_division=0)
        found |= {k | {("label", name)}: float(value) for name, value in zip(names, each, strict=True)}
    return found


def errors(s: Stored) -> Figures:
    rows = [r for r in s.answers if r["true_value"] is not None and r["value"] is not None and math.isfinite(r["value"])]
    return {
        k: metrics.mean_absolute_error([r["true_value"] for r in some], [r["value"] for r in some])
        for k, some in grouped(rows, "model_version", "modality", "task", "final")
    }


def segments(s: Stored) -> Figures:
    """F1 of found boundaries in sessions with labelled segments."""
    items: dict[tuple[str, str], tuple[int, str]] = {}
    for r in s.input_stream:
        at = (r["session_id"], r["modality"])
        items[at] = max(items.get(at, (0, "")), (r["token_position"] + 1, r["model_version"]))
    true: dict[tuple[str, str], set[int]] = defaultdict(set)
    last: dict[tuple[str, str], dict[int, Row]] = defaultdict(dict)
    for r in sorted(s.labels, key=lambda r: (r["timestamp"], r["kafka_partition"], r["kafka_offset"])):
        if r["task"] in ("sentence", "paragraph", "topic") and r["position"] is not None and r["prediction_id"] is None:
            last[r["session_id"], r["task"]][r["position"]] = r
    for at, by_item in last.items():
        true[at] = set()
        before = None
        for item, r in sorted(by_item.items()):
            starts = r["task"] != "topic" or r["span_end"] is not None
            if starts or (before is not None and r["label"] != before):
                true[at].add(item)
            before = r["label"]
    found: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for r in s.boundaries:
        found[r["session_id"], r["modality"], r["boundary_type"]].add(r["position"])
    counts: dict[Key, list[int]] = defaultdict(lambda: [0, 0, 0])
    for (session, kind), starts in true.items():
        for (of_session, modality), (n, version) in items.items():
            if of_session == session and n > 1:
                here, said = ({p for p in side if 0 < p < n} for side in (starts, found[session, modality, kind]))
                of_key = counts[key(model_version=version, modality=modality, boundary_type=kind)]
                of_key[0], of_key[1], of_key[2] = of_key[0] + len(here & said), of_key[1] + len(said), of_key[2] + len(here)
    return {k: 2 * hits / (said + here) for k, (hits, said, here) in counts.items() if said + here}


def expected(s: Stored) -> Figures:
    rows = [r for r in s.answers if r["final"] and r["confidence"] is not None]
    return {k: float(np.mean([r["confidence"] for r in some])) for k, some in grouped(rows, *ABOUT)}


def feedback(s: Stored) -> Figures:
    last: dict[tuple[str, str, str], float] = {}
    for r in sorted(s.labels, key=lambda r: (r["timestamp"], r["kafka_partition"], r["kafka_offset"])):
        if r["task"] == "feedback" and r["prediction_id"] is not None and r["value"] is not None:
            last[r["session_id"], r["prediction_id"], r["label"] or ""] = r["value"]
    first: dict[tuple[str, str, str], Row] = {}
    for r in sorted(s.answers, key=lambda r: -r["revision"]):
        first[r["session_id"], r["prediction_id"], r["label"] or ""] = r
    thumbs = [{**first[at], "up": value >= 0.5} for at, value in last.items() if at in first]
    return {k: float(np.mean([r["up"] for r in some])) for k, some in grouped(thumbs, *ABOUT)}


def _bins(confidence: Sequence[float], bins: int = 10) -> np.ndarray:
    return np.minimum(np.floor(np.array(confidence) * 200).astype(int), 199) * bins // 200


def _surely_judged(s: Stored) -> list[dict[str, Any]]:
    return [r for r in s.judged if r["confidence"] is not None]


def calibration(s: Stored) -> Figures:
    found = {}
    for k, some in grouped(_surely_judged(s), *ABOUT, "final"):
        right = np.array([r["label"] == r["truth"] for r in some], float)
        sure = np.array([r["confidence"] for r in some])
        gaps = stats.binned_statistic(_bins(sure), right - sure, "sum", bins=10, range=(0, 10)).statistic
        found[k] = float(np.abs(gaps).sum() / len(some))
    return found


def reliability(s: Stored) -> Figures:
    """Of bins of equal width, and of equal mass put together from 200 fine ones."""
    found = {}
    for k, some in grouped(_surely_judged(s), *ABOUT, "final"):
        right = np.array([r["label"] == r["truth"] for r in some], float)
        fine = _bins([r["confidence"] for r in some], 200)
        counts = np.bincount(fine, minlength=200)
        middle = np.cumsum(counts) - counts / 2
        coarse = np.minimum(9, np.floor(10 * middle / len(some) + 1e-9).astype(int))[fine]
        for binning, at in (("width", _bins([r["confidence"] for r in some])), ("mass", coarse)):
            found |= {k | {("binning", binning), ("bin", int(b))}: float(right[at == b].mean()) for b in np.unique(at)}
    return found


def _spans(s: Stored) -> Iterator[tuple[Row, list[Row]]]:
    """Final answers with those before them."""
    spans: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for r in s.answers:
        if r["label"] is not None:
            spans[r["session_id"], r["prediction_id"]].append(r)
    for some in spans.values():
        some.sort(key=lambda r: r["revision"])
        if some[-1]["final"] and some[-1]["revision"] > 0:
            yield some[-1], some


def stability(s: Stored) -> Figures:
    flips: dict[Key, list[int]] = defaultdict(list)
    for final, some in _spans(s):
        flips[of(final, *ABOUT)].append(sum(a["label"] != b["label"] for a, b in itertools.pairwise(some)))
    return {k: float(np.mean(n)) for k, n in flips.items()}


def partials(s: Stored) -> Figures:
    same: dict[Key, list[bool]] = defaultdict(list)
    for final, some in _spans(s):
        start = min(r["span_start"] for r in some)
        for r in some[:-1]:
            tenth = min(9, 10 * (r["span_end"] - start - 1) // max(final["span_end"] - start, 1))
            same[of(final, *ABOUT, tenth=tenth)].append(r["label"] == final["label"])
    return {k: float(np.mean(found)) for k, found in same.items()}


def corrections(s: Stored) -> Figures:
    places = {(r["session_id"], r["kafka_topic"], r["kafka_partition"], r["kafka_offset"]): r["token_position"] for r in s.input_stream}
    late = [
        {
            **b,
            "late": places.get((b["session_id"], b["kafka_topic"], b["kafka_partition"], b["kafka_offset"]), b["position"]) > b["position"],
        }
        for b in s.boundaries
    ]
    return {
        k: float(np.mean([b["late"] for b in some]))
        for k, some in grouped(late, "model_version", "modality", "boundary_type", "detected_by")
    }


def _about_p95(values: Sequence[float]) -> tuple[float, float]:
    """Values a digest may tell: it is off by a rank or so, and there are several ways between two ranks."""
    off = 0.01 + 1.0 / len(values)
    return float(np.quantile(values, max(0.95 - off, 0.0))), float(np.quantile(values, min(0.95 + off, 1.0)))


def latency(s: Stored) -> Figures:
    return {k: _about_p95([r["latency_ms"] for r in some]) for k, some in grouped(s.predictions, "model_version", "modality", "task")}


def stages(s: Stored) -> Figures:
    rows = [{**r, "stage": r["metric_name"].removesuffix("_ms")} for r in s.performance if r["unit"] == "ms"]
    return {k: _about_p95([r["metric_value"] for r in some]) for k, some in grouped(rows, "model_version", "modality", "stage")}


def features(s: Stored) -> dict[tuple[str, str, str], list[tuple[Row, Any]]]:
    """Modality, task, feature -> rows with their value, in the fine bins."""
    found: dict[tuple[str, str, str], list[tuple[Row, Any]]] = defaultdict(list)
    for r in s.answers:
        if r["final"]:
            if r["confidence"] is not None:
                found[r["modality"], r["task"], "confidence"].append((r, min(199, math.floor(r["confidence"] * 200))))
            if r["label"] is not None:
                found[r["modality"], r["task"], "label"].append((r, r["label"]))
            if r["task"] == "surprise" and r["value"] is not None and math.isfinite(r["value"]):
                found[r["modality"], r["task"], "surprise"].append((r, min(max(math.floor(r["value"] * 10), -1000), 1000)))
    for r in s.input_stream:
        found[r["modality"], "", "input_length"].append((r, math.floor(8 * math.log2(1 + len(r["token_text"])))))
        found[r["modality"], "", "vocabulary"].append((r, s.hash_of_token[r["token_id"]]))
    return found


@dataclass(frozen=True)
class Sides:
    """A feature before and after, in its fine bins, and as PSI groups them: tenths of the reference for numbers, categories as they are."""

    before: list[Any]
    after: list[Any]
    groups_before: list[Any]
    groups_after: list[Any]


def sides(s: Stored) -> dict[Key, Sides]:
    """Of every feature that has both."""
    found = {}
    for (modality, task, feature), told in features(s).items():
        value = {id(r): v for r, v in told}
        before, after = ([value[id(r)] for r in side] for side in s.halves([r for r, _ in told]))
        if not before or not after:
            continue
        groups = before, after
        if feature in NUMERIC:
            known = np.array(before)
            tenth = {
                v: min(9, math.floor(10 * (np.sum(known < v) + np.sum(known == v) / 2) / len(known) + 1e-9)) for v in {*before, *after}
            }
            groups = [tenth[v] for v in before], [tenth[v] for v in after]
        found[key(modality=modality, task=task, feature=feature)] = Sides(before, after, *groups)
    return found


def drift(s: Stored) -> Figures:
    """PSI, from its definition."""
    found = {}
    for k, one in sides(s).items():
        counts = [Counter(one.groups_before), Counter(one.groups_after)]
        shares = [[max(c[g] / c.total(), 1e-4) for g in {*counts[0], *counts[1]}] for c in counts]
        found[k] = sum((q - p) * math.log(q / p) for p, q in zip(*shares, strict=True))
    return found


def representations(s: Stored) -> Figures:
    found = {}
    for k, some in grouped(s.model_state, "modality", "state_type"):
        sides = [np.array([r["representation"] for r in side], float) for side in s.halves(some)]
        if all(len(side) for side in sides):
            a, b = ((side / np.linalg.norm(side, axis=1, keepdims=True)).mean(0) for side in sides)
            found[k] = float(distance.cosine(a, b))
    return found


def alarms(s: Stored) -> Figures:
    """How often each detector that needs no sums fires, by day: never, always, and Jensen-Shannon of labels."""
    found = {}
    for (modality, task, feature), told in features(s).items():
        value = {id(r): v for r, v in told}
        before, after = s.halves([r for r, _ in told])
        days: dict[int, list[Any]] = defaultdict(list)
        for r in after:
            days[r["timestamp"] // HOUR_US * HOUR_US // DAY_US].append(value[id(r)])
        if not before or not days:
            continue
        about = {"modality": modality, "task": task, "feature": feature}
        found[key(**about, detector="never")], found[key(**about, detector="always")] = 0.0, float(len(days))
        if feature == "label":
            fires = 0
            for day in days.values():
                names = sorted({*(value[id(r)] for r in before), *day})
                shares = [[Counter(side)[n] / len(side) for n in names] for side in ([value[id(r)] for r in before], day)]
                noise = 1 / len(before) + 1 / len(day)
                js = distance.jensenshannon(*shares, base=2) ** 2
                fires += js > 0.05 and js > (len(names) - 1 + 1.645 * math.sqrt(2 * (len(names) - 1))) * noise / 5.545
            found[key(**about, detector="js")] = float(fires)
    return found


def failures(s: Stored) -> Figures:
    first = {r["failure_id"]: r for r in s.failures}
    return {k: float(len(some)) for k, some in grouped(list(first.values()), "model_version", "modality", "failure_type")}


def inventory(s: Stored) -> Figures:
    return {k: float(sum(r["final"] for r in some)) for k, some in grouped(s.answers, *ABOUT)}


ORACLES: dict[str, Callable[[Stored], Figures]] = {
    f.__name__: f
    for f in (
        quality, f1, labels, errors, segments, expected, feedback, calibration, reliability, stability, partials, corrections, latency, stages,
        drift, representations, alarms, failures, inventory,
    )
}  # fmt: skip
FIGURE = {"alarms": "alarms", "inventory": "finals"}
"""Column of the questions that are shown as a table."""
SOME = {"alarms"}
"""Questions of which the oracle has only some rows."""


def disagreements(
    name: str, chart: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], stored: Stored, about: Callable[[Any], Mapping[str, Any]]
) -> list[str]:
    """Where the rows of an answer and the oracle differ; empty when they are the same and there are any."""
    figure = FIGURE.get(name) or chart["figure"]
    told = {key(**about(row)): row[figure] for row in rows if row[figure] is not None}
    wanted = ORACLES[name](stored)
    if not told:
        return [f"{name}: nothing is shown"]
    found = [f"{name} {sorted(k)}: shown, and not there" for k in told.keys() - wanted.keys() if name not in SOME]
    found += [f"{name} {sorted(k)}: not shown, {wanted[k]} by the oracle" for k in wanted.keys() - told.keys()]
    for k in told.keys() & wanted.keys():
        least, most = wanted[k] if isinstance(wanted[k], tuple) else (wanted[k], wanted[k])
        if not least - 1e-6 * max(1.0, abs(least)) <= told[k] <= most + 1e-6 * max(1.0, abs(most)):
            found.append(f"{name} {sorted(k)}: {told[k]:.6g} is shown, {wanted[k]} by the oracle")
    return found
