"""Forecasts of metric series beside simple ones: mean absolute error scaled by the seasonal naive forecast's, and what intervals hold.

The seasonal naive forecast is the value a day ago, for the coming hour the mean of that hour a day ago; scaled errors (MASE) are means over
the same points, from a day after the start. Source: Hyndman and Koehler 2006. Next: models/training/series_figures.py
"""

from collections.abc import Iterator, Sequence

import numpy as np

from models.training.series_data import LabelledSeries

DAY_US, HOUR_US = 86_400_000_000, 3_600_000_000
SMOOTHING = 0.3
FIRST = 20
"""Points at the start that are not judged."""


def smoothed(values: np.ndarray, weight: float) -> np.ndarray:
    """Exponential smoothing: the forecast of the value after each."""
    mean, means = values[0], np.zeros(len(values))
    for n, value in enumerate(values):
        mean += weight * (value - mean)
        means[n] = mean
    return means


def inside(interval: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Whether the truth lies in [low, high]; interval (n, 2)."""
    return (interval[:, 0] <= truth) & (truth <= interval[:, 1])


def hour_means(series: LabelledSeries, from_us: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the points in (from, from + 1 h], and how many there are."""
    sums = np.concatenate([[0.0], np.cumsum(series.values)])
    first, end = (np.searchsorted(series.times_us, at, "right") for at in (from_us, from_us + HOUR_US))
    return (sums[end] - sums[first]) / np.maximum(end - first, 1), end - first


def next_figures(series: LabelledSeries, verdicts: np.ndarray) -> dict[str, float]:
    """Scaled errors of the next value, and shares inside the intervals; no errors where the seasonal naive one has none."""
    truth, times = series.values[1:], series.times_us
    day_ago = np.searchsorted(times, times[1:] - DAY_US, "right") - 1
    judged = (day_ago >= 0) & (np.arange(len(truth)) >= FIRST)
    unit = np.abs(truth - series.values[day_ago])[judged].mean()
    forecasts = {
        "ours": verdicts["next"][:-1],
        "smoothing": smoothed(series.values, SMOOTHING)[:-1],
        "last": series.values[:-1],
    }
    found = {name: float(np.abs(truth - said)[judged].mean() / unit) if unit > 0 else np.nan for name, said in forecasts.items()}
    return found | {share: float(inside(verdicts[f"next_{share}"][:-1], truth)[judged].mean()) for share in ("50", "90")}


def hour_figures(series: LabelledSeries, verdicts: np.ndarray) -> dict[str, float]:
    """Likewise of the coming hour's mean."""
    times = series.times_us
    truth, n_truth = hour_means(series, times)
    day_ago, n_ago = hour_means(series, times - DAY_US)
    whole = (times - DAY_US >= times[0]) & (times + HOUR_US <= times[-1])
    judged = (n_truth > 0) & (n_ago > 0) & whole & (np.arange(len(times)) >= FIRST)
    unit = np.abs(truth - day_ago)[judged].mean()
    forecasts = {"ours": verdicts["hour"], "smoothing": smoothed(series.values, SMOOTHING), "last": series.values}
    fits = unit > 1e-9 * np.abs(truth).max()  # sums of a series that repeats itself exactly differ by rounding
    found = {name: float(np.abs(truth - said)[judged].mean() / unit) if fits else np.nan for name, said in forecasts.items()}
    return found | {share: float(inside(verdicts[f"hour_{share}"], truth)[judged].mean()) for share in ("50", "90")}


def forecast_rows(corpus: Sequence[LabelledSeries], verdicts: Sequence[np.ndarray]) -> Iterator[str]:
    yield "| forecast | MASE | exponential smoothing | last value | seasonal naive | inside 50 %, mean and median | inside 90 %, mean, median, lowest |"
    yield "|---|---|---|---|---|---|---|"
    for name, figures in (("next value", next_figures), ("coming hour", hour_figures)):
        all_of = [figures(series, found) for series, found in zip(corpus, verdicts)]
        mean = {key: np.nanmean([f[key] for f in all_of]) for key in all_of[0]}
        half, most = np.array([f["50"] for f in all_of]), np.array([f["90"] for f in all_of])
        yield (
            f"| {name} | {mean['ours']:.3f} | {mean['smoothing']:.3f} | {mean['last']:.3f} | 1 | "
            f"{half.mean():.3f}, {np.median(half):.3f} | {most.mean():.3f}, {np.median(most):.3f}, {most.min():.3f} |"
        )
    with_error = sum(not np.isnan(next_figures(series, found)["ours"]) for series, found in zip(corpus, verdicts))
    yield f"\nErrors over {with_error} series: the others repeat themselves exactly."
