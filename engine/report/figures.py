"""Pictures of a run or a comparison; drawn by matplotlib, without a display."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metaspo.engine.journal.address import Address
from metaspo.engine.journal.history import Point

Format = Literal["svg", "png"]
BLUE, ORANGE, GREY = "#2b6cb0", "#dd6b20", "#718096"
COLOURS = (BLUE, ORANGE, "#2f855a", "#805ad5", "#c53030", GREY, "#b7791f", "#0987a0", "#b83280", "#1a202c")
MARKERS = ("o", "s", "^")  # one more round of colours each
NARROWEST = 2.0  # points of score that an axis shows at least
LONGEST = 28  # letters of a name in a picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A score with its interval, 0 to 1."""

    score: float
    low: float
    high: float


def score_curve(points: Sequence[Point]) -> Figure:
    """The incumbent's score over selections, over calls, and over dollars where any were spent."""
    priced = any(point.dollars for point in points)
    figure = Figure(figsize=(9, 3.2) if priced else (6.6, 3.2), layout="constrained")
    axes = figure.subplots(1, 3 if priced else 2, sharey=True, squeeze=False)[0]
    scores = [100 * point.score for point in points]
    _steps(axes[0], list(range(len(points))), scores, "prompts chosen")
    axes[0].set_xticks(range(len(points)), [_short(point.address) for point in points], rotation=45, ha="right")
    _steps(axes[1], [point.calls for point in points], scores, "calls")
    if priced:
        _steps(axes[2], [point.dollars for point in points], scores, "dollars")
        axes[2].xaxis.set_major_formatter(lambda value, _: f"{round(value, 6):g}")
    axes[0].set_ylabel("score on train splits, %")
    return figure


def score_against_length(tried: Sequence[tuple[int, float, bool]]) -> Figure:
    """System prompts that were scored: characters, score from 0 to 1, and whether it was kept."""
    figure = Figure(figsize=(6.6, 3.2), layout="constrained")
    axes = figure.subplots()
    for kept, colour, label in ((False, GREY, "passed over"), (True, BLUE, "kept")):
        of_these = [(length, 100 * score) for length, score, was_kept in tried if was_kept == kept]
        if of_these:
            axes.plot(*zip(*of_these, strict=True), "o", color=colour, markersize=5, label=label)
    axes.set_xlabel("characters of the system prompt")
    axes.set_ylabel("score on train splits, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.figure.legend(loc="outside upper center", frameon=False, ncols=2)
    _plain(axes)
    return figure


def before_and_after(tasks: Mapping[str, tuple[Bar, Bar]]) -> Figure:
    """Per task the test score before and after, with intervals."""
    figure = Figure(figsize=(7.5, 1.2 + 0.45 * len(tasks)), layout="constrained")
    axes = figure.subplots()
    for row, (before, after) in enumerate(tasks.values()):
        axes.plot([100 * before.score, 100 * after.score], [row, row], color="#cbd5e0", linewidth=2, zorder=1)
        _whisker(axes, row - 0.12, before, GREY, "before" if row == 0 else "")
        _whisker(axes, row + 0.12, after, BLUE, "after" if row == 0 else "")
    axes.set_yticks(range(len(tasks)), list(tasks))
    axes.invert_yaxis()
    _finish(axes, "test score, % (95% intervals)")
    return figure


def methods(groups: Mapping[str, Mapping[str, Bar]]) -> Figure:
    """Scores of methods, side by side in each group (a domain, or all): group -> method -> bar."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    figure = Figure(figsize=(7.5, 1.6 + 0.22 * len(names) * len(groups)), layout="constrained")
    axes = figure.subplots()
    for column, name in enumerate(names):
        rows = [row for row, group in enumerate(groups.values()) if name in group]
        for row in rows:
            height = row + (column - (len(names) - 1) / 2) * 0.8 / len(names)
            bar = list(groups.values())[row][name]
            colour, marker = _look(column)
            _whisker(axes, height, bar, colour, _shortened(name) if row == rows[0] else "", marker=marker)
    for row in range(1, len(groups)):
        axes.axhline(row - 0.5, color="#e2e8f0", linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(groups)), list(groups))
    axes.set_ylim(len(groups) - 0.5, -0.5)
    _finish(axes, "score on test splits, % (95% intervals)")
    return figure


def lines(series: Mapping[str, Sequence[tuple[float, float]]], *, x: str, y: str) -> Figure:
    """Curves by name: (x, y) pairs; y from 0 to 1 is shown in percent."""
    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    axes = figure.subplots()
    for number, (name, pairs) in enumerate(series.items()):
        colour, marker = _look(number)
        places, scores = [a for a, _ in pairs], [100 * b for _, b in pairs]
        axes.plot(places, scores, marker=marker, markersize=4, color=colour, label=_shortened(name))
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    figure.legend(loc="outside right upper", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw(figure: Figure, kind: Format) -> bytes:
    """The picture as a file's content; the same figure gives the same bytes."""
    target = io.BytesIO()
    with rc_context({"svg.hashsalt": "metaspo"}):
        figure.savefig(target, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return target.getvalue()


def _steps(axes: Axes, places: Sequence[float], scores: Sequence[float], label: str) -> None:
    axes.step(places, scores, where="post", color=BLUE)
    axes.plot(places, scores, "o", color=BLUE, markersize=4)
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    _plain(axes)


def _plain(axes: Axes) -> None:
    """Scores without offsets and dust of floating point, and no tighter than two points."""
    low, high = axes.get_ylim()
    if high - low < NARROWEST:
        middle = (low + high) / 2
        axes.set_ylim(middle - NARROWEST / 2, middle + NARROWEST / 2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{round(value, 2):g}")


def _look(number: int) -> tuple[str, str]:
    """Colour and marker of the `number`-th of several."""
    return COLOURS[number % len(COLOURS)], MARKERS[number // len(COLOURS) % len(MARKERS)]


def _shortened(name: str) -> str:
    """The end of a long name: that is where paths differ. No name is taken for mathematics, or for hidden."""
    short = name if len(name) <= LONGEST else "…" + name[1 - LONGEST :]
    return short.lstrip("_").replace("$", r"\$")


def _whisker(axes: Axes, row: float, bar: Bar, colour: str, label: str, *, marker: str = "o") -> None:
    axes.plot([100 * bar.low, 100 * bar.high], [row, row], color=colour, linewidth=1.2, zorder=2)
    axes.plot([100 * bar.score], [row], marker=marker, color=colour, markersize=5, zorder=3, label=label or None)


def _finish(axes: Axes, label: str) -> None:
    axes.set_xlabel(label)
    axes.set_xlim(0, 100)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#edf2f7")
    axes.set_axisbelow(True)
    axes.figure.legend(loc="outside upper center", frameon=False, ncols=3)


def _short(address: str) -> str:
    place = Address.parse(address)
    kind = {"inner": "user", "outer": "system", "init": "first"}.get(place.loop, place.loop)
    return f"{place.iteration} {kind}" if place.iteration else kind
