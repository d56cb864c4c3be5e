"""What is printed of a run: first what fits a screen, and all of it where that is wanted."""

import time
from collections.abc import Sequence
from importlib.util import find_spec

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from metaspo.backends.counted import counted
from metaspo.engine import Gain, RunDirectory, RunReport, report_data
from metaspo.engine.evaluation.task_rows import COLUMNS, SHORT, TaskRow, cost_sentence
from metaspo.engine.evaluation.test_score import OF_COST, unreadable
from metaspo.engine.money import show_dollars
from metaspo.engine.optimize.result import GuardScore, chosen_sentence, untested_sentence
from metaspo.engine.runs.files import Data, read_json
from metaspo.engine.runs.status import Session
from metaspo.engine.runs.stored import called, rows_of, safety_sentences, shown_data, summary_of
from metaspo.engine.runs.summary import RunSummary
from metaspo.engine.statistics import Interval
from metaspo.tables.printing import fitting, say
from metaspo.tables.scores import OF_SCORES, from_cache
from metaspo.tables.usage import print_usage, spent_sentence
from metaspo.tables.whole import WholeTable

ONE_TASK = "One unseen task says nothing of other tasks, and one run nothing of what another seed would find."
SCREEN = 23  # lines of the first screen: 24, less that of the shell's prompt
SCREEN_TASKS = 6  # rows of tasks there at most
SCREEN_LINES = 8  # lines of the system prompt there at most
FEW_LINES = 3  # that it has there before tasks get more than one
FRAMES = 2 + 3  # lines around the system prompt and above the tasks


def print_report(out: Console, report: RunReport) -> None:
    """A finished run."""
    data = report_data(report)
    if report.directory:
        data["safety"] = read_json(RunDirectory(report.directory), part="safety")
    print_result(out, data)


def print_run(out: Console, run: RunDirectory, *, everything: bool) -> None:
    """A run from its directory."""
    (print_run_data if everything else print_result)(out, shown_data(run))


def print_result(out: Console, data: Data) -> None:
    """What a busy person wants, on a screen: warnings, the verdict, the prompt, what got worse, what to do next."""
    with out.capture() as beside:
        _print_screen(out, data, tasks=0, lines=0)
    result = data["result"]
    tasks, prompt = (rows_of(data), _height(out, result["system_prompt"])) if result else ((), 0)
    room = SCREEN - beside.get().count("\n") - FRAMES
    rows = min(len(tasks), SCREEN_TASKS, max(1, room - min(prompt, FEW_LINES)))
    if len(tasks) > rows > 1:
        rows -= 1  # a line says how many more there are
    told = rows + (len(tasks) > rows)
    _print_screen(out, data, tasks=rows, lines=min(SCREEN_LINES, max(1, room - told)))


def _print_screen(out: Console, data: Data, *, tasks: int, lines: int) -> None:
    """With so many tasks and so many lines of the prompt; with none of either, what stands beside them."""
    summary, result = summary_of(data), data["result"]
    out.print(Text(data["name"], style="bold"))
    _print_state(out, data, summary)
    if summary:
        _print_warning(out, summary, short=True)
    if result:
        _print_verdict(out, summary, result, short=True)
        _print_cost(out, data)
        if lines:
            _print_prompt(out, result["system_prompt"], lines=lines)
        _print_safety(out, data, short=True)
        if tasks:
            _print_worst(out, rows_of(data), tasks)
    else:
        _print_so_far(out, data, lines=SCREEN_LINES)
    if summary:
        say(out, spent_sentence(summary))
    if data["directory"]:
        name = called(data)
        say(out, f"Directory: {data['directory']}{' (prompts ready to paste in prompts/)' if result else ''}")
        worse = " --worse" if result and any(row.worse for row in rows_of(data)) else ""
        then = f"metaspo answers {name}{worse}, metaspo report {name}{_report_extra()}, " if result else ""
        say(out, f"Next: {then}metaspo show {name} --all", style="dim")
    _print_how_to_go_on(out, data)


def _report_extra() -> str:
    """What a page needs first where its libraries are not there."""
    return "" if find_spec("jinja2") and find_spec("matplotlib") else " (pip install 'metaspo[report]')"


def print_run_data(out: Console, data: Data) -> None:
    """All that there is of a run: scores, prompts, gains, use."""
    summary, result = summary_of(data), data["result"]
    out.print(Text(data["name"], style="bold"))
    _print_state(out, data, summary)
    if result:
        out.print(_scores(out, rows_of(data), tuple(COLUMNS)))
        say(out, OF_SCORES, style="dim")
        _print_prompt(out, result["system_prompt"])
        _print_safety(out, data)
        _print_verdict(out, summary, result)
        _print_cost(out, data)
        if summary and summary.optimism:
            say(out, f"When the system prompt was chosen: {summary.optimism}.")
            if estimate := summary.optimism_estimate:
                say(out, f"  By choosing again on halves of the examples: {estimate}.")
        for loop, strategy in result["strategies"].items():
            say(out, f"{loop} loop: {strategy}")
        if raced_out := result.get("raced_out"):
            say(out, f"Raced out, on statistical evidence alone: {', '.join(raced_out)}")
        for lost in summary.system_search.guarded if summary else ():
            say(out, f"Refused by a guard: {lost.sentence}.")
    else:
        _print_so_far(out, data)
    if summary:
        _print_warning(out, summary)
        print_usage(out, summary)
    if data["directory"]:
        prompts = " (prompts ready to paste in prompts/)" if result else ""
        say(out, f"Directory: {data['directory']}{prompts}")
    _print_how_to_go_on(out, data)


def _print_how_to_go_on(out: Console, data: Data) -> None:
    """The command that goes on with a run that has ended before its end, or why none does."""
    if data.get("goes_on_with"):
        say(out, f"Go on with it: {data['goes_on_with']}", style="bold")
    elif data.get("hindered"):
        say(out, f"It cannot go on: {data['hindered']}", style="bold")


def _print_warning(out: Console, summary: RunSummary, *, short: bool = False) -> None:
    """That proposals were lost, for their wording or altogether, and whether asking again would ask anybody."""
    if sentence := summary.proposals.sentence:
        say(out, sentence)
    if warning := summary.proposals.short_warning if short else summary.proposals.warning:
        again = from_cache(
            next((use for lane, use in summary.usage.lanes.items() if "optimizer" in lane), None), "optimizer"
        )
        say(out, f"warning: {warning} {again}".rstrip(), style="yellow")
    if warning := unreadable(row for row in summary.scores if row.stage == "after"):
        say(out, f"warning: {warning}.", style="yellow")


def _print_verdict(out: Console, summary: RunSummary | None, result: Data, *, short: bool = False) -> None:
    """The gains, in short without what other tasks would gain.

    Where no system prompt was adopted, that and why, in place of a gain that cannot but be nothing.
    """
    kept_first = result["system_prompt"] == result.get("first_system_prompt")
    if summary and kept_first:
        say(out, summary.system_search.sentence or "The run ended with the system prompt that it began with.")
    for gain in summary.gains if summary else ():
        if kept_first and gain.role == "target" and gain.before == gain.after:
            tasks = counted(gain.tasks, "unseen target task")
            say(out, f"Mean over {tasks}: {gain.before:.1%}, as before: nothing that they are asked with has changed.")
        else:
            _print_gain(out, gain, over_tasks=not short)
    for sentence in filter(None, (untested_sentence(result), chosen_sentence(result))):
        say(out, sentence)
    for guard in result.get("guards", ()):
        say(out, GuardScore(**guard).sentence)
    if summary and (cost := summary.system_search.guards_cost):
        say(out, cost)
    if ended_early := result.get("ended_early"):
        say(out, f"The loops {ended_early}.")


def _print_safety(out: Console, data: Data, *, short: bool = False) -> None:
    """Whether the prompt changes what the model refuses, as far as anybody has asked."""
    for sentence in safety_sentences(data, short=short):
        say(out, sentence, style="dim")


def _print_cost(out: Console, data: Data) -> None:
    """What a call takes with the prompts after, beside those before."""
    if sentence := cost_sentence(rows_of(data)):
        say(out, sentence)


def _print_prompt(
    out: Console,
    prompt: str,
    *,
    lines: int | None = None,
    title: str = "system prompt",
    whole: str = "prompts/system.txt",
) -> None:
    """A prompt in a frame, the system prompt if nothing else is said; of a long one so many lines.

    `whole`: where the rest of it is.
    """
    every = prompt.splitlines() or [""]
    shown, used = [], 0
    for line in every:
        used += _height(out, line)
        if lines is not None and used > lines:
            break
        shown.append(line)
    if lines is not None and not shown:
        shown = [every[0][: max(_inside(out) - 1, _inside(out) * (lines - 1))] + "…"]
    left = len(every) - len(shown)
    foot = f"{counted(left, 'more line')}: {whole}" if left else None
    text = Text("\n".join(shown))
    panel = Panel(text, title=Text(title), title_align="left", subtitle=foot, subtitle_align="left", box=box.ROUNDED)
    out.print(panel, soft_wrap=False)  # else its lines would be cut off at the width


def _inside(out: Console) -> int:
    """Characters of a line of the system prompt within its frame."""
    return max(20, out.width - 4)


def _height(out: Console, prompt: str) -> int:
    """Lines that a system prompt takes within its frame, about."""
    return sum(max(1, -(-len(line) // _inside(out))) for line in prompt.splitlines() or [""])


def _print_worst(out: Console, rows: Sequence[TaskRow], most: int) -> None:
    """So many tasks in rows, those that fell most first."""
    if not rows:
        return
    ranked = sorted(rows, key=lambda row: row.change if row.change is not None else 0.0)
    malformed = ("malformed",) if any(sum(row.malformed) for row in rows) else ()
    table = _scores(out, ranked[:most], (*SHORT, *malformed), narrow=(*malformed, "better", "worse"))
    table.show_edge = False
    out.print(table)
    if (left := len(ranked) - most) > 0:
        say(out, f"{left} more, none of which fell more: --all shows them.", style="dim")


def _print_state(out: Console, data: Data, summary: RunSummary | None) -> None:
    """Where the run stands: its session under way, or how the last one ended if not at the end."""
    session = data.get("session")
    again = "" if data.get("hindered") else "; start it again to go on"
    if session and session["state"] != "ended":
        _print_session(out, Session(**session), told=summary is not None, again=again)
    under_way = session and session["state"] == "running"  # how an earlier session ended is no news then
    if not under_way and not (summary and summary.finished) and (summary or not session):
        why = (summary and summary.stopped) or f"interrupted{again}"
        say(out, f"Not finished: {why}")


def _print_so_far(out: Console, data: Data, *, lines: int | None = None) -> None:
    """What a run without a result has found; of a long system prompt so many lines, or else the user prompts, too."""
    if not (found := data.get("so_far")):
        return
    scores = f"{found['first']:.1%} → {found['score']:.1%}"
    say(out, f"Found so far, by the source tasks' train examples alone, and not tested yet: {scores}.")
    _print_prompt(out, found["system_prompt"], lines=lines, whole="--all")
    if lines is None:
        for task, prompt in found["user_prompts"].items():
            _print_prompt(out, prompt, title=f"user prompt of {task}")


def _print_session(out: Console, session: Session, *, told: bool, again: str) -> None:
    """A session that has no summary; `told`: an earlier one has; `again`: how to go on after it."""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(session.since))
    spent = f"{counted(session.calls, 'call')}, {show_dollars(session.dollars, unpriced=session.unpriced)}"
    if session.state == "running":
        minutes = max(session.seconds, time.time() - session.since) / 60  # clocks may be set back meanwhile
        text = f"Under way since {since} ({minutes:,.1f} min): {session.stage}; {spent} up to its last scored prompt."
    else:
        text = (
            f"The last session (of {since}, {session.seconds:,.1f} s) ended without finishing, in {session.stage}, "
            f"after at least {spent}{again}."
        )
    say(out, text, style="bold")
    if told:
        say(out, "What follows is of the session before.")


def _scores(out: Console, rows: Sequence[TaskRow], columns: Sequence[str], *, narrow: Sequence[str] = ()) -> WholeTable:
    """Tasks in rows; without the columns `narrow` where the terminal is too narrow for them."""
    texts = [{column: COLUMNS[column](row) for column in columns} for row in rows]
    return fitting(out, "test splits (95% intervals)", columns, texts, drop=("metric", "role", *OF_COST, *narrow))


def _print_gain(out: Console, gain: Gain, *, over_tasks: bool) -> None:
    say(out, gain.sentence)
    if over_tasks and (others := gain.over_tasks):
        say(out, f"  {_of_other_tasks(others, gain.tasks)}")
    if gain.role == "target" and gain.tasks == 1:
        say(out, f"  {ONE_TASK}")


def _of_other_tasks(interval: Interval, tasks: int) -> str:
    """An interval that leaves half of what is possible open is no figure to be guided by."""
    if interval.high - interval.low > 1:
        return f"Of other tasks of this kind, not only other examples, {tasks} tasks tell next to nothing."
    return (
        f"With other tasks of this kind, not only other examples: {100 * interval.low:+z.1f} to "
        f"{100 * interval.high:+z.1f}."
    )
