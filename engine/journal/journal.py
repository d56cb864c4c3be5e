"""The journal: one JSON line per event, appended as things happen.

Its selections are the run's history: `select` lines hold only what follows from config, data, seed and answers, so two
runs of one config have the same ones, whatever their timing. A run that is started again appends a new `start` line and
says its selections once more.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson


class Journal(Protocol):
    """Takes events; `event` and `address` first, then whatever belongs to it."""

    def write(self, event: str, address: str, data: Mapping[str, Any]) -> None:
        """Append one event."""
        ...


class FileJournal:
    """Appends to a file. Every line is handed to the operating system before `write` returns."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("ab", buffering=0)
        self._clock = asyncio.get_running_loop().time  # lanes write from callbacks, where anyio knows no event loop
        self._start = self._clock()
        if self._file.tell() and not _ends_a_line(path):
            self._file.write(b"\n")  # a kill in mid-line: the next line starts on its own

    def write(self, event: str, address: str, data: Mapping[str, Any]) -> None:
        """Append one event, with the seconds since this process opened the journal."""
        elapsed = round(self._clock() - self._start, 3)
        line = {"event": event, "address": address, **data, "t": elapsed}
        self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def close(self) -> None:
        """Close the file; idempotent."""
        self._file.close()


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


class MemoryJournal:
    """Keeps events in a list: for runs without a directory, and for tests."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def write(self, event: str, address: str, data: Mapping[str, Any]) -> None:
        """Append one event."""
        self.events.append({"event": event, "address": address, **data})

    def close(self) -> None:
        """Nothing to close."""


class StoredJournal:
    """The events of a journal's file, read line by line whenever they are gone through: a long one is never in memory.

    A line cut off by a kill is passed over.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with self._path.open("rb") as lines:
            for line in lines:
                try:
                    yield orjson.loads(line)
                except orjson.JSONDecodeError:
                    continue


def read_journal(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a journal; a line cut off by a kill is passed over."""
    return list(StoredJournal(path))


def selections(events: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What was selected, by address, without times. A rerun's repetition must equal what it repeats."""
    chosen: dict[str, dict[str, Any]] = {}
    for event in events:
        if event["event"] != "select":
            continue
        said = {key: value for key, value in event.items() if key not in ("t", "event")}
        if chosen.setdefault(str(event["address"]), said) != said:
            raise ValueError(f"the journal holds two different selections at {event['address']}")
    return chosen
