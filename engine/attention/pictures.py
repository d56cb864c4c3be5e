"""Pictures of attention: layer by layer, and head by head. Needs matplotlib."""

from matplotlib.figure import Figure

from metaspo.engine.attention.measure import STAGES, AttentionReport
from metaspo.engine.report.figures import lines

NAMES = {"before": "first system prompt", "after": "optimized system prompt"}


def pictures(report: AttentionReport) -> dict[str, Figure]:
    """By file name."""
    return {"layers": _layers(report), "heads": _heads(report)}


def _layers(report: AttentionReport) -> Figure:
    series = {NAMES[stage]: list(enumerate(report.layers(stage))) for stage in STAGES}
    return lines(series, x="layer", y="attention to the system prompt, %")


def _heads(report: AttentionReport) -> Figure:
    """Before, after, and the difference, layer in rows, head in columns."""
    before, after = (report.heads[stage] for stage in STAGES)
    change = [[y - x for x, y in zip(*rows, strict=True)] for rows in zip(before, after, strict=True)]
    widest = max(abs(value) for row in change for value in row) or 1.0
    figure = Figure(figsize=(9, 1.5 + 0.14 * len(before)), layout="constrained")
    grids = ((before, NAMES["before"], "Blues", 0.0, 1.0), (after, NAMES["after"], "Blues", 0.0, 1.0))
    for axes, (values, title, colours, low, high) in zip(
        figure.subplots(1, 3, sharey=True), (*grids, (change, "change", "RdBu_r", -widest, widest)), strict=True
    ):
        drawn = axes.imshow(values, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("head")
        figure.colorbar(drawn, ax=axes, format=lambda value, _: f"{100 * value:.0f}%")
    figure.axes[0].set_ylabel("layer")
    return figure
