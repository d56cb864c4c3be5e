"""A prompt pair scored on a config's tasks, shown."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from metaspo.backends.paths import read_written, why_unreadable
from metaspo.console import err, exit_on_user_error, exit_stopped, out, say_error
from metaspo.engine import ConfigError, Prepared, PromptError, evaluate, find_run, prepare
from metaspo.engine.prompts import check_system_prompt, check_user_prompt
from metaspo.engine.runs.files import read_result
from metaspo.overrides import parse_overrides
from metaspo.progress import ProgressDisplay
from metaspo.running import run_async
from metaspo.tables import printing
from metaspo.tables.scores import print_evaluation


def evaluate_prompts(
    config: Path,
    *,
    system: Path | None,
    user: Sequence[str],
    run: str,
    split: str,
    runs: Path,
    sets: Sequence[str] | None,
    json: bool,
    quiet: bool,
) -> None:
    """Score the prompts that options name, or a run found, and print what they are worth."""
    with exit_on_user_error():
        prepared = prepare(config, overrides=parse_overrides(sets))
        system_prompt, user_prompts = _given_prompts(prepared, system, user, run, runs)
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
        printing.print_json(out, report.as_json())
    else:
        print_evaluation(out, report)
    if not any(row.score is not None for row in report.scores):
        say_error("nothing could be scored: " + ("; ".join(row.unanswered for row in report.scores) or "no examples"))
        exit_stopped()


def _given_prompts(
    prepared: Prepared, system: Path | None, user: Sequence[str], run: str, runs: Path
) -> tuple[str | None, dict[str, str]]:
    """The prompts that the options name; files win over a run's."""
    system_prompt, user_prompts = None, {}
    forms = {task.name: task.form for task in prepared.tasks}
    if run:
        result = read_result(find_run(run, base=runs))
        system_prompt = result["system_prompt"]
        user_prompts = {task: prompts[0] for task, prompts in result["user_prompts"].items() if task in forms}
    for given in user:
        task, equals, path = given.partition("=")
        if not equals:
            raise ConfigError(f"--user {given}: must be TASK=FILE, e.g. --user sports=prompt.txt")
        check = partial(check_user_prompt, form=forms.get(task))
        user_prompts[task] = _read_prompt(Path(path), option=f"--user {task}", check=check)
    if system:
        system_prompt = _read_prompt(system, option="--system", check=check_system_prompt)
    return system_prompt, user_prompts


def _read_prompt(path: Path, *, option: str, check: Callable[[str], str]) -> str:
    try:
        text = read_written(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{option}: {path} cannot be read: {why_unreadable(error)}") from error
    try:
        return check(text.removesuffix("\n"))
    except PromptError as error:
        raise PromptError(f"{option}: {path}: {error}") from None
