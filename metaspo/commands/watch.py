"""`metaspo watch`: runs in the browser, as they go on."""

from typing import Annotated

import typer

from metaspo import actions
from metaspo.parameters import RUNS, NamedArguments, Port, RunsFolder

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=NamedArguments)
def watch(
    place: Annotated[
        str, typer.Argument(metavar="PLACE", help="A run, or a folder of runs; all runs here if left out.")
    ] = "",
    port: Port = None,
    runs: RunsFolder = RUNS,
) -> None:
    """Show runs in the browser: under way, finished, killed, many at once. Ctrl-C ends the watching, not the runs.

    The page is served to this machine alone. From elsewhere, forward the port: ssh -L 8410:127.0.0.1:8410 HOST.
    """
    actions.watch_runs(place, port=port, runs=runs)
