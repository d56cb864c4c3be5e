"""`domain = "medical"` in a config: the tasks it stands for, written out.

Top-level keys, all but the first optional:

    domain      a domain, a list of them, or "all"
    data        the folder with their data, or "huggingface"; else METASPO_DATA, else Hugging Face
    train_size  examples of every task of the domain, or "all"
    test_size

A `[[tasks]]` table beside it with the name of one of the domain's tasks changes that task; others are added.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from metaspo.engine.errors import ConfigError

DOMAIN_KEYS: Final = ("domain", "data", "train_size", "test_size")


def expand_domains(
    raw: Mapping[str, Any], *, source: str, environment: Mapping[str, str], base_dir: Path = Path()
) -> dict[str, Any]:
    """A config as a mapping, with the tasks of its domains in `tasks` and without the keys above.

    Args:
        base_dir: where a relative `data` starts.

    Raises:
        ConfigError: for a domain that is not there and for a value that cannot be used, with `source` and key.
    """
    given = {key: raw[key] for key in DOMAIN_KEYS if key in raw}
    if "domain" not in given:
        for key in given:
            raise ConfigError(f'{source}: {key}: belongs to domain: add domain = "medical", or remove it')
        return dict(raw)
    from metaspo.engine.domains.specs import UnknownDomain, data_folder, domain_tasks  # most configs name none

    names = _names(given["domain"], source)
    data = given.get("data")
    if data is not None and (not isinstance(data, str) or not data):
        raise ConfigError(f'{source}: data: must be a folder, "path/to/data", or "huggingface" (it is {data!r})')
    sizes = {key: _size(given[key], key, source) for key in DOMAIN_KEYS[2:] if key in given}
    try:
        specs = domain_tasks(*names, data=data_folder(data, environment), base_dir=base_dir, **sizes)
    except UnknownDomain as error:
        raise ConfigError(f"{source}: domain: {error}") from None
    tasks = [spec.model_dump(exclude_unset=True) for spec in specs]
    rest = {key: value for key, value in raw.items() if key not in DOMAIN_KEYS}
    return {**rest, "tasks": _merged(tasks, raw.get("tasks", []))}


def _names(value: object, source: str) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(f'{source}: domain: must be a name or a list of names, ["medical"] (it is {value!r})')
    return names


def _size(value: object, key: str, source: str) -> Any:  # noqa: ANN401 - a number or "all", as `TaskSpec` takes it
    if value != "all" and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ConfigError(f'{source}: {key}: must be a number from 1 up, or "all" (it is {value!r})')
    return value


def _merged(preset: list[dict[str, Any]], given: object) -> object:
    """The preset tasks with the given ones of the same name over them, then the others."""
    if not isinstance(given, list) or not all(isinstance(task, Mapping) for task in given):
        return given  # and let validation say what is wrong with it
    from metaspo.engine.domains.specs import find_task

    spelled = {spelling: task["name"] for task in preset for spelling in find_task(task["name"]).names}
    over = {spelled.get(str(task.get("name"))): task for task in given}
    return [
        *({**task, **over.get(task["name"], {}), "name": task["name"]} for task in preset),
        *(task for task in given if str(task.get("name")) not in spelled),
    ]
