"""`metaspo compare`, `ablate`, `generalize`, `adapt`, `transfer`: methods side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from metaspo.cluster_commands import cells_on
from metaspo.console import err, exit_on_user_error
from metaspo.engine import ConfigError, RunDirectoryError, find_run
from metaspo.engine.config.bounds import MAX_CALLS
from metaspo.engine.config.load import load_config, validated
from metaspo.engine.config.model_table import ModelTable
from metaspo.engine.project import file_name
from metaspo.engine.runs.stored import read_result
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
from metaspo.grid_runs import run_cell, run_study
from metaspo.parameters import RUNS, Config, Json, NamedArguments, On, Quiet, RunsFolder
from metaspo.report_command import pages

Plan = Annotated[bool, typer.Option("--plan", help="Only say what it will need.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="Folder for tables, pictures and the page; .metaspo/studies/NAME if left out."
    ),
]
System = Annotated[
    str, typer.Option("--system", metavar="FILE|RUN", help="System prompt: a text file, or what a finished run found.")
]
Seeds = Annotated[
    list[int] | None, typer.Option("--seed", metavar="N", help="A seed; the config's if left out. Repeatable.")
]
EqualCalls = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        max=MAX_CALLS,
        help="Give each method that searches N base calls on train splits, whatever its shape.",
    ),
]

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=NamedArguments)
def compare(
    grid: Annotated[Path, typer.Argument(metavar="GRID", help="A comparison's TOML config file, as shown above.")],
    equal_calls: EqualCalls = None,
    plan: Plan = False,
    cell: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Run the N-th cell of --plan alone; the others are for other processes."),
    ] = None,
    on: On = None,
    folder: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare methods x domains x seeds: run them all over shared servers and limits, and print tables.

    GRID names a run's config and what is compared, for example:

    \b
        config = "metaspo.toml"
        methods = ["default", "metaspo", "sprig"]
        seeds = [1, 2, 3]

    Started again, it goes on where it stopped.
    """
    with exit_on_user_error():
        loaded = load_grid(grid, equal_calls=equal_calls)
        if cell is not None:
            if on is not None or plan or folder is not None:
                raise ConfigError("--cell runs one cell and makes no tables: it goes with no --on, --plan or --out")
            run_cell(loaded, cell, json=json, quiet=quiet)
            return
        lost: Mapping[int, str] = {}
        if on is not None and not plan:
            pages()  # or it could not end here
            options = [] if equal_calls is None else ["--equal-calls", str(equal_calls)]
            lost = cells_on(on, loaded, grid, options, quiet=quiet)
        run_study(loaded, plan=plan, folder=folder, json=json, quiet=quiet, lost=lost)


@app.command(cls=NamedArguments)
def ablate(
    config: Config,
    over: Annotated[
        str, typer.Option("--over", metavar="WHAT", help=f"What to change: {', '.join(ablation_names())}.")
    ],
    like: Annotated[str, typer.Option("--method", metavar="NAME", help="The method that is changed.")] = "metaspo",
    to: Annotated[
        list[Path] | None,
        typer.Option(
            "--to",
            metavar="CONFIG",
            help="With --over optimizer: a run's config whose [optimizer] model writes prompts, too. Repeatable.",
        ),
    ] = None,
    seeds: Seeds = None,
    equal_calls: EqualCalls = None,
    plan: Plan = False,
    folder: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare a method with itself, one thing changed at a time."""
    with exit_on_user_error():
        chosen = next((name for name in ablation_names() if name == over), None)
        if chosen is None:
            raise ConfigError(f"--over {over}: there is no such ablation; known: {', '.join(ablation_names())}")
        run = load_config(config)
        sources = [task.name for task in run.tasks if task.role == "source"]
        if to and chosen != "optimizer":
            raise ConfigError(f"--to names further optimizer models: it belongs to --over optimizer, not {over}")
        optimizers = _optimizers([config, *(to or ())]) if chosen == "optimizer" else []
        methods = ablation(chosen, like=like, sources=sources, optimizers=optimizers)
        name = f"{config.stem}-ablate-{over}"
        made = _grid_of_seen(config, name, seeds=seeds or [run.seed], methods=methods, equal_calls=equal_calls)
        run_study(made, plan=plan, folder=folder, json=json, quiet=quiet)


@app.command(cls=NamedArguments)
def generalize(
    config: Config,
    system: System,
    prompts: Annotated[
        int, typer.Option(metavar="N", min=1, help="User prompts that each target task is scored under.")
    ] = 10,
    given: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder with TASK.json files of user prompts; induced if left out."),
    ] = None,
    seeds: Seeds = None,
    runs: RunsFolder = RUNS,
    folder: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a system prompt, and the default one, on unseen tasks under several user prompts each."""
    with exit_on_user_error():
        table = GeneralizeTable(prompts=prompts, given=str(given.resolve()) if given else "")
        made = _beside_default(config, "generalize", table, system=system, seeds=seeds, runs=runs)
        run_study(made, plan=False, folder=folder, json=json, quiet=quiet)


@app.command(cls=NamedArguments)
def adapt(
    config: Config,
    system: System,
    rounds: Annotated[int, typer.Option(metavar="N", min=0, help="Rounds of adapting, beside the first one.")] = 6,
    examples: Annotated[
        list[int] | None,
        typer.Option(metavar="N", min=1, help="Train examples to adapt on; all if left out. Repeatable: a curve each."),
    ] = None,
    seeds: Seeds = None,
    runs: RunsFolder = RUNS,
    folder: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Adapt user prompts to unseen tasks under a system prompt, and under the default one."""
    with exit_on_user_error():
        table = AdaptTable(rounds=rounds, examples=tuple(examples or ()))
        made = _beside_default(config, "adapt", table, system=system, seeds=seeds, runs=runs)
        run_study(made, plan=False, folder=folder, json=json, quiet=quiet)


@app.command(cls=NamedArguments)
def transfer(
    config: Config,
    system: System,
    to: Annotated[
        list[Path],
        typer.Option("--to", metavar="CONFIG", help="A run's config whose [base] model scores it, too. Repeatable."),
    ],
    seeds: Seeds = None,
    runs: RunsFolder = RUNS,
    folder: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a system prompt that was found with one model, and the default one, with others."""
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


def _grid(config: Path, name: str, *, seeds: list[int], parts: Mapping[str, Any]) -> Grid:
    """The grid of a config; `parts` are further fields of `GridConfig`."""
    fields = {"name": file_name(name), "config": config.name, "seeds": tuple(seeds)}
    return prepare_grid(validated(GridConfig, {**fields, **parts}, source=str(config)), folder=config.parent)


def _grid_of_seen(
    config: Path, name: str, *, seeds: list[int], methods: Sequence[MethodTable], equal_calls: int | None
) -> Grid:
    """The grid of an ablation, whose methods nobody named, without those that nothing would be seen of."""
    while True:
        try:
            return _grid(config, name, seeds=seeds, parts={"method": methods, "equal_calls": equal_calls})
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
