"""From the views to one score: what they say together, once per incident, as a probability.

Knows digits of the views; leaves how they come about to models/series_novelty.py and models/series_tails.py.
Next: models/series_experts.py
"""

import numpy as np

from models.series_compile import compiled

TAIL_WEIGHT = 0.25
"""Of a view known by its tail, beside a view known by its news: news is rare of itself, a large deviation is not."""
REST, SHORTEST_REST = 0.05, 20.0
"""An incident's worst point is forgotten over this part of the series so far, and over no fewer points."""


@compiled
def together(views):
    """Evidence of one point. views: digits of level, spread, drift, season, quiet.

    News of the level, of the spread and a drift of the errors say different things of one event and add up; that a season is missed or that
    all is quiet is an event of its own.
    """
    moved = views[0] + views[1] + TAIL_WEIGHT * views[2]
    return max(moved, TAIL_WEIGHT * max(views[3], views[4]))


@compiled
def once_per_incident(s, evidence):
    """What goes beyond the incident's worst point, which fades. Changes the incident."""
    n = s.points
    rest = max(REST * n, SHORTEST_REST)
    held = s.worst * max(0.0, 1.0 - (n - s.worst_at) / rest)
    if evidence >= held:
        s.worst, s.worst_at = evidence, n
    return max(evidence - held, 0.0)


EVIDENCE = np.array([0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0])
DIGITS = np.array([0.0, 1.5, 1.75, 2.03, 2.45, 2.7, 3.05, 3.2, 3.36, 3.5, 3.72, 4.05, 4.7, 5.5, 6.0])
"""How rare so much evidence is among ordinary points: mean of those of the Numenta benchmark outside windows and of eight kinds of made-up
series (models/training/series_figures.py: calibration); 1.5 digits lie between none and any."""
UNUSUAL_EVIDENCE = 0.58
"""The label's threshold: in the middle of the plateau (0.54 to 0.61) from which the benchmark's profiles choose, whichever category is left out."""


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
