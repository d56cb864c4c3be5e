"""A config's servers reached and an example of each task answered, shown."""

from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from metaspo.backends import LimitHints
from metaspo.backends.counted import counted
from metaspo.console import ExitCode, err, exit_on_user_error, out, say_error, say_warning
from metaspo.engine import prepare
from metaspo.engine.check.report import CheckReport, check_run
from metaspo.engine.check.servers import ServerCheck
from metaspo.engine.check.tasks import TaskCheck
from metaspo.engine.evaluation.answers import read_as
from metaspo.engine.money import show_dollars
from metaspo.engine.runs.prepare import tell_notices
from metaspo.overrides import parse_overrides
from metaspo.progress import ProgressDisplay
from metaspo.running import run_async
from metaspo.tables import printing


def check_config(config: Path, sets: Sequence[str] | None, *, json: bool, quiet: bool) -> None:
    """Check it, print what came of it, and exit accordingly."""
    with exit_on_user_error():
        prepared = prepare(config, overrides=parse_overrides(sets))
        tell_notices([prepared], say_warning)
        with ProgressDisplay(err, quiet=quiet) as display:
            report = run_async(check_run(prepared, progress=display.downloaded, warn=display.warn))
    if json:
        printing.print_json(out, report.as_json())
    else:
        print_check(out, report)
    for fault in report.faults:
        say_error(fault)
    if report.faults:
        raise typer.Exit(ExitCode.MISTAKE if report.mistake else ExitCode.STOPPED)


def print_check(console: Console, report: CheckReport) -> None:
    """Servers, then tasks, then what to mend."""
    table = printing.make_table("servers", "role", "model", "endpoint", "answers in", "tokens/s", "context", "limits")
    for server in report.servers:
        table.add_row(*_server_cells(server))
    console.print(table)
    for line in dict.fromkeys(_heeding(server, report.servers) for server in report.servers):
        if line:
            printing.say(console, line)
    for task in report.tasks:
        _print_task(console, task)
    if report.advice:
        console.print()
        console.print("What the config should say", style="bold")
        for line in report.advice:
            console.print(Text(f"- {line}"), soft_wrap=not console.is_terminal)
    use = report.usage.total if report.usage else None
    if use and not (report.advice or report.faults):
        spent = f"{counted(use.calls, 'example')} asked, {use.hits:,} in the cache already"
        cost = show_dollars(use.dollars, unpriced=use.unpriced)
        console.print(f"\nAll is well. {spent}, {cost}. Next: metaspo plan, metaspo optimize.")


def _heeding(server: ServerCheck, servers: Sequence[ServerCheck]) -> str:
    """Whether it follows the system prompt; by name, where another one of its model does otherwise."""
    if server.heeds_system is None:
        return ""
    same = {each.heeds_system for each in servers if each.role == server.role} - {None}
    where = "" if len(same) == 1 else f" at {server.endpoint}"
    heeded = "is followed" if server.heeds_system else "is not followed"
    return f"{server.role}: an order in the system prompt {heeded}{where}."


def _server_cells(server: ServerCheck) -> tuple[str, ...]:
    rate = "" if server.tokens_per_second is None else f"{server.tokens_per_second:,.0f}"
    context = "" if server.context is None else f"{server.context:,}"
    answers = "no" if server.fault else f"{server.seconds:.1f} s"
    return server.role, server.model, server.endpoint, answers, rate, context, _limits(server.limits)


def _limits(limits: LimitHints | None) -> str:
    """What the headers say; they do not say for how long."""
    if limits is None:
        return ""
    said = {"requests": limits.requests_limit, "tokens": limits.tokens_limit}
    return ", ".join(f"{number:,} {what}" for what, number in said.items() if number is not None)


def _print_task(console: Console, task: TaskCheck) -> None:
    console.print()
    train = f"{task.train:,} train and " if task.train else ""
    counts = f"{train}{counted(task.test, 'test example')}"
    console.print(Text.assemble((f"{task.task} ({task.role})", "bold"), f": {counts}"), soft_wrap=False)
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", width=11)
    table.add_column(overflow="fold")
    for message in task.messages:
        table.add_row(f" {message.role}", Text(printing.excerpt(message.content)))
    if expected := task.example.expected:
        table.add_row(" expected", Text(expected))
    table.add_row(" answer", Text(printing.excerpt(task.outcome.text)))
    table.add_row(" read as", Text(read_as(task.outcome) + _worth(task.outcome.grade)))
    console.print(table, soft_wrap=False)


def _worth(grade: float | None) -> str:
    if grade is None:
        return ""
    return ": right" if grade >= 1 else ": wrong" if grade <= 0 else f": {grade:.2f} of 1"
