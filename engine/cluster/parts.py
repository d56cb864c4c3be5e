"""What goes to a cluster and comes back: a copy of the project without its secrets, and the folders of runs."""

import io
import shutil
import tarfile
import tempfile
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from metaspo.cache import folder_of
from metaspo.engine.cluster.node import Outcome, Part
from metaspo.engine.errors import ConfigError
from metaspo.engine.journal.faults import stopping_at_faults
from metaspo.engine.runs.directory import PRIVATE, RunDirectory
from metaspo.engine.runs.prepare import Prepared
from metaspo.scheduling import Budget, RunStopped

# Keys stay here, and so does what tools keep in hidden files, and what a node makes for itself. A copy keeps no list of
# what version control passes over: data that it does not keep are needed all the same.
LEFT_BEHIND = shutil.ignore_patterns(
    *(".*", "*.env", "venv", "node_modules", "__pycache__", "*.gguf", "*.egg-info"),
)


def check_parts(prepared: Sequence[Prepared], *, files: Sequence[Path], option: str) -> Path:
    """The project's folder. Raises `ConfigError` where runs cannot be spread over nodes.

    Args:
        files: that the commands name; they have to be in the project.
        option: that asks for it, for messages.
    """
    check_caps(prepared, option=option)
    project = prepared[0].folder.resolve()
    for path in files:
        if not path.resolve().is_relative_to(project):
            raise ConfigError(
                f"{option}: {path} is not in the project's folder, {project}, which goes to the nodes: run this in a "
                "folder that holds it and its data"
            )
    for item in prepared:
        if not item.config.runs:
            raise ConfigError(f'{option}: {item.source}: runs: "" keeps nothing that could come back: leave it out')
        folder = folder_of(item.config.cache, folder=Path())
        if not item.config.cache or not (folder is None or folder.is_absolute()):
            raise ConfigError(
                f'{option}: {item.source}: cache: "{item.config.cache}" is this machine\'s alone, and all nodes share '
                'one cache: set cache = "redis://…", or "files://" and a whole path on a file system that all have'
            )
    return project


def check_caps(prepared: Sequence[Prepared], *, option: str) -> None:
    """Raises `ConfigError` for a cap that holds within one process: each of many would spend it."""
    for item in prepared:
        if item.config.budget.caps != Budget() and not item.config.budget.group:
            raise ConfigError(
                f"{option}: {item.source}: budget: a cap holds within one process, and these are many: give it a "
                "group, over a cache at redis://…, or leave [budget] out and look at what --plan says"
            )


def part_of(prepared: Prepared, arguments: Sequence[str], *, name: str, kept: bool = True, seen: str = "") -> Part:
    """A command for one run; `kept`: it leaves a folder of a run, which comes back."""
    return Part(
        name=name,
        arguments=tuple(arguments),
        runs=prepared.config.runs,
        run=prepared.directory.name if kept and prepared.directory else "",
        seen=seen,
        version=version("metaspo"),
    )


@contextmanager
def seen_by_all(cache: str) -> Iterator[str]:
    """A file in the cache's folder by which a node sees that it is the same one; "" for a cache with an address."""
    folder = folder_of(cache, folder=Path())
    if folder is None:
        yield ""
        return
    with stopping_at_faults(folder):
        folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        mark = folder / f".seen-{uuid.uuid4().hex}"
        mark.touch()
    try:
        yield str(mark)
    finally:
        mark.unlink(missing_ok=True)


def _left_behind(folder: str, names: list[str]) -> set[str]:
    """By a link's own name, or by the name of what it leads to. Links to a folder that they are in have no end, and
    pipes and sockets cannot be copied."""
    left = set(LEFT_BEHIND(folder, names))
    for name in set(names) - left:
        path = Path(folder, name)
        if path.exists() and not (path.is_file() or path.is_dir()):
            left.add(name)
        elif path.is_symlink():
            target = path.resolve()
            if LEFT_BEHIND(folder, [target.name]) or Path(folder).resolve().is_relative_to(target):
                left.add(name)
    return left


def copy_project(project: Path, target: Path) -> None:
    """Copy a project for the nodes, without keys and without what they make for themselves. Raises `ConfigError`."""
    try:
        shutil.copytree(project, target, ignore=_left_behind, ignore_dangling_symlinks=True, dirs_exist_ok=True)
    except shutil.Error as faults:
        path, _, why = faults.args[0][0]
        raise ConfigError(f"{path} cannot be copied for the nodes: {why}") from None
    except OSError as error:
        raise ConfigError(f"{project} cannot be copied for the nodes: {error}") from None


def unpack(outcome: Outcome, directory: RunDirectory) -> None:
    """Put a run's folder where a run of here would be. Sessions of before, if there are any, stay in its journal.

    Raises `RunDirectoryError` while a process here holds it, `RunStopped` where it cannot be written.
    """
    if not outcome.folder:
        return
    with directory.held(), stopping_at_faults(directory.path), tempfile.TemporaryDirectory(dir=directory.path) as aside:
        unpacked = RunDirectory(Path(aside))
        try:
            with tarfile.open(fileobj=io.BytesIO(outcome.folder)) as archive:
                archive.extractall(unpacked.path, filter="data")
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise RunStopped(f"{directory.path}: what came from {outcome.node} cannot be unpacked: {error}") from None
        if directory.journal.exists() and unpacked.journal.exists():
            before, journal = directory.journal.read_bytes(), unpacked.journal.read_bytes()
            if not journal.startswith(before):  # else the node had these sessions: they went there, or all share `runs`
                unpacked.journal.write_bytes(before + journal)
        for path in [path for path in unpacked.path.rglob("*") if path.is_symlink() or not path.is_dir()]:
            target = directory.path / path.relative_to(unpacked.path)
            target.parent.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            path.replace(target)
