"""A config as it was read from a TOML file, checked, with errors that name file and key."""

import os
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from metaspo.engine.config.schema import RunConfig
from metaspo.engine.config.table import name_of
from metaspo.engine.config.toml import as_toml, key_parts, read_toml
from metaspo.engine.domains import DOMAIN_KEYS, expand_domains
from metaspo.engine.errors import ConfigError
from metaspo.engine.suggest import nearest
from metaspo.engine.tasks import TaskSpec
from metaspo.engine.tasks.kinds import MUST_BE, in_words

T = TypeVar("T", bound=BaseModel)

OF_A_RUN = ("base", "optimizer", "tasks", "domain")
OF_A_COMPARISON = ("config", "methods", "method")
NEVER_SHOWN = {"api_key_env", "cache", "endpoints", "mlflow"}  # where a key might have been put by mistake


def load_config(path: Path, *, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Read and validate a config file; `overrides` (dotted keys) win over the file. Raises `ConfigError`."""
    if not path.exists():
        raise ConfigError(f"{path}: no such file; `metaspo init DIR` writes a starter config")
    raw = read_toml(path)
    _refuse_comparison(raw, path)
    raw = with_texts(with_overrides(raw, overrides or {}), folder=path.parent)
    raw.setdefault("name", name_of(path))
    return parse_config(raw, source=str(path), base_dir=path.parent)


def _refuse_comparison(raw: Mapping[str, Any], path: Path) -> None:
    """Raises `ConfigError` for a config of `metaspo compare` where a run's is wanted."""
    if raw.keys() & set(OF_A_COMPARISON) and not raw.keys() & set(OF_A_RUN):
        run = f", or the run's config that it names, {path.parent / str(raw['config'])}" if "config" in raw else ""
        raise ConfigError(f"{path}: this is a comparison's config, not a run's: use `metaspo compare {path}`{run}")


def refuse_run(raw: Mapping[str, Any], path: Path) -> None:
    """Raises `ConfigError` for a run's config where one of `metaspo compare` is wanted."""
    if raw.keys() & set(OF_A_RUN) and not raw.keys() & set(OF_A_COMPARISON):
        raise ConfigError(
            f"{path}: this is a run's config, not a comparison's: that is a file of its own with, for example, "
            f'config = "{path.name}" and methods = ["default", "metaspo"]; see docs/compare.md or '
            "`metaspo compare --help`"
        )


def with_overrides(raw: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with dotted keys set, tables on the way made; what is set to None is taken out.

    Raises `ConfigError` where there is another value, or for what is no key.
    """
    changed = deepcopy(dict(raw))
    for dotted, value in overrides.items():
        try:
            *tables, last = key_parts(dotted)
        except ValueError:
            raise ConfigError(f'--set {dotted}: is no key as TOML has them, such as base.extra."a.b"') from None
        table = changed
        for key in tables:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                raise ConfigError(f"--set {dotted}: '{key}' is not a table, so nothing can be set in it")
        if value is None:
            table.pop(last, None)
        else:
            table[last] = value
    return changed


def with_texts(raw: Mapping[str, Any], *, folder: Path) -> dict[str, Any]:
    """A copy in which a loop's `options.texts`, the name of a TOML file, is what that holds. Raises `ConfigError`."""
    changed: dict[str, Any] = {}
    for loop in ("inner", "outer"):
        key = f"{loop}.options.texts"
        table = raw.get(loop)
        options = table.get("options") if isinstance(table, Mapping) else None
        if isinstance(options, Mapping) and isinstance(name := options.get("texts", {}), str):
            changed[key] = _tables_of_texts(folder / Path(name).expanduser(), key=key)
        elif isinstance(options, Mapping) and not isinstance(name, Mapping):
            raise ConfigError(f"{key}: is the name of a TOML file")
    return with_overrides(raw, changed)


def _tables_of_texts(path: Path, *, key: str) -> dict[str, Any]:
    try:
        tables = read_toml(path)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error
    if not any(tables.values()):
        raise ConfigError(f"{key}: {path}: holds no text")
    if loose := [name for name, table in tables.items() if not isinstance(table, Mapping)]:
        raise ConfigError(f"{key}: {path}: '{loose[0]}' stands in no table, such as [system] or [both]")
    return tables


def parse_config(
    raw: Mapping[str, Any],
    *,
    source: str = "config",
    environment: Mapping[str, str] | None = None,
    base_dir: Path = Path(),
) -> RunConfig:
    """Validate a config given as a mapping, the tasks of a `domain` filled in. Raises `ConfigError`.

    Args:
        source: stands in messages.
        environment: where METASPO_DATA is looked up; the process's own if left out.
        base_dir: where a relative `data` of domains starts.
    """
    environment = os.environ if environment is None else environment
    expanded = expand_domains(_as_tables(raw), source=source, environment=environment, base_dir=base_dir)
    return validated(RunConfig, expanded, source=source)


def validated(table: type[T], raw: Mapping[str, Any], *, source: str) -> T:
    """The table that plain data is. Raises `ConfigError`: one line per fault, each with file and key."""
    try:
        return table.model_validate(raw)
    except ValidationError as error:
        faults = error.errors(include_url=False)
    told = [fault for fault in faults if fault["type"] != "too_short" or not _holds_another(fault["loc"], faults)]
    by_key: dict[str, list[ErrorDetails]] = {}
    for fault in told:
        by_key.setdefault(_key_of(fault), []).append(fault)
    lines = (f"{source}: {_explain(key, alike, table)}{_whose(alike[0], raw)}" for key, alike in by_key.items())
    raise ConfigError("\n".join(lines))


def _as_tables(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same with tasks that were written in Python as a file would have them."""
    tasks = raw.get("tasks")
    if not isinstance(tasks, list | tuple) or not any(isinstance(task, TaskSpec) for task in tasks):
        return raw
    tables = [task.model_dump(exclude_unset=True) if isinstance(task, TaskSpec) else task for task in tasks]
    return {**raw, "tasks": tables}


def _holds_another(location: tuple[int | str, ...], faults: Iterable[ErrorDetails]) -> bool:
    """Whether there are faults within a place: a list is then called too short whose rows were only refused."""
    return any(fault["loc"][: len(location)] == location != fault["loc"] for fault in faults)


def _whose(fault: ErrorDetails, raw: Mapping[str, Any]) -> str:
    """The name of the task that a fault is in, as faults of data give it."""
    match fault["loc"]:
        case ("tasks", int(number), *rest) if rest[:1] != ["name"]:
            task = raw["tasks"][number]
            name = task.get("name") if isinstance(task, Mapping) else None
            return f" [task {name!r}]" if name else ""
        case _:
            return ""


def _key_of(fault: ErrorDetails) -> str:
    return ".".join(str(part) for part in fault["loc"] if not _is_branch_label(part))


def _explain(key: str, alike: Sequence[ErrorDetails], table: type[BaseModel]) -> str:
    """What is wrong with a key: one fault, or one for each kind of value that it may have."""
    fault = alike[0]
    if fault["type"] == "extra_forbidden":
        unknown, keys = str(fault["loc"][-1]), _known_keys(fault["loc"][:-1], table)
        return f"{key}: unknown key{_elsewhere(unknown, fault['loc'], table) or nearest(unknown, keys)}"
    if fault["type"] == "missing":
        return f"{key}: is missing"
    message = " or ".join(dict.fromkeys(map(in_words, alike))).replace(f" or {MUST_BE}", " or ")
    given = fault["input"]
    if isinstance(given, str | int | float | bool) and NEVER_SHOWN.isdisjoint(fault["loc"]):
        written = as_toml(given) if isinstance(given, bool) else repr(given)
        shown = written if len(written) <= 60 else written[:57] + "…"
        said = isinstance(given, str) and written in message
        message = message if said else f"{message} (it is {shown})"
    return f"{key}: {message}" if key else message


def _elsewhere(key: str, location: tuple[int | str, ...], table: type[BaseModel]) -> str:
    """Where else in the file a key is one; "" for nowhere."""
    if len(location) > 1 and key in _known_keys((), table):
        return f" here: `{key}` stands at the top, above the first [table]"
    tables = [
        f"[[{name}]]" if get_origin(field.annotation) is tuple else f"[{name}]"
        for name, field in table.model_fields.items()
        if (inner := _table_in(field.annotation)) and key in inner.model_fields
    ]
    return f" here: `{key}` stands in {' or '.join(tables)}" if tables else ""


def _is_branch_label(part: int | str) -> bool:
    """Pydantic names the branch of a union in a fault's place, e.g. `literal['auto']`: no key of the file."""
    return isinstance(part, str) and (
        "[" in part
        or part in ("int", "str", "float", "callable", "constrained-int", "constrained-float", "function-before")
    )


def _known_keys(key_path: Iterable[int | str], table: type[BaseModel]) -> list[str]:
    """The keys that the table at a place of the config may hold; [] where there is no table."""
    model: type[BaseModel] | None = table
    for part in key_path:
        if isinstance(part, int) or model is None or part not in model.model_fields:
            continue
        model = _table_in(model.model_fields[part].annotation)
    keys = (*model.model_fields, *(DOMAIN_KEYS if model is RunConfig else ())) if model else ()
    return sorted(keys)


def _table_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((table for inner in get_args(annotation) if (table := _table_in(inner))), None)
