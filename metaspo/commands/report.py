"""`metaspo report`: the page of a run."""

from pathlib import Path
from typing import Annotated

import typer

from metaspo import actions
from metaspo.parameters import RUNS, LatestFinishedRun, NamedArguments, RunsFolder

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=NamedArguments)
def report(
    run: LatestFinishedRun = "",
    page: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The page; report.html in the run's folder if left out."),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the pictures there, too, as SVG and PNG.")
    ] = None,
    runs: RunsFolder = RUNS,
) -> None:
    """Write a finished run's page: scores with intervals, curves, every prompt with what changed."""
    actions.write_page(run, page=page, figures=figures, runs=runs)
