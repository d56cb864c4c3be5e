"""A judge held against people's scores, shown."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from metaspo.backends.counted import counted
from metaspo.console import err, exit_on_user_error, out, say_warning
from metaspo.engine import prepare
from metaspo.engine.check.labelled import JudgeReport, judge_labelled
from metaspo.engine.runs.prepare import tell_notices
from metaspo.engine.statistics.agreement import Agreement
from metaspo.engine.tasks.judges import Judge
from metaspo.overrides import parse_overrides
from metaspo.parameters import require_file
from metaspo.progress import ProgressDisplay
from metaspo.running import run_async
from metaspo.tables import printing
from metaspo.tables.usage import calls_and_dollars

ENOUGH = 0.4  # kappa
SHOWN = 5  # answers that are graded differently


def hold_judge(config: Path, labelled: Path, *, task: str, sets: Sequence[str] | None, json: bool, quiet: bool) -> None:
    """Judge the answers of a file, and print how far both agree."""
    with exit_on_user_error():
        require_file(labelled)
        prepared = prepare(config, overrides=parse_overrides(sets))
        tell_notices([prepared], say_warning)
        with ProgressDisplay(err, quiet=quiet) as display:
            report = run_async(
                judge_labelled(prepared, labelled, task=task, progress=display.downloaded, warn=display.warn)
            )
    if json:
        printing.print_json(out, report.as_json())
    else:
        (metric,) = (task.metric for task in prepared.tasks if task.name == report.task)
        print_judge(out, report, metric.function)  # type: ignore[attr-defined]


def print_judge(console: Console, report: JudgeReport, judge: Judge) -> None:
    """The agreement in a sentence, then the answers that are graded most differently."""
    if report.agreed is not None:
        _print_agreement(console, report, report.agreed, judge)
    if ungraded := [outcome for outcome in report.outcomes if outcome.grade is None]:
        first = ungraded[0]
        printing.say(console, f"{len(ungraded)} without a grade, the first {first.example.where}: {first.reason}")
    if apart := report.apart[:SHOWN]:
        table = printing.make_table("graded most differently", "where", "answer", "people", "judge", "its reasons")
        for each, outcome in apart:
            cells = (
                each.example.where,
                printing.excerpt(each.response),
                on_scale(judge, each.score),
                on_scale(judge, outcome.grade or 0.0),
            )
            table.add_row(*cells, printing.excerpt(outcome.feedback))
        console.print(table)
    printing.say(console, calls_and_dollars(report.usage.total))


def _print_agreement(console: Console, report: JudgeReport, agreed: Agreement, judge: Judge) -> None:
    """How often the judge gives the score that people gave, and what that says."""
    same = f"{agreed.same:.0%} of {counted(agreed.answers, 'answer')}"
    rounded = ", its mean rounded to the scale" if judge.calls > 1 else ""
    printing.say(console, f"Task {report.task}: the judge gives {same} the score that people gave{rounded}.")
    if agreed.kappa is None:
        printing.say(console, "Cohen's kappa says nothing: all scores are one and the same.")
    elif agreed.interval is None:
        printing.say(console, f"Cohen's kappa is 0.00: {_who_is_constant(report)} all answers one and the same score.")
    else:
        low, high = agreed.interval.low, agreed.interval.high
        printing.say(
            console,
            f"Cohen's kappa, weighted by squared distance: {agreed.kappa:z.2f} (95% interval {low:z.2f} to "
            f"{high:z.2f}); 1 is full agreement, 0 what chance would give.",
        )
    if agreed.kappa is not None and round(agreed.kappa, 2) < ENOUGH:
        printing.say(console, f"A kappa below {ENOUGH}: do not optimize by this judge.", style="yellow")


def _who_is_constant(report: JudgeReport) -> str:
    grades = {outcome.grade for outcome in report.outcomes if outcome.grade is not None}
    return "the judge gives" if len(grades) == 1 else "people give"


def on_scale(judge: Judge, grade: float) -> str:
    """A grade from 0 to 1 in the words or numbers of the judge's scale; a mean of several may lie between two."""
    if judge.against:
        return f"{grade:.2f}".rstrip("0").rstrip(".")
    names = list(judge.form.grades)
    step = round(grade * (len(names) - 1), 2)
    if step == int(step):
        return names[int(step)]
    return f"{step + 1:.2f}" if judge.form.numbers else f"{names[int(step)]} to {names[int(step) + 1]}"
