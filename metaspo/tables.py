"""What commands print: tables for people, plain data for programs."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import orjson
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text

from metaspo.backends.printable import escaped
from metaspo.engine import EvaluationReport, Gain, Prepared, RunDirectory, RunDirectoryError, RunReport, report_data
from metaspo.engine.evaluation.test_score import COUNTS, WHOSE, ScoreRow
from metaspo.engine.journal.view import Barriers
from metaspo.engine.money import show_dollars
from metaspo.engine.runs.status import Session, last_session
from metaspo.engine.runs.summary import RunSummary
from metaspo.engine.strategies import inner_strategy, outer_strategy
from metaspo.whole_table import WholeTable

Data = dict[str, Any]
TEXT_COLUMNS = ("role", "metric", "state", "run", "task", "answer", "verdict")
OF_SCORES = "malformed: answers in another form than asked for, scored as wrong. failed: no answer, in no score."
OF_LANES = "lane: the servers of one model, with their limits."
OF_TIMES = (
    " A request waits for a free slot (queue), the rate limit (limiter), its answer (server), another try (retry), and "
    "until the answer is kept (store)."
)


def print_json(out: Console, data: object) -> None:
    """Indented JSON; what a terminal would obey is escaped, which says the same to every other reader."""
    text = orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
    out.file.write(escaped(text) + "\n")


def read_json(run: RunDirectory, *, part: str) -> Data:
    """One of a run's JSON files; {} if it is not there (yet). Raises `RunDirectoryError` if it cannot be read."""
    path = {"config": run.config, "result": run.result, "summary": run.summary}[part]
    if not path.is_file():
        return {}
    try:
        data: Data = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise RunDirectoryError(f"{path}: cannot be read: {error}") from error
    return data


def read_result(run: RunDirectory) -> Data:
    """The result of a finished run. Raises `RunDirectoryError` if it has none."""
    result = read_json(run, part="result")
    if not result:
        raise RunDirectoryError(f"{run.path}: this run has no result yet; start it again to finish it")
    return result


def run_data(run: RunDirectory) -> Data:
    """Everything a run's directory says of it."""
    running = run.in_use
    parts = {part: read_json(run, part=part) for part in ("config", "result", "summary")}
    return {"name": run.name, "directory": str(run.path), "running": running, **parts}


def shown_data(run: RunDirectory) -> Data:
    """The same and how far its last session is or was, for which its whole journal is read."""
    data = run_data(run)
    session = last_session(run, running=data["running"], config=data["config"], summary=data["summary"])
    return {**data, "session": asdict(session) if session else None}


def print_start(err: Console, prepared: Prepared) -> None:
    """What is about to run, and where it will be kept."""
    config = prepared.config
    roles = [task.role for task in prepared.tasks]
    optimizer = config.optimizer.model if config.optimizer else "none"
    where = f", kept in {prepared.directory.path}" if prepared.directory else ""
    err.print(
        f"{config.name}: {roles.count('source')} source and {roles.count('target')} target tasks, base model "
        f"{config.base.model}, optimizer {optimizer}{where}\n"
        f"  user prompts: {inner_strategy(config.inner.strategy, config.inner.options).describe()}\n"
        f"  system prompt: {outer_strategy(config.outer.strategy, config.outer.options).describe()}",
        highlight=False,
        markup=False,
    )


def print_report(out: Console, report: RunReport) -> None:
    """A finished run."""
    print_run_data(out, report_data(report))


def print_run(out: Console, run: RunDirectory) -> None:
    """A run from its directory."""
    print_run_data(out, shown_data(run))


def print_run_data(out: Console, data: Data) -> None:
    """Scores, prompts, gains, use."""
    summary, result = _summary(data), data["result"]
    out.print(Text(data["name"], style="bold"))
    _print_state(out, data, summary)
    if result:
        out.print(_scores(summary.scores if summary else ()))
        out.print(OF_SCORES, style="dim", highlight=False)
        prompt = Panel(Text(result["system_prompt"]), title="system prompt", title_align="left", box=box.ROUNDED)
        out.print(prompt, soft_wrap=False)  # else its lines would be cut off at the width
        for gain in summary.gains if summary else ():
            _print_gain(out, gain)
        if summary and summary.optimism:
            out.print(f"When the system prompt was chosen: {summary.optimism}.", highlight=False, markup=False)
            if estimate := summary.optimism_estimate:
                out.print(f"  By choosing again on halves of the examples: {estimate}.", highlight=False, markup=False)
        for loop, strategy in result["strategies"].items():
            out.print(f"{loop} loop: {strategy}", highlight=False, markup=False)
        if raced_out := result.get("raced_out"):
            out.print(
                f"Raced out, on statistical evidence alone: {', '.join(raced_out)}", highlight=False, markup=False
            )
    if summary:
        if warning := summary.proposals.warning:
            out.print(f"warning: {warning}", style="yellow", highlight=False, markup=False)
        _print_usage(out, summary)
    if data["directory"]:
        prompts = " (prompts ready to paste in prompts/)" if result else ""
        out.print(f"Directory: {data['directory']}{prompts}", highlight=False, markup=False)


def _summary(data: Data) -> RunSummary | None:
    """The last session's numbers, if it has any. Raises `RunDirectoryError`."""
    try:
        return RunSummary.read(data["summary"]) if data["summary"] else None
    except ValueError as error:
        raise RunDirectoryError(f"{data['directory']}: summary.json cannot be read: {error}") from None


def _print_state(out: Console, data: Data, summary: RunSummary | None) -> None:
    """Where the run stands: its session under way, or how the last one ended if not at the end."""
    session = data.get("session")
    if session and session["state"] != "ended":
        _print_session(out, Session(**session), told=summary is not None)
    if not (summary and summary.finished) and (summary or not session):
        why = (summary and summary.stopped) or "interrupted; start it again to go on"
        out.print(f"Not finished: {why}", markup=False, highlight=False)


def _print_session(out: Console, session: Session, *, told: bool) -> None:
    """A session that has no summary; `told`: an earlier one has."""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(session.since))
    spent = f"{session.calls:,} calls, {show_dollars(session.dollars, unpriced=session.unpriced)}"
    if session.state == "running":
        minutes = (time.time() - session.since) / 60
        text = f"Under way since {since} ({minutes:,.1f} min): {session.stage}; {spent} up to its last scored prompt."
    else:
        text = (
            f"The last session (of {since}, {session.seconds:,.1f} s) ended without finishing, in {session.stage}, "
            f"after at least {spent}: start it again to go on."
        )
    out.print(text, style="bold", highlight=False, markup=False)
    if told:
        out.print("What follows is of the session before.", highlight=False)


def _scores(rows: Sequence[ScoreRow]) -> WholeTable:
    """Before and after, task by task; further kept prompts of a task are left to `result.json`."""
    table = make_table("test splits (95% intervals)", *WHOSE, "before", "after", "change", *COUNTS)
    first = {(row.task, row.stage): row for row in rows if row.prompt == 0}
    for task in dict.fromkeys(row.task for row in rows):
        before, after = first.get((task, "before")), first.get((task, "after"))
        stages = [row for row in (before, after) if row]
        if not stages:
            continue
        change = ""
        if before and after and before.score is not None and after.score is not None:
            change = f"{100 * (after.score - before.score):+.1f}"
        counts = (" → ".join(texts) for texts in zip(*(row.texts(*COUNTS) for row in stages), strict=True))
        whose = map(escape, stages[-1].texts(*WHOSE))
        table.add_row(*whose, _percent(before), _percent(after), change, *counts)
    return table


def _print_gain(out: Console, gain: Gain) -> None:
    unseen = "unseen target" if gain.role == "target" else "source"
    out.print(
        f"Mean over {gain.tasks} {unseen} task{'' if gain.tasks == 1 else 's'}: "
        f"{gain.before:.1%} → {gain.after:.1%}, "
        f"{100 * gain.gain:+.1f} points "
        f"(95% interval {100 * gain.interval.low:+.1f} to {100 * gain.interval.high:+.1f}): "
        f"{gain.verdict}.",
        highlight=False,
    )
    if others := gain.over_tasks:
        out.print(
            f"  With other tasks of this kind, not only other examples: {100 * others.low:+.1f} to "
            f"{100 * others.high:+.1f}.",
            highlight=False,
        )


def _print_usage(out: Console, summary: RunSummary) -> None:
    table = make_table(
        "this session", "lane", "calls", "from cache", "tokens in", "tokens out", "dollars", "saved by cache", "retries"
    )
    for lane, use in summary.usage.lanes.items():
        table.add_row(
            escape(lane),
            f"{use.calls:,}",
            f"{use.hits + use.joined:,}",
            f"{use.prompt_tokens:,}",
            f"{use.completion_tokens:,}",
            show_dollars(use.dollars, unpriced=use.unpriced),
            show_dollars(use.dollars_saved, unpriced=use.unpriced + use.unpriced_saved),
            f"{use.retries:,}",
        )
    out.print(table)
    if summary.finished and (failed := summary.usage.total.failed):
        out.print(
            f"Requests without an answer: {failed:,}. No prompt that met one was selected; the journal names the rows.",
            highlight=False,
        )
    legend = OF_LANES
    for lane, use in summary.usage.lanes.items():
        times = {name: getattr(use, f"{name}_seconds") for name in ("queue", "limiter", "server", "retry", "store")}
        whole = sum(times.values())
        if whole:
            legend = OF_LANES + OF_TIMES
            shares = ", ".join(f"{name} {seconds / whole:.0%}" for name, seconds in times.items())
            out.print(f"{lane}: its requests' time went to {shares}.", highlight=False, markup=False)
    out.print(legend, style="dim", highlight=False)
    _print_barriers(out, summary.barriers)
    out.print(f"Wall time: {summary.seconds:,.1f} s", highlight=False)
    spent = summary.all_sessions
    if spent.sessions > 1:
        out.print(
            f"All {spent.sessions} sessions of this run together: {spent.calls:,} calls, "
            f"{show_dollars(spent.dollars, unpriced=spent.unpriced)}, {spent.seconds:,.1f} s",
            highlight=False,
        )


def _print_barriers(out: Console, barriers: Barriers) -> None:
    """One line, if there was a barrier."""
    if not barriers.each:
        return
    longest = max(barriers.each, key=lambda wait: wait.idle)
    where = f", the most at {longest.address} ({longest.idle:,.1f} s)" if longest.idle else ""
    out.print(
        f"Idle at barriers: the base model had nothing to do for {barriers.idle:,.1f} s ({barriers.share:.0%} of "
        f"the loops) while the last candidates were waited for{where}.",
        highlight=False,
        markup=False,
    )


def print_runs(out: Console, runs: list[RunDirectory]) -> None:
    """One line a run."""
    table = make_table(None, "run", "state", "train", "target gain", "dollars", "seconds")
    for run in runs:
        data = run_data(run)
        result, summary = data["result"], _summary(data)
        gain = next((gain for gain in summary.gains if gain.role == "target"), None) if summary else None
        spent = summary.all_sessions if summary and summary.all_sessions.sessions else None
        table.add_row(
            run.name,
            _state(data, summary),
            f"{result['train_before']:.1%} → {result['train_after']:.1%}" if result else "",
            f"{100 * gain.gain:+.1f}" if gain else "",
            show_dollars(spent.dollars, unpriced=spent.unpriced) if spent else "",
            f"{spent.seconds:,.0f}" if spent else "",
        )
    out.print(table)


def _state(data: Data, summary: RunSummary | None) -> str:
    if data["running"]:
        return "running"
    return "finished" if data["result"] else "stopped" if summary and summary.stopped else "unfinished"


def evaluation_data(report: EvaluationReport) -> Data:
    """An evaluation as plain data."""
    return report.as_json()


def print_evaluation(out: Console, report: EvaluationReport) -> None:
    """Scores of given prompts."""
    table = make_table("scores (95% intervals)", *WHOSE, "score", "examples", *COUNTS)
    for row in report.scores:
        table.add_row(*map(escape, row.texts(*WHOSE)), _percent(row), *row.texts("examples", *COUNTS))
    out.print(table)
    out.print(OF_SCORES, style="dim", highlight=False)
    for row in report.scores:
        if row.unanswered:
            out.print(f"{row.task}: {row.failed} without an answer: {row.unanswered}", highlight=False, markup=False)
    use = report.usage.total
    out.print(
        f"{use.calls:,} calls, {use.hits + use.joined:,} from the cache, "
        f"{show_dollars(use.dollars, unpriced=use.unpriced)}, {report.seconds:.1f} s",
        highlight=False,
    )


def make_table(title: str | None, *columns: str) -> WholeTable:
    """A table of numbers, but for the first column and those named in `TEXT_COLUMNS`. Cells are markup."""
    table = WholeTable(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        text = not number or column in TEXT_COLUMNS
        table.add_column(column, justify="left" if text else "right", overflow="fold")
    return table


def _percent(row: ScoreRow | None) -> str:
    """A score and, where it is known, its interval: "61.0% (57–65)"."""
    if row is None or row.score is None:
        return "–"
    interval = f" ({100 * row.interval.low:.0f}–{100 * row.interval.high:.0f})" if row.interval else ""
    return f"{row.score:.1%}{interval}"
