"""Methods side by side: the grids of what options name, run and told."""

import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from metaspo.actions.grid_runs import run_cell, run_study
from metaspo.actions.on_cluster import cells_on
from metaspo.console import err, exit_on_user_error
from metaspo.engine import ConfigError, RunDirectoryError, find_run
from metaspo.engine.config.load import load_config, validated
from metaspo.engine.config.model_table import ModelTable
from metaspo.engine.project import file_name
from metaspo.engine.runs.files import read_result
from metaspo.engine.studies import (
    AdaptTable,
    GeneralizeTable,
    Grid,
    GridConfig,
    UnseenMethod,
    ablation,
    ablation_names,
    load_grid,
    prepare_grid,
)
from metaspo.engine.studies.grid_config import MethodTable


def compare_methods(
    grid: Path,
    *,
    equal_calls: int | None,
    plan: bool,
    cell: int | None,
    on: str | None,
    folder: Path | None,
    json: bool,
    quiet: bool,
) -> None:
    """Run a grid, or one cell of it, here or on a cluster, and print its tables."""
    with exit_on_user_error():
        loaded = load_grid(grid, equal_calls=equal_calls)
        if cell is not None:
            if on is not None or plan or folder is not None:
                raise ConfigError("--cell runs one cell and makes no tables: it goes with no --on, --plan or --out")
            run_cell(loaded, cell, json=json, quiet=quiet)
            return
        options = [] if equal_calls is None else ["--equal-calls", str(equal_calls)]
        elsewhere = dict if on is None else partial(cells_on, on, loaded, grid, options, quiet=quiet)
        run_study(loaded, plan=plan, folder=folder, json=json, quiet=quiet, elsewhere=elsewhere)


def ablate_method(
    config: Path,
    over: str,
    *,
    like: str,
    to: Sequence[Path],
    seeds: list[int] | None,
    equal_calls: int | None,
    plan: bool,
    folder: Path | None,
    json: bool,
    quiet: bool,
) -> None:
    """Run the grid of a method and of what it is when one thing is changed, and print its tables."""
    with exit_on_user_error():
        chosen = next((name for name in ablation_names() if name == over), None)
        if chosen is None:
            raise ConfigError(f"--over {over}: there is no such ablation; known: {', '.join(ablation_names())}")
        run = load_config(config)
        sources = [task.name for task in run.tasks if task.role == "source"]
        if to and chosen != "optimizer":
            raise ConfigError(f"--to names further optimizer models: it belongs to --over optimizer, not {over}")
        optimizers = _optimizers([config, *to]) if chosen == "optimizer" else []
        methods = ablation(chosen, like=like, sources=sources, optimizers=optimizers)
        name = f"{config.stem}-ablate-{over}"
        options = [*_options("--seed", seeds), *_options("--to", [path.absolute() for path in to])]
        options += _options("--equal-calls", [] if equal_calls is None else [equal_calls])
        command = shlex.join(("metaspo", "ablate", str(config.absolute()), "--over", over, "--method", like, *options))
        made = _grid_of_seen(
            config, name, seeds=seeds or [run.seed], methods=methods, equal_calls=equal_calls, command=command
        )
        run_study(made, plan=plan, folder=folder, json=json, quiet=quiet)


def generalize_prompt(
    config: Path,
    system: str,
    *,
    prompts: int,
    given: Path | None,
    seeds: list[int] | None,
    runs: Path,
    folder: Path | None,
    json: bool,
    quiet: bool,
) -> None:
    """Score a prompt and the default one on unseen tasks, and print the tables."""
    with exit_on_user_error():
        table = GeneralizeTable(prompts=prompts, given=str(given.resolve()) if given else "")
        made = _beside_default(config, "generalize", table, system=system, seeds=seeds, runs=runs)
        run_study(made, plan=False, folder=folder, json=json, quiet=quiet)


def adapt_prompts(
    config: Path,
    system: str,
    *,
    rounds: int,
    examples: Sequence[int],
    seeds: list[int] | None,
    runs: Path,
    folder: Path | None,
    json: bool,
    quiet: bool,
) -> None:
    """Adapt user prompts under a prompt and under the default one, and print the tables."""
    with exit_on_user_error():
        table = AdaptTable(rounds=rounds, examples=tuple(examples))
        made = _beside_default(config, "adapt", table, system=system, seeds=seeds, runs=runs)
        run_study(made, plan=False, folder=folder, json=json, quiet=quiet)


def transfer_prompt(
    config: Path,
    system: str,
    *,
    to: Sequence[Path],
    seeds: list[int] | None,
    runs: Path,
    folder: Path | None,
    json: bool,
    quiet: bool,
) -> None:
    """Score a prompt and the default one with further models, and print the tables."""
    with exit_on_user_error():
        models = tuple(load_config(path).base for path in to)
        made = _beside_default(config, "transfer", models, system=system, seeds=seeds, runs=runs)
        run_study(made, plan=False, folder=folder, json=json, quiet=quiet)


def _optimizers(configs: Sequence[Path]) -> list[ModelTable]:
    """The [optimizer] of each config. Raises `ConfigError` where there is none."""
    tables = {path: load_config(path).optimizer for path in configs}
    for path, table in tables.items():
        if table is None:
            raise ConfigError(f"{path}: optimizer: is missing: --over optimizer compares the models of these tables")
    return [table for table in tables.values() if table is not None]


def _options(name: str, values: Sequence[object] | None) -> list[str]:
    """An option that is given once for each value."""
    return [word for value in values or () for word in (name, str(value))]


def _grid(config: Path, name: str, *, seeds: list[int], parts: Mapping[str, Any], command: str = "") -> Grid:
    """The grid of a config; `parts` are further fields of `GridConfig`."""
    fields = {"name": file_name(name), "config": config.name, "seeds": tuple(seeds)}
    made = validated(GridConfig, {**fields, **parts}, source=str(config))
    return prepare_grid(made, folder=config.parent, command=command)


def _grid_of_seen(
    config: Path,
    name: str,
    *,
    seeds: list[int],
    methods: Sequence[MethodTable],
    equal_calls: int | None,
    command: str,
) -> Grid:
    """The grid of an ablation, whose methods nobody named, without those that nothing would be seen of."""
    while True:
        try:
            parts = {"method": methods, "equal_calls": equal_calls}
            return _grid(config, name, seeds=seeds, parts=parts, command=command)
        except UnseenMethod as unseen:
            methods = [method for method in methods if method.name != unseen.method]
            err.print(f"note: {unseen}")


def _beside_default(
    config: Path,
    kind: Literal["generalize", "adapt", "transfer"],
    value: GeneralizeTable | AdaptTable | tuple[ModelTable, ...],
    *,
    system: str,
    seeds: list[int] | None,
    runs: Path,
) -> Grid:
    """The grid of a prompt and the default one; `value` is the field `kind` of `GridConfig`."""
    path = Path(system)
    if not path.is_file():
        path = _optimized_prompt(system, runs)
    parts = {"methods": ("default", f"file:{path.resolve()}"), kind: value}
    return _grid(config, f"{config.stem}-{kind}", seeds=seeds or [load_config(config).seed], parts=parts)


def _optimized_prompt(run: str, runs: Path) -> Path:
    """The file with the system prompt that a run found. Raises `ConfigError`, `RunDirectoryError`."""
    try:
        directory = find_run(run, base=runs)
    except RunDirectoryError as error:
        raise ConfigError(f"--system {run}: there is no such file, and {error}") from None
    read_result(directory)
    return directory.prompts / "system.txt"
