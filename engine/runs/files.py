"""What the files in a run's directory hold, read with a check of what others read of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from metaspo.backends.paths import why_unreadable
from metaspo.engine.errors import RunDirectoryError
from metaspo.engine.evaluation.test_score import TestScore
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.records import read_as

Data = dict[str, Any]
Part = Literal["config", "result", "summary", "safety", "live"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """What every version wrote into a result, and others read."""

    system_prompt: str
    user_prompts: dict[str, Annotated[list[str], Field(min_length=1)]]
    strategies: dict[str, str]
    train_before: float | None
    train_after: float | None
    tests: list[Data] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """What is read of a model's table."""

    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """And of a task's."""

    name: str
    role: str = ""
    weight: Annotated[float, Field(gt=0)] = 1.0
    user_prompt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Config:
    """What is read of a config without it being checked as a run's: an older version may have written it."""

    name: str | None = None
    base: _Model | None = None
    optimizer: _Model | None = None
    judge: _Model | None = None
    system_prompt: str | None = None
    iterations: int = 0
    tasks: list[_Task] = field(default_factory=list)
    budget: Data = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sessions:
    """How many there were."""

    sessions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Summary:
    """What is read of a summary before all of it is."""

    all_sessions: _Sessions = field(default_factory=_Sessions)


READ: Mapping[Part, type] = {"config": _Config, "result": _Result, "summary": _Summary}


def read_json(run: RunDirectory, *, part: Part) -> Data:
    """One of a run's JSON files; {} if it is not there (yet). Raises `RunDirectoryError` if it cannot be read."""
    path: Path = getattr(run, part)
    if not run.closed and not path.is_file():
        return {}
    data = read_table(path)
    if part in READ:
        _check(data, READ[part], path)
    return data


def read_table(path: Path) -> Data:
    """A JSON file of a run's. Raises `RunDirectoryError` if it cannot be read."""
    try:
        data: Data = orjson.loads(path.read_bytes())
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be read: {why_unreadable(error)}") from error
    except orjson.JSONDecodeError as error:
        raise unreadable(path, error) from error
    if not isinstance(data, dict):
        raise unreadable(path, "it holds no table")
    return data


def unreadable(path: Path, why: object) -> RunDirectoryError:
    """The error for a file of a run's that is damaged, and what mends it."""
    who = "`metaspo safety`" if path.name == "safety.json" else "the same run, started again,"
    return RunDirectoryError(f"{path}: cannot be read: {why}; {who} writes it anew from the cache")


def _check(data: Data, kind: type, path: Path) -> None:
    """Raises `RunDirectoryError` where what others read is not there, or another thing is."""
    try:
        read_as(kind, data)
    except ValueError as error:
        raise unreadable(path, error) from None


def finished_at(run: RunDirectory) -> datetime:
    """When the result was written, in UTC; the run has one."""
    return datetime.fromtimestamp(run.result.stat().st_mtime, tz=UTC)


def read_result(run: RunDirectory) -> Data:
    """The result of a finished run. Raises `RunDirectoryError` if it has none."""
    result = read_json(run, part="result")
    if not result:
        raise RunDirectoryError(f"{run.path}: this run has no result yet; {_how_to_finish(run)}")
    return result


def _how_to_finish(run: RunDirectory) -> str:
    if run.in_use:
        return "it is under way: wait for its end"
    from metaspo.engine.runs.going_on import going_on  # with a journal's events, which nobody needs who finds a result

    command, hindered = going_on(run)
    return hindered or (f"this finishes it: {command}" if command else "start it again to finish it")


def tests_of(result: Data) -> tuple[TestScore, ...]:
    """What a result says of each test split; () where it is of a version that did not."""
    try:
        return read_as(tuple[TestScore, ...], result.get("tests", ()))
    except ValueError:
        return ()
