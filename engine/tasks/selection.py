"""Which rows of a source count: `where`, `part`, `rows`."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from metaspo.engine.tasks.cells import Row, text_in
from metaspo.engine.tasks.spec import DataSource


def selected(rows: Iterable[Row], source: DataSource) -> Iterator[Row]:
    """The rows that a source asks for, in their order. Raises `TaskError` where a column it goes by is not there."""
    low, high = source.share()
    for row in islice(rows, source.rows):
        if not _matches(row, source.where):
            continue
        if source.group is None or low <= _percentile(text_in(row, source.group)) < high:
            yield row


def _matches(row: Row, where: Mapping[str, tuple[str, ...]]) -> bool:
    return all(text_in(row, column) in wanted for column, wanted in where.items())


def _percentile(text: str) -> int:
    """0 to 99, from the text alone: a row stays in its part whatever becomes of the others."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % 100
