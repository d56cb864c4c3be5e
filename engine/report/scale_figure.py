"""A picture of a plan at scale: hours and costs by replicas, a band for each tier."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metaspo.engine.report.figures import COLOURS
from metaspo.engine.studies.scale import AtScale


def scale_figure(scales: Sequence[AtScale]) -> Figure:
    """Hours from least to most, on logarithmic axes; beside them dollars, where every one of them is known."""
    priced = all(scale.cost for scale in scales)
    figure = Figure(figsize=(8.4 if priced else 5.0, 3.6), layout="constrained")
    axes = figure.subplots(1, 2 if priced else 1, squeeze=False)[0]
    for number, tier in enumerate(dict.fromkeys(scale.tier for scale in scales)):
        of_tier = [scale for scale in scales if scale.tier == tier]
        places, colour = [scale.replicas for scale in of_tier], COLOURS[number % len(COLOURS)]
        label = "" if tier is None else f"tier {tier}"
        _band(axes[0], places, [(scale.least, scale.most) for scale in of_tier], colour, label)
        if priced:
            _band(axes[1], places, [scale.cost or (0.0, 0.0) for scale in of_tier], colour, "")
    axes[0].set_yscale("log")
    for each, title in zip(axes, ("hours, at least and at most", "dollars, GPUs included"), strict=False):
        each.set_xscale("log")
        ticks = sorted({scale.replicas for scale in scales})
        each.set_xticks(ticks, list(map(str, ticks)))
        each.minorticks_off()
        each.yaxis.set_major_formatter(lambda value, _: f"{value:,.4g}")
        each.set_xlabel("replicas of the base model")
        each.set_ylabel(title)
        each.spines[["top", "right"]].set_visible(False)
    if any(scale.tier is not None for scale in scales):
        figure.legend(loc="outside upper center", frameon=False, ncols=4)
    return figure


def _band(axes: Axes, places: Sequence[int], ranges: Sequence[tuple[float, float]], colour: str, label: str) -> None:
    low, high = [least for least, _ in ranges], [most for _, most in ranges]
    axes.fill_between(places, low, high, color=colour, alpha=0.25, linewidth=0)
    for edge, named in ((low, ""), (high, label)):
        axes.plot(places, edge, "o-", color=colour, markersize=4, linewidth=1, label=named or None)
