"""What a model refuses under the first and the optimized system prompt, shown."""

from pathlib import Path

from rich.console import Console

from metaspo.backends.counted import counted
from metaspo.console import err, exit_on_user_error, exit_stopped, out, say_error
from metaspo.engine import ConfigError, find_run
from metaspo.engine.safety import SafetyReport, check_safety
from metaspo.engine.tasks.shown import shown
from metaspo.parameters import require_file
from metaspo.progress import ProgressDisplay
from metaspo.running import run_async
from metaspo.tables import printing
from metaspo.tables.usage import calls_and_dollars

SHOWN, LONGEST = 3, 80  # rows beside a side that became worse, and characters of each text


def compare_refusals(
    run: str, *, data: Path | None, domain: bool, rows: int | None, runs: Path, json: bool, quiet: bool
) -> None:
    """Ask under both prompts, and print what came of it."""
    with exit_on_user_error():
        if data is not None:
            require_file(data, option="--data")
        if rows is not None and not domain:
            raise ConfigError("--rows is for the safety domain's tasks: add --domain")
        with ProgressDisplay(err, quiet=quiet) as display:
            report = run_async(
                check_safety(
                    find_run(run, base=runs, latest=True, finished=True),
                    data=data,
                    domain=domain,
                    rows=rows,
                    observer=display.observer("safety"),
                    progress=display.downloaded,
                )
            )
    if json:
        printing.print_json(out, report.as_json())
    else:
        print_safety(out, report)
    if not report.sides:
        say_error("nothing was answered under both prompts")
        exit_stopped()


def print_safety(console: Console, report: SafetyReport) -> None:
    """A sentence for each kind of rows, and some of the answers where it became worse."""
    printing.say(console, f"{report.run}, asked with {report.data}", style="bold")
    for side in report.sides:
        worse = side.compared.verdict == "worse"
        printing.say(console, side.sentence, style="yellow" if worse else "")
        for before, after in report.turned(side.kind)[: SHOWN if worse else 0]:
            question, first, now = (
                shown(text, most=LONGEST) for text in (before.example.question, before.text, after.text)
            )
            printing.say(console, f"  {question}: first {first}, now {now}")
    if report.unanswered:
        rows = counted(report.unanswered, "row has", "rows have")
        printing.say(console, f"Not counted: {rows} no answer under one of the prompts.")
    uses = [usage.total for usage in report.usage.values()]
    printing.say(console, f"{calls_and_dollars(*uses)}; --json has every answer")
