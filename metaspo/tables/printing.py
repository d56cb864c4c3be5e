"""How what commands print is laid out: tables for people, plain data for programs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from rich import box
from rich.console import Console
from rich.text import Text

from metaspo.backends.printable import escaped
from metaspo.console import HarmlessConsole
from metaspo.tables.whole import WholeTable

Data = dict[str, Any]
HEAD, TAIL = 200, 120  # characters of a long text
TEXT_COLUMNS = (
    "role",
    "method",
    "metric",
    "state",
    "run",
    "task",
    "answer",
    "verdict",
    "date",
    "models",
    "changed",
    "model",
    "endpoint",
    "limits",
)


def print_json(out: HarmlessConsole, data: object) -> None:
    """Indented JSON; what a terminal would obey is escaped, which says the same to every other reader."""
    text = orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
    text = escaped(text)
    try:
        text.encode(out.encoding)
    except UnicodeEncodeError:  # a stream in latin-1 or ASCII
        text = json.dumps(json.loads(text), indent=2)
    out.write(text + "\n")


def say(console: Console, text: str, *, style: str = "") -> None:
    """A sentence: wrapped at words on a terminal, one line elsewhere, for programs that look for it."""
    console.print(Text(text, style=style), soft_wrap=not console.is_terminal)


def fitting(
    console: Console,
    title: str | None,
    columns: Sequence[str],
    rows: Sequence[Mapping[str, str]],
    *,
    drop: Sequence[str],
) -> WholeTable:
    """A table of texts by column, less as many of those to `drop`, in their order, as it takes to fit the console."""
    for count in range(len(drop) + 1):
        kept = [column for column in columns if column not in drop[:count]]
        table = make_table(title, *kept)
        for row in rows:
            table.add_row(*(row[column] for column in kept))
        if table.fits(console):
            break
    return table


def make_table(title: str | None, *columns: str) -> WholeTable:
    """A table of numbers, but for the first column and those named in `TEXT_COLUMNS`."""
    table = WholeTable(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        text = not number or column in TEXT_COLUMNS
        table.add_column(column, justify="left" if text else "right", overflow="fold")
    return table


def excerpt(text: str) -> str:
    """The beginning and the end of a long text."""
    left_out = len(text) - HEAD - TAIL
    return text if left_out < HEAD else f"{text[:HEAD]} … ({left_out:,} characters) … {text[-TAIL:]}"
