"""Reads a database: rows by their keys, and with them their neighbours, which are likely to be asked for next.

A run that is made again asks for the answers of one moment in another order, and for those of one hour after those of
the hour before. A row among its neighbours is read in a third of the time that it takes to find one by its key.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import islice

from metaspo.cache.disk.database import MODE_RAW, NamedRow, bare_rows, batched, named_rows, value_or_problem
from metaspo.cache.disk.folder import has_places
from metaspo.cache.disk.standing import in_place
from metaspo.cache.place import Key, digits_of, row_name
from metaspo.cache.record import BadRecord

BLOCK = 1_024
"""Rows that are read together; that takes less than a millisecond."""
ALLOWANCE = 8 * BLOCK
"""Rows that may be read in vain, beyond twice those that were of use."""
BLOCKS = 8
"""That are read after one look-up at most: its rows may stand all over the database."""
LONGEST = 4_096
"""Bytes of a record that is read unasked: of longer ones a block may have a gigabyte, and little is gained."""
_KEYS_PER_SELECT = 500
_NEIGHBOURS = """
    SELECT key, CASE WHEN length(value) <= ? THEN value END FROM Cache WHERE rowid BETWEEN ? AND ?
    AND raw = 1 AND mode = ? AND typeof(key) = 'text' AND typeof(value) = 'blob'
"""


class DiskReader:
    """Of one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._places = has_places(connection)
        self._blocks: dict[int, None] = {}  # where rows were found last
        self._neighbours = 0  # read so far

    def by_keys(self, keys: Sequence[str]) -> list[tuple[str, bytes | BadRecord]]:
        """The records there are. Raises what the database raises."""
        asked = {row_name(key) if self._places else key: key for key in keys}
        rows: list[NamedRow] = []
        for names in batched(list(asked), _KEYS_PER_SELECT):
            rows += named_rows(self._connection, names)
        if self._places and len(rows) < len(keys):
            missing = [asked[name] for name in asked.keys() - {name for _, name, _, _ in rows}]
            for some in batched(missing, _KEYS_PER_SELECT):
                rows += bare_rows(self._connection, some)
            asked |= {str(key): key for key in missing}
            rows += self._placed([key for key in missing if not isinstance(key, Key)], asked)
        self._blocks = dict.fromkeys(row[0] // BLOCK for row in rows)
        # A name that nobody asked for is a damaged one: what stands there is bad, or only its place is.
        return [
            (asked.get(name) or digits_of(str(name)), value_or_problem(mode, value)) for _, name, mode, value in rows
        ]

    def _placed(self, keys: Sequence[str], asked: dict[str, str]) -> list[NamedRow]:
        """The rows of keys that come without a place, and have one; the first time the whole index is read for them."""
        rows: list[NamedRow] = []
        for some in batched(keys, _KEYS_PER_SELECT):
            names = {
                row_name(there): str(there) for there, _ in in_place(self._connection, [(key, b"") for key in some])
            }
            asked |= names
            rows += named_rows(self._connection, list(names))
        return rows

    def neighbours(self, *, used: int) -> Iterator[list[tuple[str, bytes]]]:
        """Records around those found last, block by block, as long as those read before are of use: so many were, at
        most."""
        for block in islice(self._blocks, BLOCKS):
            if self._neighbours > ALLOWANCE + 2 * used:
                return
            try:
                where = (LONGEST, block * BLOCK, (block + 1) * BLOCK - 1, MODE_RAW)
                rows = self._connection.execute(_NEIGHBOURS, where).fetchall()
            except sqlite3.Error:  # in rows that nobody has asked for
                return
            self._neighbours += len(rows)
            yield [(digits_of(name), record) for name, record in rows if record is not None]

    def close(self) -> None:
        """Let go."""
        self._connection.close()
