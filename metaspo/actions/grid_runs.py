"""Running a comparison, or one cell of it: its plan, its tables, and why cells stopped."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from rich.table import Table as RichTable

from metaspo.actions.report import pages
from metaspo.backends.counted import counted
from metaspo.console import err, exit_stopped, out, say_error, say_warning
from metaspo.engine import Observer, Prepared
from metaspo.engine.cluster import check_caps
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.prepare import tell_notices
from metaspo.engine.studies import CellResult, Findings, Grid, Study, Table, plan_cell, shown
from metaspo.engine.studies import compare as run_grid
from metaspo.parameters import in_project
from metaspo.progress import ProgressDisplay
from metaspo.running import run_async
from metaspo.tables import printing
from metaspo.tables.plan import all_plans, caps_reached, plan_data

STUDIES = Path(".metaspo/studies")
SHARED = 0o777  # as the umask has it: tables are for others, too


def run_cell(grid: Grid, number: int, *, json: bool, quiet: bool) -> None:
    """Run one cell of a grid, whose other cells other processes run at the same time."""
    part = grid.only(number)
    check_caps([part.cells[0].prepared], option="--cell")
    (result,) = _results(part, quiet=quiet)
    if json:
        printing.print_json(out, asdict(result))
    if result.stopped:
        _tell_stopped([result])
    err.print(
        f"Cell {number} of {len(grid.cells)}, {part.cells[0].prepared.config.name}, is done. Once all are, the same "
        "command without --cell prints the tables, from the cache.",
    )


def _results(grid: Grid, *, quiet: bool, lost: Mapping[int, str] | None = None) -> list[CellResult]:
    with ProgressDisplay(err, quiet=quiet) as display:
        observer: Callable[[Prepared], Observer] = lambda item: display.observer(item.config.name)  # noqa: E731
        return run_async(run_grid(grid, observer=observer, progress=display.downloaded, warn=display.warn, lost=lost))


def run_study(
    grid: Grid,
    *,
    plan: bool,
    folder: Path | None,
    json: bool,
    quiet: bool,
    elsewhere: Callable[[], Mapping[int, str]] = dict,
) -> None:
    """Run a grid, print its tables and write its folder; first what runs its cells `elsewhere`, and tells why some of
    them are lost.

    Raises, before anything is asked, where what comes of it could not be written: `ConfigError` if what draws its
    pictures is not installed, `RunDirectoryError` while another process is to write the same tables or none can be.
    """
    if plan:
        _print_plan(grid, json=json)
        return
    library = pages()
    methods, seeds = counted(len(grid.methods), "method"), counted(len(grid.config.seeds), "seed")
    err.print(f"{counted(len(grid.cells), 'run')}: {methods}, {seeds}")
    folder = folder or in_project(STUDIES) / grid.config.name
    with RunDirectory(folder).held(
        who="a command that writes its tables there", instead="name another folder with --out", mode=SHARED
    ):
        results = _results(grid, quiet=quiet, lost=elsewhere())
        findings = Findings.of(Study.of(grid, results))
        _print_findings(findings, json=json)
        page = library.write_study(findings, folder)
    err.print(f"Tables, pictures and the page: {page.parent}")
    if stopped := [result for result in results if result.stopped]:
        _tell_stopped(stopped)


def _print_findings(findings: Findings, *, json: bool) -> None:
    if json:
        records = {table.name: table.records() for table in findings.tables}
        cells = [asdict(result) for result in findings.study.results]
        printing.print_json(out, {"tables": records, "cells": cells})
        return
    for table in findings.tables:
        _print_table(table)
    for sentence in findings.verdicts:
        printing.say(out, sentence)


def _tell_stopped(stopped: Sequence[CellResult]) -> NoReturn:
    """Say why cells did not get to their end, and exit accordingly."""
    for result in stopped:
        say_error(f"{result.method}, {result.domain or 'own tasks'}, seed {result.seed}: {result.stopped}")
    exit_stopped(*(result.stopped for result in stopped))


def _print_plan(grid: Grid, *, json: bool) -> None:
    tell_notices((cell.prepared for cell in grid.cells), say_warning)
    of_cells = [(number, cell, plan_cell(grid, cell)) for number, cell in enumerate(grid.cells, 1)]
    plans = [(number, *planned, cell.prepared.notices) for number, cell, each in of_cells for planned in each]
    caps = caps_reached(grid.budget, [plan for _, cell, each in of_cells if grid.caps(cell) for _, plan in each])
    if json:
        printing.print_json(
            out,
            [
                {"cell": number, **plan_data(name, estimate, notices, caps=caps)}
                for number, name, estimate, notices in plans
            ],
        )
        return
    columns = ("cell", "run", "train calls", "base calls", "optimizer calls", "dollars")
    usable = (
        " and every answer of the optimizer could be used"
        if any(plan.calls.optimizer for _, _, plan, _ in plans)
        else ""
    )
    table = printing.make_table(f"at most, as if the cache were empty{usable}", *columns)
    for number, name, estimate, _ in plans:
        dollars = "unknown" if estimate.dollars is None else f"${estimate.dollars:,.2f}"
        calls = estimate.calls
        counts = (calls.base - calls.test, calls.base, calls.optimizer)
        table.add_row(str(number), name, *(f"{count:,}" for count in counts), dollars)
    out.print(table)
    if len(plans) > 1:
        printing.say(out, all_plans([plan for _, _, plan, _ in plans]))
    for line in caps:
        printing.say(out, line)


def _print_table(table: Table) -> None:
    made: RichTable = printing.make_table(table.title, *table.columns)
    for row in table.rows:
        made.add_row(*(shown(value) for value in row))
    out.print(made)
    if table.note:
        printing.say(out, table.note, style="dim")
