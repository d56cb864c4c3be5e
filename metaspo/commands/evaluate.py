"""`metaspo evaluate`: a prompt pair on a config's tasks."""

from pathlib import Path
from typing import Annotated

import typer

from metaspo import actions
from metaspo.parameters import RUNS, Config, Json, NamedArguments, Quiet, RunsFolder, Sets

app = typer.Typer(rich_markup_mode=None)


@app.command(name="evaluate", cls=NamedArguments)
def evaluate_command(
    config: Config,
    system: Annotated[
        Path | None, typer.Option(metavar="FILE", help="System prompt; the config's if left out.")
    ] = None,
    user: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK=FILE", help="A task's user prompt; its first one if left out. Repeatable."),
    ] = None,
    run: Annotated[str, typer.Option(metavar="RUN", help="Take the prompts that a finished run found.")] = "",
    split: Annotated[str, typer.Option(metavar="train|test", help="Which examples are scored.")] = "test",
    runs: RunsFolder = RUNS,
    sets: Sets = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a prompt pair on a config's tasks."""
    actions.evaluate_prompts(
        config, system=system, user=user or [], run=run, split=split, runs=runs, sets=sets, json=json, quiet=quiet
    )
