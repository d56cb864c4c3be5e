"""The store of a cache folder: read on the event loop, written by one worker thread at a time."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from metaspo.cache.base import Entry, StoreError
from metaspo.cache.database import BUSY_TIMEOUT, connect, explained, open_cache, plain_value
from metaspo.cache.recent import RecentEntries
from metaspo.cache.record import BadRecord, decode_entry
from metaspo.cache.trouble import bad_entry
from metaspo.cache.writer import BatchWriter

MEMORY_BYTES = 16 * 2**20
_READ_TIMEOUT = 5.0
"""Seconds a read may hold the event loop: reads wait for nobody except while a crashed process's log is recovered."""

_KEYS_PER_SELECT = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatistics:
    """What a store did since it was opened.

    Attributes:
        memory_hits, disk_hits, misses: keys asked for, by where they were found.
        written: answers that this store was the first to keep.
        waiting: answers on their way to disk.
        remembered: entries in memory.
    """

    memory_hits: int
    disk_hits: int
    misses: int
    written: int
    waiting: int
    remembered: int


class DiskStore:
    """Keeps entries in a folder, for one event loop; several processes may use the folder at the same time.

    Opening makes the folder if need be, and takes some milliseconds. Use it as `async with DiskStore(folder) as store`
    or call `aclose`. A power cut may lose the last seconds of answers, a killed process none that `put` returned.
    """

    def __init__(
        self, folder: Path | str, *, memory_bytes: int = MEMORY_BYTES, busy_timeout: float = BUSY_TIMEOUT
    ) -> None:
        """Open the folder. `busy_timeout`: seconds to wait for other processes that write. Raises `StoreError`."""
        self._folder = folder = Path(folder).expanduser()
        self._recent = RecentEntries(memory_bytes)
        self._memory_hits = self._disk_hits = self._misses = 0
        cache = open_cache(folder, busy_timeout=busy_timeout)
        cache.close()  # this thread's connection; the writer's thread opens its own
        self._reader: sqlite3.Connection | None = connect(folder, busy_timeout=_READ_TIMEOUT)
        self._writer = BatchWriter(cache, folder, self._recent)

    def __repr__(self) -> str:
        return f"<DiskStore {self._folder} {self.statistics()}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def statistics(self) -> StoreStatistics:
        """Counts since opening."""
        return StoreStatistics(
            memory_hits=self._memory_hits,
            disk_hits=self._disk_hits,
            misses=self._misses,
            written=self._writer.written,
            waiting=self._writer.waiting,
            remembered=len(self._recent),
        )

    def unwritten(self) -> dict[str, Entry]:
        """Answers that were put and are not on disk yet; after an `aclose` that failed, those that were lost to it."""
        return self._writer.unwritten()

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        """The entries there are. Does not suspend: a thousand keys hold the loop for about 10 ms. Raises `StoreError`.

        Finds what is on disk: an answer that is still on its way there may yet turn out to be another process's.
        """
        reader = self._require_open()
        found: dict[str, Entry] = {}
        missing: list[str] = []
        for key in keys:
            entry = self._recent.get(key)
            if entry is None:
                missing.append(key)
            else:
                found[key] = entry
        self._memory_hits += len(keys) - len(missing)
        if missing:
            found.update(self._read(reader, list(dict.fromkeys(missing))))
        return found

    async def put(self, key: str, entry: Entry) -> Entry:
        """Keep an entry; returns the canonical one once it is on disk. Raises `StoreError`.

        A `put` that is cancelled is still written. One that failed is kept in memory and written with the next.
        """
        result = (await self.put_many({key: entry}))[key]
        if isinstance(result, StoreError):
            raise StoreError(str(result)) from result  # others may wait for the same entry, and raise their own
        return result

    async def put_many(self, entries: Mapping[str, Entry]) -> dict[str, Entry | StoreError]:
        """As `put` for each; what could not be kept has the reason in its place."""
        self._require_open()
        kept: dict[str, Entry | StoreError] = {}
        new: dict[str, Entry] = {}
        for key, entry in entries.items():
            known = self._recent.get(key)
            if known is None:
                new[key] = entry
            else:
                kept[key] = known
        if new:
            kept.update(await self._writer.put_many(new))
        return kept

    async def aclose(self) -> None:
        """Write what is pending and let go; idempotent. Raises `StoreError` if answers could not be written."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        await self._writer.aclose()

    def _read(self, reader: sqlite3.Connection, keys: Sequence[str]) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        with explained(self._folder):
            for key, mode, value in _select(reader, keys):
                try:
                    record = plain_value(mode, value)
                    found[key] = decode_entry(key, record)
                except BadRecord as error:
                    raise bad_entry(self._folder, key, str(error)) from error
                self._recent.add(key, record)
        self._disk_hits += len(found)
        self._misses += len(keys) - len(found)
        return found

    def _require_open(self) -> sqlite3.Connection:
        if self._reader is None:
            raise StoreError(f"The store of {self._folder} is closed; open it anew.")
        return self._reader


def _select(reader: sqlite3.Connection, keys: Sequence[str]) -> Iterator[tuple[str, object, object]]:
    for start in range(0, len(keys), _KEYS_PER_SELECT):
        some = keys[start : start + _KEYS_PER_SELECT]
        marks = ",".join("?" * len(some))
        # Question marks only: nothing from outside enters the text of the statement.
        yield from reader.execute(f"SELECT key, mode, value FROM Cache WHERE raw = 1 AND key IN ({marks})", some)  # noqa: S608
