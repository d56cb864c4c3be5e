"""`metaspo judge`: does a judge agree with people?"""

from pathlib import Path
from typing import Annotated

import typer

from metaspo import actions
from metaspo.parameters import Config, Json, NamedArguments, Quiet, Sets

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=NamedArguments, name="judge")
def hold_judge(
    config: Config,
    labelled: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Answers with people's scores: columns question, response, score."),
    ],
    task: Annotated[
        str, typer.Option("--task", metavar="NAME", help="Whose judge, where several tasks have one.")
    ] = "",
    sets: Sets = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Hold a task's judge against answers that people have scored: Cohen's kappa, and where they differ most.

    Each answer is judged as in a run, from the cache where it was judged before, and within [budget].
    """
    actions.hold_judge(config, labelled, task=task, sets=sets, json=json, quiet=quiet)
