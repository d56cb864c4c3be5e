"""Where each command is: its module is imported when it is called, or when all are listed, so that each begins soon."""

import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, Final

import typer
from typer.main import get_group

from metaspo.console import ExitCode, say_error
from metaspo.parameters import WholeSentences

USAGE_ERROR: Final[Any] = typer.BadParameter.__mro__[1]  # click's, which some versions of typer keep to themselves
MODULES: Final = {
    "init": "init_command",
    "plan": "plan_command",
    "optimize": "optimize_commands",
    "demo": "optimize_commands",
    "evaluate": "evaluate_command",
    "show": "run_commands",
    "tasks": "task_commands",
    "answers": "answer_commands",
    "compare": "study_commands",
    "ablate": "study_commands",
    "generalize": "study_commands",
    "adapt": "study_commands",
    "transfer": "study_commands",
    "report": "study_commands",
    "serve": "serve_command",
    "watch": "watch_commands",
    "export": "exchange_commands",
    "import": "exchange_commands",
    "check": "check_command",
    "judge": "judge_command",
    "safety": "safety_command",
    "attention": "attention_command",
    "cache": "cache_commands",
    "bench": "bench_serving_commands",
    "runs": "run_commands",
}


def import_all() -> None:
    """Import every command, for a process that others are forked from."""
    for module in MODULES.values():
        _commands_of(module)


class LateCommands(WholeSentences):
    """The group of all commands."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - typer's
        super().__init__(**settings)
        self.commands = _ByName()  # type: ignore[assignment]  # it is only read

    def main(self, *args: Any, **settings: Any) -> Any:  # noqa: ANN401 - typer's
        """As typer runs it, but that a command line that cannot be read is told as every other mistake is."""
        try:
            status = super().main(*args, **{**settings, "standalone_mode": False})
        except USAGE_ERROR as error:
            if "\n" in error.format_message():  # the help, where nothing was given
                error.show()
            else:
                say_error(_sentence(error.format_message(), error.ctx))
            status = ExitCode.MISTAKE
        sys.exit(status)


def _sentence(message: str, context: Any) -> str:  # noqa: ANN401 - a type that typer keeps to itself
    """What click says is wrong with a command line, and where it says what would be right."""
    said = (message[:1].lower() + message[1:].removesuffix(".")).replace(": Value error, ", ": ")
    if context is None:
        return said
    return f"{said}{'' if said.endswith('?') else ';'} `{context.command_path} --help` says what can be given"


class _ByName(Mapping[str, Any]):
    """Commands as typer makes them, by name, in the order of the help."""

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - a type that typer keeps to itself
        return _commands_of(MODULES[name])[name]

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)


@cache
def _commands_of(module: str) -> Mapping[str, Any]:
    app = typer.Typer(rich_markup_mode=None)
    import_module(f"metaspo.{module}").add_commands(app)
    return get_group(app).commands
