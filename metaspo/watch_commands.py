"""`metaspo watch`: runs in the browser, as they go on."""

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import typer

from metaspo.console import err, exit_on_user_error
from metaspo.engine import ConfigError, Prepared, find_run
from metaspo.parameters import RUNS, NamedArguments, Port, RunsFolder
from metaspo.running import run_async

T = TypeVar("T")

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=NamedArguments)
def watch(
    place: Annotated[
        str, typer.Argument(metavar="PLACE", help="A run, or a folder of runs; all runs here if left out.")
    ] = "",
    port: Port = None,
    runs: RunsFolder = RUNS,
) -> None:
    """Show runs in the browser: under way, finished, killed, many at once. Ctrl-C ends the watching, not the runs.

    The page is served to this machine alone. From elsewhere, forward the port: ssh -L 8410:127.0.0.1:8410 HOST.
    """
    with exit_on_user_error():
        target = _target(place, runs)
        try:
            run_async(_serve(target, port))
        except KeyboardInterrupt:
            err.print()


async def _serve(target: Path, port: int | None) -> None:
    from metaspo.engine.watch import serve_watch  # with a web server

    async with serve_watch(target, port=port) as address:
        tell(address)
        await asyncio.Event().wait()


async def watched(running: Coroutine[Any, Any, T], prepared: Sequence[Prepared], *, port: int | None) -> T:
    """What runs that go on come to, with a page of theirs while they do. Raises `ConfigError`."""
    from metaspo.engine.watch import serve_beside

    first = prepared[0].directory
    if first is None:
        running.close()
        raise ConfigError('--web: a run that is kept in memory only (runs = "") has nothing to show')
    try:
        with serve_beside(first.path.parent, port=port) as address:
            tell(f"{address}?run={quote(first.name)}" if len(prepared) == 1 else address)
            return await running
    finally:
        running.close()  # if it was never begun


def tell(address: str) -> None:
    """Where the page is."""
    err.print(f"In the browser: {address}")


def _target(place: str, runs: Path) -> Path:
    """The folder of a run, or of runs. Raises `RunDirectoryError`."""
    if not place:
        return runs
    folder = Path(place)
    return folder if folder.is_dir() else find_run(place, base=runs, latest=True).path
