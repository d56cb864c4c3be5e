"""`metaspo answers`: what a run's examples were answered before and after, and how each answer was read."""

from typing import Annotated

import typer

from metaspo import actions
from metaspo.parameters import RUNS, Json, LatestRun, NamedArguments, RunsFolder

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=NamedArguments)
def answers(
    run: LatestRun = "",
    task: Annotated[str, typer.Option(metavar="NAME", help="One task only.")] = "",
    split: Annotated[
        str, typer.Option(metavar="train|test", help="test for a finished run that has one, else train, if left out.")
    ] = "",
    worse: Annotated[bool, typer.Option("--worse", help="Only those that got worse.")] = False,
    better: Annotated[bool, typer.Option("--better", help="Only those that got better.")] = False,
    wrong: Annotated[bool, typer.Option("--wrong", help="Only those that are wrong after.")] = False,
    malformed: Annotated[
        bool, typer.Option("--malformed", help="Only those whose answer after is not in the form asked for.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="All examples, and long texts whole.")] = False,
    folder: RunsFolder = RUNS,
    json: Json = False,
) -> None:
    """Show a run's answers before and after, those that got worse first.

    They are taken from the cache, and nothing is asked of any model. Of a run that has not finished, the answers are
    those under its first prompts and under the best so far, on the train examples.
    """
    flags = {"worse": worse, "better": better, "wrong": wrong, "malformed": malformed}
    actions.show_answers(run, task=task, split=split, flags=flags, everything=everything, folder=folder, json=json)
