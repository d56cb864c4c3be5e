"""The folder of a database: made, recognized as ours, and connected to.

It holds `cache.db`, an SQLite database with the tables of diskcache. Two numbers in the file's header
(`application_id`, `user_version`) say that it is a metaspo cache, and of which format.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from metaspo.cache.base import StoreError
from metaspo.cache.errors import explained
from metaspo.cache.record import FORMAT

FILE = "cache.db"
BUSY_TIMEOUT = 60.0
"""Seconds to wait for another process that is writing."""

_APPLICATION_ID = 0x6D73706F
"""`mspo` in ASCII."""

PLACES = 2
"""The format of a database whose rows stand by place and key; in the one before, which stays as it is, by key alone."""

SETTINGS: dict[str, int | str] = {
    "eviction_policy": "none",
    "cull_limit": 0,
    "size_limit": 2**62,
    "statistics": 0,
    "tag_index": 0,
    "disk_min_file_size": 2**62,  # no side files: every value stays in the database
    "disk_pickle_protocol": 0,  # nothing is pickled; diskcache wants the setting
    "sqlite_auto_vacuum": 0,
    "sqlite_cache_size": 2**8,  # pages, 1 MiB: more of them cost memory, and CPU as well
    "sqlite_journal_mode": "wal",
    "sqlite_mmap_size": 0,  # a mapped file that is cut short kills the process with SIGBUS
    "sqlite_synchronous": 1,
}
_COUNTERS = {"count", "size", "hits", "misses"}


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
    with explained(folder, salvage=salvage):
        check(folder, salvage=salvage)
        return _connect(folder, write=write, salvage=salvage, busy_timeout=busy_timeout, any_thread=any_thread)


def shown(text: bytes) -> str:
    """What a database has as text, also where it is damaged: one such column fails its whole statement otherwise."""
    return text.decode("utf-8", "replace")


def has_places(connection: sqlite3.Connection) -> bool:
    """Whether the rows of its database stand by place and key."""
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    return bool(version >= PLACES)


def identity(folder: Path) -> tuple[int, int]:
    """Which file the database is."""
    stat = (folder / FILE).stat()
    return stat.st_dev, stat.st_ino


def create(folder: Path) -> None:
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


def check(folder: Path, *, salvage: bool = False) -> None:
    """Raise `StoreError` unless the database is a metaspo cache of this format that nobody changed the settings of."""
    if (folder / FILE).stat().st_size == 0:
        raise StoreError(
            f"{folder / FILE} is cut short to nothing: restore it from a snapshot, or name another folder."
        )
    with closing(_connect(folder, write=False, salvage=salvage, busy_timeout=BUSY_TIMEOUT)) as connection:
        application_id, version, settings = _read_marks(connection, salvage=salvage)
    if application_id != _APPLICATION_ID:
        raise StoreError(f"{folder / FILE} is another program's database: name a folder of the cache's own.")
    if version > PLACES:
        raise StoreError(
            f"The cache in {folder} has format {version}, this metaspo reads format {PLACES}: "
            "update metaspo, or name another folder."
        )
    if version < FORMAT:
        raise StoreError(
            f"The cache in {folder} has the old format {version}, this metaspo reads format {FORMAT}: "
            "export it with the version that wrote it and import that into a new folder."
        )
    unknown = settings - SETTINGS.keys() - _COUNTERS
    if unknown:
        raise StoreError(f"The cache in {folder} has foreign settings ({sorted(unknown)[0]}): name another folder.")


def _connect(
    folder: Path, *, write: bool, salvage: bool, busy_timeout: float, any_thread: bool = False
) -> sqlite3.Connection:
    uri = f"{(folder / FILE).absolute().as_uri()}?mode={'rw' if write else 'ro'}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=busy_timeout, isolation_level=None, check_same_thread=not any_thread
    )
    connection.text_factory = shown
    if salvage and not write:
        connection.execute("PRAGMA writable_schema = ON")  # the one way to have SQLite open a file that is too short
    return connection


def _empty_database() -> bytes:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {PLACES}")
        return connection.serialize()


def _read_marks(connection: sqlite3.Connection, *, salvage: bool) -> tuple[int, int, set[str]]:
    """What says that it is a metaspo cache, of which format, and the names of its settings.

    `salvage`: without settings that cannot be read, the rows are still worth something.
    """
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    try:
        names = connection.execute("SELECT key FROM Settings NOT INDEXED").fetchall() if "Settings" in tables else ()
    except sqlite3.DatabaseError:
        if not salvage:
            raise
        names = ()
    return application_id, version, {name for (name,) in names}
