"""Domains and tasks as records: the paper's, read from `domains.toml`, and our own, from `own.toml`."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from metaspo.engine.tasks import AnswerSpec, Columns, DataSource, TaskRole

SPLITS: Final = ("train", "test")
FILES_ON_THE_HUB: Final = "hf://datasets/"
SHIPPED: Final = Path(__file__).resolve().parent / "data"
FILLED_IN: Final = ("config", "files", "where")  # of a task, into both splits of its dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class HubData:
    """A task's rows where no data folder has them: on Hugging Face, or with metaspo.

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
        """OWNER/NAME of the dataset; "" of rows that metaspo ships."""
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

    @property
    def shipped(self) -> bool:
        """Whether its rows come with metaspo."""
        return not self.hub.repository

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
    """The paper's five domains by name, in its order."""
    return _read("domains.toml")


@cache
def own_domains() -> Mapping[str, Domain]:
    """Domains beyond the paper's, whose rows come with metaspo."""
    return _read("own.toml")


def _read(name: str) -> dict[str, Domain]:
    data = tomllib.loads((Path(__file__).resolve().parent / name).read_text(encoding="utf-8"))
    tasks = [_task(table, data) for table in data["tasks"]]
    return {
        name: Domain(name=name, title=table["title"], tasks=tuple(task for task in tasks if task.domain == name))
        for name, table in data["domains"].items()
    }


def _task(table: Mapping[str, Any], data: Mapping[str, Any]) -> DomainTask:
    domain = data["domains"][table["domain"]]
    return DomainTask(
        name=table["name"],
        domain=table["domain"],
        role=table["role"],
        answer=AnswerSpec.model_validate(table.get("answer", domain.get("answer"))),
        metric=table.get("metric", domain["metric"]),
        user_prompt=table["user_prompt"],
        hub=_hub(data["hub"][table["hub"]], table) if "hub" in table else _shipped(table),
        aliases=tuple(table.get("aliases", ())),
    )


def _hub(dataset: Mapping[str, Any], task: Mapping[str, Any]) -> HubData:
    shared = {key: value for table in (dataset, task) for key, value in table.items() if key in FILLED_IN}
    train, test = (DataSource.model_validate({**shared, **dataset[split]}) for split in SPLITS)
    return HubData(
        train=train, test=test, columns=Columns.model_validate(dataset.get("columns", {})), note=dataset["note"]
    )


def _shipped(task: Mapping[str, Any]) -> HubData:
    folder = SHIPPED / task["domain"] / task["name"]
    train, test = (DataSource(path=str(folder / f"{split}.jsonl")) for split in SPLITS)
    return HubData(train=train, test=test, columns=Columns(), note="")
