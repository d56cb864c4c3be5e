"""The paper's domains and tasks as records, read from `domains.toml`."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from metaspo.engine.tasks import AnswerSpec, Columns, DataSource, TaskRole

SPLITS: Final = ("train", "test")
FILES_ON_THE_HUB: Final = "hf://datasets/"
FILLED_IN: Final = ("config", "files", "where")  # of a task, into both splits of its dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class HubData:
    """A task's rows on Hugging Face.

    Attributes:
        columns: how a row becomes a question and its answer.
        note: what differs from the data that the paper may have used.
    """

    train: DataSource
    test: DataSource
    columns: Columns
    note: str

    @property
    def repository(self) -> str:
        """OWNER/NAME of the dataset."""
        source = (self.train.files or self.train.dataset or "").removeprefix(FILES_ON_THE_HUB)
        return "/".join(source.partition("@")[0].split("/")[:2])


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainTask:
    """One task of a domain.

    Attributes:
        user_prompt: the first one, in our own words.
        aliases: other names that the reference uses for it.
    """

    name: str
    domain: str
    role: TaskRole
    answer: AnswerSpec
    metric: str
    user_prompt: str
    hub: HubData
    aliases: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every spelling, its own first."""
        return (self.name, *self.aliases)

    def file(self, split: str, *, folder: Path | None = None) -> str:
        """Where the rows of a split stand in a data folder: under the spelling that the folder has, else its own."""
        files = [f"{self.domain}/{name}/{split}.jsonl" for name in self.names]
        return next((file for file in files if folder and (folder / file).is_file()), files[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A domain: source tasks to optimize on, target tasks of the same kind that stay unseen."""

    name: str
    title: str
    tasks: tuple[DomainTask, ...]


@cache
def domains() -> Mapping[str, Domain]:
    """The five domains by name, in the paper's order."""
    data = _data()
    tasks = [_task(table, data) for table in data["tasks"]]
    return {
        name: Domain(name=name, title=table["title"], tasks=tuple(task for task in tasks if task.domain == name))
        for name, table in data["domains"].items()
    }


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads((Path(__file__).resolve().parent / "domains.toml").read_text(encoding="utf-8"))


def _task(table: Mapping[str, Any], data: Mapping[str, Any]) -> DomainTask:
    domain = data["domains"][table["domain"]]
    return DomainTask(
        name=table["name"],
        domain=table["domain"],
        role=table["role"],
        answer=AnswerSpec.model_validate(table.get("answer", domain["answer"])),
        metric=table.get("metric", domain["metric"]),
        user_prompt=table["user_prompt"],
        hub=_hub(data["hub"][table["hub"]], table),
        aliases=tuple(table.get("aliases", ())),
    )


def _hub(dataset: Mapping[str, Any], task: Mapping[str, Any]) -> HubData:
    shared = {key: value for table in (dataset, task) for key, value in table.items() if key in FILLED_IN}
    train, test = (DataSource.model_validate({**shared, **dataset[split]}) for split in SPLITS)
    return HubData(
        train=train, test=test, columns=Columns.model_validate(dataset.get("columns", {})), note=dataset["note"]
    )
