"""What a run's examples were answered before and after, shown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from rich.console import Console
from rich.table import Table
from rich.text import Text

from metaspo.console import err, exit_on_user_error, out
from metaspo.engine import ConfigError, find_run
from metaspo.engine.evaluation.answers import AnsweredExample, TaskAnswers, Wanted, confusion_rows, read_as
from metaspo.engine.evaluation.scorecard import Outcome
from metaspo.engine.runs.answers import RunAnswers, run_answers
from metaspo.running import run_async
from metaspo.tables import printing

SHOWN = 5  # examples a task, unless all are asked for
COLOURS = {"worse": "red", "not right": "yellow", "better": "green", "right": "dim", "unknown": "dim"}

NONE_WANTED: dict[Wanted, str] = {
    "worse": "No answer got worse; --wrong shows those that are wrong.",
    "better": "No answer got better.",
    "wrong": "No answer is wrong.",
    "malformed": "Every answer is in the form asked for.",
}


def show_answers(
    run: str, *, task: str, split: str, flags: Mapping[str, bool], everything: bool, folder: Path, json: bool
) -> None:
    """Print them, all or those that a flag asks for."""
    with exit_on_user_error():
        wanted = _wanted(flags)
        chosen: Literal["train", "test"] | None = "train" if split == "train" else "test" if split == "test" else None
        if split and chosen is None:
            raise ConfigError(f"--split: must be train or test, it is '{split}'")
        shown = run_async(run_answers(find_run(run, base=folder, latest=True), task=task, split=chosen))
    if json:
        printing.print_json(out, shown.as_json(wanted))
    else:
        print_answers(out, shown, wanted=wanted, everything=everything)


def _wanted(flags: Mapping[str, bool]) -> Wanted | None:
    """What the flags ask for. Raises `ConfigError` for more than one."""
    named: list[Wanted] = [name for name in get_args(Wanted) if flags[name]]
    if len(named) > 1:
        raise ConfigError(f"give one of {', '.join(f'--{name}' for name in named)}, not several")
    return named[0] if named else None


def print_answers(
    console: Console, shown: RunAnswers, *, wanted: Wanted | None = None, everything: bool = False
) -> None:
    """Task by task: how many went which way, labels against labels, and the examples."""
    console.print(Text(shown.run, style="bold"))
    for task in shown.tasks:
        _print_task(console, task, wanted=wanted, everything=everything)
    for said in filter(None, (shown.missing, shown.changed)):
        err.print(said)
    examples = [each for task in shown.tasks for each in task.examples]
    if wanted and not shown.missing and not any(each.is_wanted(wanted) for each in examples):
        console.print(f"\n{NONE_WANTED[wanted]}")


def _print_task(console: Console, task: TaskAnswers, *, wanted: Wanted | None, everything: bool) -> None:
    console.print()
    console.print(Text.assemble((f"{task.task} ({task.role})", "bold"), f": {task.sentence}"), soft_wrap=False)
    if task.labels and wanted is None:
        _print_confusion(console, task)
    examples = [each for each in task.examples if each.is_wanted(wanted)]
    shown = examples if everything else examples[:SHOWN]
    for each in shown:
        console.print(_block(each, everything=everything), soft_wrap=False)
    if len(shown) < len(examples):
        console.print(f"{len(examples) - len(shown):,} more: --all shows them.", style="dim")


def _print_confusion(console: Console, task: TaskAnswers) -> None:
    heads, rows = confusion_rows(task)
    table = printing.make_table("how often it was read as (before → after)", *heads)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _block(each: AnsweredExample, *, everything: bool) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", width=11)
    table.add_column(overflow="fold")
    table.add_row(Text(each.change, style=COLOURS[each.change]), Text(each.example.where, style="dim"))
    cut = str if everything else printing.excerpt
    table.add_row(" question", Text(cut(each.example.question)))
    if expected := each.example.expected:
        table.add_row(" expected", Text(expected))
    for stage, outcome in (("before", each.before), ("after", each.after)):
        table.add_row(f" {stage}", _answer(outcome, cut(outcome.text) if outcome else ""))
    return table


def _answer(outcome: Outcome | None, text: str) -> Text:
    """How an answer was read and, where that is not all it says, what it says."""
    read = read_as(outcome)
    if outcome is None or outcome.grade is None:
        return Text(read, style="dim")
    style = "green" if outcome.grade >= 1 else "red"
    partly = f" ({outcome.grade:.2f})" if 0 < outcome.grade < 1 else ""
    cited = "" if text.strip() == outcome.prediction else f"  ← {text}"
    return Text.assemble((read + partly, style), cited)
