"""A table that loses nothing: where it does not fit it wraps between words, and else runs over the width."""

from collections.abc import Sequence
from itertools import chain

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table

UNBOUNDED = 1_000_000  # cells; wider than any table


class WholeTable(Table):
    """A table that wraps between words only.

    Figures, that is right-aligned columns, wrap last, and only if the table then fits: an interval below its score.
    To run over the width it must be printed by a console that does not crop (`soft_wrap=True`).
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give every column its width, then render as wide as that takes."""
        unbounded = options.update(width=UNBOUNDED)
        whole, broken = (
            [_reach(column, console, unbounded, figures_wrap=wrap) for column in self.columns] for wrap in (False, True)
        )
        self._set_widths([reach.maximum for reach in whole])
        excess = Measurement.get(console, unbounded, self).maximum - options.max_width
        figures_wrap = _slack(whole) < excess <= _slack(broken)
        self._set_widths(fit_widths(broken if figures_wrap else whole, excess=excess))
        yield from super().__rich_console__(console, unbounded)

    def fits(self, console: Console) -> bool:
        """Whether it can be as narrow as the console without a wrapped figure."""
        unbounded = console.options.update(width=UNBOUNDED)
        reaches = [_reach(column, console, unbounded, figures_wrap=False) for column in self.columns]
        self._set_widths([reach.minimum for reach in reaches])
        return Measurement.get(console, unbounded, self).maximum <= console.width

    def _set_widths(self, widths: Sequence[int]) -> None:
        for column, width in zip(self.columns, widths, strict=True):
            column.width = width


def fit_widths(reaches: Sequence[Measurement], *, excess: int) -> list[int]:
    """Columns' widths when together they are to be `excess` cells narrower than their maxima, as far as minima allow.

    The widest column that can still give way does so first.
    """
    widths = [reach.maximum for reach in reaches]
    for _ in range(excess):
        loose = [number for number, reach in enumerate(reaches) if widths[number] > reach.minimum]
        if not loose:
            break
        widths[max(loose, key=widths.__getitem__)] -= 1
    return widths


def _slack(reaches: Sequence[Measurement]) -> int:
    return sum(reach.maximum - reach.minimum for reach in reaches)


def _reach(column: Column, console: Console, options: ConsoleOptions, *, figures_wrap: bool) -> Measurement:
    """The least width at which nothing is broken that must not be, and the least at which nothing wraps."""
    header = Measurement.get(console, options, column.header)
    cells = [Measurement.get(console, options, cell) for cell in column.cells]
    unbroken = column.justify == "right" and not figures_wrap
    least = (cell.maximum if unbroken else cell.minimum for cell in cells)
    return Measurement(
        max(chain([header.minimum], least)), max(chain([header.maximum], (cell.maximum for cell in cells)))
    )
