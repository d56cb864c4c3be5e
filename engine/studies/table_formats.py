"""A table of plain values, and how it is shown: as Markdown, as CSV, in LaTeX, as records for JSON."""

import csv
import io
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from metaspo.backends.late_patterns import late_pattern

DECIMALS: Final = 2  # of figures for programs; people see one less, rounded from the figure itself
HEAD: Final = 9  # characters of a line of a column's head in LaTeX, as far as its words allow
_FIT: Final = (
    r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"  # no wider than the text, and no larger
)
_MINUS: Final = late_pattern(r"(?<![\w.])-(?=\d)")
_TEX = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "→": r"$\rightarrow$",
    "…": r"\ldots{}",
}

Value = str | int | float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of plain values under column heads; scores in percent.

    Attributes:
        name: part of a file's name.
        note: what a reader has to know; "" for nothing.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    note: str = ""

    def records(self) -> list[dict[str, Value]]:
        """Each row by column: for JSON."""
        return [dict(zip(self.columns, map(_rounded, row), strict=True)) for row in self.rows]


def markdown(table: Table) -> str:
    """A heading, the table, its note."""
    lines = [
        f"### {table.title}",
        "",
        _line(table.columns),
        _line(["---" if text else "---:" for text in text_columns(table.rows, count=len(table.columns))]),
        *(_line([shown(value) for value in row]) for row in table.rows),
    ]
    return "\n".join([*lines, *(["", table.note] if table.note else [])]) + "\n"


def as_csv(table: Table) -> str:
    """Comma-separated, with a head; empty where there is no value."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([["" if value is None else _rounded(value) for value in row] for row in table.rows])
    return target.getvalue()


def _rounded(value: Value) -> Value:
    return round(value, DECIMALS) + 0.0 if isinstance(value, float) else value  # no "-0.0"


def latex(table: Table) -> str:
    """A table in a float, with caption and label, as wide as the text at most; for booktabs and graphicx."""
    texts = text_columns(table.rows, count=len(table.columns))
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(f'{table.title}. {table.note}'.strip() if table.note else table.title)}}}",
        rf"\label{{tab:{table.name}}}",
        r"\smallskip",
        _FIT,
        rf"\begin{{tabular}}{{{''.join('l' if text else 'r' for text in texts)}}}",
        r"\toprule",
        _row(_head(column, left=text) for column, text in zip(table.columns, texts, strict=True)),
        r"\midrule",
        *(_row(_tex(shown(value)) for value in row) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _head(text: str, *, left: bool) -> str:
    lines = [_tex(line) for line in textwrap.wrap(text, HEAD, break_long_words=False)]
    if len(lines) == 1:
        return lines[0]
    stacked = r"\\".join(lines)
    return rf"\shortstack[{'l' if left else 'r'}]{{{stacked}}}"


def _tex(text: str) -> str:
    """A text in LaTeX, whatever stands in it."""
    parts = _MINUS.split(" ".join(text.split()))
    return "$-$".join("".join(_TEX.get(char, char) for char in part) for part in parts)


def text_columns(rows: Sequence[Sequence[Value]], *, count: int) -> tuple[bool, ...]:
    """Which of so many columns hold words, and not figures: the first, and those where a value begins with a letter."""
    return tuple(not number or any(_is_word(row[number]) for row in rows) for number in range(count))


def _is_word(value: Value) -> bool:
    return isinstance(value, str) and value[:1].isalpha() and value != "unknown"


def shown(value: Value) -> str:
    """A value for people."""
    if value is None:
        return "–"
    return f"{value:z,.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
