"""`metaspo export` and `metaspo import`: prompts and tasks to and from other tools."""

from pathlib import Path
from typing import Annotated

import typer

from metaspo import tables
from metaspo.console import exit_on_user_error, out, run_async
from metaspo.engine import find_run
from metaspo.engine.exchange.export import TOOLS, export_run
from metaspo.parameters import RUNS, Json, LatestRun, NamedArguments, RunsFolder


def add_exchange_commands(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command(name="export", cls=NamedArguments)(export)


def export(
    run: LatestRun = "",
    to: Annotated[str, typer.Option(metavar="|".join(TOOLS), help="For which tool.")] = "text",
    folder: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to; export/ in the run's folder if left out.")
    ] = None,
    task: Annotated[str, typer.Option(metavar="NAME", help="One task's prompts only.")] = "",
    runs: RunsFolder = RUNS,
    json: Json = False,
) -> None:
    """Write a finished run's prompts as files for another tool.

    about.json goes along, with the run, the models and the scores, and what of it a tool's own files have room for
    stands there, too. Nothing is asked of any model.
    """
    with exit_on_user_error():
        paths = run_async(export_run(find_run(run, base=runs, latest=True), to=to, folder=folder, task=task))
    if json:
        tables.print_json(out, {"to": to, "files": [str(path) for path in paths]})
        return
    for path in paths:
        out.print(str(path), markup=False, highlight=False)
    out.print(f"Use: {TOOLS[to].use}", markup=False, highlight=False)
