"""The tasks of domains and what of their data is there, shown; and a config to begin with."""

import os
import shlex
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from metaspo.console import err, exit_on_user_error, out
from metaspo.engine import ConfigError
from metaspo.engine.domains import (
    DATA_VARIABLE,
    HUB,
    Domain,
    TaskState,
    UnknownDomain,
    data_folder,
    find_domains,
    own_domains,
)
from metaspo.engine.domains.survey import survey
from metaspo.engine.errors import resolve_path
from metaspo.engine.money import whole
from metaspo.tables import printing

INSTALL = "pip install 'metaspo[data]'"
STARTER = Path(__file__).resolve().parents[1] / "starter_domain" / "metaspo.toml"
OWN_ROWS = """\
# train_size = 20        # examples of each task: 40 and 60 come with metaspo
# test_size = 30
"""


def show_tasks(domains: Sequence[str], *, data: str | None, json: bool) -> None:
    """Print the tasks of some domains, or of all."""
    with exit_on_user_error():
        folder = _folder(data)
        states = survey(_chosen(domains or ["all", *own_domains()]), data=folder)
    if json:
        printing.print_json(out, [_task_data(state) for state in states])
        return
    _print_table(states)
    _print_missing(states, folder)


def tell_whose_tasks(given: str) -> NoReturn:
    """Say what shows what was given in place of an option: a config, a folder of data, a domain."""
    with exit_on_user_error():
        if Path(given).is_dir():
            raise ConfigError(f"{given} is a folder: for one with the domains' data give --data {shlex.quote(given)}")
        if given in ("all", *(domain.name for domain in find_domains(["all", *own_domains()]))):
            raise ConfigError(f"give a domain as --domain {given}")
        raise ConfigError(
            f"{given}: here stand the domains' tasks (--domain NAME); `metaspo check CONFIG` shows those of a config"
        )


def domain_starter(name: str) -> str:
    """A commented config for a domain. Raises `ConfigError` where there is no such domain."""
    chosen = _chosen([name])[0]
    text = STARTER.read_text(encoding="utf-8")
    if name in own_domains():
        begins, after = text.index("# data = "), text.index("seed = ")
        text = f"{text[:begins]}{OWN_ROWS}\n{text[after:]}".replace("The paper's study of one", "A study of a small")
    for placeholder, filled in (
        ('"DOMAIN"', f'"{name}"'),
        ("--domain DOMAIN", f"--domain {name}"),
        ("FIRST", chosen.tasks[0].name),
    ):
        text = text.replace(placeholder, filled)
    return text


def _chosen(names: Sequence[str]) -> tuple[Domain, ...]:
    try:
        return find_domains(names)
    except UnknownDomain as error:
        raise ConfigError(f"--domain: {error}") from None


def _folder(given: str | None) -> Path | None:
    """The data folder, if there is to be one. Raises `ConfigError` where it is not there."""
    named = data_folder(given, os.environ)
    if named is None:
        return None
    folder = resolve_path(named, base_dir=Path())
    if not folder.is_dir():
        said_by = "--data" if given is not None else DATA_VARIABLE
        raise ConfigError(f"{said_by}: {folder}: no such folder")
    return folder


def _task_data(state: TaskState) -> printing.Data:
    task = state.task
    return {
        "domain": task.domain,
        "role": task.role,
        "task": task.name,
        "metric": task.metric,
        "answer": task.answer.model_dump(mode="json", exclude_defaults=True),
        "train": state.train,
        "test": state.test,
        "ready": state.ready,
        "missing": list(state.missing),
        "faults": list(state.faults),
        "hub": {
            "repository": task.hub.repository,
            "train": task.hub.train.model_dump(mode="json", exclude_unset=True),
            "test": task.hub.test.model_dump(mode="json", exclude_unset=True),
            "note": task.hub.note,
        },
    }


def _print_table(states: Sequence[TaskState]) -> None:
    table = printing.make_table(None, "domain", "role", "task", "metric", "answer", "train", "test")
    for state in states:
        task = state.task
        table.add_row(
            task.domain,
            task.role,
            task.name,
            task.metric,
            f"{task.answer.kind}, tagged" if task.answer.tag else task.answer.kind,
            whole(state.train),
            whole(state.test),
        )
    out.print(table)


def _print_places(missing: Sequence[TaskState]) -> None:
    """Which dataset of Hugging Face has which of the missing tasks."""
    table = printing.make_table(None, "on Hugging Face", "task")
    for repository in dict.fromkeys(state.task.hub.repository for state in missing):
        table.add_row(
            repository, ", ".join(state.task.name for state in missing if state.task.hub.repository == repository)
        )
    out.print(table)


def _print_missing(states: Sequence[TaskState], folder: Path | None) -> None:
    """What is missing, file by file, or once for all where there is no folder; and where to get it."""
    missing = [state for state in states if state.missing]
    if folder is not None:
        for state in missing:
            err.print(f"missing: {state.task.name}: {', '.join(state.missing)} in {folder}")
        for state in states:
            for fault in state.faults:
                err.print(f"cannot be used: {fault}")
    if not missing:
        return
    _print_places(missing)
    if folder is None:
        err.print(
            f"No data folder: give --data DIR, or set {DATA_VARIABLE} or `data` in a config. It holds, for example,"
        )
        err.print(f'  {missing[0].task.file("train")} with lines like {{"question": …, "answer": …}}')
    installed = "" if find_spec("datasets") else f" ({INSTALL})"
    err.print(f'With data = "{HUB}", or no folder named at all, a run reads them from Hugging Face{installed}.')
