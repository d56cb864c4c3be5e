"""The answers in a database: added, read, and kept from doing harm.

diskcache by itself would throw entries away above a size and unpickle what it reads: `SETTINGS` turns the first off,
`BytesDisk` the second.
"""

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import diskcache

from metaspo.cache.base import StoreError
from metaspo.cache.disk.folder import BUSY_TIMEOUT, FILE, SETTINGS, check, create, has_places, identity, shown
from metaspo.cache.disk.standing import in_place, note
from metaspo.cache.errors import DatabaseErrors, explained
from metaspo.cache.place import PREFIX, row_name
from metaspo.cache.record import BadRecord

T = TypeVar("T")
NamedRow = tuple[int, str, object, object]
"""Number, name, mode and value."""

MODE_RAW = 1
"""diskcache's mark for a value that stands in the row as it is; all others mean pickles or side files."""

ROWS_PER_STATEMENT = 100
_INSERT = (
    "INSERT OR IGNORE INTO Cache"
    " (key, raw, store_time, expire_time, access_time, access_count, tag, size, mode, filename, value) VALUES "
)
_NOT_FOUND = BadRecord("the index says that it is there, and does not find it")
_ROW = f"(?, 1, ?, NULL, ?, 0, NULL, 0, {MODE_RAW}, NULL, ?)"


class BytesDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no annotations
    """Text keys and bytes values, exactly as they are; anything else is refused, and nothing is ever unpickled."""

    def put(self, key: object) -> tuple[str, bool]:
        """Key as it goes into the database."""
        if not isinstance(key, str):
            raise TypeError(f"a cache key is text, not {type(key).__name__}")
        return key, True

    def get(self, key: object, raw: object) -> str:
        """Key as it comes out of the database. Raises `BadRecord`."""
        if not raw or not isinstance(key, str):
            raise BadRecord("its key is not plain text")
        return key

    def store(self, value: object, read: bool, key: object = None) -> tuple[int, int, None, bytes]:
        """Value as it goes into the database: size of its side file, mode, name of its side file, value."""
        if read or not isinstance(value, bytes):
            raise TypeError(f"a cache value is bytes, not {type(value).__name__}")
        return 0, MODE_RAW, None, value

    def fetch(self, mode: object, filename: object, value: object, read: bool) -> bytes:
        """Value as it comes out of the database. Raises `BadRecord`."""
        return plain_value(mode, value)


class BytesCache(diskcache.Cache):  # type: ignore[misc]  # diskcache has no annotations
    """A diskcache with our disk and settings. Every thread that uses it must `close()` it."""

    def __init__(self, folder: Path, *, busy_timeout: float) -> None:
        """Open the folder; `busy_timeout` in seconds. Raises what the database raises."""
        try:
            super().__init__(str(folder), timeout=busy_timeout, disk=BytesDisk, **SETTINGS)
            self._file = identity(folder)
            self._places = has_places(self._con)
        except DatabaseErrors:
            self.close()
            raise

    @property
    def _con(self) -> sqlite3.Connection:
        """This thread's connection, which diskcache opens."""
        connection: sqlite3.Connection = super()._con
        connection.text_factory = shown
        return connection

    def add_missing(self, items: Sequence[tuple[str, bytes]]) -> list[bytes | BadRecord | None]:
        """Add those of at most `ROWS_PER_STATEMENT` items whose keys are not there; for each what was there before.

        One statement for all of them, and a second one only where a key was there; within a transaction of the
        caller's. `add` takes two for each, and the thread loses the interpreter's lock at every one.
        """
        if not self._places:
            return self._add([(str(key), data) for key, data in items])
        items = in_place(self._con, items)
        bare = bare_rows(self._con, [key for key, _ in items])
        there = {key: value_or_problem(mode, value) for _, key, mode, value in bare}
        added = iter(self._add([(row_name(key), data) for key, data in items if key not in there]))
        return [there[key] if key in there else next(added) for key, _ in items]

    def _add(self, items: Sequence[tuple[str, bytes]]) -> list[bytes | BadRecord | None]:
        if not items:
            return []
        now = time.time()
        rows: list[object] = []
        for name, data in items:
            rows += (name, now, now, data)
        done = self._sql(_INSERT + ",".join([_ROW] * len(items)), rows)
        if done.rowcount == len(items):
            return [None] * len(items)
        return self._before(items, newest=range(done.lastrowid - done.rowcount + 1, done.lastrowid + 1))

    def _before(self, items: Sequence[tuple[str, bytes]], *, newest: range) -> list[bytes | BadRecord | None]:
        """What was there before rows with the newest ids were added; of two items with one key the first was."""
        rows = named_rows(self._con, [name for name, _ in items])
        added = {name for rowid, name, _, _ in rows if rowid in newest}
        there = {name: value_or_problem(mode, value) for _, name, mode, value in rows}
        stored_before: list[bytes | BadRecord | None] = []
        for name, _ in items:
            stored_before.append(None if name in added else there.get(name, _NOT_FOUND))
            added.discard(name)
        return stored_before

    def note_standing(self, items: Sequence[tuple[str, bytes]]) -> None:
        """Find out what takes long about items before they are added."""
        if self._places:
            note(self._con, items)

    def require_in_place(self) -> None:
        """Raise `OSError` if the database was moved or removed: SQLite would go on writing to a file nobody finds."""
        folder = Path(self.directory)
        if identity(folder) != self._file:
            raise FileNotFoundError(f"{folder / FILE} is not the file that was opened")


def named_rows(connection: sqlite3.Connection, names: Sequence[str]) -> list[NamedRow]:
    """The rows of these names; of an index that is damaged, it may be others as well."""
    # Question marks only: nothing from outside enters the text of the statement.
    select = f"SELECT rowid, key, mode, value FROM Cache WHERE raw = 1 AND key IN ({','.join('?' * len(names))})"  # noqa: S608
    return connection.execute(select, names).fetchall()


def bare_rows(connection: sqlite3.Connection, keys: Sequence[str]) -> list[NamedRow]:
    """The rows of these keys that have no place, as what comes from a server or an earlier version has none."""
    any_there = connection.execute("SELECT 1 FROM Cache WHERE key < ? LIMIT 1", (PREFIX,)).fetchone()
    return named_rows(connection, [str(key) for key in keys]) if any_there else []


def plain_value(mode: object, value: object) -> bytes:
    """The value of a row, if it is one that `BytesDisk` wrote. Raises `BadRecord`."""
    if mode != MODE_RAW or not isinstance(value, bytes):
        raise BadRecord(f"its value is not plain bytes (mode {mode!r})")
    return value


def value_or_problem(mode: object, value: object) -> bytes | BadRecord:
    """The value of a row, or why it has none."""
    try:
        return plain_value(mode, value)
    except BadRecord as problem:
        return problem


def open_cache(folder: Path, *, busy_timeout: float = BUSY_TIMEOUT) -> BytesCache:
    """The cache of a folder, made if there is none.

    Raises `StoreError`.
    """
    if os.path.expandvars(folder) != str(folder):
        raise StoreError(f"The cache folder {folder} has a variable in its name: write it out.")
    if folder.is_file():
        raise StoreError(f"{folder} is a file: name a folder for the cache, which is made if there is none.")
    with explained(folder):
        if not (folder / FILE).exists():
            create(folder)
        check(folder)
        return BytesCache(folder.absolute(), busy_timeout=busy_timeout)


def add_first(cache: BytesCache, items: Sequence[tuple[str, bytes]]) -> list[bytes | BadRecord | None]:
    """Add what is not there yet, in one transaction; for each item what was there before, None where nothing was.

    Raises what the database raises; then nothing was added.
    """
    try:
        cache.require_in_place()
        cache.note_standing(items)
        with cache.transact():
            stored_before = [
                before for some in batched(items, ROWS_PER_STATEMENT) for before in cache.add_missing(some)
            ]
    except DatabaseErrors:
        cache.close()  # rolls back what diskcache may have left open
        raise
    return stored_before


def batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Slices of at most so many items."""
    return (items[start : start + size] for start in range(0, len(items), size))
