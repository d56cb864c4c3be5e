"""From a domain's tasks to what a config's `[[tasks]]` say."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal

from metaspo.backends.paths import path_of
from metaspo.engine.domains.records import SPLITS, Domain, DomainTask, domains, own_domains
from metaspo.engine.errors import ConfigError, resolve_path
from metaspo.engine.suggest import nearest, there_is_no
from metaspo.engine.tasks import Columns, DataSource, TaskSpec

ALL: Final = "all"
DATA_VARIABLE: Final = "METASPO_DATA"
HUB: Final = "huggingface"

Size = int | Literal["all"] | None


class UnknownDomain(ValueError):
    """A domain or a task that is not there; `str()` names those that are."""


def find_domains(names: Iterable[str]) -> tuple[Domain, ...]:
    """The domains of these names, each once; "all" stands for the paper's five. Raises `UnknownDomain`."""
    by_name = {**domains(), **own_domains()}
    chosen: dict[str, Domain] = {}
    for name in names:
        if name != ALL and name not in by_name:
            raise UnknownDomain(there_is_no("domain", name, [*by_name, ALL]))
        chosen.update(domains() if name == ALL else {name: by_name[name]})
    return tuple(chosen.values())


def find_task(name: str) -> DomainTask:
    """A task by its name, or by the one the reference uses. Raises `UnknownDomain`."""
    tasks = {
        given: task
        for domain in (*domains().values(), *own_domains().values())
        for task in domain.tasks
        for given in task.names
    }
    if name not in tasks:
        raise UnknownDomain(f"no domain has a task '{name}'{nearest(name, tasks)}; `metaspo tasks` lists them")
    return tasks[name]


def data_folder(given: str | None, environment: Mapping[str, str]) -> str | None:
    """Where the data are: as given, else what METASPO_DATA says; None: on Hugging Face.

    A relative METASPO_DATA starts at the current folder, whichever folder the config lies in.
    """
    if given is not None:
        return None if given == HUB else given
    variable = environment.get(DATA_VARIABLE, "")
    try:
        return str(path_of(variable).absolute()) if variable else None
    except ValueError as error:
        raise ConfigError(f"{DATA_VARIABLE}: {variable!r} {error}") from None


def task_spec(
    task: DomainTask,
    *,
    data: Path | str | None,
    train_size: Size = None,
    test_size: Size = None,
    base_dir: Path = Path(),
) -> TaskSpec:
    """A preset task as a config would say it.

    Args:
        data: the data folder; None takes the rows from Hugging Face. Rows that metaspo ships come from it alone.
        base_dir: where a relative data folder starts; it is looked at for how its files spell the task.
        train_size, test_size: examples at most; 50 and 500, the paper's, if left out.
    """
    sizes = {"train_size": train_size, "test_size": test_size}
    return TaskSpec.model_validate(
        {
            "name": task.name,
            "role": task.role,
            **{split: split_source(task, split, data=data, base_dir=base_dir) for split in SPLITS},
            "columns": task.hub.columns if data is None or task.shipped else Columns(),
            **{key: size for key, size in sizes.items() if size is not None},
            "answer": task.answer,
            "metric": task.metric,
            "user_prompt": task.user_prompt,
        }
    )


def split_source(task: DomainTask, split: str, *, data: Path | str | None, base_dir: Path = Path()) -> DataSource:
    """Where the rows of one split of a task are; `data` and `base_dir` as for `task_spec`."""
    if data is None or task.shipped:
        return task.hub.train if split == "train" else task.hub.test
    return DataSource(path=str(Path(data) / task.file(split, folder=resolve_path(str(data), base_dir=base_dir))))


def domain_tasks(
    *names: str,
    data: Path | str | None,
    train_size: Size = None,
    test_size: Size = None,
    base_dir: Path = Path(),
) -> tuple[TaskSpec, ...]:
    """The tasks of some domains, sources before targets in each; arguments as for `task_spec`.

    Raises:
        UnknownDomain: with the names that there are.
    """
    return tuple(
        task_spec(task, data=data, train_size=train_size, test_size=test_size, base_dir=base_dir)
        for domain in find_domains(names)
        for task in domain.tasks
    )
