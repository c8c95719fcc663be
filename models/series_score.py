"""From the views to one score: what they say together, once per incident, as a probability.

Knows digits of the views; leaves how they come about to models/series_novelty.py and models/series_tails.py.
Next: models/series_experts.py
"""

import numpy as np

from models.series_compile import compiled

TAIL_WEIGHT = 0.125
"""Of a view known by its tail, beside a view known by its news: news is rare of itself, a large deviation is not."""
REST, SHORTEST_REST = 0.08, 20.0
"""An incident's worst point is forgotten over this part of the series so far, and over no fewer points."""


@compiled
def together(views):
    """Evidence of one point: the views' digits added. views: digits of level, spread, drift, season, quiet.

    Added, not the largest of them: what is one event shows in several views at once, and what is chance in one.
    """
    return views[0] + views[1] + TAIL_WEIGHT * (views[2] + views[3] + views[4])


@compiled
def once_per_incident(s, evidence):
    """What goes beyond the incident's worst point, which fades. Changes the incident."""
    n = s.points
    rest = max(REST * n, SHORTEST_REST)
    held = s.worst * max(0.0, 1.0 - (n - s.worst_at) / rest)
    if evidence >= held:
        s.worst, s.worst_at = evidence, n
    return max(evidence - held, 0.0)


EVIDENCE = np.array([0.0, 0.001, 0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.48, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.5])
DIGITS = np.array([0.0, 1.7, 1.8, 2.07, 2.28, 2.45, 2.68, 2.88, 3.01, 3.14, 3.22, 3.32, 3.45, 3.57, 3.82, 4.25, 5.1, 5.7, 6.0])
"""How rare so much evidence is among ordinary points: mean of those of the Numenta benchmark outside windows and of eight kinds of made-up
series (`python -m models.training.series_figures`, calibration); 1.7 digits lie between none and any."""
UNUSUAL_EVIDENCE = 0.46
"""The label's threshold: the middle of where the benchmark, as it is and with noise, with points left out and with its start cut off, scores
best (0.44 to 0.48); up to 0.62 it loses a point."""


@compiled
def probability(evidence):
    """1 - the share of ordinary points with so much evidence, between the measured ones in logarithms."""
    digits = DIGITS[-1]
    for k in range(1, len(EVIDENCE)):
        if evidence < EVIDENCE[k]:
            share = (evidence - EVIDENCE[k - 1]) / (EVIDENCE[k] - EVIDENCE[k - 1])
            digits = DIGITS[k - 1] + share * (DIGITS[k] - DIGITS[k - 1])
            break
    return 1.0 - 10.0**-digits
