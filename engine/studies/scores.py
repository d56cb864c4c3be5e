"""What the cells of a comparison add up to: means over tasks and seeds, paired comparisons."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean

from metaspo.engine.evaluation.test_score import TestScore
from metaspo.engine.statistics import (
    Comparison,
    Interval,
    SplitGrades,
    as_family,
    compare,
    mean_score,
    shared,
    weighted_mean,
)
from metaspo.engine.studies.results import CellResult
from metaspo.engine.studies.study import Study

Rows = Callable[[CellResult], Iterable[TestScore]]
"""Which of a cell's rows a figure is of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One method on one domain (or on all), over its seeds.

    Attributes:
        by_seed: mean over tasks (by weight) of the metric, 0 to 1, by seed; a cell without scores is left out.
        score: the mean over seeds.
        interval: 95%, with other examples of these tasks, and with other seeds where there are several; None without
            scores.
        over_tasks: 95%, with other tasks of this kind, too; None for fewer than two tasks.
    """

    by_seed: Mapping[int, float]
    score: float | None
    interval: Interval | None
    over_tasks: Interval | None


Summaries = Mapping[tuple[str, str], Summary]  # by method and part of the study


def summarize_method(study: Study, method: str, domain: str | None = None) -> Summary:
    """A method's scores on one domain, or the mean over all tasks of all domains."""
    means = means_by_seed(
        (result.seed, row) for _, result in study.of_method(method, domain) for row in study.rows(result)
    )
    graded = splits(study, method, study.rows, domain=domain)
    overall = mean_score(graded, seeds_matter=study.searches(method)) if means else None
    return Summary(
        by_seed=means,
        score=fmean(means.values()) if means else None,
        interval=overall.over_examples if overall else None,
        over_tasks=overall.over_tasks if overall else None,
    )


def means_by_seed(rows: Iterable[tuple[int, TestScore]]) -> dict[int, float]:
    """Each seed's mean over its rows' scores, each with its task's weight; a row without a score is left out."""
    by_seed: dict[int, list[tuple[float, float]]] = {}
    for seed, row in rows:
        if row.score is not None:
            by_seed.setdefault(seed, []).append((row.score, row.weight))
    return {
        seed: weighted_mean([score for score, _ in weighted], [weight for _, weight in weighted])
        for seed, weighted in by_seed.items()
    }


def splits(study: Study, method: str, rows: Rows, *, domain: str | None = None) -> list[SplitGrades]:
    """A method's grades on its rows, by the questions that each seed drew.

    Every line of a test file counts, as it does in a score; that some have the same question counts in intervals only.
    """
    graded = []
    for cell, result in study.of_method(method, domain):
        questions = {task.name: [example.content for example in task.test] for task in cell.prepared.tasks}
        graded += [
            row.split_grades(questions=questions[row.task], task=f"{result.domain}/{row.task}", seed=result.seed)
            for row in rows(result)
        ]
    return graded


def comparisons(study: Study, rows: Rows | None = None, *, seeds_matter: bool = False) -> tuple[Comparison, ...]:
    """Every method against the one that the grid names, as one family, on what both answered under the same seed.

    Args:
        rows: which ones of a cell; those of the final prompts if left out.
        seeds_matter: whether rows of a fixed prompt differ from seed to seed, too, as those of induced user prompts do.
    """
    against = study.grid.against
    pairs = [(method, against) for method in study.methods if method != against]
    return _family(study, pairs, rows or study.rows, seeds_matter=seeds_matter)


def task_comparisons(study: Study) -> dict[str, tuple[Comparison, ...]]:
    """The same task by task, each task a family of its own."""
    tasks = dict.fromkeys((result.domain, row.task) for result in study.results for row in study.rows(result))

    def of_task(domain: str, task: str) -> Rows:
        return lambda result: [row for row in study.rows(result) if (result.domain, row.task) == (domain, task)]

    return {"/".join(filter(None, task)): comparisons(study, of_task(*task)) for task in tasks}


def source_contributions(study: Study) -> tuple[str, tuple[tuple[str, Comparison], ...]]:
    """What each source task brings: a method with all of them against itself without it, the largest gain first.

    Returns:
        The method with all source tasks, and each of them with its comparison; ("", ()) if there is none.
    """
    for full in study.grid.methods:
        variants = {
            variant.name: variant.without
            for variant in study.grid.methods
            if variant.without and replace(variant, name=full.name, about=full.about, without="") == full
        }
        if variants:
            family = _family(study, [(full.name, name) for name in variants], study.rows)
            contributions = [(variants[comparison.b], comparison) for comparison in family]
            return full.name, tuple(sorted(contributions, key=lambda task: task[1].difference, reverse=True))
    return "", ()


def _family(
    study: Study, pairs: Iterable[tuple[str, str]], rows: Rows, *, seeds_matter: bool = False
) -> tuple[Comparison, ...]:
    """Each pair compared, where the two have answers in common."""
    return as_family(
        compare(a, b, names=names, seeds_matter=seeds_matter or any(map(study.searches, names)))
        for names in pairs
        if shared(a := splits(study, names[0], rows), b := splits(study, names[1], rows))
    )


def without_result(study: Study) -> dict[str, list[str]]:
    """The cells that have no scores, by method."""
    stopped: dict[str, list[str]] = {}
    for result in study.results:
        if result.stopped:
            stopped.setdefault(result.method, []).append(f"{result.domain} seed {result.seed}".strip())
    return stopped
