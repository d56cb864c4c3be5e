"""The tables of a comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from statistics import fmean, stdev

from metaspo.engine.money import show_dollars
from metaspo.engine.statistics import Comparison, Interval, MeanScore
from metaspo.engine.studies.effort import about_effort, about_equal_calls, about_everywhere, about_user_prompts, effort
from metaspo.engine.studies.protocol_scores import ProtocolScores, Shares, adaptation
from metaspo.engine.studies.savings import Needed, Savings
from metaspo.engine.studies.scores import Summaries, source_contributions, task_comparisons, without_result
from metaspo.engine.studies.study import Study
from metaspo.engine.studies.table_formats import Table, Value
from metaspo.engine.tasks import MacroF1

NOT_TOLD = "not distinguishable from noise"
VERDICTS = {"better": "better", "worse": "worse", "noise": NOT_TOLD}


def tables(
    study: Study,
    *,
    summaries: Summaries,
    against: Sequence[Comparison],
    protocols: Sequence[ProtocolScores],
    shares: Shares,
    saved: Savings,
) -> list[Table]:
    """Every table that the study has something for; `against` compares each method with the one that it names."""
    extras = {"generalize": _improved(study, shares), "adapt": _needed(study, saved)}
    made = [
        _scores(study, summaries),
        _by_seed(study, summaries),
        _by_task(study),
        _task_differences(study),
        _against(study, against),
        _left_out(study),
        *(
            table
            for protocol in protocols
            if not protocol.model
            for table in _protocol(study, protocol, extras[protocol.name])
        ),
        *_transferred(study, [protocol for protocol in protocols if protocol.model]),
        _spent(study, summaries),
    ]
    return [table for table in made if table is not None and table.rows]


def _intervals(study: Study) -> tuple[str, str]:
    """What the two intervals are about."""
    seeds = " and seeds" if len(study.seeds) > 1 else ""
    return f"95%, other examples{seeds}", "95%, other tasks"


def _percent(score: float | None) -> float | None:
    return None if score is None else 100 * score


def _range(interval: Interval | None, *, sign: bool = False) -> str | None:
    if interval is None:
        return None
    form = "{:+z.1f} to {:+z.1f}" if sign else "{:.1f} to {:.1f}"
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
        columns=("method", *(part or "mean over tasks" for part in study.parts), *_intervals(study)),
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


def _by_seed(study: Study, summaries: Summaries) -> Table | None:
    if len(study.seeds) < 2:
        return None
    rows = []
    for method in study.methods:
        by_seed = summaries[method, ""].by_seed
        scores = [by_seed.get(seed) for seed in study.seeds]
        complete = [score for score in scores if score is not None]
        spread = stdev(complete) if len(complete) > 1 else None
        mean = fmean(complete) if complete else None
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
            "/".join(part for part in task if part),
            *(_percent(fmean(by_method[method])) if by_method.get(method) else None for method in study.methods),
        )
        for task, by_method in tasks.items()
    ]
    return Table(name="tasks", title="Task by task, %", columns=("task", *study.methods), rows=tuple(rows))


def _task_differences(study: Study) -> Table:
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
        note=f"From and to: {_intervals(study)[0]}. One task's differences are no verdict: there are as many as tasks.",
    )


def _against(study: Study, comparisons: Sequence[Comparison], *, name: str = "against", title: str = "") -> Table:
    rows = tuple(
        (
            comparison.a,
            100 * comparison.difference,
            _range(comparison.interval, sign=True),
            _range(comparison.over_tasks, sign=True),
            f"{comparison.p_adjusted:.2g}",
            VERDICTS[comparison.verdict],
        )
        for comparison in comparisons
    )
    family = f"p is corrected (Holm) for {len(rows)} comparison{'s' * (len(rows) > 1)}."
    one_run = any(comparison.one_run for comparison in comparisons)
    seeds = " With one seed it is about the prompts that this seed found, not about what others would find." * one_run
    return Table(
        name=name,
        title=f"{title}{': against' if title else 'Against'} {study.grid.against}, points",
        columns=("method", "difference", *_intervals(study), "p", "verdict"),
        rows=rows,
        note=family + seeds if rows else "",
    )


def _left_out(study: Study) -> Table | None:
    """Which source tasks help: the method with all of them against its variants without one."""
    full, contributions = source_contributions(study)
    if not contributions:
        return None
    says = {"better": "helps", "worse": "harms", "noise": NOT_TOLD}
    return Table(
        name="source-tasks",
        title=f"What each source task brings to the {study.role} tasks, points",
        columns=("source task", "gain", _intervals(study)[0], "p", "verdict"),
        rows=tuple(
            (
                task,
                100 * comparison.difference,
                _range(comparison.interval, sign=True),
                f"{comparison.p_adjusted:.2g}",
                says[comparison.verdict],
            )
            for task, comparison in contributions
        ),
        note=f"{full} with all source tasks against the same without this one; "
        f"p is corrected for {len(contributions)} tasks.",
    )


Own = tuple[tuple[str, ...], Mapping[str, tuple[Value, ...]], str]  # columns, each method's cells, a note


def _protocol(study: Study, protocol: ProtocolScores, extras: Own) -> list[Table]:
    """A protocol's scores with what is its own, and its comparisons."""
    columns, cells, note = extras
    score = "mean score" if protocol.name == "generalize" else "score"
    scores = Table(
        name=protocol.name,
        title=f"{protocol.title}, %",
        columns=("method", score, *_intervals(study), *columns),
        rows=tuple(
            (method, *_score(protocol.scores.get(method)), *cells.get(method, (None,) * len(columns)))
            for method in study.methods
        ),
        note=note,
    )
    return [scores, _against(study, protocol.comparisons, name=f"{protocol.name}-against", title=protocol.title)]


def _transferred(study: Study, models: Sequence[ProtocolScores]) -> list[Table]:
    """Every method with every other model, side by side; and its comparisons with each."""
    intervals = _intervals(study)
    scores = Table(
        name="transfer",
        title="With other models, %",
        columns=(
            "method",
            *(head for to in models for head in (to.model, *(f"{to.model}: {interval}" for interval in intervals))),
        ),
        rows=tuple(
            (method, *(cell for to in models for cell in _score(to.scores.get(method)))) for method in study.methods
        )
        if models
        else (),
    )
    against = [_against(study, to.comparisons, title="With other models") for to in models]
    rows = tuple((to.model, *row) for to, table in zip(models, against, strict=True) for row in table.rows)
    if not rows:
        return [scores]
    return [scores, replace(against[0], name="transfer-against", columns=("model", *against[0].columns), rows=rows)]


def _score(score: MeanScore | None) -> tuple[Value, Value, Value]:
    if score is None:
        return None, None, None
    return _percent(score.score), _range(score.over_examples), _range(score.over_tasks)


def _improved(study: Study, shares: Shares) -> Own:
    columns = (f"user prompts better than with {study.grid.against}", "of them 95%, other tasks")
    cells = {method: _score(share)[::2] for method, share in shares.items()}
    return columns, cells, "A user prompt that ties counts half: 50% of them do better by luck alone."


def _needed(study: Study, saved: Savings) -> Own:
    curves = {method: adaptation(study, method) for method in study.methods}
    columns = ("at the start", "rounds needed", "of the rounds", "train examples needed", "of the examples")
    cells: dict[str, tuple[Value, ...]] = {}
    for method, sizes in curves.items():
        rounds, examples = saved.get(method, (None, None))
        cells[method] = (
            _percent(sizes[max(sizes)][0]) if sizes else None,
            *_counted(rounds),
            *_counted(examples),
        )
    goals = curves.get(study.grid.against) or {}
    goal = f" ({100 * goals[max(goals)][-1]:.1f}%)" if goals else ""
    note = f"Needed to reach what {study.grid.against} has at its end{goal}, with 95% in brackets; – where it does not."
    return columns, cells, note


def _counted(need: Needed | None) -> tuple[Value, Value]:
    return (None, None) if need is None else (None if need.count == inf else int(need.count), need.words)


def _spent(study: Study, summaries: Summaries) -> Table:
    rows = []
    for method in study.methods:
        cells = [result for _, result in study.of_method(method)]
        stopped = sum(1 for result in study.results if result.method == method and result.stopped)
        took = effort(study, method)
        rows.append(
            (
                method,
                _percent(summaries[method, ""].score),
                round(took.train),
                round(took.base),
                round(took.optimizer),
                show_dollars(took.dollars, unpriced=round(took.unpriced)),
                sum(cell.answers for cell in cells),
                sum(cell.calls for cell in cells),
                show_dollars(sum(cell.dollars for cell in cells), unpriced=sum(cell.unpriced for cell in cells)),
                round(sum(cell.seconds for cell in cells), 1),
                stopped,
            )
        )
    per_cell = ("train calls", "base calls", "optimizer calls", "dollars, cache empty")
    everything = ("answers", "of them asked now", "dollars", "seconds", "cells without a result")
    return Table(
        name="spent",
        title="What it took: one cell, and all seeds together",
        columns=("method", "mean over tasks", *(f"{head} a cell" for head in per_cell), *everything),
        rows=tuple(rows),
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
