"""What a comparison puts side by side: methods x domains x seeds, and what is done with each."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from metaspo.engine.api import Prepared, prepare
from metaspo.engine.config import ConfigError, ModelTable, Table
from metaspo.engine.config_file import explain_faults, load_config
from metaspo.engine.protocols.methods import Method, method

OWN_TASKS = ""  # the domain of a grid that names none: the config's own tasks


class MethodTable(Table):
    """A method of the grid's own: another one with keys of the config changed."""

    name: str = Field(pattern=r"^[A-Za-z0-9._:+=-]+$")
    like: str
    about: str = ""
    set: dict[str, Any] = Field(default_factory=dict, description="dotted keys of the config")
    sources: int = Field(default=0, ge=0, description="optimize on the first n source tasks only; 0 for all")
    without: str = Field(default="", description="a source task to leave out")


class GeneralizeTable(Table):
    """Every system prompt under several user prompts of each target task."""

    prompts: int = Field(default=10, ge=1, description="user prompts a target task")
    demos: int = Field(default=10, ge=1, description="train examples that each is induced from")
    given: str = Field(default="", description="folder with TASK.json files of user prompts, in place of inducing them")


class AdaptTable(Table):
    """User prompts of each target task adapted under every system prompt."""

    rounds: int = Field(default=6, ge=0)
    keep: int = Field(default=3, ge=1)
    children: int = Field(default=3, ge=1, description="new prompts of each kept one in a round")
    examples: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(), description="sizes of the train split, a curve each; the whole split if left out"
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
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed is there twice")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run of a grid."""

    method: Method
    domain: str
    seed: int
    prepared: Prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A grid that is ready to run: every cell's config validated and its data loaded.

    Attributes:
        against: the name of the method that the others are compared with.
        folder: where the grid's paths start.
    """

    config: GridConfig
    folder: Path
    methods: tuple[Method, ...]
    cells: tuple[Cell, ...]
    against: str


def load_grid(path: Path) -> Grid:
    """Read a grid and prepare its cells. Raises `ConfigError`, `TaskError`, `PromptError`."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    raw.setdefault("name", path.stem)
    try:
        config = GridConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(explain_faults(error, source=str(path), table=GridConfig)) from None
    return prepare_grid(config, folder=path.parent)


def prepare_grid(config: GridConfig, *, folder: Path) -> Grid:
    """Prepare every cell; `folder` is where the grid's paths start."""
    methods = [method(name, folder=folder) for name in config.methods]
    methods += [_own(table, folder=folder) for table in config.method]
    path = folder / config.config
    base = load_config(path, overrides={"domain": config.domains[0], "tasks": []} if config.domains else None)
    cells = tuple(
        Cell(method=one, domain=domain, seed=seed, prepared=_prepare(config, path, one, base.iterations, domain, seed))
        for domain in config.domains or (OWN_TASKS,)
        for one in methods
        for seed in config.seeds
    )
    return Grid(
        config=config, folder=folder, methods=tuple(methods), cells=cells, against=config.against or methods[0].name
    )


def _own(table: MethodTable, *, folder: Path) -> Method:
    like = method(table.like, folder=folder)
    return replace(
        like,
        name=table.name,
        about=table.about or like.about,
        changes={**like.changes, **table.set},
        sources=table.sources,
        without=table.without,
    )


def _prepare(config: GridConfig, path: Path, one: Method, iterations: int, domain: str, seed: int) -> Prepared:
    parts: Sequence[str] = [config.name, one.name, *([domain] if domain else []), f"seed{seed}"]
    own: dict[str, Any] = {"name": ".".join(parts).replace(":", "-").replace("/", "-"), "seed": seed}
    if domain:
        own |= {"domain": domain, "tasks": []}
    prepared = prepare(path, overrides={**one.overrides(iterations), "test.baseline": False, **own})
    _check_targets(config, prepared)
    return replace(prepared, tasks=one.tasks(prepared.tasks))


def _check_targets(config: GridConfig, prepared: Prepared) -> None:
    """Raises `ConfigError` where target tasks lack what generalizing or adapting needs, before anything is asked."""
    inducing = config.generalize is not None and not config.generalize.given
    if not inducing and config.adapt is None:
        return
    if inducing and prepared.config.optimizer is None:
        raise ConfigError(f"{prepared.source}: optimizer: is missing: user prompts are induced by an optimizer model")
    targets = [task for task in prepared.tasks if task.role == "target"]
    if not targets:
        raise ConfigError(f"{prepared.source}: tasks: there is no target task to generalize or adapt to")
    for task in targets:
        if not task.train:
            raise ConfigError(
                f"{prepared.source}: tasks: target task '{task.name}' has no train examples, which generalizing and "
                "adapting start from; add `train`, or give user prompts (generalize.given)"
            )
