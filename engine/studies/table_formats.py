"""A table of plain values, and how it is shown: as Markdown, as CSV, in LaTeX, as records for JSON."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass

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
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def markdown(table: Table) -> str:
    """A heading, the table, its note."""
    lines = [
        f"### {table.title}",
        "",
        _line(table.columns),
        _line(["---", *["---:"] * (len(table.columns) - 1)]),
        *(_line([shown(value) for value in row]) for row in table.rows),
    ]
    return "\n".join([*lines, *(["", table.note] if table.note else [])]) + "\n"


def as_csv(table: Table) -> str:
    """Comma-separated, with a head; empty where there is no value."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([["" if value is None else value for value in row] for row in table.rows])
    return target.getvalue()


def latex(table: Table) -> str:
    """A table of booktabs in a float, with caption and label."""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(f'{table.title}. {table.note}'.strip() if table.note else table.title)}}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"\toprule",
        _row(table.columns),
        r"\midrule",
        *(_row([shown(value) for value in row]) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return " & ".join(map(_tex, cells)) + r" \\"


def _tex(text: str) -> str:
    """A text in LaTeX, whatever stands in it."""
    return "".join(_TEX.get(char, char) for char in " ".join(text.split()))


def shown(value: Value) -> str:
    """A value for people."""
    if value is None:
        return "–"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
