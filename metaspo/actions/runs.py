"""The runs there are, one of them, or in what two differ, shown."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from metaspo.console import err, exit_on_user_error, out
from metaspo.engine import RunDirectory, find_run, find_runs
from metaspo.engine.runs.listing import RunLine, list_runs
from metaspo.engine.runs.stored import run_data, shown_data
from metaspo.tables import printing
from metaspo.tables.run_list import difference_data, print_difference, print_runs
from metaspo.tables.runs import print_run


def show_run(run: str, *, everything: bool, folder: Path, json: bool) -> None:
    """Print one."""
    with exit_on_user_error():
        directory = find_run(run, base=folder, latest=True)
        if json:
            printing.print_json(out, shown_data(directory))
        else:
            print_run(out, directory, everything=everything)


def show_runs(folder: Path, *, json: bool) -> None:
    """Print a line each."""
    with exit_on_user_error():
        directories = find_runs(folder)
        lines = list_runs(directories)
        if json:
            printing.print_json(out, [_as_json(run, line) for run, line in zip(directories, lines, strict=True)])
        elif directories:
            print_runs(out, lines)
        else:
            err.print(f"No runs in {folder}; `metaspo optimize CONFIG` makes one.")


def _as_json(run: RunDirectory, line: RunLine) -> dict[str, Any]:
    data = {"name": run.name, "directory": str(run.path)} if line.unreadable else run_data(run)
    return {**data, "line": asdict(line)}


def show_difference(first: str, second: str, *, folder: Path, json: bool) -> None:
    """Print in what two differ."""
    with exit_on_user_error():
        sides = [find_run(name, base=folder, latest=True) for name in (first, second)]
        if json:
            printing.print_json(out, difference_data(*sides))
        else:
            print_difference(out, *sides)
