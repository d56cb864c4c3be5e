"""Opens the trackers that `[track]` names, beside a run for as long as it goes on."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.lowlevel import current_token

from metaspo.engine.config.schema import RunConfig, TrackTable
from metaspo.engine.errors import ConfigError
from metaspo.engine.journal.warn import Warn
from metaspo.engine.runs.prepare import Prepared
from metaspo.engine.track.follow import Following
from metaspo.engine.track.tracker import Ending, TrackedRun, Tracker

GRACE: Final = 30.0  # seconds that trackers get to be told the rest
NOT_ITS_OWN: Final = {"tasks", "track", "telemetry", "cache", "runs", "name"}  # of a config, to a tracker


@asynccontextmanager
async def tracking(prepared: Prepared, warn: Warn) -> AsyncIterator[None]:
    """Tell the run's trackers while it goes on, and the rest at its end, for `GRACE` seconds at most.

    Raises `ConfigError` for a tracker whose package is missing, or a run that is kept in memory only.
    """
    table, directory = prepared.config.track, prepared.directory
    if not (table.mlflow or table.wandb or table.tensorboard):
        yield
        return
    if directory is None:
        raise ConfigError('[track]: a run that is kept in memory only (runs = "") has nothing to be told of')
    # in a thread: some of these packages take seconds to import, and other runs may be going on
    trackers = await anyio.to_thread.run_sync(partial(open_trackers, table, folder=prepared.folder))
    run = TrackedRun(name=directory.name, config=flat(prepared.config), folder=directory.path)
    weights = {task.name: task.weight for task in prepared.tasks}
    token, left = current_token(), {tracker.name: anyio.Event() for tracker in trackers}

    def in_loop(what: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to hear it
            anyio.from_thread.run_sync(what, token=token)

    following = [
        Following(
            tracker,
            directory,
            run,
            weights=weights,
            say=lambda text: in_loop(partial(warn, text)),
            done=partial(in_loop, left[tracker.name].set),
        )
        for tracker in trackers
    ]
    for each in following:
        each.start()
    how: Ending = "interrupted"
    try:
        yield
        how = "finished"
    except Exception:
        how = "stopped"
        raise
    finally:
        for each in following:
            each.end(how)
        with anyio.move_on_after(GRACE, shield=True):
            for event in left.values():
                await event.wait()
        for name, event in left.items():
            if not event.is_set():
                warn(f"{name} has not taken everything within {GRACE:g} seconds; run again to tell it the rest")


def open_trackers(table: TrackTable, *, folder: Path) -> list[Tracker]:
    """Those that a table names; `folder` is where relative paths start. Raises `ConfigError`."""
    trackers: list[Tracker] = []
    try:
        if table.mlflow:
            from metaspo.engine.track.mlflow import Mlflow

            trackers.append(Mlflow(table.mlflow, experiment=table.experiment, alias=table.alias))
        if table.wandb:
            from metaspo.engine.track.wandb import Wandb

            trackers.append(Wandb(table.wandb))
        if table.tensorboard:
            from metaspo.engine.track.tensorboard import TensorBoard

            trackers.append(TensorBoard(folder / Path(table.tensorboard).expanduser()))
    except ModuleNotFoundError as missing:
        extra = "tensorboard" if missing.name == "tensorboardX" else missing.name
        raise ConfigError(f"[track] needs {missing.name}: pip install 'metaspo[{extra}]'") from None
    return trackers


def flat(config: RunConfig) -> dict[str, str]:
    """A config by dotted names, without what says nothing of the run."""
    data = config.model_dump(mode="json", exclude=NOT_ITS_OWN)
    return {**dict(_flat(data, "")), "tasks": ", ".join(task.name for task in config.tasks)}


def _flat(data: Mapping[str, Any], above: str) -> Iterator[tuple[str, str]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        elif value not in (None, "", []):
            yield f"{above}{key}", str(value)
