"""The gateway, served over HTTP."""

from pathlib import Path
from typing import Any

from metaspo.console import err, exit_on_user_error, out
from metaspo.engine.environment import environment_with_dotenv
from metaspo.progress import ProgressDisplay
from metaspo.running import run_async
from metaspo.serving import embedded_config, load_serve_config
from metaspo.serving import serve as run_server


def serve_models(config: Path | None, *, host: str | None, port: int | None) -> None:
    """Serve a config's models until somebody ends it."""
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
