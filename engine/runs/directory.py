"""A run's directory: everything that is left of it, and who may write there.

config.json     the resolved config
origin.json     its file, what was `set` over it, where paths of `data` start, and those of cache and runs (`folder`);
                the `command` that it is a part of
journal.jsonl   every event
live.json       how far the session is, now and then; nothing follows from it
.ledger         while a session goes on, or was killed: what it has spent
result.json     the result, once there is one
summary.json    scores, calls, tokens, dollars, time
safety.json     what `metaspo safety` came to, where it was asked
prompts/        the prompts as text files, ready to paste
vllm-*.log      what a vLLM that was started for the run said, one for each replica
"""

import json
import re
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TextIO

import orjson
from pydantic_core import to_jsonable_python

from metaspo.backends.file_lock import try_lock
from metaspo.backends.http.loose_json import mended
from metaspo.backends.paths import remove_drafts, why_not_made, write_whole
from metaspo.engine.config.schema import RunConfig
from metaspo.engine.errors import RunDirectoryError
from metaspo.engine.journal.faults import stopping_at_faults
from metaspo.engine.project import file_name
from metaspo.engine.runs.identity import fingerprint
from metaspo.engine.suggest import nearest
from metaspo.engine.tasks import Task

if TYPE_CHECKING:
    from metaspo.engine.optimize.result import RunResult

JSON = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
FINGERPRINT = "-[0-9a-f]{8}"  # after the config's name in a directory's
PRIVATE = 0o700  # prompts and answers are their owner's, here as in the cache
LOOKS, LOOK = 10, 0.02  # tries to hold a directory, and seconds between two


class _Within:
    """A path within a run's directory; what is there, the module says."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, run: "RunDirectory", _owner: object) -> Path:
        return run.path / self._name


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Paths within one run's directory."""

    path: Path

    @property
    def name(self) -> str:
        """What `metaspo show` calls it."""
        return self.path.name

    journal = _Within("journal.jsonl")
    result = _Within("result.json")
    summary = _Within("summary.json")
    safety = _Within("safety.json")
    prompts = _Within("prompts")
    config = _Within("config.json")
    origin = _Within("origin.json")
    live = _Within("live.json")
    ledger = _Within(".ledger")

    @contextmanager
    def held(
        self, *, who: str = "this run", instead: str = "set `runs` in the config", mode: int = PRIVATE
    ) -> Iterator[None]:
        """Hold the directory for one process. Raises `RunDirectoryError` if another one has it, or it is not writable:
        `who` has it, and what to do `instead`."""
        try:
            self.path.mkdir(mode=mode, parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("w")
        except OSError as error:
            raise _unusable(self.path, "write", error, instead=instead) from error
        with lock:
            try:
                free = _locked(lock)
            except OSError as error:  # a file system without locks
                raise _unusable(self.path, "lock files", error, instead=instead) from error
            if not free:
                raise RunDirectoryError(
                    f"{self.path}: {who} is going on already, here or in another process; wait for it, or stop it"
                )
            for folder in (self.path, self.prompts):
                remove_drafts(folder)
            yield

    @property
    def closed(self) -> bool:
        """Whether it is another user's, who lets nobody look into it."""
        try:
            self.config.stat()
        except PermissionError:
            return True
        except OSError:
            pass
        return False

    @property
    def in_use(self) -> bool:
        """Whether a process holds the directory now. The system drops the lock of one that dies, however it dies."""
        try:
            lock = (self.path / ".lock").open("rb")
        except OSError:
            return False  # no session ever held it, or it is not ours to look into
        with lock:
            try:
                return not try_lock(lock, shared=True)  # two that look do not see each other
            except OSError:
                return False  # a file system without locks

    def write_config(
        self,
        config: RunConfig,
        *,
        folder: Path,
        data: Path,
        file: Path | None = None,
        overrides: Mapping[str, Any] = MappingProxyType({}),
        part_of: str = "",
    ) -> None:
        """Write the resolved config, its file with what was set over it, where its relative paths start, and the
        command that it is a part of."""
        write_json(self.config, config.model_dump(mode="json"))
        origin = {"folder": folder, "data": data} | ({"config": file} if file else {})
        texts = {name: str(path.absolute()) for name, path in origin.items()}
        changed = {"set": to_jsonable_python(dict(overrides), fallback=str)} if file and overrides else {}
        write_json(self.origin, {**texts, **changed, **({"command": part_of} if part_of else {})})

    def write_result(self, result: "RunResult") -> None:
        """Write the result and the prompts."""
        write_json(self.result, result.as_json())
        with stopping_at_faults(self.prompts):
            self.prompts.mkdir(exist_ok=True)
        write_text(self.prompts / "system.txt", result.system_prompt)
        for task, prompts in result.user_prompts.items():
            for number, prompt in enumerate(prompts, 1):
                suffix = "" if number == 1 else f"~{number}"
                write_text(self.prompts / f"user.{file_name(task)}{suffix}.txt", prompt)


def _unusable(path: Path, what: str, error: OSError, *, instead: str) -> RunDirectoryError:
    return RunDirectoryError(f"{path}: cannot {what} there: {why_not_made(error)}; {instead}")


def _locked(lock: TextIO) -> bool:
    """Lock it for this process alone; false if another one holds it for longer than somebody who only looks does."""
    for _ in range(LOOKS):
        if try_lock(lock):
            return True
        time.sleep(LOOK)
    return False


def run_directory(config: RunConfig, tasks: Sequence[Task], *, base: Path) -> RunDirectory:
    """The directory of a run: the same config and data always go to the same one, so that a rerun goes on there.

    Its name is the config's name and a fingerprint of all that the result depends on.
    """
    return RunDirectory(base / f"{file_name(config.name or 'run')}-{fingerprint(config, tasks)}")


def find_runs(base: Path) -> list[RunDirectory]:
    """All run directories in a folder, the one touched last first, and at the end those that are closed to us.

    A link to one that is there, too, is not listed.
    """
    if not base.is_dir():
        return []
    there = [path for path in base.iterdir() if _is_run(path)]
    own = {path.resolve() for path in there if not path.is_symlink()}
    directories = [RunDirectory(path) for path in there if not path.is_symlink() or path.resolve() not in own]
    return sorted(directories, key=lambda run: (run.closed, -run.path.stat().st_mtime, run.name))


def _is_run(folder: Path) -> bool:
    """Whether it holds a run's config; of a folder that is closed to us its name tells."""
    try:
        return stat.S_ISREG((folder / "config.json").stat().st_mode)
    except PermissionError:
        return re.search(f"{FINGERPRINT}$", folder.name) is not None
    except OSError:
        return False


def find_run(name: str, *, base: Path, latest: bool = False, finished: bool = False) -> RunDirectory:
    """A run by its path, its name, its config's name, or the start of its name. Raises `RunDirectoryError`.

    The start of a name counts only where nothing has exactly that name. If it fits several runs, the latest one is
    taken where that is wanted, and of all runs if no name is given; with `finished` the latest that has finished, if
    one of them has.
    """
    as_path = RunDirectory(Path(name))
    if name and as_path.config.is_file():
        return as_path
    runs = find_runs(base)
    if not runs and not name:
        raise RunDirectoryError(f"there are no runs in {base}; `metaspo optimize CONFIG` makes one")
    matches = (
        [run for run in runs if run.name == name]
        or [run for run in runs if re.fullmatch(re.escape(name) + FINGERPRINT, run.name)]
        or [run for run in runs if run.name.startswith(name)]
    )
    if len(matches) == 1 or (matches and latest):
        done = (run for run in matches if finished and not run.closed and run.result.is_file())
        return next(done, matches[0])
    if matches:
        raise RunDirectoryError(f"'{name}' fits {len(matches)} runs: {', '.join(run.name for run in matches)}")
    names = [run.name for run in runs]
    raise RunDirectoryError(f"no run '{name}' in {base}{nearest(name, names)}; `metaspo runs` lists them")


def write_json(path: Path, data: object) -> None:
    """Write a file of JSON, whole or not at all. Raises `RunStopped`."""
    try:
        text = orjson.dumps(data, option=JSON)
    except orjson.JSONEncodeError:  # half a surrogate pair, as in a journal
        text = orjson.dumps(mended(json.loads(json.dumps(data))), option=JSON)
    _replace(path, text)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all. Raises `RunStopped`."""
    _replace(path, text.encode() + b"\n")


def _replace(path: Path, content: bytes) -> None:
    with stopping_at_faults(path):
        write_whole(path, content)
