"""What of the domains' data is there, really read and counted, and what is missing."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from metaspo.engine.domains.records import SPLITS, Domain, DomainTask
from metaspo.engine.domains.specs import split_source
from metaspo.engine.tasks import TaskError, TaskSpec, load_task


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """What a data folder has of a task.

    Attributes:
        train, test: how many examples can be used; None where there is no such file, or one that cannot be read.
        missing: the files that are not there, within the folder.
        faults: what is wrong with those that are, one line each.
    """

    task: DomainTask
    train: int | None
    test: int | None
    missing: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether both splits can be used."""
        return not self.missing and not self.faults


def survey(chosen: Iterable[Domain], *, data: Path | None) -> tuple[TaskState, ...]:
    """Read and check every file of the domains in a data folder; without a folder every file is missing that
    metaspo does not ship."""
    return tuple(_state(task, data) for domain in chosen for task in domain.tasks)


def _state(task: DomainTask, data: Path | None) -> TaskState:
    counts: dict[str, int] = {}
    missing: list[str] = []
    faults: list[str] = []
    for split in SPLITS:
        if not task.shipped and (data is None or not (data / task.file(split, folder=data)).is_file()):
            missing.append(task.file(split))
            continue
        try:
            counts[split] = _count(task, split, data)
        except TaskError as error:
            faults.append(str(error))
    return TaskState(
        task=task,
        train=counts.get("train"),
        test=counts.get("test"),
        missing=tuple(missing),
        faults=tuple(faults),
    )


def _count(task: DomainTask, split: str, data: Path | None) -> int:
    spec = TaskSpec(
        name=task.name,
        train=split_source(task, split, data=data),
        train_size=None,
        answer=task.answer,
        metric=task.metric,
    )
    return len(load_task(spec, base_dir=Path(), seed=0).train)
