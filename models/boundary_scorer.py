"""Boundary scorer: the gaps that no rule decides, by a model that looks again when it is not sure.

The first look is a logistic model over the outlines of the words before and the one word after. Where it is not sure, the words that
follow on the same line are awaited, at most three more, and the second look decides: the same names, names of those words, and
what boundary_net.py makes of the ten words around the gap. Text without case and marks is left to the net alone. Pure, no tensors.
Weights: weights/sentences.json and boundary_net.npz (training/sentences.py makes both).
Next: models/reader.py
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from models.boundaries import NONE, WEIGHTS, Context, Verdict, is_bare, rule
from models.boundary_net import units
from models.word_shapes import Word, take_apart

UNSURE = Verdict("unsure", 0.0, "model")
"""The words that follow are needed."""


def judge(before: str, gap: int, indent: int, word: str, second: str | None, context: Context) -> Verdict:
    """Decide one gap by rule or at first look.

    before: the text before, white space collapsed to a space, a line break or two, at least its last 96 characters. indent: blanks
    after the last line break. word: the whole word after the gap. second: the one after that on the same line, empty where the line
    ends, None when not read yet. Returns WAIT only when it is None, UNSURE when look_again must decide.
    """
    verdict = rule(before, gap, indent, word, second, context)
    if verdict is not None:
        return verdict
    if is_bare(context):
        return UNSURE
    model = scorer()
    p = probability(total(features(before, word, context), model.first), model.first)
    return NONE if p < model.low else UNSURE if p < model.high else Verdict("sentence", p, "model")


def look_again(before: str, word: str, ahead: Sequence[str], context: Context) -> Verdict:
    """Decide a gap of which `judge` is not sure. ahead: the words after `word` on the same line, at most three."""
    model = scorer()
    seen = units(before, word, ahead, context.words)
    if is_bare(context):
        p, threshold = probability(inner(seen, model.bare), model.bare), model.bare.threshold
    else:
        z = inner(seen, model.second)
        names = (*features(before, word, context), *further(before, word, ahead))
        p, threshold = probability(total(names, model.second) + z, model.second), model.second.threshold
    return Verdict("sentence", p, "model") if p >= threshold else NONE


def features(before: str, word: str, context: Context) -> tuple[str, ...]:
    """What the first look sees of a gap, 31 names. Words before a line break are hidden."""
    words = before[before.rfind("\n") + 1 :].rsplit(" ", 3)
    p1, p2 = take_apart(words[-1]), take_apart(words[-2] if len(words) > 1 else "")
    p3 = take_apart(words[-3] if len(words) > 2 else "")
    n1 = take_apart(word)
    a, b, s1, z1, m1, u1 = p1.lower, n1.lower, p1.shape, n1.shape, n1.lead[:2], n1.tail[:1]
    tail = p1.tail[-4:]
    t = f"t{tail}|"
    t2, t1, e2 = t[:2], tail[:1], p2.tail[-2:]
    w = context.words
    length = str(w if w < 5 else 5 + min(w // 6, 5))
    inside = ("(" if context.depth else "") + ('"' if context.quoted else "")
    rate = str(context.capitals * 399 // (max(1, context.counted) * 100))
    return (
        t,
        f"{t}{z1}{m1}",
        t + s1,
        t + s1 + z1,
        "a" + a + t,
        "b" + b + t[:3],
        f"b{b}{z1}{t}",
        "A" + a,
        "B" + b + z1,
        f"{t}n{length}",
        f"{z1}n{length}{'.' if tail else ''}",
        f"{t}q{inside}",
        f"{t}q{inside}{u1}",
        f"s{p2.shape}{e2}|{s1}{tail}|{z1}",
        f"z{s1}{tail}|{m1}{z1}{n1.tail[:2]}",
        f"m{n1.lead[:3]}{t2}",
        f"u{n1.tail[:2]}{z1}{t}",
        f"l{p1.size}{t}{z1}",
        f"r{rate}{t2}{z1}",
        f"y{a[-3:]}{t2}{z1}",
        f"d{b[-3:]}{z1}{t2}",
        f"w{p2.lower[:12]}{e2}|{z1}{t1}",
        f"f{context.first}|{t1}{z1}",
        f"g{p3.shape}{p2.shape}{e2}{s1}{tail}{z1}",
        f"k{p1.lead[:1]}{t}{z1}",
        f"v{n1.tail[:2]}{z1}{tail[:2]}",
        f"c{a}|{b}{t1}",
        f"h{context.ended[-4:]}{t}{z1}",
        f"i{context.ended[-2:]}{t1}{z1}{length}",
        f"j{context.ended[-2:]}{t1}{s1}{z1}",
        f"p{context.ended[:1] == '-'}{t1}{s1}{z1}{length}",
    )


def further(before: str, word: str, ahead: Sequence[str]) -> tuple[str, ...]:
    """What the second look sees beside: the words that follow, `$` where the line ends."""
    p1, n1 = take_apart(before[max(before.rfind("\n"), before.rfind(" ")) + 1 :]), take_apart(word)
    after = tuple(take_apart(w) for w in ahead)
    z = (*(f"{w.lead[:1]}{w.shape}{w.tail[:2]}" for w in after), "$", "$", "$")
    low = after[0].lower if after else "$"
    t, z1, u1, n = p1.tail[-4:], n1.shape, n1.tail[:2], len(after)
    t1 = t[:1]
    return (
        f"2{t}|{z1}{u1}{z[0]}",
        f"3{t1}|{z1}{u1}{z[0]}{z[1]}",
        f"4{p1.shape}{t1}|{z1}{u1}{z[0]}{z[1]}",
        f"5{low}|{z1}{u1}{t1}",
        f"6{n1.lower}|{low}{t1}",
        f"7{n}{z1}{t1}",
        f"8{n}{z1}{u1}{t1}{p1.shape}",
        f"9{p1.shape}{t1}{z1}{z[0]}{z[1]}{z[2]}",
        f"0{t1}{z1}{''.join(map(_case, after))}",
    )


def _case(word: Word) -> str:
    return "L" if word.shape == "x" else "C" if word.shape in ("Xx", "X", "XX") else "."


@dataclass(frozen=True, slots=True)
class Weights:
    """One logistic model: logit = scale * sum + bias."""

    names: dict[str, float]
    units: tuple[float, ...]
    """Weights of what the net makes of a gap; empty where it is not asked."""
    scale: float
    bias: float
    threshold: float
    """Probability from which a gap is a boundary."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """The learned part, as its file holds it."""

    first: Weights
    second: Weights
    bare: Weights
    """For text without case and marks."""
    low: float
    high: float
    """Probabilities between which the first look is not sure."""


@cache
def scorer() -> Scorer:
    """The shipped weights, read once."""
    data = json.loads((WEIGHTS / "sentences.json").read_text(encoding="utf-8"))
    first, second, bare = (
        Weights(w["names"], tuple(w["units"]), w["scale"], w["bias"], w["threshold"]) for w in (data["first"], data["second"], data["bare"])
    )
    return Scorer(first, second, bare, data["low"], data["high"])


def total(names: Sequence[str], weights: Weights) -> float:
    """Sum of the weights of names, in their order."""
    get, value = weights.names.get, 0.0
    for name in names:
        value += get(name, 0.0)
    return value


@cache
def _unit_weights(weights: tuple[float, ...]) -> np.ndarray:
    return np.array(weights)


def inner(seen: np.ndarray, weights: Weights) -> float:
    """Sum of the weighted units; products and sums are exact, so their order is free."""
    return float(seen @ _unit_weights(weights.units))


def probability(value: float, weights: Weights) -> float:
    """Calibrated probability that a sentence ends, 0..1, the same bits for the same value."""
    return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, weights.scale * value + weights.bias))))
