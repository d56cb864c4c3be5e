"""A run taken up again for its prompts and its data, without starting it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from metaspo.engine.config.load import parse_config
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.errors import ConfigError
from metaspo.engine.evaluation.test_score import Stage
from metaspo.engine.prompts import PromptPair
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.files import read_result, read_table, unreadable
from metaspo.engine.suggest import there_is_no
from metaspo.engine.tasks import Task
from metaspo.engine.tasks.load import load_tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class ReopenedRun:
    """What a run asked with, before and after.

    Attributes:
        folder, data: where the config's relative paths of the cache, and of data, start.
        tasks: with their examples, as the run had them.
        optimized: the best prompts that it has come to: the system prompt under "", user prompts under the task's name.
        finished: whether they are its result.
    """

    run: RunDirectory
    config: RunConfig
    folder: Path
    data: Path
    tasks: tuple[Task, ...]
    optimized: Mapping[str, str]
    finished: bool

    @property
    def system_prompts(self) -> dict[Stage, str]:
        """The first one, and the best."""
        first = self.config.system_prompt
        return {"before": first, "after": self.optimized.get("", first)}

    def pairs(self, task: Task) -> dict[Stage, PromptPair]:
        """A task's first prompts, and its best."""
        users = {"before": task.user_prompt, "after": self.optimized.get(task.name, task.user_prompt)}
        return {stage: PromptPair(system, users[stage]) for stage, system in self.system_prompts.items()}


def reopen(run: RunDirectory, *, task: str = "") -> ReopenedRun:
    """Read a run's config, data and prompts; `task` is the only one that is loaded, all if left out.

    Raises:
        RunDirectoryError: for a directory that cannot be read.
        ConfigError, TaskError: for a config or data that cannot be used any more, and for an unknown task.
    """
    config, folder, data = _origin(run)
    names = [spec.name for spec in config.tasks]
    if task and task not in names:
        raise ConfigError(there_is_no("task", task, names))
    specs = [spec for spec in config.tasks if task in ("", spec.name)]
    loaded = load_tasks(specs, base_dir=data, seed=config.seed)
    optimized, finished = _prompts_of(run)
    return ReopenedRun(
        run=run,
        config=config,
        folder=folder,
        data=data,
        tasks=tuple(each.with_train(config.rows) if each.role == "source" else each for each in loaded),
        optimized=optimized,
        finished=finished,
    )


def read_config(run: RunDirectory) -> RunConfig:
    """The config that a run's directory holds. Raises `RunDirectoryError`, `ConfigError`."""
    said = read_table(run.config)
    named = {key: value for key, value in said.items() if key != "name" or value}  # one from Python may have none
    return parse_config(named, source=str(run.config))


def _origin(run: RunDirectory) -> tuple[RunConfig, Path, Path]:
    """The config, and where its relative paths of the cache and of data start; of a run that does not say so, here."""
    origin = read_table(run.origin) if run.closed or run.origin.is_file() else {}
    folders = [origin.get("folder", ""), origin.get("data", "")]
    if not all(isinstance(folder, str) for folder in folders):
        raise unreadable(run.origin, "its folders are no texts")
    return read_config(run), Path(folders[0]), Path(folders[1])


def _prompts_of(run: RunDirectory) -> tuple[dict[str, str], bool]:
    """The best prompts that a run has come to, by task and the system prompt under "", and whether it has finished."""
    if run.result.is_file():
        result = read_result(run)
        users: Iterable[tuple[str, list[str]]] = result["user_prompts"].items()
        return {"": result["system_prompt"], **{task: prompts[0] for task, prompts in users if prompts}}, True
    from metaspo.engine.journal.journal import StoredJournal
    from metaspo.engine.journal.view import RunView  # a result needs no events, which take long to import

    return dict(RunView.of(StoredJournal(run.journal)).history.best_prompts), False
