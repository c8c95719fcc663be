"""A kept comparison for its page: measures with where their interval lies against no difference, and the examples that changed, by who was right.

Knows which way a measure is better and pixels in percent; leaves the file to sinks/comparisons.py, markup to templates/versions.html. All pure.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BETTER = {"accuracy": 1, "flips per span": -1}
"""Measure -> which way is better; of the others neither is."""
SHARES = ("accuracy", "confidence")
MEANINGS = {
    "accuracy": "answers that are right, where a label says so",
    "agreement": "items of which both say the same label",
    "confidence": "how sure the version says it is",
    "value": "the number that was told",
    "flips per span": "changes of the label while a span is read",
    "agreement (F1)": "boundaries that both draw at the same item",
}


@dataclass(frozen=True)
class Measured:
    """One measure of one task, drawn: percent from the left, no difference in the middle."""

    measure: str
    meaning: str
    a: str
    b: str
    difference: str
    interval: str
    verdict: str
    """good, bad, differs or same: the interval excludes no difference, or does not."""
    pairs: int
    sessions: int
    told: str
    low: float
    at: float
    high: float
    is_agreement: bool
    """Drawn as a share from the left: there is nothing that A and B have each."""


def unchanged(whole: Mapping[str, Any]) -> list[str]:
    """What was compared and is the same in every item."""
    return [f"{_about(d)}: {d['measure']}" for d in whole["differences"] if _is_unchanged(d)]


def _is_unchanged(d: Mapping[str, Any]) -> bool:
    return bool(d["difference"] == d["low"] == d["high"] == 0)


def _about(d: Mapping[str, Any]) -> str:
    return " · ".join(part for part in (d["modality"], d["task"], d["level"]) if part)


def groups(whole: Mapping[str, Any]) -> list[tuple[str, list[Measured]]]:
    """What differs in anything, with its measures."""
    found: dict[str, list[Measured]] = {}
    for d in whole["differences"]:
        if _is_unchanged(d):
            continue
        about = _about(d)
        found.setdefault(about, []).append(_measured(d))
    return list(found.items())


def _measured(d: Mapping[str, Any]) -> Measured:
    measure = d["measure"]
    low, high, difference = (round(d[name], 12) + 0.0 for name in ("low", "high", "difference"))  # a mean of equal things may be 1e-18
    is_agreement = measure.startswith("agreement")
    is_share = measure in SHARES
    beyond = not low <= 0 <= high
    better = BETTER.get(measure, 0)
    verdict = "same" if not beyond else "differs" if better == 0 else "good" if difference * better > 0 else "bad"
    common = {"measure": measure, "meaning": MEANINGS.get(measure, ""), "pairs": d["pairs"], "sessions": d["sessions"], "told": d["told"]}
    if is_agreement:
        spots = [100 * min(max(1 + v, 0.0), 1.0) for v in (low, difference, high)]
        interval = f"{spots[0]:.1f} to {spots[2]:.1f} %"
        return Measured(**common, a="", b="", difference=f"{spots[1]:.1f} %", interval=interval, verdict="differs" if beyond else "same",
                        low=spots[0], at=spots[1], high=spots[2], is_agreement=True)  # fmt: skip
    widest = max(abs(low), abs(high), abs(difference), 1e-12) * 1.15
    spots = [50 + 50 * v / widest for v in (low, difference, high)]
    signed = "{:+.1f}" if is_share else "{:+.3g}"
    scale, unit = (100, " points") if is_share else (1, "")
    return Measured(**common, a=_plain(d["a"], is_share), b=_plain(d["b"], is_share), difference=signed.format(scale * difference) + unit,
                    interval=f"{signed.format(scale * low)} to {signed.format(scale * high)}", verdict=verdict,
                    low=spots[0], at=spots[1], high=spots[2], is_agreement=False)  # fmt: skip


def _plain(value: float, is_share: bool) -> str:
    return f"{100 * value:.1f} %" if is_share else f"{value:.3g}"


def tasks(whole: Mapping[str, Any]) -> list[str]:
    """Those with examples that changed."""
    return sorted({c["task"] for c in whole["changed"]})


def counts(whole: Mapping[str, Any], task: str) -> Counter[str]:
    """Verdict -> how many examples."""
    return Counter(c["verdict"] for c in whole["changed"] if task in ("", c["task"]))


def examples(whole: Mapping[str, Any], verdict: str, task: str) -> Sequence[Mapping[str, Any]]:
    """The examples that changed: where somebody knows better first, then the longest."""
    order = {"lost": 0, "won": 0, "wrong": 1, "unknown": 2}
    kept = [c for c in whole["changed"] if verdict in ("", c["verdict"]) and task in ("", c["task"])]
    return sorted(kept, key=lambda c: (order[c["verdict"]], c["level"] == "", -c["items"]))
