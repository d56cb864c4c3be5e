"""`metaspo runs`: the runs there are, and in what two of them differ."""

from typing import Annotated

import typer

from metaspo import tables
from metaspo.console import err, exit_on_user_error, out
from metaspo.engine import find_run, find_runs
from metaspo.engine.runs.listing import list_runs
from metaspo.engine.runs.stored import run_data
from metaspo.parameters import RUNS, Json, NamedArguments, RunsFolder
from metaspo.run_tables import difference_data, print_difference, print_runs

runs_app = typer.Typer(rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})

Side = Annotated[str, typer.Argument(metavar="A", help="A run's name, the start of it, or its folder.")]
OtherSide = Annotated[str, typer.Argument(metavar="B", help="Another run's.")]


@runs_app.callback(invoke_without_command=True)
def runs(context: typer.Context, folder: RunsFolder = RUNS, json: Json = False) -> None:
    """List the runs there are, the latest first: date, models, what changed in the config, scores, dollars."""
    if context.invoked_subcommand:
        return
    with exit_on_user_error():
        found = find_runs(folder)
        lines = list_runs(found)
        if json:
            rows = zip(found, lines, strict=True)
            tables.print_json(out, [{**run_data(run), "line": line.as_json()} for run, line in rows])
        elif found:
            print_runs(out, lines)
        else:
            err.print(f"No runs in {folder}; `metaspo optimize CONFIG` makes one.", highlight=False, markup=False)


@runs_app.command(cls=NamedArguments)
def diff(first: Side, second: OtherSide, folder: RunsFolder = RUNS, json: Json = False) -> None:
    """Say in what two runs differ: keys of their configs, and what they came to."""
    with exit_on_user_error():
        sides = [find_run(name, base=folder, latest=True) for name in (first, second)]
        if json:
            tables.print_json(out, difference_data(*sides))
        else:
            print_difference(out, *sides)
