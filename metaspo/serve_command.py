"""`metaspo serve`: the gateway over HTTP."""

from pathlib import Path
from typing import Annotated, Any

import typer

from metaspo.console import err, exit_on_user_error, out
from metaspo.engine.environment import environment_with_dotenv
from metaspo.parameters import NamedArguments
from metaspo.progress import ProgressDisplay
from metaspo.running import run_async

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
    from metaspo.serving import embedded_config, load_serve_config  # with a web server
    from metaspo.serving import serve as run_server

    given = {"host": host, "port": port}
    overrides: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    with exit_on_user_error():
        read = load_serve_config(config, overrides=overrides) if config else embedded_config(overrides=overrides)
        beside = [config.parent] if config else []
        names = ", ".join(model.public_name for model in read.models)

        def started(address: str) -> None:
            err.print(f"Serving {names}; Ctrl-C or SIGTERM ends it when what is under way is answered.")
            out.print(address)

        with ProgressDisplay(err, quiet=False) as display:
            run_async(
                run_server(
                    read,
                    environment=environment_with_dotenv(Path(), *beside),
                    started=started,
                    progress=display.downloaded,
                )
            )
