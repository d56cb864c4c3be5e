"""`metaspo check`: is all as it is meant, before a run?"""

import typer

from metaspo import actions
from metaspo.parameters import Config, Json, NamedArguments, Quiet, Sets

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=NamedArguments)
def check(config: Config, sets: Sets = None, json: Json = False, quiet: Quiet = False) -> None:
    """Reach a config's servers and answer one example of each task, before a run: keys, models, limits, answers.

    Two short calls an endpoint and one a task are made. Says what the config should say, and exits
    with 2 if a run could not begin, with 3 if a server or a task has no answer as things are.
    """
    actions.check_config(config, sets, json=json, quiet=quiet)
