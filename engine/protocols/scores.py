"""What the cells of a comparison add up to: means over tasks and seeds, paired comparisons, efficiency."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from metaspo.engine.protocols.adapt import Curve
from metaspo.engine.protocols.grid import Cell, Grid
from metaspo.engine.protocols.results import CellResult
from metaspo.engine.result import TestScore
from metaspo.engine.statistics import Comparison, Interval, compare_all, mean_score
from metaspo.engine.tasks import TaskRole

Grades = dict[str, list[float | None]]  # by task


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One method on one domain (or on all), over its seeds.

    Attributes:
        by_seed: mean over tasks of the metric, 0 to 1, by seed; a cell without scores is left out.
        score: the mean over seeds.
        interval: 95%, of the mean grade with other examples of these tasks; None without scores.
        over_tasks: 95%, with other tasks of this kind, too; None for fewer than two tasks.
    """

    method: str
    domain: str
    by_seed: Mapping[int, float]
    score: float | None
    interval: Interval | None
    over_tasks: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A grid with its results: everything that tables and pictures are made of.

    Attributes:
        role: whose test splits are looked at: target tasks where there are any, else source tasks.
    """

    grid: Grid
    results: tuple[CellResult, ...]
    role: TaskRole

    @classmethod
    def of(cls, grid: Grid, results: Sequence[CellResult]) -> "Study":
        """Join a grid and what it came to."""
        targets = any(row.role == "target" for result in results for row in result.tests)
        return cls(grid=grid, results=tuple(results), role="target" if targets else "source")

    @property
    def methods(self) -> list[str]:
        """In the order of the grid."""
        return [method.name for method in self.grid.methods]

    @property
    def domains(self) -> list[str]:
        """In the order of the grid."""
        return list(dict.fromkeys(result.domain for result in self.results))

    @property
    def seeds(self) -> list[int]:
        """In the order of the grid."""
        return list(self.grid.config.seeds)

    def of_method(self, method: str, domain: str | None = None) -> list[tuple[Cell, CellResult]]:
        """The finished cells of a method, on one domain or on all."""
        return [
            (cell, result)
            for cell, result in zip(self.grid.cells, self.results, strict=True)
            if result.method == method and domain in (None, result.domain) and not result.stopped
        ]

    def rows(self, result: CellResult) -> list[TestScore]:
        """A cell's scores: of each task the best user prompt's."""
        return [row for row in result.tests if row.role == self.role and row.prompt == 0]


def summarize_method(study: Study, method: str, domain: str | None = None) -> Summary:
    """A method's scores on one domain, or the mean over all tasks of all domains."""
    by_seed: dict[int, list[float]] = {}
    for _, result in study.of_method(method, domain):
        scores = [row.score for row in study.rows(result) if row.score is not None]
        by_seed.setdefault(result.seed, []).extend(scores)
    means = {seed: fmean(scores) for seed, scores in by_seed.items() if scores}
    known = [[grade for grade in grades if grade is not None] for grades in grades_of(study, method, domain).values()]
    overall = mean_score([grades for grades in known if grades]) if any(known) else None
    return Summary(
        method=method,
        domain=domain or "",
        by_seed=means,
        score=fmean(means.values()) if means else None,
        interval=overall.over_examples if overall else None,
        over_tasks=overall.over_tasks if overall else None,
    )


def grades_of(study: Study, method: str, domain: str | None = None) -> Grades:
    """A method's grade on every question of every task, in the same order for all methods.

    A question that several seeds drew counts once, with its mean grade over them: seeds are not more examples.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for cell, result in study.of_method(method, domain):
        tests = {task.name: task.test for task in cell.prepared.tasks}
        for row in study.rows(result):
            task = found.setdefault(f"{result.domain}/{row.task}", {})
            for example, grade in zip(tests[row.task], row.grades, strict=True):
                if grade is not None:
                    task.setdefault(example.question, []).append(grade)
    asked = _questions(study, domain)
    return {
        name: [fmean(found[name][question]) if question in found[name] else None for question in asked[name]]
        for name in sorted(found)
    }


def _questions(study: Study, domain: str | None) -> dict[str, list[str]]:
    """Every question that any seed drew, by domain and task, in a fixed order."""
    asked: dict[str, set[str]] = {}
    for cell in study.grid.cells:
        if domain in (None, cell.domain):
            for task in cell.prepared.tasks:
                asked.setdefault(f"{cell.domain}/{task.name}", set()).update(one.question for one in task.test)
    return {name: sorted(questions) for name, questions in asked.items()}


def comparisons(study: Study) -> tuple[Comparison, ...]:
    """Every method against the one that the grid names, as one family, on the questions that both answered."""
    grades = {method: grades_of(study, method) for method in study.methods}
    finished = {method: tasks for method, tasks in grades.items() if tasks}
    if study.grid.against not in finished or len(finished) < 2:
        return ()
    return compare_all(finished, against=study.grid.against)


def improved_share(study: Study, method: str) -> tuple[float | None, float | None]:
    """Of the generalize protocol: the mean score, and the share of user prompts that do better than `against`'s."""
    own, other = _generalized(study, method), _generalized(study, study.grid.against)
    if not own:
        return None, None
    shared = [key for key in own if key in other]
    better = sum(own[key] > other[key] for key in shared)
    share = better / len(shared) if shared and method != study.grid.against else None
    return _mean_over_tasks(own), share


def _generalized(study: Study, method: str) -> dict[tuple[str, int, str, int], float]:
    return {
        (result.domain, result.seed, row.task, row.prompt): row.score
        for _, result in study.of_method(method)
        for row in result.generalized
        if row.score is not None
    }


def _mean_over_tasks(scores: Mapping[tuple[str, int, str, int], float]) -> float:
    tasks: dict[tuple[str, str], list[float]] = {}
    for (domain, _, task, _), score in scores.items():
        tasks.setdefault((domain, task), []).append(score)
    return fmean(map(fmean, tasks.values()))


def adaptation(study: Study, method: str) -> dict[int, list[float]]:
    """Of the adapt protocol: by train size, the mean test score of each round over tasks and seeds."""
    rounds: dict[int, list[list[float]]] = {}
    for curve in _curves(study, method):
        tests = [point.test.score for point in curve.points]
        rounds.setdefault(curve.examples, []).append([score or 0.0 for score in tests])
    return {size: [fmean(scores) for scores in zip(*curves, strict=True)] for size, curves in sorted(rounds.items())}


def rounds_needed(curve: Sequence[float], goal: float) -> int | None:
    """The first round that reaches a score; None if none does."""
    return next((number for number, score in enumerate(curve) if score >= goal), None)


def examples_needed(curves: Mapping[int, Sequence[float]], goal: float) -> int | None:
    """The smallest train size whose last round reaches a score; None if none does."""
    return next((size for size, curve in sorted(curves.items()) if curve[-1] >= goal), None)


def _curves(study: Study, method: str) -> Iterable[Curve]:
    for _, result in study.of_method(method):
        yield from result.adapted
