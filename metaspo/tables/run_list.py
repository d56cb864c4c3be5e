"""What is printed of several runs: a line each, or in what two of them differ."""

from collections.abc import Sequence
from dataclasses import asdict, replace

from rich.console import Console

from metaspo.engine import RunDirectory
from metaspo.engine.runs import listing
from metaspo.engine.runs.files import Data
from metaspo.engine.runs.listing import RunLine, differing_keys
from metaspo.engine.runs.stored import run_data
from metaspo.tables.printing import fitting, make_table, say

GO_ON = 3  # unfinished runs, the latest, that a list says how to go on with
# Left out first where all do not fit.
LEAST_WANTED = ("minutes", "calls", "models", "state", "changed", "dollars", "date")


def print_runs(out: Console, lines: Sequence[RunLine]) -> None:
    """One line a run; below them, why some could not be read."""
    short = [replace(line, unreadable="") for line in lines]
    texts = [{name: text(line) for name, text in listing.COLUMNS.items()} for line in short]
    out.print(fitting(out, None, tuple(listing.COLUMNS), texts, drop=LEAST_WANTED))
    for line in lines:
        if line.unreadable:
            say(out, line.unreadable)
    for line in [line for line in lines if line.goes_on_with or line.hindered][:GO_ON]:
        how = line.hindered or f"this goes on with it: {line.goes_on_with}"
        say(out, f"{line.run} has not finished; {how}", style="dim")


def difference_data(first: RunDirectory, second: RunDirectory) -> Data:
    """The same as plain data."""
    keys = differing_keys(run_data(first)["config"], run_data(second)["config"])
    return {
        "keys": {key: [old, new] for key, old, new in keys},
        "runs": [asdict(line) for line in listing.list_runs([first, second])],
    }


def print_difference(out: Console, first: RunDirectory, second: RunDirectory) -> None:
    """In what two runs differ: keys of their configs, and what they came to."""
    left, right = listing.list_runs([first, second])
    table = make_table(None, "", left.run, right.run)
    for key, old, new in differing_keys(run_data(first)["config"], run_data(second)["config"]):
        table.add_row(key, old, new)
    for name, text in listing.COLUMNS.items():
        if name not in ("run", "changed"):
            table.add_row(name, text(left), text(right))
    out.print(table)
