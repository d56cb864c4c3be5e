"""Rows of a text file whose cells end at a sign: CSV, TSV, and what Excel makes of them."""

import codecs
import csv
from collections.abc import Iterator
from itertools import chain
from typing import Final

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.cells import Row, delimiter_advice
from metaspo.engine.tasks.errors import TaskError
from metaspo.engine.tasks.shown import listed

_LONGEST_CELL: Final = 2**31 - 1  # characters; Python's own limit of 131,072 is less than a book
_EXCELS_LINE: Final = late_pattern(r'"?sep=(.)"?\s*')  # a first line that names the sign, for Excel alone


def delimited_rows(raw: Iterator[bytes], shown: str, delimiter: str) -> Iterator[Row]:
    """The rows of a file's lines, each with the line it begins on. Raises `TaskError`.

    Args:
        raw: the lines, in UTF-8.
        shown: the file's name, for messages.
        delimiter: what cells end at; a first line `sep=;` goes before it.
    """
    csv.field_size_limit(_LONGEST_CELL)  # of the process, and there is no other way
    lines = _decoded(raw, shown)
    first = next(lines, "")
    told = _EXCELS_LINE.fullmatch(first)
    if told:
        yield from _rows(lines, shown, told[1], before=1)
    else:
        yield from _rows(chain([first], lines), shown, delimiter, before=0)


def _rows(lines: Iterator[str], shown: str, delimiter: str, *, before: int) -> Iterator[Row]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] = []
    first_line = before + 1
    try:
        for cells in reader:
            where, first_line = f"{shown}:{first_line}", before + reader.line_num + 1
            if not cells:
                continue
            if header:
                yield _named(header, cells, where, delimiter)
            else:
                header = _header(cells, where)
    except csv.Error as error:
        raise TaskError(f"{shown}:{first_line}: not valid CSV: {_advised(str(error), header)}") from None


def _advised(fault: str, header: list[str]) -> str:
    """A fault of Python's reader, in words for who has the file."""
    if "new-line character" in fault:
        return "a line ends with a carriage return alone; save it with the line ends of Unix or Windows"
    if "expected after" not in fault:
        return fault
    return f"{fault}; {delimiter_advice(header) or 'a cell that begins with a quote must end with one'}"


def _decoded(lines: Iterator[bytes], shown: str) -> Iterator[str]:
    for number, raw in enumerate(lines, 1):
        try:
            yield (raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw).decode()
        except UnicodeDecodeError:
            remedy = 'save the file as UTF-8 (in Excel: "CSV UTF-8")'
            raise TaskError(f"{shown}:{number}: not UTF-8 text; {remedy}") from None


def _header(cells: list[str], where: str) -> list[str]:
    if cells[0] == "" and "" not in cells[1:]:
        raise TaskError(f"{where}: the first column has no name; written by pandas? then write with index=False")
    if len(set(cells)) < len(cells) or "" in cells:
        raise TaskError(f"{where}: the first line must name every column once, not: {listed(cells)}")
    return cells


def _named(header: list[str], cells: list[str], where: str, delimiter: str) -> Row:
    if len(cells) != len(header):
        fault = f"{where}: {len(cells)} cells under {len(header)} column names"
        return Row(where, {}, f"{fault}; {delimiter_advice(header) or f'put quotes around cells with {delimiter!r}'}")
    return Row(where, dict(zip(header, cells, strict=True)))
