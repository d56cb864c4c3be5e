"""The command that a run was begun by, as its directory tells it."""

import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from metaspo.engine.config.presets import planned_for
from metaspo.engine.config.toml import as_toml
from metaspo.engine.runs.directory import FINGERPRINT, RunDirectory, find_runs

BUDGET = "budget"  # how keys of caps begin


def last_command(run: RunDirectory) -> str:
    """The command of a run's last session, as `command_of` has it, or that it is a part of; "" where its config is not
    known."""
    origin = table_in(run.origin)
    if isinstance(whole := origin.get("command"), str):
        return whole
    path = Path(str(origin.get("config", "")))
    return command_of(path, table(origin.get("set"))) if path.is_absolute() else ""


def others_of(run: RunDirectory, command: str) -> list[RunDirectory]:
    """Other runs of its config's name that this command has begun, the latest first."""
    name = re.sub(f"{FINGERPRINT}$", "", run.name)
    alike = [each for each in find_runs(run.path.parent) if re.fullmatch(re.escape(name) + FINGERPRINT, each.name)]
    return [each for each in alike if each.name != run.name and last_command(each) == command]


def command_of(file: Path, overrides: Mapping[str, Any]) -> str:
    """The command, from the current folder, that optimizes by a config's file and what was set over it, but for caps:
    with others it goes on with the same run."""
    path, here = file.absolute(), Path.cwd()
    planned: Mapping[str, Any] = {}
    if None in overrides.values():  # as `--calls` clears what a config has; `--set` cannot
        planned = planned_for(overrides.get("train_calls"))
    sets = [
        setting(key, value)
        for key, value in overrides.items()
        if value is not None and value != planned.get(key) and not key.startswith(BUDGET)
    ]
    calls = ("--calls", str(planned["train_calls"])) if "train_calls" in planned else ()
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    return shlex.join(("metaspo", "optimize", str(shown), *calls, *chain.from_iterable(sets)))


def setting(key: str, value: object) -> tuple[str, str]:
    """The option that sets a key of a config."""
    return "--set", f"{key}={as_toml(value)}"


def table_in(path: Path) -> dict[str, Any]:
    """A JSON file's table; {} where none can be read."""
    with suppress(OSError, ValueError):
        return table(orjson.loads(path.read_bytes()))
    return {}


def table(value: object) -> dict[str, Any]:
    """It, where it is a table, else an empty one."""
    return value if isinstance(value, dict) else {}
