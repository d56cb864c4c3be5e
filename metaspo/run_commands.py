"""`metaspo runs`: the runs there are, and in what two of them differ."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from metaspo import tables
from metaspo.console import err, exit_on_user_error, out
from metaspo.engine import RunDirectory, find_run, find_runs
from metaspo.engine.runs.listing import RunLine, list_runs
from metaspo.engine.runs.stored import run_data, shown_data
from metaspo.parameters import RUNS, Json, LatestRun, NamedArguments, RunsFolder, WholeSentences
from metaspo.run_list import difference_data, print_difference, print_runs
from metaspo.run_tables import print_run

runs_app = typer.Typer(
    cls=WholeSentences, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]}
)

InnerRunsFolder = Annotated[Path | None, typer.Option("--runs", metavar="DIR", help="Folder of the run directories.")]
Side = Annotated[str, typer.Argument(metavar="A", help="A run's name, the start of it, or its folder.")]
OtherSide = Annotated[str, typer.Argument(metavar="B", help="Another run's.")]

app = typer.Typer(rich_markup_mode=None)
app.add_typer(runs_app, name="runs")


@app.command(cls=NamedArguments)
def show(
    run: LatestRun = "",
    everything: Annotated[bool, typer.Option("--all", help="All there is, not only what fits a screen.")] = False,
    folder: RunsFolder = RUNS,
    json: Json = False,
) -> None:
    """Show a run: scores before and after, prompts, calls, tokens, dollars, time; how far it is while it goes on."""
    with exit_on_user_error():
        directory = find_run(run, base=folder, latest=True)
        if json:
            tables.print_json(out, shown_data(directory))
        else:
            print_run(out, directory, everything=everything)


@runs_app.callback(invoke_without_command=True)
def runs(context: typer.Context, folder: RunsFolder = RUNS, json: Json = False) -> None:
    """List the runs there are, the latest first: date, models, what changed in the config, scores, dollars."""
    if context.invoked_subcommand:
        return
    with exit_on_user_error():
        directories = find_runs(folder)
        lines = list_runs(directories)
        if json:
            tables.print_json(out, [_as_json(run, line) for run, line in zip(directories, lines, strict=True)])
        elif directories:
            print_runs(out, lines)
        else:
            err.print(f"No runs in {folder}; `metaspo optimize CONFIG` makes one.")


def _as_json(run: RunDirectory, line: RunLine) -> dict[str, Any]:
    data = {"name": run.name, "directory": str(run.path)} if line.unreadable else run_data(run)
    return {**data, "line": asdict(line)}


@runs_app.command(cls=NamedArguments)
def diff(
    context: typer.Context, first: Side, second: OtherSide, folder: InnerRunsFolder = None, json: Json = False
) -> None:
    """Say in what two runs differ: keys of their configs, and what they came to."""
    if folder is None:
        folder = context.parent.params["folder"] if context.parent else RUNS
    with exit_on_user_error():
        sides = [find_run(name, base=folder, latest=True) for name in (first, second)]
        if json:
            tables.print_json(out, difference_data(*sides))
        else:
            print_difference(out, *sides)
