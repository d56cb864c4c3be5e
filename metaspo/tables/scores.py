"""Scores of given prompts, printed for people."""

from rich.console import Console

from metaspo.engine import EvaluationReport
from metaspo.engine.evaluation.test_score import OF_COST, SCORE_COLUMNS, unreadable
from metaspo.scheduling.statistics import LaneUse
from metaspo.tables.printing import fitting, say
from metaspo.tables.usage import calls_and_dollars

OF_SCORES = "malformed: answers in another form than asked for, scored as wrong. failed: no answer, in no score."


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
    out.print(OF_SCORES, style="dim")
    for row in report.scores:
        if row.unanswered:
            out.print(f"{row.task}: {row.failed} without an answer: {row.unanswered}")
    if warning := unreadable(report.scores):
        say(out, f"warning: {warning}.", style="yellow")
    use = report.usage.total
    if not use.calls and 2 * sum(row.malformed for row in report.scores) > sum(row.examples for row in report.scores):
        say(out, from_cache(use, "base"))
    out.print(f"{calls_and_dollars(use)}, {report.seconds:.1f} s")
