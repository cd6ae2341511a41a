"""The plots of RESULTS.md, as SVG that reads on a light and on a dark page."""

from __future__ import annotations

from itertools import chain, cycle
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot
from measure import Plot

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "lutum", "svg.fonttype": "none", "font.size": 10})

OURS, OTHERS = ("#b8321a", "#e8902c"), ("#7a8894", "#3d6a8a", "#5b8f7b", "#8a6f9e", "#a0a0a0", "#506070")


def draw(plot: Plot, folder: Path) -> None:
    """Write `folder/NAME.svg`."""
    folder.mkdir(exist_ok=True)
    ours = [label for label in plot.series if label.startswith("lutum")]
    others = [label for label in plot.series if label not in ours]
    colour = dict(zip([*ours, *others], chain(OURS[: len(ours)], cycle(OTHERS)), strict=False))
    figure, axes = pyplot.subplots(figsize=(7, 0.8 + 0.38 * len(plot.series)) if plot.bars else (7, 4))
    if plot.bars:
        labels = sorted(plot.series, key=lambda label: plot.series[label][0][1], reverse=True)
        values = [plot.series[label][0][1] for label in labels]
        bars = axes.barh(labels, values, color=[colour[label] for label in labels])
        axes.bar_label(bars, fmt="%.3g", padding=3)
        axes.set_xscale("log")
        axes.set_xlim(right=max(values) * 2)
    else:
        for label, points in plot.series.items():
            axes.plot(*zip(*points, strict=True), marker="o", label=label, color=colour[label])
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylabel(plot.y)
        axes.legend(frameon=False, fontsize=8)
    axes.set_xlabel(plot.x)
    axes.set_title(plot.title)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(folder / f"{plot.name}.svg", metadata={"Date": None}, facecolor="white")
    pyplot.close(figure)
