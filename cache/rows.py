"""Every row of a cache, one after the other, also of one that is damaged in places."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from metaspo.cache.base import Entry
from metaspo.cache.database import MODE_RAW
from metaspo.cache.record import BadRecord, decode_entry

_CHUNK = 500
_SELECT = "SELECT rowid, key, raw, mode, value FROM Cache WHERE rowid > ? ORDER BY rowid LIMIT ?"
_SELECT_ONE = "SELECT rowid, key, raw, mode, value FROM Cache WHERE rowid = ?"


@dataclass(frozen=True, slots=True)
class Row:
    """One row; `entry` is None if it is bad, and `problem` then says why.

    Attributes:
        key: "" if it could not be read.
        size: bytes of the stored record; 0 if it could not be read.
    """

    rowid: int
    key: str
    size: int
    entry: Entry | None
    problem: str = ""


def read_rows(connection: sqlite3.Connection) -> Iterator[Row]:
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
    except (
        sqlite3.DatabaseError
    ):  # the end is missing; the number of rows, kept elsewhere, is what it was unless pruned
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


def _row(rowid: int, key: object, raw: object, mode: object, value: object) -> Row:
    if raw != 1 or not isinstance(key, str):
        return Row(rowid, "", 0, None, "its key is not plain text")
    if mode != MODE_RAW or not isinstance(value, bytes):
        return Row(rowid, key, 0, None, f"its value is not plain bytes (mode {mode!r})")
    try:
        return Row(rowid, key, len(value), decode_entry(key, value))
    except BadRecord as error:
        return Row(rowid, key, len(value), None, str(error))
