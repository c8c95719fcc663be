"""How sure a severity may be, and when a rare one is said: chosen on log statements of programs that the model never met.

Knows logits, levels and what a stream usually shows; leaves the fit to severity.py. Each program counts by the root of its statements,
each level as often as a stream shows it. No log line decides anything here. Next: models/training/log_figures.py
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from models.severity_model import FIRST
from models.training.severity_statements import Statement

PRIOR = {2: 0.006, 3: 0.105, 4: 0.105, 5: 0.042, 6: 0.7, 7: 0.042}
"""How often a stream shows each level. Not free of the measured systems: one of 48 pairs of a prior and a sharpness that were tried on them."""
WANTED_ACCURACY, WANTED_F1 = 0.85, 0.60
"""What the two figures of an answer are measured by when one is had for the other."""
SLOPES = np.arange(0.4, 1.61, 0.05)
LEANS = np.arange(0.0, 3.01, 0.2)
"""Nats."""


class Figures(NamedTuple):
    """Of answers to statements, weighted."""

    accuracy: float
    macro_f1: float
    calibration_error: float

    def __str__(self) -> str:
        return f"accuracy {self.accuracy:.3f}, macro-F1 {self.macro_f1:.3f}, ECE {self.calibration_error:.3f}"

    @property
    def worth(self) -> float:
        return self.accuracy / WANTED_ACCURACY + self.macro_f1 / WANTED_F1


@dataclass(frozen=True, slots=True)
class Calibration:
    """What SeverityModel takes over, and what it is worth on the statements that decided it: two numbers of tens of thousands."""

    slope: float
    lean: float
    figures: Figures


def calibration(logits: np.ndarray, told: Sequence[Statement]) -> Calibration:
    """The slope under which confidences are likeliest and the lean that is worth most."""
    levels, weights = np.array([s.severity for s in told]), stream_weights(told)
    slope = float(min(SLOPES, key=lambda slope: surprise(logits, levels, weights, slope)))
    found = {float(lean): figures(logits, levels, weights, slope, lean) for lean in LEANS}
    lean = max(found, key=lambda lean: found[lean].worth)
    return Calibration(slope, lean, found[lean])


def stream_weights(told: Sequence[Statement]) -> np.ndarray:
    """float (n,), sum 1: what each counts if a stream shows levels as PRIOR says and programs by the root of their statements."""
    per_program = Counter(s.project for s in told)
    levels, weights = np.array([s.severity for s in told]), np.array([per_program[s.project] ** -0.5 for s in told])
    for level, share in PRIOR.items():
        weights[levels == level] *= share / max(weights[levels == level].sum(), 1e-9)
    found: np.ndarray = weights / weights.sum()
    return found


def chances(logits: np.ndarray, slope: float) -> np.ndarray:
    found = np.exp((logits - logits.max(1, keepdims=True)) * slope)
    shares: np.ndarray = found / found.sum(1, keepdims=True)
    return shares


def surprise(logits: np.ndarray, levels: np.ndarray, weights: np.ndarray, slope: float) -> float:
    """Nats a statement."""
    right = chances(logits, slope)[np.arange(len(levels)), levels - FIRST]
    return float(-(weights * np.log(np.maximum(right, 1e-12))).sum() / weights.sum())


def figures(logits: np.ndarray, levels: np.ndarray, weights: np.ndarray, slope: float, lean: float) -> Figures:
    answers = np.where(logits[:, 0] + lean > logits.max(1), 0, logits.argmax(1)) + FIRST
    weights = weights / weights.sum()
    sure = chances(logits, slope)[np.arange(len(levels)), answers - FIRST]
    is_right, bins = answers == levels, np.minimum(sure * 10, 9).astype(int)
    error = sum(abs(float((weights * (sure - is_right))[bins == n].sum())) for n in range(10))
    f1 = [2 * weights[is_right & (levels == n)].sum() / max(1e-9, weights[answers == n].sum() + weights[levels == n].sum()) for n in PRIOR]
    return Figures(float(weights[is_right].sum()), float(np.mean(f1)), error)
