"""Settings of the log model: what looks at lines, and from where on one is an anomaly.

Knows values and their limits; leaves where settings come from to streams and deploy, and learning to models/learner.py.
Next: models/log_model.py
"""

from dataclasses import dataclass
from typing import Literal

from models.config import ModelConfigError


@dataclass(frozen=True)
class LogSettings:
    """`[logs]`: severity, templates and anomalies of lines."""

    trajectory: Literal["rectified", "flow", "sde", "none"] = "rectified"
    """How a session's way through latent space is judged: rectified flow, conditional normalising flow, stochastic differential equation."""
    density: Literal["normal", "flow"] = "normal"
    """What lies far from all lines: measured by mean and spread, or by a normalising flow."""
    deviations: float = 3.0
    """Standard deviations from what is normal at which a line or session is an anomaly, above 0."""


def check(settings: LogSettings) -> None:
    """Raise ModelConfigError for settings that cannot work."""
    if not 0.0 < settings.deviations <= 6.0:
        raise ModelConfigError(
            f"[logs] deviations is {settings.deviations}; wanted above 0, at most 6, where `value` is 1: 3 is one line in 740"
        )
