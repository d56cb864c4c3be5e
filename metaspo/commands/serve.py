"""`metaspo serve`: the gateway over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from metaspo import actions
from metaspo.parameters import NamedArguments

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=NamedArguments)
def serve(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="CONFIG", help="A server's config, or a run's; the embedded model if left out."),
    ] = None,
    host: Annotated[
        str | None, typer.Option(metavar="HOST", help="Where to listen; beyond this machine only with keys.")
    ] = None,
    port: Annotated[int | None, typer.Option(metavar="N", help="0 for any that is free.")] = None,
) -> None:
    """Serve the config's models to programs that speak OpenAI's API: cached, within limits, budgets by key."""
    actions.serve_models(config, host=host, port=port)
