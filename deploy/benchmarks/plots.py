"""Curves as PNG files, in colours that people who see few of them tell apart, and markers besides.

Knows matplotlib, which comes with the extras `train` and `dev`; without it there are no pictures, and that is said.
"""

from collections.abc import Sequence
from pathlib import Path

from deploy.benchmarks.results import Plot

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito 2008."""
MARKERS = "osD^vPX"


def draw(plots: Sequence[Plot], folder: Path) -> bool:
    """Write one file a plot; False where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    for plot in plots:
        figure, axes = pyplot.subplots(figsize=(7, 4.2), dpi=120)
        for number, series in enumerate(plot.series):
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
            axes.plot(series.x, series.y, color=colour, marker=marker, markersize=5, linewidth=1.6, label=series.label)
        if plot.limit is not None:
            axes.axhline(plot.limit, color="#555555", linestyle="--", linewidth=1, label=f"goal: {plot.limit:g}")
        if plot.log_x:
            axes.set_xscale("log")
        if plot.log_y:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.set(title=plot.title, xlabel=plot.x, ylabel=plot.y)
        axes.grid(True, which="both", alpha=0.25)
        axes.legend(frameon=False)
        figure.tight_layout()
        figure.savefig(folder / f"{plot.name}.png")
        pyplot.close(figure)
    return True
