"""What `metaspo bench` prints: a benchmark's rows as a table, with what a reader must know."""

from rich import box

from metaspo import bench
from metaspo.console import out
from metaspo.tables import printing
from metaspo.tables.whole import WholeTable


def show(report: bench.Report, *, json: bool) -> None:
    """A report as a table, or as JSON."""
    if json:
        printing.print_json(out, report.as_data())
        return
    columns = list(report.rows[0]) if report.rows else []
    table = WholeTable(title=report.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        text = any(isinstance(row[column], str) for row in report.rows)
        table.add_column(column, justify="left" if text else "right", vertical="bottom", overflow="fold")
    for row in report.rows:
        table.add_row(*(_figure(row[column]) for column in columns))
    out.print(table)
    for note in report.notes:
        out.print(f"- {note}")
    for name, value in report.parameters.items():
        out.print(f"- {name}: {value}")


def _figure(value: str | float | None) -> str:
    """Whole numbers whole, others with three digits that say something."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{2 if abs(value) >= 1 else 3}f}"
