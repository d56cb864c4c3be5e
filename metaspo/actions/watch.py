"""The live page, served: of runs alone, or beside those that go on."""

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from metaspo.console import err, exit_on_user_error
from metaspo.engine import ConfigError, Prepared, find_run
from metaspo.running import run_async

T = TypeVar("T")


def watch_runs(place: str, *, port: int | None, runs: Path) -> None:
    """Serve the page until somebody interrupts."""
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
