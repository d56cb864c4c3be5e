"""`metaspo runs` and `show`: the runs there are, and in what two of them differ."""

from pathlib import Path
from typing import Annotated

import typer

from metaspo import actions
from metaspo.parameters import RUNS, Json, LatestRun, NamedArguments, RunsFolder, WholeSentences

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
    actions.show_run(run, everything=everything, folder=folder, json=json)


@runs_app.callback(invoke_without_command=True)
def runs(context: typer.Context, folder: RunsFolder = RUNS, json: Json = False) -> None:
    """List the runs there are, the latest first: date, models, what changed in the config, scores, dollars."""
    if not context.invoked_subcommand:
        actions.show_runs(folder, json=json)


@runs_app.command(cls=NamedArguments)
def diff(
    context: typer.Context, first: Side, second: OtherSide, folder: InnerRunsFolder = None, json: Json = False
) -> None:
    """Say in what two runs differ: keys of their configs, and what they came to."""
    if folder is None:
        folder = context.parent.params["folder"] if context.parent else RUNS
    actions.show_difference(first, second, folder=folder, json=json)
