"""What a comparison's file may say."""

from typing import Any

from pydantic import Field, model_validator

from metaspo.engine.config.bounds import MAX_CALLS
from metaspo.engine.config.model_table import ModelTable
from metaspo.engine.config.table import Table
from metaspo.engine.domains import ALL, UnknownDomain, find_domains
from metaspo.engine.studies.adapt import AdaptTable
from metaspo.engine.tasks.spec_table import PathText


class MethodTable(Table):
    """A method of the grid's own: another one with keys of the config changed."""

    name: str = Field(pattern=r"^[A-Za-z0-9._:+=-]+$")
    like: str
    about: str = ""
    set: dict[str, Any] = Field(default_factory=dict, description="dotted keys of the config")
    times: int = Field(default=1, ge=1, description="what the iterations are multiplied by")
    sources: int = Field(default=0, ge=0, description="optimize on the first n source tasks only; 0 for all")
    drawn: bool = Field(default=False, description="on n source tasks drawn by the seed, in place of the first n")
    without: str = Field(default="", description="a source task to leave out")


class GeneralizeTable(Table):
    """Every system prompt under several user prompts of each target task."""

    prompts: int = Field(default=10, ge=1, description="user prompts a target task")
    demos: int = Field(default=10, ge=1, description="train examples that each is induced from")
    given: PathText = Field(
        default="", description="folder with TASK.json files of user prompts, in place of inducing them"
    )


class GridConfig(Table):
    """A comparison: `metaspo compare GRID.toml`."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    config: str = Field(description="the run's config, relative to this file")
    methods: tuple[str, ...] = ()
    method: tuple[MethodTable, ...] = ()
    seeds: tuple[int, ...] = Field(default=(42,), min_length=1)
    domains: tuple[str, ...] = Field(default=(), description="of the paper; the config's own tasks if left out")
    against: str = Field(default="", description="the method that the others are compared with; the first one")
    equal_calls: int | None = Field(
        default=None, ge=1, le=MAX_CALLS, description="`train_calls` of every method that searches"
    )
    parallel: int = Field(default=8, ge=1, description="runs that go on at a time")
    transfer: tuple[ModelTable, ...] = Field(default=(), description="models that score what was found, too")
    generalize: GeneralizeTable | None = None
    adapt: AdaptTable | None = None

    @model_validator(mode="after")
    def _whole(self) -> "GridConfig":
        names = [*self.methods, *(table.name for table in self.method)]
        if not names:
            raise ValueError("needs methods")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the method '{twice[0]}' is there twice")
        if self.against and self.against not in names:
            raise ValueError(f"against: '{self.against}' is none of the methods: {', '.join(names)}")
        if len(set(self.domains)) < len(self.domains) or (ALL in self.domains and len(self.domains) > 1):
            raise ValueError(f"domains: a domain is there twice ('{ALL}' is all of them)")
        try:
            find_domains(self.domains)
        except UnknownDomain as error:
            raise ValueError(f"domains: {error}") from None
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed is there twice")
        labels = [model_label(table) for table in self.transfer]
        if len(set(labels)) < len(labels):
            raise ValueError("transfer: two models are called alike; compare them one after the other")
        return self


def model_label(table: ModelTable) -> str:
    """What tells the models of transfers apart: the name, and how much room an answer has."""
    return f"{table.model}, {table.max_tokens} tokens"
