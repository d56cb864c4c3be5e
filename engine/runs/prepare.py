"""A config made ready: validated, its data loaded, nothing asked yet."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from metaspo.engine.config.checks import check_config
from metaspo.engine.config.load import load_config, parse_config, with_overrides
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.errors import ConfigError
from metaspo.engine.journal.warn import Warn
from metaspo.engine.project import file_name, project_folder
from metaspo.engine.runs.directory import RunDirectory, run_directory
from metaspo.engine.runs.identity import fingerprint_of
from metaspo.engine.runs.start import NO_RUN, StartedFrom, with_start
from metaspo.engine.tasks import Notice, Reader, Task, load_tasks

ConfigLike = RunConfig | Path | str | Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A validated config with its data loaded: everything a run needs before the first call.

    Attributes:
        folder: where the config's relative paths of `cache` and `runs` start.
        beside: where the config's file is; a `.env` there counts as well as one in `folder`.
        data: where the relative paths of its data start.
        notices: what the data's owner should know, e.g. examples left out.
        start: the run whose prompts the config's first ones are.
        source: the config's file, for messages.
        overrides: what was set over it, by dotted key.
        part_of: the command that its run is a part of, on tasks that the config alone may not say; "" for its own.
    """

    config: RunConfig
    tasks: tuple[Task, ...]
    folder: Path
    beside: Path = Path()
    data: Path = Path()
    notices: tuple[Notice, ...] = ()
    start: StartedFrom = NO_RUN
    source: str = "config"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    part_of: str = ""

    @cached_property
    def directory(self) -> RunDirectory | None:
        """Where the run is kept; None for one that is kept in memory only (`runs = ""`)."""
        if not self.config.runs:
            return None
        return run_directory(self.config, self.tasks, base=self.folder / Path(self.config.runs).expanduser())

    def server_logs(self, *, alone: bool) -> Path | None:
        """The folder for what servers that are started for it say: its own if it is `alone` with them, else that of all
        runs; None for one that is kept in memory only."""
        if self.directory is None:
            return None
        return self.directory.path if alone else self.directory.path.parent / "logs"

    def command_folder(self, name: str, identity: object) -> Path | None:
        """Where a command that is no run, and spends what this config lets it, writes down what it has spent; None for
        one that is kept in memory only."""
        if not self.config.runs:
            return None
        base = self.folder / Path(self.config.runs).expanduser()
        return base / "spent" / f"{file_name(name or 'run')}-{fingerprint_of(identity)}"


def tell_notices(prepared: Iterable[Prepared], warn: Warn) -> None:
    """Say what the data's owner should know; of runs on the same tasks once."""
    prepared, told = tuple(prepared), set[tuple[str, str]]()
    for remark in dict.fromkeys(remark for item in prepared for remark in item.start.remarks):
        warn(remark)
    for item in prepared:
        notices = [notice for notice in item.notices if (notice.task, notice.kind) not in told]
        for notice in notices:
            warn(f"task {notice.task}: {notice.message}")
        told.update((notice.task, notice.kind) for notice in notices)


def prepare(
    config: ConfigLike,
    *,
    overrides: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    data_folder: Path | None = None,
    reader: Reader | None = None,
) -> Prepared:
    """Validate a config (a TOML file's path, a mapping, or a `RunConfig`) and load its tasks.

    Paths of data are relative to `data_folder` (the config file's by default, else the current one), `cache` and
    `runs` to `folder` (the current one by default).

    Raises:
        ConfigError: for a config that cannot be used, with file and key, or that starts from a run without a result.
        TaskError: for data that cannot be used, with file and line.
    """
    beside, source = (Path(config).parent, str(config)) if isinstance(config, Path | str) else (Path(), "config")
    folder, data = folder or project_folder(beside), data_folder or beside
    config = _read(config, overrides or {}, base_dir=data)
    runs = folder / Path(config.runs or RunConfig.model_fields["runs"].default).expanduser()
    config, start = with_start(config, base=runs, source=source)
    notices: list[Notice] = []
    tasks = load_tasks(config.tasks, base_dir=data, seed=config.seed, notify=notices.append, reader=reader)
    check_config(config, source=source)
    return Prepared(
        config=config,
        tasks=tasks,
        folder=folder,
        beside=beside,
        data=data,
        notices=tuple(notices),
        start=start,
        source=source,
        overrides=overrides or {},
    )


def _read(config: ConfigLike, overrides: Mapping[str, Any], *, base_dir: Path) -> RunConfig:
    if isinstance(config, Path | str):
        return load_config(Path(config), overrides=overrides)
    if isinstance(config, Mapping):
        return parse_config(with_overrides(config, overrides), base_dir=base_dir)
    if not isinstance(cast(object, config), RunConfig):
        kind = type(config).__name__
        raise ConfigError(f"config: give a TOML file's path, a mapping or a RunConfig; this is a {kind}")
    return parse_config(with_overrides(config.model_dump(exclude_unset=True), overrides)) if overrides else config
