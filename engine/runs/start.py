"""A run that starts from another one's result: its prompts are the first ones."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from metaspo.engine.config.schema import RunConfig
from metaspo.engine.errors import ConfigError, PromptError, RunDirectoryError
from metaspo.engine.prompts import check_user_prompt
from metaspo.engine.tasks import TaskSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedFrom:
    """The run that another one starts from.

    Attributes:
        run: its name; "" for none.
        tasks: of the config, those that it has user prompts for.
        remarks: what the config says beside it that counts for nothing, or will surprise.
    """

    run: str = ""
    tasks: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """Where the run starts; "" where that is what its config says."""
        if not self.run:
            return ""
        users = f" and the user prompts of {', '.join(self.tasks)}" if self.tasks else " alone"
        return f"Starts from {self.run}: its system prompt{users}."


NO_RUN: Final = StartedFrom()


def with_start(config: RunConfig, *, base: Path, source: str) -> tuple[RunConfig, StartedFrom]:
    """The config with the prompts that the run it names as `start` came to in the place of its first ones.

    The run's kept user prompts are a source task's first ones, to be chosen among; a task that the run has not had
    starts from its own. What is returned names no run any more, so that it stays what it is whatever becomes of that;
    beside it stands which run it was.

    Args:
        base: where runs are looked for by name.
        source: stands in messages.

    Raises:
        ConfigError: if there is no such run, only a part of its name is given, or it has no result.
    """
    if not config.start:
        return config, NO_RUN
    run, result = _result_of(config.start, base=base, source=source)
    system, users = result["system_prompt"], result["user_prompts"]
    update = {
        "start": "",
        "system_prompt": system,
        "system_prompts": tuple(prompt for prompt in config.system_prompts if prompt != system),
        "tasks": tuple(
            _started(task, users[task.name], source=source) if task.name in users else task for task in config.tasks
        ),
    }
    shared = tuple(task.name for task in config.tasks if task.name in users)
    remarks = tuple(_remarks(config, system, shared, theirs=users))
    return config.model_copy(update=update), StartedFrom(run=run, tasks=shared, remarks=remarks)


def _result_of(name: str, *, base: Path, source: str) -> tuple[str, dict[str, Any]]:
    """The run of that name, and its result. Raises `ConfigError`."""
    from metaspo.engine.runs.directory import find_run
    from metaspo.engine.runs.files import read_result  # what a run leaves is much to know

    try:
        run = find_run(name, base=base)
        if run.name not in (name, Path(name).name):
            raise ConfigError(
                f"{source}: start: give the whole name, '{run.name}': '{name}' may fit other runs later, this one's "
                "among them"
            )
        return run.name, read_result(run)
    except RunDirectoryError as error:
        raise ConfigError(f"{source}: start: {error}") from None


def _remarks(config: RunConfig, system: str, shared: Sequence[str], *, theirs: Iterable[str]) -> Iterator[str]:
    if "system_prompt" in config.model_fields_set and config.system_prompt != system:
        yield (
            f"system_prompt counts for nothing beside start = '{config.start}', whose system prompt is the first one: "
            "leave it out, or name it in system_prompts to have it tried, too"
        )
    if not shared:
        yield (
            f"start = '{config.start}' shares no source task with this config (that run's: {', '.join(theirs)}): "
            "only its system prompt is taken"
        )


def _started(task: TaskSpec, kept: Sequence[str], *, source: str) -> TaskSpec:
    try:
        kept = [check_user_prompt(prompt, task.form) for prompt in kept]
    except PromptError as error:
        raise ConfigError(f"{source}: start: what that run has for task '{task.name}' does not fit: {error}") from None
    first, *others = dict.fromkeys([*kept, *task.user_prompts])
    further = tuple(others) if task.role == "source" else ()
    return task.model_copy(update={"user_prompt": first, "user_prompts": further})
