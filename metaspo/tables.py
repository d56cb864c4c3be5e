"""What commands print: tables for people, plain data for programs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from metaspo.backends.printable import escaped
from metaspo.console import HarmlessConsole
from metaspo.engine import EvaluationReport
from metaspo.engine.evaluation.test_score import OF_COST, SCORE_COLUMNS, cut_off
from metaspo.engine.money import show_dollars
from metaspo.scheduling.statistics import LaneUse
from metaspo.whole_table import WholeTable

Data = dict[str, Any]
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
OF_SCORES = "malformed: answers in another form than asked for, scored as wrong. failed: no answer, in no score."


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


def from_cache(use: LaneUse | None, table: str) -> str:
    """What to do about a model's bad answers where none is new; "" where some are."""
    answers = use.hits + use.joined if use and not use.calls else 0
    if not answers:
        return ""
    return f"All {answers:,} answers came from the cache; another `revision` in [{table}] asks again."


def print_evaluation(out: Console, report: EvaluationReport) -> None:
    """Scores of given prompts."""
    columns = [column for column in SCORE_COLUMNS if column not in ("stage", "prompt")]
    texts = [{column: SCORE_COLUMNS[column](row) for column in columns} for row in report.scores]
    out.print(fitting(out, "scores (95% intervals)", columns, texts, drop=OF_COST))
    out.print(OF_SCORES, style="dim", highlight=False)
    for row in report.scores:
        if row.unanswered:
            out.print(f"{row.task}: {row.failed} without an answer: {row.unanswered}", highlight=False, markup=False)
    if warning := cut_off(report.scores):
        say(out, f"warning: {warning}.", style="yellow")
    use = report.usage.total
    if not use.calls and 2 * sum(row.malformed for row in report.scores) > sum(row.examples for row in report.scores):
        say(out, from_cache(use, "base"))
    out.print(
        f"{use.calls:,} calls, {use.hits + use.joined:,} from the cache, "
        f"{show_dollars(use.dollars, unpriced=use.unpriced)}, {report.seconds:.1f} s",
        highlight=False,
    )


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
            table.add_row(*(escape(row[column]) for column in kept))
        if table.fits(console):
            break
    return table


def make_table(title: str | None, *columns: str) -> WholeTable:
    """A table of numbers, but for the first column and those named in `TEXT_COLUMNS`. Cells are markup."""
    table = WholeTable(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        text = not number or column in TEXT_COLUMNS
        table.add_column(column, justify="left" if text else "right", overflow="fold")
    return table
