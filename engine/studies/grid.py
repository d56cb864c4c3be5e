"""What a comparison puts side by side: methods x domains x seeds, and what is done with each."""

import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from metaspo.engine.config.checks import check_optimizable
from metaspo.engine.config.load import load_config, refuse_run, validated
from metaspo.engine.config.schema import BudgetTable, InnerTable
from metaspo.engine.config.table import name_of
from metaspo.engine.config.toml import read_toml
from metaspo.engine.domains import find_domains
from metaspo.engine.errors import ConfigError, resolve_path, told_as
from metaspo.engine.runs.prepare import Prepared, prepare
from metaspo.engine.studies.grid_config import GridConfig, MethodTable
from metaspo.engine.studies.methods import Method, method
from metaspo.engine.studies.refusals import (
    check_adapting,
    check_fixed,
    check_given,
    check_judges,
    check_searching,
    check_seen,
    check_targets,
    check_writes,
)
from metaspo.engine.tasks import Reader, Task, read_once

OWN_TASKS = ""  # the domain of a grid that names none: the config's own tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run of a grid.

    Attributes:
        on_targets: whether it writes user prompts only, and so optimizes on the target tasks themselves, on their train
            splits: under the first system prompt nothing else of it could be seen there.
    """

    method: Method
    domain: str
    seed: int
    prepared: Prepared
    on_targets: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A grid that is ready to run: every cell's config validated and its data loaded.

    Attributes:
        against: the name of the method that the others are compared with.
        folder: where the grid's paths start.
        inner: of the config as it is: every method's user prompts are adapted by the same strategy.
        budget: of the config as it is: over everything, but for methods that set one of their own.
        whole: whether these are all its cells; other processes run the rest of one that is not.
    """

    config: GridConfig
    folder: Path
    methods: tuple[Method, ...]
    cells: tuple[Cell, ...]
    against: str
    inner: InnerTable
    budget: BudgetTable = field(default_factory=BudgetTable)
    whole: bool = True

    def caps(self, cell: Cell) -> bool:
        """Whether a cell is under the grid's caps; else it has its own."""
        return cell.prepared.config.budget.caps == self.budget.caps

    def only(self, number: int) -> "Grid":
        """One cell of it, by its number from 1. Raises `ConfigError` where there is none."""
        if not 1 <= number <= len(self.cells):
            raise ConfigError(f"--cell {number}: the cells of {self.config.name} are 1 to {len(self.cells)}")
        return replace(self, cells=(self.cells[number - 1],), whole=False)


def load_grid(path: Path, *, equal_calls: int | None = None) -> Grid:
    """Read a grid and prepare its cells; `equal_calls` goes before the grid's own. Raises `ConfigError`, `TaskError`,
    `PromptError`."""
    raw = read_toml(path)
    refuse_run(raw, path)
    raw.setdefault("name", name_of(path))
    command = ["metaspo", "compare", str(path.absolute())]
    if equal_calls is not None:
        raw["equal_calls"] = equal_calls
        command += ["--equal-calls", str(equal_calls)]
    config = validated(GridConfig, raw, source=str(path))
    return prepare_grid(config, folder=path.parent, command=shlex.join(command))


def prepare_grid(config: GridConfig, *, folder: Path, command: str = "") -> Grid:
    """Prepare every cell; `folder` is where the grid's paths start, `command` what runs it."""
    methods = [method(name, folder=folder) for name in config.methods]
    methods += [_variant_of(table, folder=folder) for table in config.method]
    check_fixed(methods)
    path = folder / config.config
    base = load_config(path, overrides={"domain": config.domains[0], "tasks": []} if config.domains else None)
    if config.adapt is not None:
        check_adapting(base, source=str(path))
    factory = _CellFactory(
        config=config,
        path=path,
        iterations=base.iterations,
        names=_run_names(methods),
        reader=read_once(),
        command=command,
    )
    cells = tuple(
        factory.cell(variant, domain=domain, seed=seed)
        for domain in config.domains or (OWN_TASKS,)
        for variant in methods
        for seed in config.seeds
    )
    check_searching(
        (cell.method, cell.prepared) for cell in cells if (cell.domain, cell.seed) == (cells[0].domain, cells[0].seed)
    )
    if config.generalize is not None and config.generalize.given:
        check_given(resolve_path(config.generalize.given, base_dir=folder), (cell.prepared for cell in cells))
    return Grid(
        config=config,
        folder=folder,
        methods=tuple(methods),
        cells=cells,
        against=config.against or methods[0].name,
        inner=base.inner,
        budget=base.budget,
    )


def _variant_of(table: MethodTable, *, folder: Path) -> Method:
    like = method(table.like, folder=folder)
    return replace(
        like,
        name=table.name,
        about=table.about or like.about,
        changes={**like.changes, **table.set},
        times=like.times * table.times,
        sources=table.sources,
        drawn=table.drawn,
        without=table.without,
    )


def _run_names(methods: Sequence[Method]) -> Mapping[str, str]:
    """What each method is called in the names of its runs: as few letters as these may have, no two alike."""
    names: dict[str, str] = {}
    for variant in methods:
        plain = re.sub(r"[^A-Za-z0-9._-]", "-", variant.name)
        alike = sum(re.sub(r"[^A-Za-z0-9._-]", "-", name) == plain for name in names)
        name = f"{plain}-{alike + 1}" if alike else plain
        while name in names.values():
            name += "-"
        names[variant.name] = name
    return names


@dataclass(frozen=True, slots=True, kw_only=True)
class _CellFactory:
    """Makes the cells of a grid.

    Attributes:
        path: of the run's config.
        iterations: of that config.
        names: what each method is called in the names of its runs.
        command: what runs the grid.
    """

    config: GridConfig
    path: Path
    iterations: int
    names: Mapping[str, str]
    reader: Reader
    command: str

    def cell(self, variant: Method, *, domain: str, seed: int) -> Cell:
        """One cell, its config validated and its data loaded. Raises `ConfigError`, `TaskError`."""
        prepared = self._prepared(variant, domain=domain, seed=seed)
        check_writes(variant, prepared)
        if variant.everywhere:
            prepared = replace(prepared, tasks=_tested_in(domain, prepared.tasks))
        check_targets(self.config, prepared)
        check_judges(prepared)
        targets = [task for task in prepared.tasks if task.role == "target"]
        on_targets = not variant.fixed and not prepared.config.outer.candidates and bool(targets)
        if on_targets:
            check_seen(variant, targets, source=prepared.source)
            prepared = _on_targets(prepared, targets)
        else:
            prepared = replace(prepared, tasks=variant.tasks(prepared.tasks, seed=seed))
        if not variant.fixed:
            equal = self.config.equal_calls
            with told_as("train_calls", f"equal_calls = {equal}") if equal is not None else nullcontext():
                check_optimizable(prepared.config, prepared.tasks, source=prepared.source)
        return Cell(method=variant, domain=domain, seed=seed, prepared=prepared, on_targets=on_targets)

    def _prepared(self, variant: Method, *, domain: str, seed: int) -> Prepared:
        """The run's config as the method and the grid change it."""
        domains, equal_calls = self.config.domains, self.config.equal_calls
        parts = [self.config.name, self.names[variant.name], *([domain] if domain else []), f"seed{seed}"]
        changes: dict[str, Any] = {"test.baseline": False, "name": ".".join(parts), "seed": seed}
        if variant.everywhere and len(domains) < 2:
            raise ConfigError(
                f"method '{variant.name}': wants several domains to learn one prompt for; add to `domains`"
            )
        if domain:
            changes |= {"domain": list(domains) if variant.everywhere else domain, "tasks": []}
        if equal_calls is not None and not variant.fixed:
            changes["train_calls"] = equal_calls * (len(domains) if variant.everywhere else 1)
        try:
            overrides = {**variant.overrides(self.iterations), **changes}
            return replace(prepare(self.path, overrides=overrides, reader=self.reader), part_of=self.command)
        except ConfigError as error:
            raise ConfigError(f"method '{variant.name}': {error}" if variant.changes else str(error)) from None


def _tested_in(domain: str, tasks: Sequence[Task]) -> tuple[Task, ...]:
    """Tasks of all domains as a cell of one has them: it tests its own, and learns on the source tasks of all."""
    local = {task.name for task in find_domains([domain])[0].tasks}
    return tuple(
        task if task.name in local else replace(task, test=())
        for task in tasks
        if task.role != "target" or task.name in local
    )


def _on_targets(prepared: Prepared, targets: Sequence[Task]) -> Prepared:
    """The same with the target tasks in place of the source tasks; the best user prompt of each is always tested."""
    config = prepared.config
    if config.test.source == "none":
        config = config.model_copy(update={"test": config.test.model_copy(update={"source": "best"})})
    return replace(prepared, config=config, tasks=tuple(replace(task, role="source") for task in targets))
