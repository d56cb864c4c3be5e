"""The tables of a comparison."""

from collections.abc import Sequence
from statistics import fmean, stdev

from metaspo.engine.statistics import Comparison, Interval
from metaspo.engine.studies.results import model_label
from metaspo.engine.studies.scores import (
    Summaries,
    adaptation,
    examples_needed,
    improved_share,
    means_by_seed,
    rounds_needed,
    source_contributions,
    without_result,
)
from metaspo.engine.studies.study import Study
from metaspo.engine.studies.table_formats import Table
from metaspo.engine.tasks import MacroF1

INTERVALS = ("95%, other examples", "95%, other tasks")


def tables(study: Study, *, summaries: Summaries, against: Sequence[Comparison]) -> list[Table]:
    """Every table that the study has something for; `against` compares each method with the one that it names."""
    made = [
        _scores(study, summaries),
        _by_seed(study, summaries),
        _by_task(study),
        _against(study, against),
        _left_out(study),
        _generalized(study),
        _adapted(study),
        _transferred(study),
        _spent(study),
    ]
    return [table for table in made if table is not None and table.rows]


def _percent(score: float | None) -> float | None:
    return None if score is None else round(100 * score, 2)


def _range(interval: Interval | None, *, sign: bool = False) -> str | None:
    if interval is None:
        return None
    form = "{:+.1f} to {:+.1f}" if sign else "{:.1f} to {:.1f}"
    return form.format(100 * interval.low, 100 * interval.high)


def _scores(study: Study, summaries: Summaries) -> Table:
    """Methods by domains: the paper's main table."""
    rows = []
    for method in study.methods:
        scores = [_percent(summaries[method, part].score) for part in study.parts]
        whole = summaries[method, ""]
        rows.append((method, *scores, _range(whole.interval), _range(whole.over_tasks)))
    return Table(
        name="scores",
        title=f"Test scores on {study.role} tasks, %",
        columns=("method", *(part or "mean over tasks" for part in study.parts), *INTERVALS),
        rows=tuple(rows),
        note=" ".join(["Mean over tasks, then over seeds.", *_about_macro_f1(study), *_about_missing(study)]),
    )


def _about_macro_f1(study: Study) -> list[str]:
    """That intervals and comparisons are of another figure than the score, where they are."""
    rows = [row for result in study.results for row in study.rows(result) if row.metric == MacroF1().name]
    tasks = ", ".join(dict.fromkeys(row.task for row in rows))
    if not rows:
        return ["Intervals are of mean grades."]
    return [
        f"The score of {tasks} is macro-F1; intervals and comparisons are of mean grades, there the share of right "
        "answers."
    ]


def _about_missing(study: Study) -> list[str]:
    """Which cells are in no mean."""
    cells = "; ".join(f"{method} ({', '.join(places)})" for method, places in without_result(study).items())
    if not cells:
        return []
    return [f"Without a result (means are over the other cells, comparisons over those that both have): {cells}."]


def _by_seed(study: Study, summaries: Summaries) -> Table | None:
    if len(study.seeds) < 2:
        return None
    rows = []
    for method in study.methods:
        by_seed = summaries[method, ""].by_seed
        scores = [by_seed.get(seed) for seed in study.seeds]
        known = [score for score in scores if score is not None]
        spread = stdev(known) if len(known) > 1 else None
        mean = fmean(known) if known else None
        rows.append((method, *map(_percent, scores), _percent(mean), _percent(spread)))
    return Table(
        name="seeds",
        title="Seed by seed, %",
        columns=("method", *(f"seed {seed}" for seed in study.seeds), "mean", "standard deviation"),
        rows=tuple(rows),
    )


def _by_task(study: Study) -> Table:
    tasks: dict[tuple[str, str], dict[str, list[float]]] = {}
    for method in study.methods:
        for _, result in study.of_method(method):
            for row in study.rows(result):
                scores = tasks.setdefault((result.domain, row.task), {}).setdefault(method, [])
                scores += [row.score] if row.score is not None else []
    rows = [
        (
            "/".join(part for part in place if part),
            *(_percent(fmean(found[method])) if found.get(method) else None for method in study.methods),
        )
        for place, found in tasks.items()
    ]
    return Table(name="tasks", title="Task by task, %", columns=("task", *study.methods), rows=tuple(rows))


def _against(study: Study, found: Sequence[Comparison]) -> Table:
    rows = tuple(
        (
            one.a,
            round(100 * one.difference, 2),
            _range(one.interval, sign=True),
            _range(one.over_tasks, sign=True),
            f"{one.p_adjusted:.2g}",
            {"better": "better", "worse": "worse", "noise": "not distinguishable from noise"}[one.verdict],
        )
        for one in found
    )
    return Table(
        name="against",
        title=f"Against {study.grid.against}, points",
        columns=("method", "difference", *INTERVALS, "p", "verdict"),
        rows=rows,
        note=f"p is corrected (Holm) for {len(rows)} comparison{'s' * (len(rows) > 1)}; on the same questions, "
        "each seed's mean grade."
        if rows
        else "",
    )


def _left_out(study: Study) -> Table | None:
    """Which source tasks help: the method with all of them against its variants without one."""
    full, found = source_contributions(study)
    if not found:
        return None
    return Table(
        name="source-tasks",
        title=f"What each source task brings to the {study.role} tasks, points",
        columns=("source task", "gain", "95%, other examples", "p", "verdict"),
        rows=tuple(
            (
                one.task,
                round(100 * one.gain, 2),
                _range(one.comparison.interval, sign=True),
                f"{one.comparison.p_adjusted:.2g}",
                {"better": "helps", "worse": "harms", "noise": "not distinguishable from noise"}[
                    one.comparison.verdict
                ],
            )
            for one in found
        ),
        note=f"{full} with all source tasks against the same without this one; p is corrected for {len(found)} tasks.",
    )


def _generalized(study: Study) -> Table | None:
    if study.grid.config.generalize is None:
        return None
    rows = [(method, *map(_percent, improved_share(study, method))) for method in study.methods]
    return Table(
        name="generalize",
        title="Unseen tasks under several user prompts each, %",
        columns=("method", "mean score", f"user prompts better than with {study.grid.against}"),
        rows=tuple(rows),
    )


def _adapted(study: Study) -> Table | None:
    if study.grid.config.adapt is None:
        return None
    curves = {method: adaptation(study, method) for method in study.methods}
    goals = curves.get(study.grid.against) or {}
    if not goals:
        return None
    goal = goals[max(goals)][-1]
    rows = []
    for method, by_size in curves.items():
        if by_size:
            whole = by_size[max(by_size)]
            needed = rounds_needed(whole, goal)
            rows.append((method, _percent(whole[0]), _percent(whole[-1]), needed, examples_needed(by_size, goal)))
    return Table(
        name="adapt",
        title="Adapting user prompts to unseen tasks",
        columns=("method", "at the start, %", "at the end, %", "rounds needed", "train examples needed"),
        rows=tuple(rows),
        note=f"Needed to reach what {study.grid.against} has at its end ({100 * goal:.1f}%); – where it does not.",
    )


def _transferred(study: Study) -> Table | None:
    models = [model_label(table) for table in study.grid.config.transfer]
    if not models:
        return None
    rows = []
    for method in study.methods:
        scores = [
            means_by_seed(
                (result.seed, row)
                for _, result in study.of_method(method)
                for row in result.transferred.get(model, ())
                if row.role == study.role
            )
            for model in models
        ]
        rows.append((method, *(_percent(fmean(found.values())) if found else None for found in scores)))
    return Table(name="transfer", title="With other models, %", columns=("method", *models), rows=tuple(rows))


def _spent(study: Study) -> Table:
    rows = []
    for method in study.methods:
        cells = [result for _, result in study.of_method(method)]
        stopped = sum(1 for result in study.results if result.method == method and result.stopped)
        rows.append(
            (
                method,
                sum(cell.answers for cell in cells),
                sum(cell.calls for cell in cells),
                f"${sum(cell.dollars for cell in cells):.4f}",
                round(sum(cell.seconds for cell in cells), 1),
                stopped,
            )
        )
    return Table(
        name="spent",
        title="What it took, all seeds together",
        columns=("method", "answers", "of them asked now", "dollars", "seconds", "cells without a result"),
        rows=tuple(rows),
        note="What was in the cache already was not asked again; methods share equal questions. What cells without a "
        "result took is not in these figures.",
    )
