"""Options and arguments that several commands share, and how help names arguments and commands."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from metaspo.backends.paths import NO_FILE, why_no_file
from metaspo.engine.config.bounds import MAX_CALLS
from metaspo.engine.errors import ConfigError
from metaspo.engine.project import KEPT, project_folder

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="A run's TOML config file.")]
Configs = Annotated[list[Path], typer.Argument(metavar="CONFIG", help="One or more TOML config files.")]
Calls = Annotated[
    int | None,
    typer.Option(
        "--calls",
        metavar="N",
        min=1,
        max=MAX_CALLS,
        help="Plan rows, candidates and rounds for N base calls on train splits, whatever the config says of them.",
    ),
]
LatestRun = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's name, the start of it, or its folder; the latest if left out.")
]
LatestFinishedRun = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run's name, the start of it, or its folder; the latest finished one if left out."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for other programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="ADDRESS",
        help="Run on the nodes of a Ray cluster: ray://HOST:10001, HOST:6379, or auto on one of them.",
    ),
]
Port = Annotated[
    int | None,
    typer.Option(metavar="N", min=0, max=65535, help="Port on this machine; 8410, or a free one, if left out."),
]


def require_file(path: Path, *, option: str = "") -> None:
    """Raises `ConfigError` where there is none."""
    if why := why_no_file(path):
        where = f" in {path.absolute().parent}" if why == NO_FILE else ""
        raise ConfigError(f"{f'{option}: ' if option else ''}{path}: {why}{where}")


def in_project(folder: Path) -> Path:
    """A folder that nobody named, in the project that one stands in."""
    return project_folder() / folder if folder.parts[:1] == (KEPT,) else folder


RunsFolder = Annotated[
    Path, typer.Option("--runs", metavar="DIR", help="Folder of the run directories.", callback=in_project)
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key of the config, e.g. --set outer.candidates=4; repeatable."
    ),
]
RUNS = Path(".metaspo/runs")


class NamedArguments(TyperCommand):
    """A command whose help gives an argument's name alone, `RUN`: typer adds its type in Python, `RUN <str>`."""

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - types that typer keeps to itself
        """The help's sections of arguments and of options."""
        arguments: list[tuple[str, str]] = []
        options: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            if not (record := parameter.get_help_record(ctx)):
                continue
            if isinstance(parameter, TyperArgument):
                arguments.append((parameter.metavar or record[0], record[1]))
            else:
                options.append(record)
        for title, rows in (("Arguments", arguments), ("Options", options)):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


class WholeSentences(TyperGroup):
    """A group whose help gives each command's first sentence whole: typer cuts it at the end of a line."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - types that typer keeps to itself
        """The help's section of commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.sentences()))

    def sentences(self) -> Iterable[tuple[str, str]]:
        """Each command's name, and what it is for."""
        return ((name, first_sentence(command.help or "")) for name, command in self.commands.items())


def first_sentence(text: str) -> str:
    """A help text up to the end of its first sentence, on one line."""
    return re.split(r"(?<=\.)\s", " ".join(text.split()), maxsplit=1)[0]
