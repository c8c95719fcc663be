"""Settings of the metrics model: how often it may alarm for nothing, and how much it remembers.

Knows values and their limits; leaves where settings come from to streams and deploy.
Next: models/metric_model.py
"""

from dataclasses import dataclass

from models.config import ModelConfigError


@dataclass(frozen=True)
class MetricSettings:
    """`[metrics]`: series and incidents."""

    max_false_alarms_per_day: float = 0.3
    """Incidents that one ordinary series may open, per day of event time; above 0."""
    max_series: int = 2000
    """Series of a session that are remembered, some 3 KB each; beyond it the least recently met are let go, young ones first."""


def check(settings: MetricSettings) -> None:
    """Raise ModelConfigError for settings that cannot work."""
    if not 0.0 < settings.max_false_alarms_per_day <= 86_400.0:
        raise ModelConfigError(
            f"[metrics] max_false_alarms_per_day is {settings.max_false_alarms_per_day}; wanted above 0, at most 86400: "
            "0.3 is three in ten days of each series"
        )
    if not 8 <= settings.max_series <= 100_000:
        raise ModelConfigError(f"[metrics] max_series is {settings.max_series}; wanted 8 to 100000: each takes some 3 KB of memory")
