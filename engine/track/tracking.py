"""Opens the trackers that `[track]` names, beside a run for as long as it goes on."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio.lowlevel import current_token

from metaspo.engine.config.schema import RunConfig, TrackTable
from metaspo.engine.errors import ConfigError
from metaspo.engine.journal.warn import Warn
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.prepare import Prepared

if TYPE_CHECKING:
    from metaspo.engine.track.follow import Following
    from metaspo.engine.track.tracker import Ending, Tracker

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
    following = _follow(trackers, prepared, directory, warn)
    how: Ending = "interrupted"
    try:
        yield
        how = "finished"
    except Exception:
        how = "stopped"
        raise
    finally:
        for each, _ in following.values():
            each.end(how)
        with anyio.move_on_after(GRACE, shield=True):
            for _, done in following.values():
                await done.wait()
        for name, (_, done) in following.items():
            if not done.is_set():
                warn(f"{name} has not taken everything within {GRACE:g} seconds; run again to tell it the rest")


def _follow(
    trackers: "Sequence[Tracker]", prepared: Prepared, directory: RunDirectory, warn: Warn
) -> "dict[str, tuple[Following, anyio.Event]]":
    """Start a thread for each tracker that tells it of the run; by name, with what says that it knows all."""
    from metaspo.engine.track.follow import Following  # which few runs need
    from metaspo.engine.track.tracker import TrackedRun

    run = TrackedRun(name=directory.name, config=flat(prepared.config), folder=directory.path)
    weights = {task.name: task.weight for task in prepared.tasks}
    sources = sum(task.role == "source" for task in prepared.tasks)
    token = current_token()

    def in_loop(what: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to hear it
            anyio.from_thread.run_sync(what, token=token)

    def say(text: str) -> None:
        in_loop(partial(warn, text))

    following = {}
    for tracker in trackers:
        done = anyio.Event()
        over = partial(in_loop, done.set)
        each = Following(tracker, directory, run, weights=weights, sources=sources, say=say, done=over)
        following[tracker.name] = each, done
        each.start()
    return following


def open_trackers(table: TrackTable, *, folder: Path) -> "list[Tracker]":
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
