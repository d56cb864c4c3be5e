"""Runs, gone through and told."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import typer

from metaspo.console import ExitCode, err, exit_on_user_error, exit_stopped, out, say_error, say_warning
from metaspo.engine import ConfigError, Prepared, RunReport, optimize_many, plan_run, prepare, report_data
from metaspo.engine.config.calls import inner_proposer, outer_proposer
from metaspo.engine.config.load import with_overrides
from metaspo.engine.runs.command import command_of, others_of
from metaspo.overrides import all_overrides, naming_calls
from metaspo.progress import ProgressDisplay
from metaspo.running import run_async
from metaspo.scheduling import RunStopped
from metaspo.tables import printing
from metaspo.tables.plan import endless

CHANGED = "since then the config, the data or metaspo's rules have changed; what it paid for is in its cache"


def optimize_configs(
    configs: list[Path],
    calls: int | None,
    sets: Sequence[str] | None,
    *,
    web: bool,
    port: int | None,
    on: str | None,
    json: bool,
    quiet: bool,
) -> None:
    """Run them all, here or on a cluster, and print what they found."""
    with exit_on_user_error(), naming_calls(calls, sets):
        prepared = [prepare(path, overrides=all_overrides(calls, sets)) for path in configs]
        if on is None:
            _optimize(prepared, json=json, quiet=quiet, web=web, port=port)
            return
        if web:
            raise ConfigError("--on and --web do not go together: a run's journal comes back at its end")
        options = [*([] if calls is None else ["--calls", str(calls)]), *(f"--set={change}" for change in sets or ())]
        _optimize_on(on, prepared, configs, options, json=json, quiet=quiet)


def run_demo(model: str, *, seed: int, small: bool, json: bool, quiet: bool) -> None:
    """Run the demo's config."""
    from metaspo.engine.demo import DEMO_FOLDER, demo_config

    with exit_on_user_error():
        config = with_overrides(demo_config(small=small), {"base.model": model, "seed": seed})
        prepared = prepare(config, data_folder=DEMO_FOLDER)
        err.print(
            f"A real run on this machine: {model} answers the examples. No language model that fits here can write\n"
            "prompts: the embedded proposer does. The first time, the model's file is fetched (up to 490 MB).\n"
            "At first no answer is in the form asked for, as a warning will say: here that is for the search to mend.",
        )
        _optimize([prepared], json=json, quiet=quiet)


def _optimize(prepared: list[Prepared], *, json: bool, quiet: bool, web: bool = False, port: int | None = None) -> None:
    warnings = [endless(item.config, plan_run(item.config, item.tasks)) for item in prepared]
    for item, warning in zip(prepared, warnings, strict=True):
        if not quiet:
            _print_start(item)
        if warning:
            say_warning(warning)
    with ProgressDisplay(err, quiet=quiet) as display:
        running = optimize_many(
            prepared,
            observer=lambda item: display.observer(_called(item, prepared)),
            progress=display.downloaded,
            warn=display.warn,
        )
        if web:
            from metaspo.actions.watch import watched

            running = watched(running, prepared, port=port)
        reports = run_async(running)
    from metaspo.tables.runs import print_report  # when there is something to print: the first calls wait for nothing

    finished = [report for report in reports if isinstance(report, RunReport)]
    if json:
        printing.print_json(out, [report_data(report) for report in finished])
    else:
        for report in finished:
            print_report(out, report)
    _tell_ends(prepared, [None if isinstance(report, RunReport) else report for report in reports])


def _optimize_on(
    address: str, prepared: list[Prepared], configs: list[Path], options: Sequence[str], *, json: bool, quiet: bool
) -> None:
    """Optimize on the nodes of a cluster, and tell what came back."""
    from metaspo.actions.on_cluster import runs_on  # with all that studies need
    from metaspo.engine.runs.stored import run_data
    from metaspo.tables.runs import print_run

    faults = runs_on(address, prepared, configs, options, quiet=quiet)
    done = [item.directory for item, fault in zip(prepared, faults, strict=True) if item.directory and not fault]
    if json:
        printing.print_json(out, [run_data(directory) for directory in done])
    else:
        for directory in done:
            print_run(out, directory, everything=False)
    _tell_ends(prepared, [RunStopped(fault) if fault else None for fault in faults])


def _called(item: Prepared, prepared: Sequence[Prepared]) -> str:
    """A run's name; that of its directory where several are called so."""
    alike = sum(other.config.name == item.config.name for other in prepared)
    return item.directory.name if alike > 1 and item.directory else item.config.name


def _tell_ends(prepared: list[Prepared], reasons: list[Exception | None]) -> None:
    """Say why runs did not get to their end, if any did not, and exit accordingly."""
    for item, reason in zip(prepared, reasons, strict=True):
        if reason is not None:
            say_error(f"{_called(item, prepared)}: {reason}")
    if any(isinstance(reason, RunStopped) for reason in reasons):
        exit_stopped(*filter(None, reasons))
    if any(reasons):
        raise typer.Exit(ExitCode.MISTAKE)


def _print_start(prepared: Prepared) -> None:
    """What is about to run, and where it will be kept."""
    config = prepared.config
    counts = Counter(task.role for task in prepared.tasks)
    tasks = ", ".join(f"{counts[role]} {role}" for role in ("source", "target", "guard") if counts[role])
    tasks += " task" if counts.total() == 1 else " tasks"
    optimizer = config.optimizer.model if config.optimizer else "none"
    judge = f", judge {config.judge.model}" if config.judge else ""
    where = f", kept in {prepared.directory.path}" if prepared.directory else ""
    printing.say(err, f"{config.name}: {tasks}, base model {config.base.model}, optimizer {optimizer}{judge}{where}")
    printing.say(err, f"  user prompts: {inner_proposer(config.inner).describe()}")
    printing.say(err, f"  system prompt: {outer_proposer(config.outer).describe()}")
    if prepared.start.run:
        printing.say(err, f"  {prepared.start.sentence}")
    if prepared.directory and not prepared.directory.path.exists():
        same = others_of(prepared.directory, command_of(Path(prepared.source), prepared.overrides))
        for run in [run for run in same if not run.result.is_file()][:1]:
            printing.say(err, f"  does not go on with {run.name}, which has not finished: {CHANGED}")
