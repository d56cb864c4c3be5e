"""A picture of a plan at scale: hours and costs by replicas, a band for each tier."""

from collections import defaultdict
from collections.abc import Sequence
from math import floor, log10

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metaspo.engine.report.figures import COLOURS
from metaspo.engine.studies.scale import AtScale

TICKS = 9  # at most, on the axis of hours


def scale_figure(scales: Sequence[AtScale]) -> Figure:
    """Hours from least to most, on logarithmic axes; beside them dollars, where every one of them is known."""
    priced = all(scale.cost for scale in scales)
    figure = Figure(figsize=(8.4 if priced else 5.0, 3.6), layout="constrained")
    axes = figure.subplots(1, 2 if priced else 1, squeeze=False)[0]
    for (label, of_tier), colour in zip(_bands(scales), COLOURS * len(scales), strict=False):
        places = [scale.replicas for scale in of_tier]
        _band(axes[0], places, [(scale.least, scale.most) for scale in of_tier], colour, label)
        if priced:
            _band(axes[1], places, [scale.cost or (0.0, 0.0) for scale in of_tier], colour, "")
    for each, title in zip(axes, ("hours, at least and at most", "dollars, GPUs included"), strict=False):
        each.set_xscale("log")
        replicas = sorted({scale.replicas for scale in scales})
        each.set_xticks(replicas, list(map(str, replicas)))
        each.set_ylim(bottom=0)
        each.set_xlabel("replicas of the base model")
        each.set_ylabel(title)
        each.spines[["top", "right"]].set_visible(False)
    _hours(axes[0], scales)
    for each in axes:
        each.minorticks_off()
        each.yaxis.set_major_formatter(lambda value, _: f"{value:,.4g}")
    if any(scale.tier is not None for scale in scales):
        figure.legend(loc="outside upper center", frameon=False, ncols=4)
    return figure


def _bands(scales: Sequence[AtScale]) -> list[tuple[str, list[AtScale]]]:
    """What is drawn, with its label: tiers that come to the same are one, as one would hide the others."""
    of_tier = defaultdict(list)
    for scale in scales:
        of_tier[scale.tier].append(scale)
    alike = defaultdict(list)
    for tier, each in of_tier.items():
        alike[tuple((scale.replicas, scale.least, scale.most, scale.cost) for scale in each)].append(tier)
    return [(_label(tiers), of_tier[tiers[0]]) for tiers in alike.values()]


def _label(tiers: Sequence[int | None]) -> str:
    if tiers[0] is None:
        return ""
    return f"tier{'s' * (len(tiers) > 1)} {', '.join(map(str, tiers))}"


def _hours(axes: Axes, scales: Sequence[AtScale]) -> None:
    """A logarithmic axis from one round number to another, however little lies between them."""
    low, high = min(scale.least for scale in scales), max(scale.most for scale in scales)
    if low <= 0:
        return
    decades = range(floor(log10(low)) - 1, floor(log10(high)) + 3)  # logarithms are rounded
    for digits in ((1, 2, 5), (1,)):
        round_numbers = [float(f"{digit}e{decade}") for decade in decades for digit in digits]
        bottom = max(number for number in round_numbers if number <= low)
        top = min(number for number in round_numbers if number > bottom and number >= high)
        ticks = [number for number in round_numbers if bottom <= number <= top]
        if len(ticks) <= TICKS:
            break
    axes.set_yscale("log")
    axes.set_ylim(bottom, top)
    axes.set_yticks(ticks)


def _band(axes: Axes, places: Sequence[int], ranges: Sequence[tuple[float, float]], colour: str, label: str) -> None:
    low, high = [least for least, _ in ranges], [most for _, most in ranges]
    axes.fill_between(places, low, high, color=colour, alpha=0.25, linewidth=0)
    for edge, named in ((low, ""), (high, label)):
        axes.plot(places, edge, "o-", color=colour, markersize=4, linewidth=1, label=named or None)
