"""Two versions on the same sessions: what each said of each item, paired; differences with intervals; the examples that changed.

Knows records of predictions, boundaries and labels; leaves reading them to compare.py. Items of one session are not independent, so intervals
come from drawing whole sessions anew (cluster bootstrap). All pure: the seed is an argument.
"""

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

Record = Mapping[str, Any]
Key = tuple[str, str, str, str, int]
"""Modality, session, task, level, item; of an answer about the whole session the item is -1."""
About = tuple[str, str, str]
"""Modality, task, level."""
Row = tuple[str, float, float]
"""Session, what A has, what B has."""
SAMPLES = 2000


@dataclass(frozen=True)
class Said:
    """One version's final word about an item."""

    label: str | None
    confidence: float | None
    value: float | None


@dataclass
class Side:
    """All that one version said."""

    version: str = ""
    items: dict[Key, Said] = field(default_factory=dict)
    boundaries: dict[tuple[str, str, str], set[int]] = field(default_factory=lambda: defaultdict(set))
    """Modality, session, type -> positions."""
    flips: dict[tuple[str, str, str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    """Modality, session, task, level -> changes of label of each span."""
    places: dict[str, tuple[Key, int]] = field(default_factory=dict)
    """Prediction id -> the key of its last item, and its event time."""


def side(predictions: Iterable[Record], boundaries: Iterable[Record]) -> Side:
    """Final answers item by item. Answers to requests, which nobody closes, are left out."""
    made = Side()
    revisions: dict[str, dict[int, Record]] = defaultdict(dict)
    for record in predictions:
        revisions[record["prediction_id"]][record["revision"]] = record
    for prediction_id, found in revisions.items():
        last = found[max(found)]
        if last["prediction_type"] != "final":
            continue
        made.version = made.version if last["modality"] == "metrics" and made.version else last["model_version"]
        level = json.loads(last["output"]).get("level", "") if '"level"' in last["output"] else ""
        about = (last["modality"], last["session_id"], last["task"], level)
        said = Said(last["label"], last["confidence"], last["value"])
        for item in [-1] if level else range(last["span_start"], last["span_end"]):
            made.items[(*about, item)] = said
        made.places[prediction_id] = (*about, -1 if level else last["position"]), last["timestamp"]
        labels = [found[n]["label"] for n in sorted(found)]
        if len(labels) > 1 and last["label"] is not None:
            made.flips[about].append(sum(a != b for a, b in itertools.pairwise(labels)))
    for record in boundaries:
        made.boundaries[(record["modality"], record["session_id"], record["boundary_type"])].add(record["position"])
    return made


def truths(labels: Iterable[Record], sides: Sequence[Side]) -> dict[tuple[str, str, int], str]:
    """Session, task, item -> the label that came last."""
    times = {(key[1], key[2], at): key[4] for s in sides for key, at in s.places.values()}
    ids = {name: key for s in sides for name, (key, _) in s.places.items()}
    found: dict[tuple[str, str, int], str] = {}
    for label in sorted(labels, key=lambda r: (r["timestamp"] or 0, r["kafka_partition"], r["kafka_offset"])):
        session, task = label["session_id"], label["task"]
        if label["prediction_id"] is not None:
            places = [ids[label["prediction_id"]][4]] if label["prediction_id"] in ids else []
        elif label["position"] is not None:
            places = list(range(label["position"], label["span_end"] or label["position"] + 1))
        elif label["event_timestamp"] is not None:
            places = [times[session, task, label["event_timestamp"]]] if (session, task, label["event_timestamp"]) in times else []
        else:
            places = [-1]
        for item in places:
            found.pop((session, task, item), None)
            if label["label"] is not None:
                found[session, task, item] = label["label"]
    return found


@dataclass(frozen=True)
class Difference:
    """B minus A of some measure, over what both said."""

    measure: str
    modality: str
    task: str
    level: str
    pairs: int
    sessions: int
    a: float
    b: float
    difference: float
    low: float
    high: float
    told: str = ""


@dataclass(frozen=True)
class Changed:
    """An item of which the two said something else."""

    key: Key
    a: Said
    b: Said
    truth: str | None
    items: int = 1
    """So many items on, with the same two answers."""


def differences(a: Side, b: Side, truth: Mapping[tuple[str, str, int], str], seed: int = 0) -> list[Difference]:
    """Every measure that both versions have something for."""
    groups: dict[About, list[Key]] = defaultdict(list)
    for key in sorted(a.items.keys() & b.items.keys()):
        groups[key[0], key[2], key[3]].append(key)
    found = []
    for about, keys in groups.items():
        pairs = [(k, a.items[k], b.items[k]) for k in keys]
        labelled = [(k, x.label, y.label) for k, x, y in pairs if x.label is not None and y.label is not None]
        judged = [(k[1], float(x == true), float(y == true)) for k, x, y in labelled if (true := truth.get((k[1], k[2], k[4]))) is not None]
        if judged:
            found.append(_difference("accuracy", about, judged, seed, _who_was_right(judged)))
        if labelled:
            same = [(k[1], 1.0, float(x == y)) for k, x, y in labelled]
            found.append(_difference("agreement", about, same, seed, f"{sum(y == 0 for _, _, y in same):,} of {len(same):,} differ"))
        for measure in ("confidence", "value"):
            values = [(k[1], getattr(x, measure), getattr(y, measure)) for k, x, y in pairs]
            known = [row for row in values if None not in row and row[1] == row[1] and row[2] == row[2]]  # a value may be NaN
            if known:
                found.append(_difference(measure, about, known, seed))
    return found + _flips(a, b, seed) + _boundaries(a, b, seed)


def _who_was_right(judged: Sequence[Row]) -> str:
    names = {(1.0, 1.0): "both", (1.0, 0.0): "only A", (0.0, 1.0): "only B", (0.0, 0.0): "neither"}
    right = Counter((x, y) for _, x, y in judged)
    return "right: " + ", ".join(f"{name} {right[pair]:,}" for pair, name in names.items())


def _flips(a: Side, b: Side, seed: int) -> list[Difference]:
    """Changes of label per span, session by session."""
    groups: dict[About, list[Row]] = defaultdict(list)
    for about in sorted(a.flips.keys() & b.flips.keys()):
        groups[about[0], about[2], about[3]].append((about[1], float(np.mean(a.flips[about])), float(np.mean(b.flips[about]))))
    return [_difference("flips per span", about, rows, seed) for about, rows in groups.items()]


def _boundaries(a: Side, b: Side, seed: int) -> list[Difference]:
    """F1 of B's boundaries with A's taken for true, session by session."""
    groups: dict[About, list[Row]] = defaultdict(list)
    for modality, session, kind in sorted(a.boundaries.keys() | b.boundaries.keys()):
        x, y = (side.boundaries.get((modality, session, kind), set()) for side in (a, b))
        groups[modality, f"{kind} boundaries", ""].append((session, 1.0, 2 * len(x & y) / (len(x) + len(y))))
    return [_difference("agreement (F1)", about, rows, seed) for about, rows in groups.items()]


def _difference(measure: str, about: About, rows: Sequence[Row], seed: int, told: str = "") -> Difference:
    sessions = [session for session, _, _ in rows]
    a, b = (np.array([row[i] for row in rows], float) for i in (1, 2))
    low, high = interval(sessions, b - a, seed)
    return Difference(
        measure, *about, len(rows), len(set(sessions)), float(a.mean()), float(b.mean()), float((b - a).mean()), low, high, told
    )


def interval(sessions: Sequence[str], differences: np.ndarray, seed: int, samples: int = SAMPLES) -> tuple[float, float]:
    """95 % interval of the mean difference, whole sessions drawn with replacement."""
    names, index = np.unique(np.array(sessions, dtype=object).astype(str), return_inverse=True)
    sums, counts = np.bincount(index, differences, len(names)), np.bincount(index, minlength=len(names)).astype(float)
    draw, means = np.random.default_rng(seed), np.empty(samples)
    for begin in range(0, samples, 100):
        picked = draw.integers(0, len(names), (100, len(names)))
        means[begin : begin + 100] = sums[picked].sum(1) / counts[picked].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def changed(a: Side, b: Side, truth: Mapping[tuple[str, str, int], str]) -> list[Changed]:
    """Where the labels differ; neighbouring items with the same two answers are one."""
    found: list[Changed] = []
    for key in sorted(a.items.keys() & b.items.keys()):
        x, y = a.items[key], b.items[key]
        if x.label == y.label:
            continue
        made = Changed(key, x, y, truth.get((key[1], key[2], key[4])))
        before = found[-1] if found else None
        goes_on = before and (*before.key[:4], before.key[4] + before.items) == key
        as_before = before and (before.a.label, before.b.label, before.truth) == (x.label, y.label, made.truth)
        if before and goes_on and as_before:
            found[-1] = replace(before, items=before.items + 1)
        else:
            found.append(made)
    return found
