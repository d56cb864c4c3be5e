"""Where a key that comes without a place stands already: by its digits alone the index does not find it.

What is imported from a server, from files or from an older version has no place. Added beside an answer of the same key
that has one, it would be a second answer under that key.
"""

import sqlite3
from collections.abc import Sequence

from metaspo.cache.place import LENGTH, PREFIX, Key, key_at

_TABLES = (
    "CREATE TEMP TABLE IF NOT EXISTS Standing (digits TEXT PRIMARY KEY, place TEXT) WITHOUT ROWID",
    "CREATE TEMP TABLE IF NOT EXISTS Noted (last INTEGER)",
)
_NOTE = "INSERT OR IGNORE INTO Standing SELECT substr(key, ?), substr(key, 1, ?) FROM Cache WHERE {} ORDER BY 1"
_ALL = _NOTE.format("key >= ? AND typeof(key) = 'text'")  # the index alone is read
_LATER = _NOTE.format("+key >= ? AND typeof(key) = 'text' AND rowid > ?")


def in_place(connection: sqlite3.Connection, items: Sequence[tuple[str, bytes]]) -> Sequence[tuple[str, bytes]]:
    """The items, and those without a place at the one where their key stands; within a transaction of the caller's."""
    bare = note(connection, items)
    if not bare:
        return items
    # Question marks only: nothing from outside enters the text of the statement.
    select = f"SELECT digits, place FROM Standing WHERE digits IN ({','.join('?' * len(bare))})"  # noqa: S608
    places: dict[str, str] = dict(connection.execute(select, bare).fetchall())
    places |= {str(key): key.place for key, _ in items if isinstance(key, Key)}
    return [(key_at(places[key], key) if key in places else key, data) for key, data in items]


def note(connection: sqlite3.Connection, items: Sequence[tuple[str, bytes]]) -> list[str]:
    """Bring up to date what the connection knows of where keys stand, if some of the items have no place: those keys.

    The first time it reads the whole index (a million rows: about a second); before a transaction, nobody waits for it.
    """
    bare = [str(key) for key, _ in items if not isinstance(key, Key)]
    if not bare:
        return bare
    for table in _TABLES:
        connection.execute(table)
    noted: int | None
    ((noted,),) = connection.execute("SELECT max(last) FROM Noted").fetchall()
    # Before what is noted is read: what comes between is read again.
    ((last,),) = connection.execute("SELECT coalesce(max(rowid), 0) FROM Cache").fetchall()
    what = (LENGTH + 1, LENGTH, PREFIX)
    connection.execute(*((_ALL, what) if noted is None else (_LATER, (*what, noted))))
    connection.execute("DELETE FROM Noted")
    connection.execute("INSERT INTO Noted VALUES (?)", (last,))
    return bare
