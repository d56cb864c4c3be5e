"""Reads a database: rows by their keys, and with them their neighbours, which are likely to be asked for next.

A run that is made again asks for the answers of one moment in another order, and for those of one hour after those of
the hour before. A row among its neighbours is read in a third of the time that it takes to find one by its key.
"""

import sqlite3
from collections.abc import Iterable, Sequence

from metaspo.cache.database import MODE_RAW, batched, value_or_problem
from metaspo.cache.record import BadRecord

BLOCK = 1_024
"""Rows that are read together; that takes less than a millisecond."""
ALLOWANCE = 8 * BLOCK
"""Rows that may be read in vain, beyond twice those that were of use."""
_KEYS_PER_SELECT = 500
_NEIGHBOURS = """
    SELECT key, value FROM Cache WHERE rowid BETWEEN ? AND ?
    AND raw = 1 AND mode = ? AND typeof(key) = 'text' AND typeof(value) = 'blob'
"""


class DiskReader:
    """Of one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._blocks: dict[int, None] = {}  # where rows were found last
        self._neighbours = 0  # read so far

    def by_keys(self, keys: Sequence[str]) -> list[tuple[str, bytes | BadRecord]]:
        """The records there are. Raises what the database raises."""
        rows: list[tuple[int, str, object, object]] = []
        for some in batched(keys, _KEYS_PER_SELECT):
            marks = ",".join("?" * len(some))
            # Question marks only: nothing from outside enters the text of the statement.
            select = f"SELECT rowid, key, mode, value FROM Cache WHERE raw = 1 AND key IN ({marks})"  # noqa: S608
            rows += self._connection.execute(select, some)
        self._blocks = dict.fromkeys(row[0] // BLOCK for row in rows)
        return [(key, value_or_problem(mode, value)) for _, key, mode, value in rows]

    def neighbours(self, *, used: int) -> Iterable[tuple[str, bytes]]:
        """Records around those found last, as long as those read before are of use: so many were, at most."""
        for block in self._blocks:
            if self._neighbours > ALLOWANCE + 2 * used:
                return
            try:
                rows = self._connection.execute(
                    _NEIGHBOURS, (block * BLOCK, (block + 1) * BLOCK - 1, MODE_RAW)
                ).fetchall()
            except sqlite3.Error:  # in rows that nobody has asked for
                return
            self._neighbours += len(rows)
            yield from rows

    def close(self) -> None:
        """Let go."""
        self._connection.close()
