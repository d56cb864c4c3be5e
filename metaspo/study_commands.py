"""`metaspo compare`, `ablate`, `generalize`, `adapt`, `transfer`, `report`: methods side by side, and pages."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table as RichTable

from metaspo import tables
from metaspo.console import GO_ON, ExitCode, err, out, run_async, say_error, told_plainly
from metaspo.engine import ConfigError, Prepared, RunDirectoryError, Watcher, find_run
from metaspo.engine.config import ModelTable
from metaspo.engine.config_file import explain_faults, load_config
from metaspo.engine.protocols import (
    AdaptTable,
    GeneralizeTable,
    Grid,
    GridConfig,
    Study,
    Table,
    ablation,
    ablation_names,
    comparisons,
    load_grid,
    plan_cell,
    prepare_grid,
    shown,
)
from metaspo.engine.protocols import compare as run_grid
from metaspo.engine.protocols import tables as study_tables
from metaspo.engine.run_directory import file_name
from metaspo.progress import ProgressDisplay

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for other programs.")]
Plan = Annotated[bool, typer.Option("--plan", help="Only say what it will need.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Folder for tables, pictures and the page; .metaspo/studies/NAME else."),
]
Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="A run's TOML config file.")]
System = Annotated[
    str, typer.Option("--system", metavar="FILE|RUN", help="System prompt: a text file, or what a finished run found.")
]
Seeds = Annotated[list[int] | None, typer.Option("--seed", help="A seed; may be repeated. The config's if left out.")]
RunsFolder = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Folder of the run directories.")]
RUNS = Path(".metaspo/runs")
STUDIES = Path(".metaspo/studies")


def add_study_commands(app: typer.Typer) -> None:
    """Register the commands of this module."""
    for command in (compare, ablate, generalize, adapt, transfer, report):
        app.command()(command)


def compare(
    grid: Annotated[Path, typer.Argument(metavar="GRID", help="A TOML file: config, methods, seeds, domains.")],
    plan: Plan = False,
    folder: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run methods x domains x seeds over shared lanes, and print the tables. Started again, it goes on."""
    with told_plainly():
        _study(load_grid(grid), plan=plan, folder=folder, json=json, quiet=quiet)


def ablate(
    config: Config,
    over: Annotated[str, typer.Option("--over", help=f"What to change: {', '.join(ablation_names())}.")],
    like: Annotated[str, typer.Option("--method", help="The method that is changed.")] = "metaspo",
    seeds: Seeds = None,
    plan: Plan = False,
    folder: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The bilevel method with one thing changed at a time."""
    with told_plainly():
        chosen = next((name for name in ablation_names() if name == over), None)
        if chosen is None:
            raise ConfigError(f"--over {over}: there is no such ablation; known: {', '.join(ablation_names())}")
        run = load_config(config)
        sources = [task.name for task in run.tasks if task.role == "source"]
        methods = ablation(chosen, like=like, sources=sources)
        made = _grid(config, f"{config.stem}-ablate-{over}", seeds=seeds or [run.seed], parts={"method": methods})
        _study(made, plan=plan, folder=folder, json=json, quiet=quiet)


def generalize(
    config: Config,
    system: System,
    prompts: Annotated[int, typer.Option(min=1, help="User prompts a target task.")] = 10,
    given: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with TASK.json files of user prompts; else induced.")
    ] = None,
    seeds: Seeds = None,
    runs: RunsFolder = RUNS,
    folder: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a system prompt, and the default one, on unseen tasks under several user prompts each."""
    with told_plainly():
        table = GeneralizeTable(prompts=prompts, given=str(given.resolve()) if given else "")
        made = _beside_default(config, "generalize", system, seeds, runs, generalize=table)
        _study(made, plan=False, folder=folder, json=json, quiet=quiet)


def adapt(
    config: Config,
    system: System,
    rounds: Annotated[int, typer.Option(min=0, help="After the first one.")] = 6,
    examples: Annotated[
        list[int] | None, typer.Option(min=1, help="Train examples to adapt on; may be repeated: a curve each.")
    ] = None,
    seeds: Seeds = None,
    runs: RunsFolder = RUNS,
    folder: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Adapt user prompts to unseen tasks under a system prompt, and under the default one."""
    with told_plainly():
        table = AdaptTable(rounds=rounds, examples=tuple(examples or ()))
        made = _beside_default(config, "adapt", system, seeds, runs, adapt=table)
        _study(made, plan=False, folder=folder, json=json, quiet=quiet)


def transfer(
    config: Config,
    system: System,
    to: Annotated[list[Path], typer.Option("--to", metavar="CONFIG", help="A config whose [base] scores it, too.")],
    seeds: Seeds = None,
    runs: RunsFolder = RUNS,
    folder: Out = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a system prompt that was found with one model, and the default one, with others."""
    with told_plainly():
        models = tuple(load_config(path).base for path in to)
        made = _beside_default(config, "transfer", system, seeds, runs, transfer=models)
        _study(made, plan=False, folder=folder, json=json, quiet=quiet)


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A finished run: its name, a part of it, or its folder.")],
    page: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="The page; RUN/report.html else.")] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the pictures there, too, as SVG and PNG.")
    ] = None,
    runs: RunsFolder = RUNS,
) -> None:
    """Write a finished run's page: scores with intervals, curves, every prompt with what changed."""
    with told_plainly():
        found = find_run(run, base=runs)
        pages = _pages()
        html = pages.run_page(found)
        target = page or found.path / "report.html"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(html, encoding="utf-8")
        out.print(f"Wrote {target}", highlight=False, markup=False)
        if figures:
            for path in pages.write_figures(found, figures):
                out.print(f"Wrote {path}", highlight=False, markup=False)


def _grid(config: Path, name: str, *, seeds: list[int], parts: Mapping[str, Any]) -> Grid:
    """The grid of a config; `parts` are further fields of `GridConfig`."""
    fields = {"name": file_name(name), "config": config.name, "seeds": tuple(seeds)}
    try:
        grid = GridConfig.model_validate({**fields, **parts})
    except ValidationError as error:
        raise ConfigError(explain_faults(error, source=str(config), table=GridConfig)) from None
    return prepare_grid(grid, folder=config.parent)


def _beside_default(
    config: Path,
    what: str,
    system: str,
    seeds: list[int] | None,
    runs: Path,
    *,
    generalize: GeneralizeTable | None = None,
    adapt: AdaptTable | None = None,
    transfer: tuple[ModelTable, ...] = (),
) -> Grid:
    """The grid of a prompt and the default one."""
    path = Path(system)
    if not path.is_file():
        path = _found_prompt(system, runs)
    return _grid(
        config,
        f"{config.stem}-{what}",
        seeds=seeds or [load_config(config).seed],
        parts={
            "methods": ("default", f"file:{path.resolve()}"),
            "generalize": generalize,
            "adapt": adapt,
            "transfer": transfer,
        },
    )


def _found_prompt(run: str, runs: Path) -> Path:
    """The file with the system prompt that a run found. Raises `ConfigError`, `RunDirectoryError`."""
    try:
        found = find_run(run, base=runs)
    except RunDirectoryError as error:
        raise ConfigError(f"--system {run}: there is no such file, and {error}") from None
    tables.read_result(found)
    return found.prompts / "system.txt"


def _study(grid: Grid, *, plan: bool, folder: Path | None, json: bool, quiet: bool) -> None:
    """Run a grid, print its tables and write its folder."""
    if plan:
        _print_plan(grid, json=json)
        return
    err.print(f"{len(grid.cells)} runs: {len(grid.methods)} methods, {len(grid.config.seeds)} seeds", highlight=False)
    with ProgressDisplay(err, quiet=quiet) as display:
        watcher: Callable[[Prepared], Watcher] = lambda item: display.watcher(item.config.name)  # noqa: E731
        results = run_async(run_grid(grid, watcher=watcher, progress=display.downloaded, warn=display.warn))
    study = Study.of(grid, results)
    made = study_tables(study)
    if json:
        cells = [result.as_json() for result in results]
        out.print_json(orjson.dumps({"tables": {one.name: one.records() for one in made}, "cells": cells}).decode())
    else:
        for table in made:
            _print_table(table)
        for one in comparisons(study):
            out.print(one.sentence, highlight=False, markup=False)
    page = _pages().write_study(study, folder or STUDIES / grid.config.name)
    err.print(f"Tables, pictures and the page: {page.parent}", highlight=False, markup=False)
    stopped = [result for result in results if result.stopped]
    for result in stopped:
        say_error(f"{result.method}, {result.domain or 'own tasks'}, seed {result.seed}: {result.stopped}")
    if stopped:
        err.print(GO_ON, highlight=False)
        raise typer.Exit(ExitCode.STOPPED)


def _print_plan(grid: Grid, *, json: bool) -> None:
    plans = [found for cell in grid.cells for found in plan_cell(grid, cell)]
    if json:
        tables.print_json(out, [tables.plan_data(name, found) for name, found in plans])
        return
    table = tables.make_table("at most, nothing in the cache", "run", "base calls", "optimizer calls", "dollars")
    for name, found in plans:
        dollars = "unknown" if found.dollars is None else f"${found.dollars:,.2f}"
        table.add_row(escape(name), f"{found.calls.base:,}", f"{found.calls.optimizer:,}", dollars)
    out.print(table)


def _print_table(table: Table) -> None:
    made: RichTable = tables.make_table(escape(table.title), *map(escape, table.columns))
    for row in table.rows:
        made.add_row(*(escape(shown(value)) for value in row))
    out.print(made)
    if table.note:
        out.print(table.note, style="dim", highlight=False, markup=False)


def _pages() -> Any:  # noqa: ANN401 - the module `metaspo.engine.report`
    """The reports, whose libraries are an extra. Raises `ConfigError` where they are not installed."""
    try:
        from metaspo.engine import report as pages
    except ModuleNotFoundError as error:
        raise ConfigError(f"pictures and pages need '{error.name}': pip install 'metaspo[report]'") from None
    return pages
