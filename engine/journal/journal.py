"""The journal: one JSON line per event, appended as things happen.

Its selections are the run's history: `select` lines hold only what follows from config, data, seed and answers, so two
runs of one config have the same ones, whatever their timing. A run that is started again appends a new `start` line and
says its selections once more. Lines that the sums of what was spent hang on end with a checksum: who finds it wrong
knows that something is not known any more.
"""

import errno
import os
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from zlib import crc32

import orjson
from pydantic_core import from_json

from metaspo.backends.http.loose_json import mended
from metaspo.engine.journal.events import Event, Gap, Select, Spent, Start, event_of
from metaspo.engine.journal.faults import stopping_at_faults
from metaspo.scheduling import Cost

CHUNK = 1 << 18  # bytes read at once: some thousand lines
SEALED = (Start, Gap, Spent)
SUM, SEAL = "crc32", b',"crc32":'  # of all of a line before it


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
        self._cut_off = self._file.tell() > 0 and not _ends_a_line(path)  # by a kill, or a full disk

    def write(self, event: Event) -> None:
        """Append one event, with the seconds since this process opened the journal."""
        line = {**event.line(), "t": round(self._clock() - self._start, 3)}
        encoded = _encoded(line)
        if isinstance(event, SEALED):
            encoded = b"%b%b%d}\n" % (encoded[:-2], SEAL, crc32(encoded[:-2]))
        text = b"\n" * self._cut_off + encoded  # on a line of its own
        self._cut_off = True
        with stopping_at_faults(self._path):
            if self._file.write(text) < len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._cut_off = False

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

    No file, no events.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Event]:
        if self._path.is_file():
            with self._path.open("rb") as lines:
                yield from filter(None, map(event_in, lines))


def event_in(line: bytes) -> Event | None:
    """The event of a line: a `Gap` for one that is damaged; None for one that a kill has cut off, or of a kind that
    only a newer version knows."""
    try:
        table = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None if _is_cut_off(line.strip()) else Gap()
    if not isinstance(table, dict) or (SUM in table and table[SUM] != crc32(line[: line.rfind(SEAL)])):
        return Gap()
    event = event_of(table)
    return Gap() if event is None and table.get("event") in (Start.event, Spent.event) else event


def _is_cut_off(line: bytes) -> bool:
    """Whether a table of JSON begins so; an empty line, too, may be what is left of one."""
    if line.endswith(b"}") and SEAL[2:-2] in line[-len(SEAL) - 11 :]:
        return False  # its end is there
    try:
        text = getincrementaldecoder("utf-8")().decode(line)  # without a letter that is cut in two
        from_json(text or "{")
    except ValueError as error:
        return line[:1] in (b"", b"{") and str(error).startswith("EOF while parsing")
    return False


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
