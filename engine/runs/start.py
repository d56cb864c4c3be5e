"""A run that starts from another one's result: its prompts are the first ones."""

from collections.abc import Sequence
from pathlib import Path

from metaspo.engine.config.schema import RunConfig
from metaspo.engine.errors import ConfigError
from metaspo.engine.runs.directory import RunDirectoryError, find_run
from metaspo.engine.runs.stored import read_result
from metaspo.engine.tasks import TaskSpec


def with_start(config: RunConfig, *, base: Path, source: str) -> RunConfig:
    """The config with the prompts that the run it names as `start` came to in the place of its first ones.

    The run's kept user prompts are a source task's first ones, to be chosen among; a task that the run has not had
    starts from its own. What is returned names no run any more, so that it stays what it is whatever becomes of that.

    Args:
        base: where runs are looked for by name.
        source: stands in messages.

    Raises:
        ConfigError: if there is no such run, only a part of its name is given, or it has no result.
    """
    if not config.start:
        return config
    try:
        run = find_run(config.start, base=base)
        if run.name not in (config.start, Path(config.start).name):
            raise ConfigError(
                f"{source}: start: give the whole name, '{run.name}': '{config.start}' may fit other runs later, this "
                "one's among them"
            )
        result = read_result(run)
    except RunDirectoryError as error:
        raise ConfigError(f"{source}: start: {error}") from None
    system, users = result["system_prompt"], result["user_prompts"]
    return config.model_copy(
        update={
            "start": "",
            "system_prompt": system,
            "system_prompts": tuple(prompt for prompt in config.system_prompts if prompt != system),
            "tasks": tuple(_started(task, users[task.name]) if task.name in users else task for task in config.tasks),
        }
    )


def _started(task: TaskSpec, kept: Sequence[str]) -> TaskSpec:
    first, *others = dict.fromkeys([*kept, *task.user_prompts])
    further = tuple(others) if task.role == "source" else ()
    return task.model_copy(update={"user_prompt": first, "user_prompts": further})
