"""Follows one run's journal as it grows: one fold for everybody who watches, and its lines from any byte on."""

from pathlib import Path
from typing import Any, Literal

from metaspo.engine.errors import RunDirectoryError
from metaspo.engine.journal.journal import event_in, read_lines
from metaspo.engine.journal.view import RunView
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.files import read_json

Data = dict[str, Any]


class Follower:
    """A run's directory as far as it has been read.

    Attributes:
        view: what the journal's lines up to `offset` tell.
        offset: bytes of the journal that are folded in.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.view = RunView(texts=True)
        self.offset = 0
        self._parts: dict[Path, tuple[int, Data]] = {}

    def advance(self) -> bool:
        """Fold in what has come, a chunk at most; whether there may be more."""
        lines, self.offset = read_lines(self.run.journal, self.offset)
        for event in filter(None, map(event_in, lines)):
            self.view.apply(event)
        return bool(lines)

    def part(self, name: Literal["config", "live", "result", "summary"]) -> Data:
        """One of the directory's JSON files, read anew when it has changed; {} if it is not there or cannot be read."""
        path = self.run.path / f"{name}.json"
        try:
            changed = path.stat().st_mtime_ns
            if self._parts.get(path, (0, {}))[0] != changed:
                self._parts[path] = (changed, read_json(self.run, part=name))
            return self._parts[path][1]
        except (OSError, RunDirectoryError):
            return {}


def tail_offset(path: Path, size: int) -> int:
    """Where the last whole lines of a file begin, in so many bytes at most."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            if end <= size:
                return 0
            file.seek(end - size)
            file.readline()
            return file.tell()
    except OSError:
        return 0
