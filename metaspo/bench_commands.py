"""`metaspo bench`: what metaspo costs, and how near it comes to what servers and limits allow."""

from typing import Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from metaspo import tables
from metaspo.bench import Report, makespan, replay
from metaspo.console import out

bench_app = typer.Typer(
    help="Measure what metaspo costs, and how near it comes to what servers and limits allow.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for other programs.")]
Turns = Annotated[int, typer.Option(min=1, help="Measurements of each contender; they take turns.")]


@bench_app.command(name="replay")
def replay_command(turns: Turns = 7, json: Json = False) -> None:
    """What it costs to run a finished run of the paper's size again: the whole engine on a full cache.

    Measured against a bare loop of key, diskcache read and decoding over the same records. Takes half a minute.
    """
    show(replay(turns=turns), json=json)


@bench_app.command(name="makespan")
def makespan_command(
    replicas: Annotated[
        list[int] | None, typer.Option(min=1, help="Servers; may be repeated. Else 1, 4 and 16.")
    ] = None,
    tier: Annotated[
        list[int] | None, typer.Option(help="GPT-4o mini's usage tier: 1, 3 or 5; may be repeated.")
    ] = None,
    json: Json = False,
) -> None:
    """How long a run of the paper's size takes on simulated servers, beside other schedules and a lower bound.

    On virtual time: the same figures on every machine. All nine cells take some minutes.
    """
    show(makespan(replicas=replicas or (1, 4, 16), tiers=tier or (1, 3, 5)), json=json)


def show(report: Report, *, json: bool) -> None:
    """A report as a table, or as JSON."""
    if json:
        tables.print_json(out, report.as_data())
        return
    columns = list(report.rows[0]) if report.rows else []
    table = Table(title=report.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        text = any(isinstance(row[column], str) for row in report.rows)
        table.add_column(column, justify="left" if text else "right", vertical="bottom", overflow="fold")
    for row in report.rows:
        table.add_row(*(escape(_figure(row[column])) for column in columns))
    out.print(table)
    for note in report.notes:
        out.print(f"- {note}", highlight=False, markup=False)
    for name, value in report.parameters.items():
        out.print(f"- {name}: {value}", highlight=False, markup=False)


def _figure(value: str | float | None) -> str:
    """Whole numbers whole, others with three digits that say something."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{2 if abs(value) >= 1 else 3}f}"
