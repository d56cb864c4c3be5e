"""The tables of a comparison."""

from collections.abc import Sequence
from statistics import fmean, stdev

from metaspo.backends.counted import counted
from metaspo.engine.money import show_dollars
from metaspo.engine.statistics import Comparison, Interval
from metaspo.engine.studies.effort import about_effort, about_equal_calls, about_everywhere, about_user_prompts, effort
from metaspo.engine.studies.scores import Summaries, source_contributions, task_comparisons, without_result
from metaspo.engine.studies.study import Study
from metaspo.engine.studies.table_formats import Table, Value
from metaspo.engine.tasks import MacroF1

NOT_TOLD = "not distinguishable from noise"
VERDICTS = {"better": "better", "worse": "worse", "noise": NOT_TOLD}


def intervals(study: Study) -> tuple[str, str]:
    """What the two intervals are about."""
    seeds = " and seeds" if len(study.seeds) > 1 else ""
    return f"95%, other examples{seeds}", "95%, other tasks"


def percent(score: float | None) -> float | None:
    """A share from 0 to 1 in percent."""
    return None if score is None else 100 * score


def span(interval: Interval | None, *, sign: bool = False) -> str | None:
    """An interval in percent, with signs if it is of differences."""
    if interval is None:
        return None
    form = "{:+z.1f} to {:+z.1f}" if sign else "{:.1f} to {:.1f}"
    return form.format(100 * interval.low, 100 * interval.high)


def score_table(study: Study, summaries: Summaries) -> Table:
    """Methods by domains: the paper's main table."""
    rows = []
    for method in study.methods:
        scores = [percent(summaries[method, part].score) for part in study.parts]
        whole = summaries[method, ""]
        rows.append((method, *scores, span(whole.interval), span(whole.over_tasks)))
    return Table(
        name="scores",
        title=f"Test scores on {study.role} tasks, %",
        columns=("method", *(part or "mean over tasks" for part in study.parts), *intervals(study)),
        rows=tuple(rows),
        note=" ".join(
            [
                "Mean over tasks, then over seeds.",
                *_about_macro_f1(study),
                *about_user_prompts(study),
                *_about_missing(study),
            ]
        ),
    )


def _about_macro_f1(study: Study) -> list[str]:
    """Which tasks have no mean of grades for a score."""
    rows = [row for result in study.results for row in study.rows(result) if row.metric == MacroF1().name]
    tasks = ", ".join(dict.fromkeys(row.task for row in rows))
    return [f"The score of {tasks} is macro-F1; so is what intervals and comparisons are of."] if rows else []


def _about_missing(study: Study) -> list[str]:
    """Which cells are in no mean."""
    cells = "; ".join(f"{method} ({', '.join(places)})" for method, places in without_result(study).items())
    if not cells:
        return []
    return [f"Without a result (means are over the other cells, comparisons over those that both have): {cells}."]


def seed_table(study: Study, summaries: Summaries) -> Table | None:
    """The mean of every seed, where there are several."""
    if len(study.seeds) < 2:
        return None
    rows = []
    for method in study.methods:
        by_seed = summaries[method, ""].by_seed
        scores = [by_seed.get(seed) for seed in study.seeds]
        complete = [score for score in scores if score is not None]
        spread = stdev(complete) if len(complete) > 1 else None
        mean = fmean(complete) if complete else None
        rows.append((method, *map(percent, scores), percent(mean), percent(spread)))
    return Table(
        name="seeds",
        title="Seed by seed, %",
        columns=("method", *(f"seed {seed}" for seed in study.seeds), "mean", "standard deviation"),
        rows=tuple(rows),
    )


def task_table(study: Study) -> Table:
    """Methods by tasks."""
    tasks: dict[tuple[str, str], dict[str, list[float]]] = {}
    for method in study.methods:
        for _, result in study.of_method(method):
            for row in study.rows(result):
                scores = tasks.setdefault((result.domain, row.task), {}).setdefault(method, [])
                scores += [row.score] if row.score is not None else []
    rows = [
        (
            "/".join(part for part in task if part),
            *(percent(fmean(by_method[method])) if by_method.get(method) else None for method in study.methods),
        )
        for task, by_method in tasks.items()
    ]
    return Table(name="tasks", title="Task by task, %", columns=("task", *study.methods), rows=tuple(rows))


def difference_table(study: Study) -> Table:
    """Where a method gains and where it loses."""
    return Table(
        name="task-differences",
        title=f"Task by task against {study.grid.against}, points",
        columns=("task", "method", "difference", "from", "to", "examples"),
        rows=tuple(
            (
                task,
                comparison.a,
                *(100 * value for value in (comparison.difference, comparison.interval.low, comparison.interval.high)),
                comparison.examples,
            )
            for task, comparisons in task_comparisons(study).items()
            for comparison in comparisons
        ),
        note=f"From and to: {intervals(study)[0]}. One task's differences are no verdict: there are as many as tasks.",
    )


def against_table(study: Study, comparisons: Sequence[Comparison], *, name: str = "against", title: str = "") -> Table:
    """Methods against the one that the study names, each with its verdict."""
    rows = tuple(
        (
            comparison.a,
            100 * comparison.difference,
            span(comparison.interval, sign=True),
            span(comparison.over_tasks, sign=True),
            f"{comparison.p_adjusted:.2g}",
            VERDICTS[comparison.verdict],
        )
        for comparison in comparisons
    )
    family = f"p is corrected (Holm) for {counted(len(rows), 'comparison')}."
    one_run = any(comparison.one_run for comparison in comparisons)
    seeds = " With one seed it is about the prompts that this seed found, not about what others would find." * one_run
    return Table(
        name=name,
        title=f"{title}{': against' if title else 'Against'} {study.grid.against}, points",
        columns=("method", "difference", *intervals(study), "p", "verdict"),
        rows=rows,
        note=family + seeds if rows else "",
    )


def source_table(study: Study) -> Table | None:
    """Which source tasks help: the method with all of them against its variants without one."""
    full, contributions = source_contributions(study)
    if not contributions:
        return None
    says = {"better": "helps", "worse": "harms", "noise": NOT_TOLD}
    return Table(
        name="source-tasks",
        title=f"What each source task brings to the {study.role} tasks, points",
        columns=("source task", "gain", intervals(study)[0], "p", "verdict"),
        rows=tuple(
            (
                task,
                100 * comparison.difference,
                span(comparison.interval, sign=True),
                f"{comparison.p_adjusted:.2g}",
                says[comparison.verdict],
            )
            for task, comparison in contributions
        ),
        note=f"{full} with all source tasks against the same without this one; "
        f"p is corrected for {len(contributions)} tasks.",
    )


def spent_table(study: Study, summaries: Summaries) -> Table:
    """What a cell of each method took, and all of them together."""
    per_cell = ("train calls", "base calls", "optimizer calls", "dollars, cache empty")
    everything = ("answers", "of them asked now", "dollars", "seconds", "cells without a result")
    return Table(
        name="spent",
        title="What it took: one cell, and all seeds together",
        columns=("method", "mean over tasks", *(f"{head} a cell" for head in per_cell), *everything),
        rows=tuple((method, percent(summaries[method, ""].score), *_spent(study, method)) for method in study.methods),
        note=" ".join(
            [
                *about_equal_calls(study),
                *about_effort(study),
                *about_everywhere(study),
                "Train calls are base calls on train splits, each answer once, those that dropped candidates spared "
                "included: what a method works with. Base calls are all that an empty cache would have left to ask, "
                "each once, on test splits, too, without those spared. What was in the cache already was not asked "
                "again; methods share equal questions. What cells without a result took is not in them.",
            ]
        ),
    )


def _spent(study: Study, method: str) -> tuple[Value, ...]:
    cells, took = [result for _, result in study.of_method(method)], effort(study, method)
    return (
        round(took.train),
        round(took.base),
        round(took.optimizer),
        show_dollars(took.dollars, unpriced=round(took.unpriced)),
        sum(cell.answers for cell in cells),
        sum(cell.calls for cell in cells),
        show_dollars(sum(cell.dollars for cell in cells), unpriced=sum(cell.unpriced for cell in cells)),
        round(sum(cell.seconds for cell in cells), 1),
        sum(result.method == method and bool(result.stopped) for result in study.results),
    )
