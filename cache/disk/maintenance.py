"""A cache folder for those who look after it: every row of its database, also of one that is damaged in places."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

from metaspo.cache.disk.database import BytesCache, add_first, open_cache, plain_value
from metaspo.cache.disk.folder import FILE, connect
from metaspo.cache.errors import explained
from metaspo.cache.maintenance import Row, read_row
from metaspo.cache.place import key_of_row
from metaspo.cache.record import BadRecord

_CHUNK = 500
_SELECT = "SELECT rowid, key, raw, mode, value FROM Cache WHERE rowid > ? ORDER BY rowid LIMIT ?"
_SELECT_ONE = "SELECT rowid, key, raw, mode, value FROM Cache WHERE rowid = ?"


class DiskMaintenance:
    """Looks after the cache in a folder; only `add` makes one where there is none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cache: BytesCache | None = None

    def exists(self) -> bool:
        """Whether the folder holds a cache, sound or not."""
        return (self._folder / FILE).exists()

    def rows(self) -> Iterator[Row]:
        """All rows in the order in which they were stored. Raises `StoreError` if not even their number can be told."""
        with closing(connect(self._folder, salvage=True)) as connection, explained(self._folder, salvage=True):
            yield from _read_rows(connection)

    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in self._folder.glob(f"{FILE}*"))

    def damage(self) -> tuple[str, ...]:
        """What SQLite finds wrong with its file."""
        with closing(connect(self._folder, salvage=True)) as connection:
            try:
                findings = [str(text) for (text,) in connection.execute("PRAGMA integrity_check")]
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                return (str(error),)
        return () if findings == ["ok"] else tuple(findings)

    def remove(self, rows: Sequence[Row]) -> None:
        """Delete rows. The file gets smaller unless somebody is using the cache at the moment; the room is then used
        for new entries."""
        with closing(connect(self._folder, write=True)) as connection, explained(self._folder):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("DELETE FROM Cache WHERE rowid = ?", ((row.id,) for row in rows))
            connection.execute("COMMIT")
            with suppress(sqlite3.OperationalError):  # somebody else is reading: the file keeps its size
                connection.execute("VACUUM")

    def add(self, items: Sequence[tuple[str, bytes]]) -> int:
        """Add records where their keys have none, in one transaction."""
        self._cache = self._cache or open_cache(self._folder)
        with explained(self._folder):
            return sum(before is None for before in add_first(self._cache, items))

    def close(self) -> None:
        """Let go of the database."""
        if self._cache is not None:
            self._cache.close()


def _read_rows(connection: sqlite3.Connection) -> Iterator[Row]:
    """All rows in the order in which they were stored; unreadable ones are reported, not skipped.

    Raises `sqlite3.Error` if not even the number of rows can be told.
    """
    last = _last_rowid(connection)
    seen = 0
    while seen < last:
        try:
            columns = connection.execute(_SELECT, (seen, _CHUNK)).fetchall()
        except sqlite3.DatabaseError:
            yield from _read_singly(connection, range(seen + 1, min(seen + _CHUNK, last) + 1))
            seen += _CHUNK
        else:
            yield from (_row(*row) for row in columns)
            seen = columns[-1][0] if columns else last


def _last_rowid(connection: sqlite3.Connection) -> int:
    try:
        (last,) = connection.execute("SELECT coalesce(max(rowid), 0) FROM Cache").fetchone()
    except sqlite3.DatabaseError:
        # The end is missing; the number of rows, kept elsewhere, is what it was unless pruned.
        (last,) = connection.execute("SELECT value FROM Settings WHERE key = 'count'").fetchone()
    return int(last)


def _read_singly(connection: sqlite3.Connection, rowids: range) -> Iterator[Row]:
    """The rows on both sides of the damage."""
    for rowid in rowids:
        try:
            columns = connection.execute(_SELECT_ONE, (rowid,)).fetchone()
        except sqlite3.DatabaseError as error:
            yield Row(rowid, "", 0, None, f"its page cannot be read ({error})")
        else:
            if columns is not None:
                yield _row(*columns)


def _row(rowid: int, name: object, raw: object, mode: object, value: object) -> Row:
    if raw != 1 or not isinstance(name, str):
        return Row(rowid, "", 0, None, "its key is not plain text")
    key = key_of_row(name)
    try:
        return read_row(rowid, key, plain_value(mode, value))
    except BadRecord as error:
        return Row(rowid, key, 0, None, str(error))
