"""One metric series: a point -> how unusual it is, and what comes next. Online, without settings per series.

Five views of each point (jump, level, distance, range, season) give statistics; each is put on one scale by its own tail:
how often was it so large before. The score is the least likely view, damped while an incident lasts. Knows one series;
leaves sessions and answers to models/metric_model.py. Source of the tail estimate: Hill 1975, streamed.
Next: models/metric_model.py
"""

import math
from dataclasses import dataclass, field, replace

import msgspec

LARGEST = 1e150
"""Larger values are read as this one: their squares must stay finite."""
WARM_UP = 30
"""Points before a tail is known."""
TAIL = 0.05
"""Share of a statistic's values above its tracked threshold; beyond it the tail is extrapolated."""
SLOW = 0.003
"""Weight of a point in the slow level: about a day of 5-minute points."""
RECENT = 10
BINS = 48
"""Half hours of a day."""
DAY_US = 86_400_000_000
SEASON_AFTER_US = DAY_US * 3 // 2
DAMPING, FADING = 0.5, 0.99
"""A point must be less likely than half (in digits) of the incident's worst point, which fades by 1 % a point."""
MOST_DIGITS = 9.0
UNUSUAL = 1.0 - 10.0**-2.5
"""Threshold of the label, 2.5 digits: the mean of what each category of NAB left out once chooses (2.36 to 2.75)."""
TEN = 1.0 / math.log(10.0)
VIEWS = ("jump", "level", "distance", "range", "season", "season point")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one point was found to be."""

    value: float
    """0..1: one minus how often such a point comes in an ordinary series, damped within an incident."""
    view: str
    """The view that found it least likely; empty when none found anything."""
    forecast: float
    low: float
    high: float
    """The next value, and where it lies nine times of ten."""


@dataclass(slots=True)
class Series:
    """State of one series. `copy` before `read` where the old state must stay."""

    points: int = 0
    first_us: int = 0
    fast: float = 0.0
    """Quick mean: what the next value is compared with."""
    jump: float = 0.0
    """Mean distance from the quick mean, outliers clipped."""
    level: float = 0.0
    variance: float = 0.0
    high: float = 0.0
    low: float = 0.0
    recent: tuple[float, ...] = ()
    season: list[float] = field(default_factory=lambda: [0.0] * BINS)
    season_points: list[int] = field(default_factory=lambda: [0] * BINS)
    season_error: float = -1.0
    """Mean distance from the daily profile; negative before there is one."""
    season_recent: tuple[float, ...] = ()
    thresholds: list[float] = field(default_factory=lambda: [0.0] * len(VIEWS))
    excesses: list[float] = field(default_factory=lambda: [0.3] * len(VIEWS))
    incident: float = 0.0
    """Digits of the worst point of the incident, faded."""
    errors: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    """Mean distance of each forecast: last value, quick mean, daily profile."""
    forecasts: tuple[float, ...] = ()
    chosen: int = 0
    quantiles: tuple[float, float] = (-2.0, 2.0)
    """5 % and 95 % of the forecast's error, in mean distances."""

    def copy(self) -> "Series":
        return replace(
            self, season=self.season.copy(), season_points=self.season_points.copy(), thresholds=self.thresholds.copy(),
            excesses=self.excesses.copy(), errors=self.errors.copy(),
        )  # fmt: skip


_encode = msgspec.msgpack.Encoder().encode
_FIELDS = tuple(Series.__dataclass_fields__)


def pack(series: Series) -> bytes:
    return _encode([getattr(series, name) for name in _FIELDS])


def unpack(data: bytes) -> Series:
    values = dict(zip(_FIELDS, msgspec.msgpack.decode(data), strict=True))
    for name in ("recent", "season_recent", "forecasts", "quantiles"):
        values[name] = tuple(values[name])
    return Series(**values)


def read(series: Series, value: float, at_us: int) -> Verdict:
    """One point, in order of arrival. Changes `series`."""
    x = min(max(value, -LARGEST), LARGEST)
    if not series.points:
        series.first_us, series.fast, series.level, series.high, series.low = at_us, x, x, x, x
    note_forecast(series, x)
    statistics = (*look_at_level(series, x), look_at_range(series, x), *look_at_season(series, x, at_us))
    digits, view = least_likely(series, statistics)
    series.points += 1
    eased = max(digits - DAMPING * series.incident, 0.0)
    series.incident = max(series.incident * FADING, digits)
    forecast, low, high = forecast_next(series, x, at_us)
    return Verdict(1.0 - 10.0**-eased, VIEWS[view] if eased > 0.0 else "", forecast, low, high)


def least_likely(series: Series, statistics: tuple[float, ...]) -> tuple[float, int]:
    """Digits of the smallest tail probability (2 = one in a hundred), and its view; then the tails have seen the point.

    A statistic is the logarithm of a ratio, so an exponential tail of it is a power-law tail of the ratio: heavy-tailed
    series do not alarm all day.
    """
    n, worst, view = series.points, 0.0, 0
    step, share = max(1.0 / math.sqrt(n + 1.0), 0.05), max(1.0 / (1.0 + n * TAIL), 0.01)
    for k, statistic in enumerate(statistics):
        threshold, excess = series.thresholds[k], series.excesses[k]
        move = max(excess, 0.02) * step
        if statistic > threshold and n:
            over = statistic - threshold
            if n >= WARM_UP:
                digits = min(1.3 + over / max(excess, 1e-3) * TEN, MOST_DIGITS)
                if digits > worst:
                    worst, view = digits, k
            series.excesses[k] = excess + (min(over, 5.0 * excess + 0.5) - excess) * share
            series.thresholds[k] = threshold + move * (1.0 - TAIL)
        else:
            series.thresholds[k] = max(threshold - move * TAIL, 0.0) if n else statistic
    return worst, view


def look_at_level(series: Series, x: float) -> tuple[float, float, float]:
    """Jump from the quick mean; shift of the last points' mean; distance of the point from the slow level."""
    n = series.points
    jump, usual = abs(x - series.fast), series.jump
    jumped = math.log1p(min(jump / usual, 1e9)) if usual > 0.0 else 5.0 if jump > 0.0 else 0.0
    if usual == 0.0:
        usual = jump * 0.1
    series.jump = usual + (min(jump, usual * 8.0) - usual) * max(1.0 / (n + 1), 0.01)
    series.fast += (x - series.fast) * 0.4

    series.recent = (*series.recent, x)[-RECENT:]
    deviation = math.sqrt(series.variance)
    shift = abs(sum(series.recent) / len(series.recent) - series.level)
    far = x - series.level
    if deviation > 0.0 and n > 30:
        far = max(min(far, 6.0 * deviation), -6.0 * deviation)  # an outlier does not become the rule at once
    weight = max(1.0 / (n + 1), SLOW)
    series.level += weight * far
    series.variance += (far * far - series.variance) * weight
    if deviation <= 0.0:
        return jumped, 0.0, 0.0
    return jumped, math.log1p(min(shift / deviation, 1e9)), math.log1p(min(abs(x - series.level) / deviation, 1e9))


def look_at_range(series: Series, x: float) -> float:
    """How far the point lies outside all that came before, in tenths of their range; the range shrinks slowly."""
    width, beyond = series.high - series.low, max(x - series.high, series.low - x)
    fading = width * 0.0002 if series.points > 20 else 0.0
    series.high, series.low = max(series.high - fading, x), min(series.low + fading, x)
    if beyond <= 0.0 or series.points <= 20:
        return 0.0
    return math.log1p(min(10.0 * beyond / width, 1e9)) if width > 0.0 else 3.0


def look_at_season(series: Series, x: float, at_us: int) -> tuple[float, float]:
    """Distance of the last points' mean, and of the point, from the daily profile, once there is one."""
    slot = at_us // (DAY_US // BINS) % BINS
    count, expected = series.season_points[slot], series.season[slot]
    found = (0.0, 0.0)
    if count > 3 and at_us - series.first_us > SEASON_AFTER_US:
        error = x - expected
        usual = series.season_error if series.season_error >= 0.0 else abs(error)
        series.season_recent = (*series.season_recent, error)[-RECENT:]
        if usual > 0.0:
            mean = abs(sum(series.season_recent)) / len(series.season_recent)
            found = math.log1p(min(mean / usual, 1e9)), math.log1p(min(abs(error) / usual, 1e9))
        series.season_error = usual + (min(abs(error), 8.0 * usual) - usual) * 0.005
    series.season[slot] = x if not count else expected + (x - expected) * max(1.0 / (count + 1), 0.05)
    series.season_points[slot] = min(count + 1, 1000)
    return found


def note_forecast(series: Series, x: float) -> None:
    """What the forecasts of this point were worth: their mean errors, and the quantiles of the chosen one's."""
    if not series.forecasts:
        return
    error, usual = x - series.forecasts[series.chosen], series.errors[series.chosen]
    scaled = error / usual if usual > 0.0 else math.copysign(9.0, error) if error else 0.0
    low, high = series.quantiles
    step = max(0.5 / math.sqrt(series.points), 0.02) * (1.0 + high - low)
    low += step * (0.05 if scaled > low else -0.95)
    high += step * (0.95 if scaled > high else -0.05)
    series.quantiles = max(min(low, 0.0), -1e3), min(max(high, 0.0), 1e3)
    weight = max(1.0 / series.points, 0.02)
    for k, forecast in enumerate(series.forecasts):
        series.errors[k] += (abs(x - forecast) - series.errors[k]) * weight


def forecast_next(series: Series, x: float, at_us: int) -> tuple[float, float, float]:
    """The next value by whichever of three simple forecasts has erred least lately, and its interval of 90 %."""
    slot = at_us // (DAY_US // BINS) % BINS
    offset = sum(series.season_recent) / len(series.season_recent) if series.season_recent else x - series.season[slot]
    series.forecasts = (x, series.fast, series.season[slot] + offset)
    series.chosen = min(range(3), key=series.errors.__getitem__)
    forecast, usual = series.forecasts[series.chosen], series.errors[series.chosen]
    return forecast, forecast + series.quantiles[0] * usual, forecast + series.quantiles[1] * usual
