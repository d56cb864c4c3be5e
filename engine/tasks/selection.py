"""Which rows of a source count: `where`, `part`, `rows`."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice

from metaspo.engine.tasks.cells import Row, row_json, text_in
from metaspo.engine.tasks.data_spec import DataSource
from metaspo.engine.tasks.errors import TaskError
from metaspo.engine.tasks.shown import listed, shown


def selected(rows: Iterable[Row], source: DataSource) -> Iterator[Row]:
    """The rows that a source asks for, in their order, and those that are none where they may be left out.

    Raises `TaskError` for a row that is none, and where a column that it goes by is not there, or never holds what is
    asked for.
    """
    low, high = source.share()
    found, held = False, {column: dict[str, None]() for column in source.where}
    for row in islice(rows, source.rows):
        if row.fault and source.bad_rows == "stop":
            raise TaskError(row.fault)
        if row.fault or (_matches(row, source.where) and (source.part is None or low <= _share(row, source) < high)):
            found = True
            yield row
        elif not found:
            for column, texts in held.items():
                with suppress(TaskError):  # one that nothing goes by, where another column leaves the row out
                    texts[text_in(row, column)] = None
    for column, texts in () if found else held.items():
        wanted = source.where[column]
        if texts and texts.keys().isdisjoint(wanted):
            raise TaskError(
                f"{source.path or source.dataset or 'the list of rows'}: no row has in {column!r} what `where` asks "
                f"for ({_quoted(wanted)}); there are: {_quoted(texts)}"
            )


def _quoted(texts: Iterable[str]) -> str:
    return listed(map(shown, texts))


def _share(row: Row, source: DataSource) -> int:
    """The percentile that a row falls into, by the column it goes by or by all of it."""
    if source.group is not None:
        return _percentile(text_in(row, source.group))
    return _percentile(row_json(row))


def _matches(row: Row, where: Mapping[str, tuple[str, ...]]) -> bool:
    return all(text_in(row, column) in wanted for column, wanted in where.items())


def _percentile(text: str) -> int:
    """0 to 99, from the text alone: a row stays in its part whatever becomes of the others."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % 100
