"""The journal: one JSON line per event, appended as things happen.

Its selections are the run's history: `select` lines hold only what follows from config, data, seed and answers, so two
runs of one config have the same ones, whatever their timing. A run that is started again appends a new `start` line and
says its selections once more.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson

from metaspo.backends.http.loose_json import mended
from metaspo.engine.journal.events import Event, Select, event_of
from metaspo.engine.journal.faults import stopping_at_faults
from metaspo.scheduling import Cost

CHUNK = 1 << 18  # bytes read at once: some thousand lines


class Journal(Protocol):
    """Takes events."""

    def write(self, event: Event) -> None:
        """Append one event."""
        ...


class FileJournal:
    """Appends to a file. Every line is handed to the operating system before `write` returns.

    `clock` is in seconds, that of its event loop as a rule. What cannot be opened or written, for want of room above
    all, stops the run: raises `RunStopped`.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float]) -> None:
        self._path = path
        with stopping_at_faults(path):
            self._file: BinaryIO = path.open("ab", buffering=0)
        self._clock = clock
        self._start = self._clock()
        if self._file.tell() and not _ends_a_line(path):
            self._file.write(b"\n")  # a kill in mid-line: the next line starts on its own

    def write(self, event: Event) -> None:
        """Append one event, with the seconds since this process opened the journal."""
        line = {**event.line(), "t": round(self._clock() - self._start, 3)}
        with stopping_at_faults(self._path):
            self._file.write(_encoded(line))

    def close(self) -> None:
        """Close the file; idempotent."""
        self._file.close()


def _encoded(line: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(line, default=Cost._asdict, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:  # half a surrogate pair, in the words of somebody's own strategy or metric
        return orjson.dumps(mended(line), default=Cost._asdict, option=orjson.OPT_APPEND_NEWLINE)


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


class MemoryJournal:
    """Keeps events in a list: for runs without a directory, and for tests."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def write(self, event: Event) -> None:
        """Append one event."""
        self.events.append(event)

    def close(self) -> None:
        """Nothing to close."""


class StoredJournal:
    """The events of a journal's file, read line by line whenever they are gone through: a long one is never in memory.

    A line cut off by a kill is passed over, and so is one of a kind that only a newer version knows.
    No file, no events.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Event]:
        if not self._path.is_file():
            return
        with self._path.open("rb") as lines:
            yield from filter(None, map(event_in, lines))


def event_in(line: bytes) -> Event | None:
    """The event of a line; None for one that cannot be read, or of a kind that only a newer version knows."""
    try:
        return event_of(orjson.loads(line))
    except orjson.JSONDecodeError:
        return None


def read_lines(path: Path, offset: int) -> tuple[list[bytes], int]:
    """Whole lines of a file from a byte on, a chunk at most, and the byte after them; none where there is no more."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            text = file.read(CHUNK)
            if b"\n" not in text and len(text) == CHUNK:
                text += file.readline()
    except OSError:
        return [], offset
    whole = text[: text.rfind(b"\n") + 1]
    return whole.splitlines(), offset + len(whole)


def read_journal(path: Path) -> list[Event]:
    """All events of a journal; see `StoredJournal`."""
    return list(StoredJournal(path))


def selections(events: Iterable[Event]) -> dict[str, dict[str, Any]]:
    """What was selected, by address, as plain data without times. A rerun's repetition must equal what it repeats."""
    chosen: dict[str, dict[str, Any]] = {}
    for event in events:
        if not isinstance(event, Select):
            continue
        fields = {name: value for name, value in orjson.loads(orjson.dumps(event.line())).items() if name != "event"}
        if chosen.setdefault(event.address, fields) != fields:
            raise ValueError(f"the journal holds two different selections at {event.address}")
    return chosen
