"""What an error of the database means to a user: one sentence saying what, where, and what to do."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import diskcache

from metaspo.cache.base import BadEntry, StoreError

DatabaseErrors = (sqlite3.Error, diskcache.Timeout, OSError, UnicodeDecodeError)
"""All that reading or writing the database raises; the last where an error tells of a name that is damaged."""

_WHERE_TO_LOOK = {
    sqlite3.SQLITE_FULL: "has no room left: free some space on its disk",
    sqlite3.SQLITE_IOERR: "could not be read or written: look for a full disk, a quota or a failing disk",
    sqlite3.SQLITE_READONLY: "may not be written: make folder and files writable, or name another folder",
    sqlite3.SQLITE_PERM: "may not be opened: correct the permissions of folder and files, or name another folder",
    sqlite3.SQLITE_CANTOPEN: "could not be opened: see that the folder is there and writable, or name another folder",
    sqlite3.SQLITE_CORRUPT: "is damaged: `metaspo cache export` saves what can still be read; "
    "import that into a new folder",
    sqlite3.SQLITE_NOTADB: "is damaged or not a database: restore it from a snapshot, or name another folder",
    sqlite3.SQLITE_BUSY: "was held by another process for too long: wait for it or end it, then try again",
    sqlite3.SQLITE_LOCKED: "was held by another process for too long: wait for it or end it, then try again",
}

_LONGEST = 480  # bytes of a folder's path: SQLite's own limit is 512, file names included
_BEYOND_READING = "is damaged where all of it begins: restore it from a snapshot, or name another folder"


def explain(folder: Path, error: BaseException, *, salvage: bool = False) -> StoreError:
    """The `StoreError` that tells a user about an error of the database in a folder; `salvage`: what is not damaged was
    looked for already, as `metaspo cache export` does."""
    cause = _first_cause(error)
    advice = _WHERE_TO_LOOK.get(_code(cause), "could not be used: see the reason given")
    if _code(cause) == sqlite3.SQLITE_CANTOPEN and (long := len(os.fsencode(folder.absolute()))) > _LONGEST:
        advice = f"could not be opened: its whole path has {long:,} bytes, more than SQLite takes"
    if salvage and _code(cause) == sqlite3.SQLITE_CORRUPT:
        advice = _BEYOND_READING
    return StoreError(f"The cache in {folder} {advice} ({cause}).")


def bad_entry(where: str, key: str, reason: str) -> BadEntry:
    """The error for what is stored under a key and must not be used."""
    return BadEntry(
        f"There is a bad entry {key[:12]}… in {where} ({reason}): `metaspo cache verify` lists all of them, "
        "`metaspo cache prune --bad` removes them, and they are then asked for again."
    )


def _first_cause(error: BaseException) -> BaseException:
    """The error that began it: diskcache hides it behind its own `Timeout` or behind a failed ROLLBACK. What is behind
    one of the system is no cause: that there is no folder yet, where it may not be made."""
    first = error
    while not isinstance(first, OSError) and isinstance(first.__context__, (sqlite3.Error, OSError)):
        first = first.__context__
    return first


def _code(error: BaseException) -> int:
    """SQLite's primary result code for the error; 0 where there is none that fits."""
    if isinstance(error, PermissionError):
        return sqlite3.SQLITE_PERM
    if isinstance(error, FileNotFoundError):
        return sqlite3.SQLITE_CANTOPEN
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return sqlite3.SQLITE_FULL
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return sqlite3.SQLITE_READONLY
    if isinstance(error, UnicodeDecodeError):
        return sqlite3.SQLITE_CORRUPT
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


@contextmanager
def explained(folder: Path, *, salvage: bool = False) -> Iterator[None]:
    """Turn errors of the database into a `StoreError`; see `explain`."""
    try:
        yield
    except DatabaseErrors as error:
        raise explain(folder, error, salvage=salvage) from error
