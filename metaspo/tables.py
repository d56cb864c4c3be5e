"""What commands print: tables for people, plain data for programs."""

from typing import Any

import orjson
from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from metaspo.engine import EvaluationReport, Plan, Prepared, RunDirectory, RunDirectoryError, RunReport, report_data
from metaspo.engine.strategies import inner_strategy, outer_strategy

Data = dict[str, Any]
TEXT_COLUMNS = ("role", "metric", "state", "run", "task", "answer")


def print_json(out: Console, data: object) -> None:
    """Indented JSON."""
    out.file.write(orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode() + "\n")


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
    parts = {part: read_json(run, part=part) for part in ("config", "result", "summary")}
    return {"name": run.name, "directory": str(run.path), **parts}


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


def plan_data(name: str, plan: Plan) -> Data:
    """A plan as plain data."""
    lanes = {"base": plan.base, **({"optimizer": plan.optimizer} if plan.optimizer else {})}
    return {
        "name": name,
        "calls": {
            "initial": plan.calls.initial,
            "inner": plan.calls.inner,
            "outer": plan.calls.outer,
            "test": plan.calls.test,
            "optimizer": plan.calls.optimizer,
        },
        "lanes": {
            role: {
                "model": lane.model,
                "calls": lane.calls,
                "prompt_tokens": lane.prompt_tokens,
                "completion_tokens": lane.completion_tokens,
                "dollars": lane.dollars,
                "minutes": lane.minutes,
            }
            for role, lane in lanes.items()
        },
        "dollars": plan.dollars,
        "minutes": plan.minutes,
    }


def print_plan(out: Console, name: str, plan: Plan) -> None:
    """A plan as a table."""
    table = make_table(f"{name}: at most", "model", "calls", "prompt tokens", "answer tokens", "dollars", "minutes")
    for lane in (plan.base, plan.optimizer):
        if lane is not None:
            table.add_row(
                lane.model,
                f"{lane.calls:,}",
                f"~{lane.prompt_tokens:,}",
                f"~{lane.completion_tokens:,}",
                _dollars(lane.dollars),
                f"~{lane.minutes:,.1f}",
            )
    out.print(table)
    calls = plan.calls
    out.print(
        f"Base calls: {calls.initial:,} first prompts, {calls.inner:,} inner loops, {calls.outer:,} outer loops, "
        f"{calls.test:,} test splits.\nCalls are upper bounds (nothing in the cache yet); tokens, dollars and minutes "
        "are estimates from the texts' lengths and the limits in the config.",
        highlight=False,
    )


def print_report(out: Console, report: RunReport) -> None:
    """A finished run."""
    print_run_data(out, report_data(report))


def print_run(out: Console, run: RunDirectory) -> None:
    """A run from its directory."""
    print_run_data(out, run_data(run))


def print_run_data(out: Console, data: Data) -> None:
    """Scores, prompts, gains, use."""
    summary, result = data["summary"], data["result"]
    out.print(Text(data["name"], style="bold"))
    if not summary.get("finished"):
        why = summary.get("stopped") or "interrupted, or still going on"
        out.print(f"Not finished: {why}", markup=False, highlight=False)
    if result:
        out.print(_scores(summary.get("scores", [])))
        out.print(Panel(Text(result["system_prompt"]), title="system prompt", title_align="left", box=box.ROUNDED))
        for gain in summary.get("gains", []):
            _print_gain(out, gain)
        if luck := summary.get("optimism"):
            out.print(f"When the system prompt was chosen: {luck}.", highlight=False, markup=False)
            if estimate := summary.get("optimism_estimate"):
                out.print(f"  By choosing again on halves of the examples: {estimate}.", highlight=False, markup=False)
        for loop, strategy in result["strategies"].items():
            out.print(f"{loop} loop: {strategy}", highlight=False, markup=False)
        if raced_out := result.get("raced_out"):
            out.print(
                f"Raced out, on statistical evidence alone: {', '.join(raced_out)}", highlight=False, markup=False
            )
    if summary:
        _print_usage(out, summary)
    if data["directory"]:
        out.print(f"Directory: {data['directory']} (prompts ready to paste in prompts/)", highlight=False, markup=False)


def _scores(rows: list[Data]) -> Table:
    """Before and after, task by task; further kept prompts of a task are left to `result.json`."""
    table = make_table(
        "test splits (95% intervals)", "task", "role", "metric", "before", "after", "change", "malformed", "failed"
    )
    first = {(row["task"], row["stage"]): row for row in rows if row["prompt"] == 0}
    for task in dict.fromkeys(row["task"] for row in rows):
        before, after = first.get((task, "before")), first.get((task, "after"))
        some = after or before
        if some is None:
            continue
        change = ""
        if before and after and before["score"] is not None and after["score"] is not None:
            change = f"{100 * (after['score'] - before['score']):+.1f}"
        malformed = " → ".join(str(row["malformed"]) for row in (before, after) if row)
        failed = " → ".join(str(row["failed"]) for row in (before, after) if row)
        table.add_row(task, some["role"], some["metric"], _percent(before), _percent(after), change, malformed, failed)
    return table


def _print_gain(out: Console, gain: Data) -> None:
    interval = gain["interval"]
    unseen = "unseen target" if gain["role"] == "target" else "source"
    out.print(
        f"Mean over {gain['tasks']} {unseen} task{'' if gain['tasks'] == 1 else 's'}: "
        f"{gain['before']:.1%} → {gain['after']:.1%}, "
        f"{100 * gain['gain']:+.1f} points "
        f"(95% interval {100 * interval['low']:+.1f} to {100 * interval['high']:+.1f}): "
        f"{gain['verdict']}.",
        highlight=False,
    )
    if others := gain.get("over_tasks"):
        out.print(
            f"  With other tasks of this kind, not only other examples: {100 * others['low']:+.1f} to "
            f"{100 * others['high']:+.1f}.",
            highlight=False,
        )


def _print_usage(out: Console, summary: Data) -> None:
    table = make_table(
        "this session", "lane", "calls", "from cache", "tokens in", "tokens out", "dollars", "saved by cache", "retries"
    )
    for lane, use in summary["usage"]["lanes"].items():
        table.add_row(
            lane,
            f"{use['calls']:,}",
            f"{use['hits'] + use['joined']:,}",
            f"{use['prompt_tokens']:,}",
            f"{use['completion_tokens']:,}",
            f"${use['dollars']:.4f}",
            f"${use['dollars_saved']:.4f}",
            f"{use['retries']:,}",
        )
    out.print(table)
    for lane, use in summary["usage"]["lanes"].items():
        times = {name: use[f"{name}_seconds"] for name in ("queue", "limiter", "server", "retry", "store")}
        whole = sum(times.values())
        if whole:
            shares = ", ".join(f"{name} {seconds / whole:.0%}" for name, seconds in times.items())
            out.print(f"{lane}: its requests' time went to {shares}.", highlight=False, markup=False)
    _print_barriers(out, summary.get("barriers", {}))
    out.print(f"Wall time: {summary['seconds']:,.1f} s", highlight=False)
    spent = summary.get("all_sessions", {})
    if spent.get("sessions", 0) > 1:
        out.print(
            f"All {spent['sessions']} sessions of this run together: {spent['calls']:,} calls, "
            f"${spent['dollars']:.4f}, {spent['seconds']:,.1f} s",
            highlight=False,
        )


def _print_barriers(out: Console, barriers: Data) -> None:
    """One line, if there was a barrier."""
    waits = barriers.get("each", [])
    if not waits:
        return
    most = max(waits, key=lambda wait: wait["idle"])
    where = f", the most at {most['address']} ({most['idle']:,.1f} s)" if most["idle"] else ""
    out.print(
        f"Idle at barriers: the base model had nothing to do for {barriers['idle']:,.1f} s ({barriers['share']:.0%} of "
        f"the loops) while the last candidates were waited for{where}.",
        highlight=False,
        markup=False,
    )


def print_runs(out: Console, runs: list[RunDirectory]) -> None:
    """One line a run."""
    table = make_table(None, "run", "state", "train", "target gain", "dollars", "seconds")
    for run in runs:
        result, summary = read_json(run, part="result"), read_json(run, part="summary")
        gain = next((gain for gain in summary.get("gains", []) if gain["role"] == "target"), None)
        spent = summary.get("all_sessions", {})
        table.add_row(
            run.name,
            "finished" if result else "stopped" if summary.get("stopped") else "unfinished",
            f"{result['train_before']:.1%} → {result['train_after']:.1%}" if result else "",
            f"{100 * gain['gain']:+.1f}" if gain else "",
            f"${spent['dollars']:.4f}" if spent else "",
            f"{spent['seconds']:,.0f}" if spent else "",
        )
    out.print(table)


def evaluation_data(report: EvaluationReport) -> Data:
    """An evaluation as plain data."""
    return report.as_json()


def print_evaluation(out: Console, report: EvaluationReport) -> None:
    """Scores of given prompts."""
    table = make_table("scores (95% intervals)", "task", "role", "metric", "score", "examples", "malformed", "failed")
    for row in report.as_json()["scores"]:
        counts = [str(row[name]) for name in ("examples", "malformed", "failed")]
        table.add_row(row["task"], row["role"], row["metric"], _percent(row), *counts)
    out.print(table)
    use = report.usage.total
    out.print(
        f"{use.calls:,} calls, {use.hits + use.joined:,} from the cache, ${use.dollars:.4f}, {report.seconds:.1f} s",
        highlight=False,
    )


def make_table(title: str | None, *columns: str) -> Table:
    """A table of numbers, but for the first column and those named in `TEXT_COLUMNS`."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        text = not number or column in TEXT_COLUMNS
        table.add_column(column, justify="left" if text else "right", no_wrap=not text, overflow="fold")
    return table


def _percent(row: Data | None) -> str:
    """A score and, where it is known, its interval: "61.0% (57–65)"."""
    if row is None or row["score"] is None:
        return "–"
    interval = row.get("interval")
    reach = f" ({100 * interval['low']:.0f}–{100 * interval['high']:.0f})" if interval else ""
    return f"{row['score']:.1%}{reach}"


def _dollars(amount: float | None) -> str:
    return "unknown (give prices)" if amount is None else f"~${amount:,.2f}"
