"""Every command's help: complete, and without Python in it."""

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import here

import metaspo.cli
from metaspo.cli import app
from metaspo.late_commands import COMMANDS
from metaspo.parameters import first_sentence


def commands(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: ANN401 - click's, by typer
    """A command and those within it, each with the words that call it."""
    yield path, command
    for name, within in getattr(command, "commands", {}).items():
        yield from commands(within, *path, name)


HOME = Path(metaspo.cli.__file__).parent
REGISTERING = sorted(path.stem for path in HOME.glob("*.py") if "\napp = typer.Typer(rich" in path.read_text("utf-8"))
ALL = dict(commands(typer.main.get_command(app)))


@cache
def page_of(path: tuple[str, ...]) -> str:
    """What a command's help prints."""
    return here(*path, "--help").out


def test_the_walk_finds_the_commands() -> None:
    """Groups within groups, too: or the tests below would say nothing of them."""
    assert {(), ("optimize",), ("compare",), ("cache",), ("cache", "prune"), ("bench", "live")} <= ALL.keys()


@pytest.mark.parametrize("module", REGISTERING)
def test_every_command_that_a_module_has_is_listed_under_it(module: str) -> None:
    """And only there: what is not listed could not be called."""
    there = typer.main.get_group(import_module(f"metaspo.{module}").app).commands
    assert {name for name, (where, _) in COMMANDS.items() if where == module} == {*there}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_listed_with_the_first_sentence_of_its_own_help(name: str) -> None:
    """The list is shown without importing the commands."""
    assert first_sentence(ALL[name,].help) == COMMANDS[name][1]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_and_parameter_has_a_help_text(path: tuple[str, ...]) -> None:
    command = ALL[path]
    assert command.help
    assert [parameter.name for parameter in command.params if not (getattr(parameter, "help", "") or "").strip()] == []


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_no_page_shows_a_type_of_python(path: tuple[str, ...]) -> None:
    """`--seed N`, not `--seed <list[int]>` or `INTEGER RANGE`; `CONFIG`, not `CONFIG <path>`; no default `None`."""
    page = page_of(path)
    assert page.startswith("Usage: ")
    for found in (r"<[A-Za-z]", r"list\[", "RANGE", r"\bNone\b", r"default: \]"):
        assert re.search(found, page) is None, found


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_value_of_an_option_is_one_word_in_capitals_or_a_choice(path: tuple[str, ...]) -> None:
    """`--calls N`, `--user TASK=FILE`, `--split train|test`."""
    page = page_of(path)
    options = page.partition("\nOptions:\n")[2]
    values = re.findall(r"^  (?:-\w, )?--[a-z-]+ (\S+)", options, flags=re.MULTILINE)
    assert [value for value in values if not re.fullmatch(r"[A-Z]+([=|][A-Z]+)*|[a-z]+(\|[a-z]+)+", value)] == []


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_the_help_lists_every_parameter(path: tuple[str, ...]) -> None:
    """Arguments by their name, options by theirs, with the beginning of their help."""
    page = page_of(path)
    for parameter in ALL[path].params:
        name = parameter.metavar if parameter.param_type_name == "argument" else re.escape(parameter.opts[0])
        first_word = re.escape(parameter.help.split()[0])
        assert re.search(rf"^  (-\w, )?{name}\b.*\s+{first_word}", page, flags=re.MULTILINE), name


@pytest.mark.parametrize("path", [path for path in ALL if hasattr(ALL[path], "commands")], ids=" ".join)
def test_a_group_says_of_each_command_the_first_sentence_whole(path: tuple[str, ...]) -> None:
    page = " ".join(page_of(path).split())
    for name, command in ALL[path].commands.items():
        first = re.split(r"(?<=\.)\s", " ".join(command.help.split()))[0]
        assert f" {name} {first} " in f"{page} "


@pytest.mark.parametrize(
    ("command", "shows"),
    [
        (["generalize"], ["--prompts N", "default: 10; x>=1"]),
        (["bench", "lag"], ["--seconds NUMBER", "x>=0.5"]),
        (["adapt"], ["--examples N", "--seed N"]),
        (["evaluate"], ["--split train|test", "default: test", "  CONFIG  A run's TOML config file."]),
        (["plan"], ["{CONFIG}...\n", "  CONFIG  One or more"]),
        (["compare"], ['config = "metaspo.toml"\n', "methods = ["]),
    ],
)
def test_what_an_option_takes_is_said(command: list[str], shows: list[str]) -> None:
    page = " ".join(here(*command, "--help").out.split(" "))
    assert [text for text in shows if re.sub(" +", " ", text) not in re.sub(" +", " ", page)] == []


def test_a_bad_value_of_an_option_names_the_option() -> None:
    """Whatever its help calls the value."""
    refused = here("demo", "--seed", "many")
    assert refused.code == 2
    assert "--seed" in refused.err
