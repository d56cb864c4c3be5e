"""Where each command is, and what it is for: its module is imported when it is called, so that each begins soon."""

import gc
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, Final

import typer
from typer.main import get_group

from metaspo.backends.loops.garbage import leave_alone_what_stays
from metaspo.console import ExitCode, say_error
from metaspo.parameters import WholeSentences

USAGE_ERROR: Final[Any] = typer.BadParameter.__mro__[1]  # click's, which some versions of typer keep to themselves
PLAINLY: Final = {  # words of pydantic, which typer checks values with
    ": Value error, ": ": ",
    ": Input should be ": ": must be ",
    "must be a valid integer, unable to parse string as an integer": "must be a whole number",
    "must be a valid number, unable to parse string as a number": "must be a number",
}
COMMANDS: Final = {
    "init": ("init", "Write a commented starter config with a tiny task set that runs."),
    "plan": (
        "plan",
        "Say what runs will need, before anything is spent: calls, tokens, dollars, time; or by replicas and tiers.",
    ),
    "optimize": ("optimize", "Optimize a system prompt and the user prompts under it."),
    "demo": ("optimize", "Optimize a system prompt against a real model on this machine: no API key, no GPU."),
    "evaluate": ("evaluate", "Score a prompt pair on a config's tasks."),
    "show": (
        "runs",
        "Show a run: scores before and after, prompts, calls, tokens, dollars, time; how far it is while it goes on.",
    ),
    "tasks": (
        "tasks",
        "List the tasks of the paper's domains and our own: examples at hand, and where to get what is missing.",
    ),
    "answers": ("answers", "Show a run's answers before and after, those that got worse first."),
    "compare": (
        "studies",
        "Compare methods x domains x seeds: run them all over shared servers and limits, and print tables.",
    ),
    "ablate": ("studies", "Compare a method with itself, one thing changed at a time."),
    "generalize": (
        "studies",
        "Score a system prompt, and the default one, on unseen tasks under several user prompts each.",
    ),
    "adapt": ("studies", "Adapt user prompts to unseen tasks under a system prompt, and under the default one."),
    "transfer": (
        "studies",
        "Score a system prompt that was found with one model, and the default one, with others.",
    ),
    "report": (
        "report",
        "Write a finished run's page: scores with intervals, curves, every prompt with what changed.",
    ),
    "serve": (
        "serve",
        "Serve the config's models to programs that speak OpenAI's API: cached, within limits, budgets by key.",
    ),
    "watch": ("watch", "Show runs in the browser: under way, finished, killed, many at once."),
    "export": ("exchange", "Write a finished run's prompts as files for another tool."),
    "import": (
        "exchange",
        "Write a config with the tasks and prompts of another tool: promptfoo, DSPy, Langfuse, LangSmith, text files.",
    ),
    "check": (
        "check",
        "Reach a config's servers and answer one example of each task, before a run: keys, models, limits, answers.",
    ),
    "judge": (
        "judge",
        "Hold a task's judge against answers that people have scored: Cohen's kappa, and where they differ most.",
    ),
    "safety": (
        "safety",
        "Check whether the optimized system prompt makes the model comply with more that it should refuse, or "
        "refuse more of what it should answer.",
    ),
    "attention": (
        "attention",
        "Measure which share of its attention the base model gives to the first and to the optimized system prompt.",
    ),
    "cache": ("cache", "Look into the cache, check it, move it, clear it out."),
    "bench": (
        "bench_serving",
        "Measure what metaspo costs, and how near it comes to what servers and limits allow.",
    ),
    "runs": (
        "runs",
        "List the runs there are, the latest first: date, models, what changed in the config, scores, dollars.",
    ),
}
"""Each command's module, and the first sentence of its help."""


def import_all() -> None:
    """Import every command, as help does."""
    for module, _ in COMMANDS.values():
        _commands_of(module)


class LateCommands(WholeSentences):
    """The group of all commands."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - typer's
        super().__init__(**settings)
        self.commands = _ByName()  # type: ignore[assignment]  # it is only read

    def main(self, *args: Any, **settings: Any) -> Any:  # noqa: ANN401 - typer's
        """As typer runs it, but that a command line that cannot be read is told as every other mistake is."""
        try:
            status = super().main(*args, **{**settings, "standalone_mode": False}) or 0
        except USAGE_ERROR as error:
            if "\n" in error.format_message():  # the help, where nothing was given
                error.show()
            else:
                say_error(_sentence(error.format_message(), error.ctx))
            status = ExitCode.MISTAKE
        if status == ExitCode.INTERRUPTED and not isinstance(status, ExitCode):
            raise KeyboardInterrupt  # typer's own status for one that no command has told of
        sys.exit(status)

    def sentences(self) -> Iterable[tuple[str, str]]:
        """As they stand here: nothing is imported for a list."""
        return ((name, sentence) for name, (_, sentence) in COMMANDS.items())


def _sentence(message: str, context: Any) -> str:  # noqa: ANN401 - a type that typer keeps to itself
    """What click says is wrong with a command line, and where it says what would be right."""
    said = message[:1].lower() + message[1:].removesuffix(".")
    for words, plain in PLAINLY.items():
        said = said.replace(words, plain)
    if context is None:
        return said
    return f"{said}{'' if said.endswith('?') else ';'} `{context.command_path} --help` says what can be given"


class _ByName(Mapping[str, Any]):
    """Commands as typer makes them, by name, in the order of the help."""

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - a type that typer keeps to itself
        return _commands_of(COMMANDS[name][0])[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


@cache
def _commands_of(module: str) -> Mapping[str, Any]:
    gc.disable()
    try:
        return get_group(import_module(f"metaspo.commands.{module}").app).commands
    finally:
        leave_alone_what_stays()
        gc.enable()
