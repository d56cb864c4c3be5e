"""The command line. Results go to standard output, everything else to standard error."""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from metaspo import tables
from metaspo.answer_commands import add_answer_commands
from metaspo.attention_command import add_attention_command
from metaspo.backends.paths import read_written
from metaspo.bench_commands import bench_app
from metaspo.bench_serving_commands import add_serving_benchmarks
from metaspo.cache_commands import cache_app
from metaspo.check_command import add_check_command
from metaspo.cluster_commands import On, runs_on
from metaspo.console import (
    EXIT_CODES,
    ExitCode,
    end_of,
    err,
    exit_on_user_error,
    out,
    run_async,
    say_error,
    say_how_to_go_on,
    say_warning,
    take_any_text,
)
from metaspo.engine import (
    ConfigError,
    Prepared,
    PromptError,
    RunReport,
    check_optimizable,
    evaluate,
    find_run,
    optimize_many,
    plan_run,
    prepare,
    report_data,
)
from metaspo.engine.config.load import with_overrides
from metaspo.engine.config.presets import planned_for
from metaspo.engine.config.table import MOST_CALLS
from metaspo.engine.demo import DEMO_FOLDER, demo_config
from metaspo.engine.project import named_after
from metaspo.engine.prompts import check_system_prompt, check_user_prompt
from metaspo.engine.runs.prepare import tell_notices
from metaspo.engine.runs.stored import read_result, run_data, shown_data
from metaspo.engine.suggest import nearest
from metaspo.exchange_commands import add_exchange_commands
from metaspo.judge_command import add_judge_command
from metaspo.log import LogForm, LogLevel, show_log
from metaspo.overrides import parse_overrides
from metaspo.parameters import RUNS, Config, Json, LatestRun, NamedArguments, Quiet, RunsFolder, Sets, WholeSentences
from metaspo.plan_tables import caps_reached, endless, plan_data, print_plan
from metaspo.progress import ProgressDisplay
from metaspo.run_commands import runs_app
from metaspo.run_tables import print_report, print_run
from metaspo.safety_command import add_safety_command
from metaspo.scheduling import RunStopped
from metaspo.serve_command import add_serve_command
from metaspo.study_commands import add_study_commands
from metaspo.task_commands import domain_starter, list_tasks
from metaspo.watch_commands import Port, add_watch_commands, watched

app = typer.Typer(
    cls=WholeSentences,
    name="metaspo",
    help="Optimize the system prompt of a language model so that it works across many tasks.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Configs = Annotated[list[Path], typer.Argument(metavar="CONFIG", help="One or more TOML config files.")]
Calls = Annotated[
    int | None,
    typer.Option(
        "--calls",
        metavar="N",
        min=1,
        max=MOST_CALLS,
        help="Plan rows, candidates and rounds for N base calls on train splits, whatever the config says of them.",
    ),
]
STARTER = Path(__file__).resolve().parent / "starter"
TEMPLATES = {"classify": STARTER} | {
    name: STARTER.parent / "templates" / name for name in ("extract", "rag", "tools", "judge", "safety")
}

app.add_typer(cache_app, name="cache")
add_serving_benchmarks(bench_app)
app.add_typer(bench_app, name="bench")


def main(arguments: Sequence[str] | None = None) -> None:
    """The `metaspo` command, with the process's own arguments if none are given; ends in `SystemExit`."""
    take_any_text()
    show_log()
    try:
        app(arguments)
    except SystemExit as end:
        raise SystemExit(end_of(end.code)) from None


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"metaspo {version('metaspo')}", highlight=False)
        raise typer.Exit


def _logged_as(form: LogForm) -> LogForm:
    """Before anything else is read, for what is wrong with it is logged, too."""
    if form is not LogForm.CONSOLE:
        show_log(form)
    return form


@app.callback()
def _top(
    _show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    log: Annotated[
        LogForm,
        typer.Option(
            "--log",
            metavar="console|json",
            envvar="METASPO_LOG",
            callback=_logged_as,
            is_eager=True,
            show_default=False,
            help="Standard error as lines for people, or all of it as JSON.",
        ),
    ] = LogForm.CONSOLE,
    log_level: Annotated[
        LogLevel,
        typer.Option(
            "--log-level",
            metavar="warning|info|debug",
            envvar="METASPO_LOG_LEVEL",
            show_default=False,
            help="From which level on metaspo logs.",
        ),
    ] = LogLevel.WARNING,
) -> None:
    if (log, log_level) != (LogForm.CONSOLE, LogLevel.WARNING):
        show_log(log, log_level)


@app.command(cls=NamedArguments)
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write the starter into.")],
    domain: Annotated[
        str, typer.Option("--domain", metavar="NAME", help="Write one for a domain of the paper: see `metaspo tasks`.")
    ] = "",
    template: Annotated[
        str, typer.Option("--template", metavar="NAME", help=f"What it is about: {', '.join(TEMPLATES)} (the first).")
    ] = "",
) -> None:
    """Write a commented starter config with a tiny task set that runs."""
    target = folder / "metaspo.toml"
    with exit_on_user_error():
        if template and domain:
            raise ConfigError("--template and --domain are two ways to begin: give one of them")
        if template and template not in TEMPLATES:
            names = ", ".join(TEMPLATES)
            raise ConfigError(f"there is no template '{template}'{nearest(template, list(TEMPLATES))}; known: {names}")
        if domain:
            files = {target: domain_starter(domain).encode()}
            wrote, first = f"{target}", f"tasks --domain {domain}"
        else:
            written = TEMPLATES[template] if template else STARTER
            files = {folder / path.relative_to(written): path.read_bytes() for path in written.glob("**/*.*")}
            wrote, first = f"{target} and {folder / 'tasks'}", f"check {target}\n  metaspo plan {target}"
            if (labelled := folder / "labelled.jsonl") in files:
                first += f"\n  metaspo judge {target} {labelled}"
        files[target] = named_after(folder, files[target].decode()).encode()
        for path, content in files.items():
            if path.exists() and (path == target or path.read_bytes() != content):
                raise ConfigError(f"{path}: is there already; choose another folder, or move it away")
        for path, content in sorted(files.items()):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    last = "plan" if domain else "optimize"
    out.print(f"Wrote {wrote}. Next:\n  metaspo {first}\n  metaspo {last} {target}", markup=False)


@app.command(cls=NamedArguments)
def plan(configs: Configs, calls: Calls = None, sets: Sets = None, json: Json = False) -> None:
    """Say what a run will need, before anything is spent: calls, tokens, dollars, minutes."""
    with exit_on_user_error():
        prepared = [prepare(path, overrides=_overrides(calls, sets)) for path in configs]
        for item in prepared:
            check_optimizable(item.config, item.tasks, source=item.source)
        tell_notices(prepared, say_warning)
        plans = [plan_run(item.config, item.tasks) for item in prepared]
    if json:
        paired = zip(prepared, plans, strict=True)
        plans_of = [
            plan_data(item.config.name, plan, item.notices, caps=caps_reached(item.config.budget, [plan]))
            for item, plan in paired
        ]
        tables.print_json(out, plans_of)
        return
    for item, estimate in zip(prepared, plans, strict=True):
        print_plan(out, item.config, estimate)
        if item.start.run:
            tables.say(out, item.start.sentence)


@app.command(cls=NamedArguments)
def optimize(
    configs: Configs,
    calls: Calls = None,
    sets: Sets = None,
    web: Annotated[bool, typer.Option("--web", help="Show it in the browser, too, on this machine alone.")] = False,
    port: Port = None,
    on: On = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Optimize a system prompt and the user prompts under it.

    Several configs run together over shared servers and limits. Started again with the same config, a run goes on where
    it stopped: every answer that was paid for is in the cache.
    """
    with exit_on_user_error():
        prepared = [prepare(path, overrides=_overrides(calls, sets)) for path in configs]
        if on is None:
            _optimize(prepared, json=json, quiet=quiet, web=web, port=port)
            return
        if web:
            raise ConfigError("--on and --web do not go together: a run's journal comes back at its end")
        options = [*([] if calls is None else ["--calls", str(calls)]), *(f"--set={change}" for change in sets or ())]
        _optimize_on(on, prepared, configs, options, json=json, quiet=quiet)


@app.command()
def demo(
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="qwen2.5-coder-0.5b, smollm2, a GGUF file's path, or owner/repo:file.")
    ] = "qwen2.5-coder-0.5b",
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of everything random.")] = 42,
    small: Annotated[bool, typer.Option("--small", help="A fifth of the work, in about two minutes.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Optimize a system prompt against a real model on this machine: no API key, no GPU."""
    with exit_on_user_error():
        config = with_overrides(demo_config(small=small), {"base.model": model, "seed": seed})
        prepared = prepare(config, data_folder=DEMO_FOLDER)
        err.print(
            f"A real run on this machine: {model} answers the examples. No language model that fits here can write\n"
            "prompts: the embedded proposer does. The first time, the model's file is fetched (up to 490 MB).",
            highlight=False,
        )
        _optimize([prepared], json=json, quiet=quiet)


def _overrides(calls: int | None, sets: list[str] | None) -> dict[str, Any]:
    """What the options change of a config; a key that is set wins over what is planned for it."""
    return {**({} if calls is None else planned_for(calls)), **parse_overrides(sets)}


def _optimize(prepared: list[Prepared], *, json: bool, quiet: bool, web: bool = False, port: int | None = None) -> None:
    for item in prepared:
        if not quiet:
            tables.print_start(err, item)
        if warning := endless(item.config, plan_run(item.config, item.tasks)):
            say_warning(warning)
    with ProgressDisplay(err, quiet=quiet) as display:
        running = optimize_many(
            prepared,
            observer=lambda item: display.observer(item.config.name),
            progress=display.downloaded,
            warn=display.warn,
        )
        reports = run_async(watched(running, prepared, port=port) if web else running)
    finished = [report for report in reports if isinstance(report, RunReport)]
    if json:
        tables.print_json(out, [report_data(report) for report in finished])
    else:
        for report in finished:
            print_report(out, report)
    _tell_ends(prepared, [None if isinstance(report, RunReport) else report for report in reports])


def _optimize_on(
    address: str, prepared: list[Prepared], configs: list[Path], options: Sequence[str], *, json: bool, quiet: bool
) -> None:
    """Optimize on the nodes of a cluster, and tell what came back."""
    faults = runs_on(address, prepared, configs, options, quiet=quiet)
    done = [item.directory for item, fault in zip(prepared, faults, strict=True) if item.directory and not fault]
    if json:
        tables.print_json(out, [run_data(directory) for directory in done])
    else:
        for directory in done:
            print_run(out, directory, everything=False)
    _tell_ends(prepared, [RunStopped(fault) if fault else None for fault in faults])


def _tell_ends(prepared: list[Prepared], reasons: list[Exception | None]) -> None:
    """Say why runs did not get to their end, if any did not, and exit accordingly."""
    for item, reason in zip(prepared, reasons, strict=True):
        if reason is not None:
            say_error(f"{item.config.name}: {reason}")
    if any(isinstance(reason, RunStopped) for reason in reasons):
        say_how_to_go_on(*filter(None, reasons))
        raise typer.Exit(ExitCode.STOPPED)
    if any(reasons):
        raise typer.Exit(ExitCode.MISTAKE)


@app.command(name="evaluate", cls=NamedArguments)
def evaluate_command(
    config: Config,
    system: Annotated[
        Path | None, typer.Option(metavar="FILE", help="System prompt; the config's if left out.")
    ] = None,
    user: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK=FILE", help="A task's user prompt; its first one if left out. Repeatable."),
    ] = None,
    run: Annotated[str, typer.Option(metavar="RUN", help="Take the prompts that a finished run found.")] = "",
    split: Annotated[str, typer.Option(metavar="train|test", help="Which examples are scored.")] = "test",
    runs: RunsFolder = RUNS,
    sets: Sets = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a prompt pair on a config's tasks."""
    with exit_on_user_error():
        prepared = prepare(config, overrides=parse_overrides(sets))
        system_prompt, user_prompts = _given_prompts(prepared, system, user or [], run, runs)
        if split not in ("train", "test"):
            raise ConfigError(f"--split: must be train or test, it is '{split}'")
        chosen: Literal["train", "test"] = "train" if split == "train" else "test"
        with ProgressDisplay(err, quiet=quiet) as display:
            report = run_async(
                evaluate(
                    prepared,
                    system_prompt=system_prompt,
                    user_prompts=user_prompts,
                    split=chosen,
                    observer=display.observer(prepared.config.name),
                    progress=display.downloaded,
                )
            )
    if json:
        tables.print_json(out, tables.evaluation_data(report))
    else:
        tables.print_evaluation(out, report)
    if not any(row.score is not None for row in report.scores):
        say_error("nothing could be scored: " + ("; ".join(row.unanswered for row in report.scores) or "no examples"))
        say_how_to_go_on()
        raise typer.Exit(ExitCode.STOPPED)


def _given_prompts(
    prepared: Prepared, system: Path | None, user: list[str], run: str, runs: Path
) -> tuple[str | None, dict[str, str]]:
    """The prompts that the options name; files win over a run's."""
    system_prompt, user_prompts = None, {}
    if run:
        result = read_result(find_run(run, base=runs))
        system_prompt = result["system_prompt"]
        names = {task.name for task in prepared.tasks}
        user_prompts = {task: prompts[0] for task, prompts in result["user_prompts"].items() if task in names}
    for given in user:
        task, equals, path = given.partition("=")
        if not equals:
            raise ConfigError(f"--user {given}: must be TASK=FILE, e.g. --user sports=prompt.txt")
        user_prompts[task] = _read_prompt(Path(path), option=f"--user {task}", check=check_user_prompt)
    if system:
        system_prompt = _read_prompt(system, option="--system", check=check_system_prompt)
    return system_prompt, user_prompts


def _read_prompt(path: Path, *, option: str, check: Callable[[str], str]) -> str:
    try:
        text = read_written(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{option}: {path} cannot be read: {error}") from error
    try:
        return check(text.removesuffix("\n"))
    except PromptError as error:
        raise PromptError(f"{option}: {path}: {error}") from None


@app.command(cls=NamedArguments)
def show(
    run: LatestRun = "",
    everything: Annotated[bool, typer.Option("--all", help="All there is, not only what fits a screen.")] = False,
    folder: RunsFolder = RUNS,
    json: Json = False,
) -> None:
    """Show a run: scores before and after, prompts, calls, tokens, dollars, time; how far it is while it goes on."""
    with exit_on_user_error():
        directory = find_run(run, base=folder, latest=True)
        if json:
            tables.print_json(out, shown_data(directory))
        else:
            print_run(out, directory, everything=everything)


app.command(name="tasks")(list_tasks)
app.add_typer(runs_app, name="runs")
add_answer_commands(app)
add_study_commands(app)
add_serve_command(app)
add_watch_commands(app)
add_exchange_commands(app)
add_check_command(app)
add_judge_command(app)
add_safety_command(app)
add_attention_command(app)
