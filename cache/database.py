"""The database of a cache folder: made, recognized and opened so that it loses nothing and runs no one's code.

A folder of its own holds `cache.db`, an SQLite database with the tables of diskcache. Two numbers in the file's header
(`application_id`, `user_version`) say that it is a metaspo cache, and of which format. diskcache by itself would throw
entries away above a size and unpickle what it reads: `SETTINGS` turns the first off, `BytesDisk` the second.
"""

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import diskcache

from metaspo.cache.base import StoreError
from metaspo.cache.errors import DatabaseErrors, explain
from metaspo.cache.maintenance import FORMAT
from metaspo.cache.record import BadRecord

T = TypeVar("T")

FILE = "cache.db"
BUSY_TIMEOUT = 60.0
"""Seconds to wait for another process that is writing."""

MODE_RAW = 1
"""diskcache's mark for a value that stands in the row as it is; all others mean pickles or side files."""

ROWS_PER_STATEMENT = 100
_INSERT = (
    "INSERT OR IGNORE INTO Cache"
    " (key, raw, store_time, expire_time, access_time, access_count, tag, size, mode, filename, value) VALUES "
)
_ROW = f"(?, 1, ?, NULL, ?, 0, NULL, 0, {MODE_RAW}, NULL, ?)"

_APPLICATION_ID = 0x6D73706F
"""`mspo` in ASCII."""

SETTINGS: dict[str, int | str] = {
    "eviction_policy": "none",
    "cull_limit": 0,
    "size_limit": 2**62,
    "statistics": 0,
    "tag_index": 0,
    "disk_min_file_size": 2**62,  # no side files: every value stays in the database
    "disk_pickle_protocol": 0,  # nothing is pickled; diskcache wants the setting
    "sqlite_auto_vacuum": 0,
    "sqlite_cache_size": 2**13,
    "sqlite_journal_mode": "wal",
    "sqlite_mmap_size": 0,  # a mapped file that is cut short kills the process with SIGBUS
    "sqlite_synchronous": 1,
}
_COUNTERS = {"count", "size", "hits", "misses"}


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
            self._file = _identity(folder)
        except DatabaseErrors:
            self.close()
            raise

    def add_missing(self, items: Sequence[tuple[str, bytes]]) -> list[bytes | BadRecord | None]:
        """Add those of at most `ROWS_PER_STATEMENT` items whose keys are not there; for each what was there before.

        One statement for all of them, and a second one only where a key was there; within a transaction of the
        caller's. `add` takes two for each, and the thread loses the interpreter's lock at every one.
        """
        now = time.time()
        rows: list[object] = []
        for key, data in items:
            rows += (key, now, now, data)
        done = self._sql(_INSERT + ",".join([_ROW] * len(items)), rows)
        if done.rowcount == len(items):
            return [None] * len(items)
        return self._before(items, newest=range(done.lastrowid - done.rowcount + 1, done.lastrowid + 1))

    def _before(self, items: Sequence[tuple[str, bytes]], *, newest: range) -> list[bytes | BadRecord | None]:
        """What was there before rows with the newest ids were added; of two items with one key the first was."""
        marks = ",".join("?" * len(items))
        # Question marks only: nothing from outside enters the text of the statement.
        select = f"SELECT rowid, key, mode, value FROM Cache WHERE raw = 1 AND key IN ({marks})"  # noqa: S608
        rows = self._sql(select, [key for key, _ in items]).fetchall()
        added = {key for rowid, key, _, _ in rows if rowid in newest}
        there = {key: value_or_problem(mode, value) for _, key, mode, value in rows}
        stored_before: list[bytes | BadRecord | None] = []
        for key, _ in items:
            stored_before.append(None if key in added else there[key])
            added.discard(key)
        return stored_before

    def require_in_place(self) -> None:
        """Raise `OSError` if the database was moved or removed: SQLite would go on writing to a file nobody finds."""
        folder = Path(self.directory)
        if _identity(folder) != self._file:
            raise FileNotFoundError(f"{folder / FILE} is not the file that was opened")


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


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn errors of the database into a `StoreError`."""
    try:
        yield
    except DatabaseErrors as error:
        raise explain(folder, error) from error


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
            _create(folder)
        _check(folder)
        cache = BytesCache(folder.absolute(), busy_timeout=busy_timeout)
    for name, value in SETTINGS.items():
        if not name.startswith("disk_") and getattr(cache, name) != value:
            raise StoreError(f"The cache in {folder} did not take the setting {name} = {value}: name another folder.")
    return cache


def connect(
    folder: Path,
    *,
    write: bool = False,
    salvage: bool = False,
    busy_timeout: float = BUSY_TIMEOUT,
    any_thread: bool = False,
) -> sqlite3.Connection:
    """A plain connection to an existing cache, for reading unless `write`. Raises `StoreError`.

    `salvage`: open it even if it is cut short, so that what is left can be read. `any_thread`: whoever uses it sees to
    it that one thread at a time does.
    """
    if not (folder / FILE).exists():
        raise StoreError(f"There is no cache in {folder}: see that the folder is the one you mean.")
    with explained(folder):
        _check(folder, salvage=salvage)
        return _connect(folder, write=write, salvage=salvage, busy_timeout=busy_timeout, any_thread=any_thread)


def add_first(cache: BytesCache, items: Sequence[tuple[str, bytes]]) -> list[bytes | BadRecord | None]:
    """Add what is not there yet, in one transaction; for each item what was there before, None where nothing was.

    Raises what the database raises; then nothing was added.
    """
    try:
        cache.require_in_place()
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


def _connect(
    folder: Path, *, write: bool, salvage: bool, busy_timeout: float, any_thread: bool = False
) -> sqlite3.Connection:
    uri = f"{(folder / FILE).absolute().as_uri()}?mode={'rw' if write else 'ro'}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=busy_timeout, isolation_level=None, check_same_thread=not any_thread
    )
    connection.text_factory = _decode
    if salvage and not write:
        connection.execute("PRAGMA writable_schema = ON")  # the one way to have SQLite open a file that is too short
    return connection


def _identity(folder: Path) -> tuple[int, int]:
    stat = (folder / FILE).stat()
    return stat.st_dev, stat.st_ino


def _decode(text: bytes) -> str:
    """Damaged text is to be shown, not to be an obscure error."""
    return text.decode("utf-8", "replace")


def _create(folder: Path) -> None:
    """Make the folder, for its owner only, and in it an empty database that is marked as ours, in one step."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    strangers = sorted(path.name for path in folder.iterdir() if not path.name.startswith(FILE))
    if strangers:
        raise StoreError(f"{folder} holds other files ({strangers[0]}) and no cache: name a folder of the cache's own.")
    folder.chmod(0o700)
    draft = folder / f"{FILE}.new-{os.urandom(8).hex()}"
    draft.write_bytes(_empty_database())
    try:
        os.link(draft, folder / FILE)
    except FileExistsError:  # another process was faster
        pass
    finally:
        draft.unlink()


def _empty_database() -> bytes:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        return connection.serialize()


@dataclass(frozen=True, slots=True)
class _Marks:
    application_id: int
    user_version: int
    settings: frozenset[str]


def _check(folder: Path, *, salvage: bool = False) -> None:
    """Raise `StoreError` unless the database is a metaspo cache of this format that nobody changed the settings of."""
    if (folder / FILE).stat().st_size == 0:
        raise StoreError(
            f"{folder / FILE} is cut short to nothing: restore it from a snapshot, or name another folder."
        )
    with closing(_connect(folder, write=False, salvage=salvage, busy_timeout=BUSY_TIMEOUT)) as connection:
        marks = _read_marks(connection)
    if marks.application_id != _APPLICATION_ID:
        raise StoreError(f"{folder / FILE} is another program's database: name a folder of the cache's own.")
    if marks.user_version > FORMAT:
        raise StoreError(
            f"The cache in {folder} has format {marks.user_version}, this metaspo reads format {FORMAT}: "
            "update metaspo, or name another folder."
        )
    if marks.user_version < FORMAT:
        raise StoreError(
            f"The cache in {folder} has the old format {marks.user_version}, this metaspo reads format {FORMAT}: "
            "export it with the version that wrote it and import that into a new folder."
        )
    unknown = marks.settings - SETTINGS.keys() - _COUNTERS
    if unknown:
        raise StoreError(f"The cache in {folder} has foreign settings ({sorted(unknown)[0]}): name another folder.")


def _read_marks(connection: sqlite3.Connection) -> _Marks:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (user_version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    names = connection.execute("SELECT key FROM Settings") if "Settings" in tables else ()
    return _Marks(application_id, user_version, frozenset(name for (name,) in names))
