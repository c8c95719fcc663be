"""The normal density of latents: where lines lie, and how far outside one lies in standard deviations.

Mean and spread along each dimension, in closed form, so that a line counts at once; the old fades. Knows latents; leaves when a
distance is rare to models/latent_views.py, and where a line lies given its session to models/latent_dynamics.py.
Next: models/latent_model.py
"""

import numpy as np
from numpy.typing import NDArray

from models.latent_encoder import WIDTH

Floats = NDArray[np.float64]
LEAST_SPREAD = 0.1
FULL = 1e6
"""Lines before the sums are halved."""


def new_sums() -> Floats:
    """(3, WIDTH): lines, sum and sum of squares; before any line a standard normal of ten."""
    return np.stack([np.full(WIDTH, 10.0), np.zeros(WIDTH), np.full(WIDTH, 10.0)])


def added(sums: Floats, latents: NDArray[np.float32]) -> Floats:
    wide = latents.astype(np.float64)
    found: Floats = sums + np.stack([np.full(WIDTH, float(len(wide))), wide.sum(0), np.square(wide).sum(0)])
    return found / 2.0 if found[0, 0] > FULL else found


def distances(sums: Floats, latents: NDArray[np.float32]) -> Floats:
    """Standard deviations of each latent from the mean (n,): the square distance, a sum of WIDTH squares, made normal by its cube root.

    Source: Wilson and Hilferty 1931.
    """
    mean = sums[1] / sums[0]
    spread = np.sqrt(np.maximum(sums[2] / sums[0] - mean**2, LEAST_SPREAD**2))
    squares = np.square((latents.astype(np.float64) - mean) / spread).sum(1)
    return normal_of(squares)


def normal_of(squares: Floats) -> Floats:
    return (np.cbrt(squares / WIDTH) - (1.0 - 2.0 / (9.0 * WIDTH))) / np.sqrt(2.0 / (9.0 * WIDTH))
