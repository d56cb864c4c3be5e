"""`metaspo bench`: what metaspo costs, and how near it comes to what servers and limits allow."""

from typing import Annotated

import typer
from rich.markup import escape

from metaspo import tables
from metaspo.bench import Report
from metaspo.console import out

bench_app = typer.Typer(
    help="Measure what metaspo costs, and how near it comes to what servers and limits allow.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for other programs.")]
Turns = Annotated[int, typer.Option(min=1, help="Measurements of each contender, in turns.")]


@bench_app.command()
def replay(turns: Turns = 7, json: Json = False) -> None:
    """The whole engine on a full cache: what a finished run of the paper's size costs to run again.

    Measured against a bare loop of key, diskcache read and decoding over the same records. Takes about a minute.
    """
    from metaspo.bench.replay import replay as measure

    show(measure(turns=turns), json=json)


def show(report: Report, *, json: bool) -> None:
    """A report as a table, or as JSON."""
    if json:
        tables.print_json(out, report.as_data())
        return
    columns = list(report.rows[0]) if report.rows else []
    table = tables.make_table(report.title, *columns)
    for row in report.rows:
        table.add_row(*(escape(_figure(row[column])) for column in columns))
    out.print(table)
    for note in report.notes:
        out.print(note, highlight=False, markup=False)
    for name, value in report.parameters.items():
        out.print(f"  {name}: {value}", highlight=False, markup=False)


def _figure(value: str | float | None) -> str:
    """Whole numbers whole, others with three digits that say something."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
