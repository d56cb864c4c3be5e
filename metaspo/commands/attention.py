"""`metaspo attention`: how much attention the base model gives to the system prompt."""

from pathlib import Path
from typing import Annotated

import typer

from metaspo import actions
from metaspo.parameters import RUNS, Json, LatestFinishedRun, NamedArguments, Quiet, RunsFolder

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=NamedArguments, name="attention")
def attention(
    run: LatestFinishedRun = "",
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="A folder or hub name for transformers; [base] model if left out.")
    ] = "",
    task: Annotated[str, typer.Option(metavar="NAME", help="One task only.")] = "",
    examples: Annotated[int, typer.Option(metavar="N", min=1, help="Of each task at most.")] = 20,
    tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Of an answer at most.")] = 16,
    folder: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to; attention/ in the run's folder if left out.")
    ] = None,
    runs: RunsFolder = RUNS,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure which share of its attention the base model gives to the first and to the optimized system prompt.

    The model answers a run's examples on this machine, by transformers, and is asked for its attention at each token:
    per layer and head, and on average, with an interval over examples. Figures and pictures go into a folder.
    """
    actions.compare_attention(
        run, model=model, task=task, examples=examples, tokens=tokens, folder=folder, runs=runs, json=json, quiet=quiet
    )
