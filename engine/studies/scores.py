"""What the cells of a comparison add up to: means over tasks and seeds, paired comparisons, efficiency."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from metaspo.engine.evaluation.test_score import TestScore
from metaspo.engine.statistics import Comparison, Contribution, Interval, as_family, compare, mean_score, weighted_mean
from metaspo.engine.studies.adapt import Curve
from metaspo.engine.studies.study import Study

Grades = dict[str, list[float | None]]  # by task
Answered = dict[str, dict[tuple[str, int], float]]  # by task: the mean grade of a question under a seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One method on one domain (or on all), over its seeds.

    Attributes:
        by_seed: mean over tasks (by weight) of the metric, 0 to 1, by seed; a cell without scores is left out.
        score: the mean over seeds.
        grade: the mean over tasks of the mean grade of their questions, which the intervals are of; it is the score
            but for macro-F1, which is no mean over questions, and for questions that only some seeds drew.
        interval: 95%, of the mean grade with other examples of these tasks; None without scores.
        over_tasks: 95%, with other tasks of this kind, too; None for fewer than two tasks.
    """

    method: str
    domain: str
    by_seed: Mapping[int, float]
    score: float | None
    grade: float | None
    interval: Interval | None
    over_tasks: Interval | None


Summaries = Mapping[tuple[str, str], Summary]  # by method and part of the study


def summarize_method(study: Study, method: str, domain: str | None = None) -> Summary:
    """A method's scores on one domain, or the mean over all tasks of all domains."""
    means = means_by_seed(
        (result.seed, row) for _, result in study.of_method(method, domain) for row in study.rows(result)
    )
    graded = {
        task: [grade for grade in grades if grade is not None]
        for task, grades in grades_of(study, method, domain).items()
    }
    known = {task: grades for task, grades in graded.items() if grades}
    weights = study.weights
    overall = mean_score(list(known.values()), weights=[weights[task] for task in known]) if known else None
    return Summary(
        method=method,
        domain=domain or "",
        by_seed=means,
        score=fmean(means.values()) if means else None,
        grade=overall.score if overall else None,
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
        seed: weighted_mean([score for score, _ in found], [weight for _, weight in found])
        for seed, found in by_seed.items()
    }


def grades_of(study: Study, method: str, domain: str | None = None) -> Grades:
    """A method's grade on every question of every task, in the same order for all methods.

    A question that several seeds drew counts once, with its mean grade over them: seeds are not more examples.
    """
    return _over_seeds(study, _answered(study, method, domain), domain)


def paired_grades(study: Study, a: str, b: str) -> tuple[Grades, Grades]:
    """Two methods' grades on what both answered under the same seed, so that no seed counts for one of them only."""
    one, other = _answered(study, a), _answered(study, b)
    both = {task: [key for key in found if key in other.get(task, {})] for task, found in one.items()}
    left: Answered = {task: {key: one[task][key] for key in keys} for task, keys in both.items() if keys}
    right: Answered = {task: {key: other[task][key] for key in keys} for task, keys in both.items() if keys}
    return _over_seeds(study, left), _over_seeds(study, right)


def _answered(study: Study, method: str, domain: str | None = None) -> Answered:
    found: dict[str, dict[tuple[str, int], list[float]]] = {}
    for cell, result in study.of_method(method, domain):
        tests = {task.name: task.test for task in cell.prepared.tasks}
        for row in study.rows(result):
            task = found.setdefault(f"{result.domain}/{row.task}", {})
            for example, grade in zip(tests[row.task], row.grades, strict=True):
                if grade is not None:
                    task.setdefault((example.question, result.seed), []).append(grade)
    return {name: {key: fmean(grades) for key, grades in task.items()} for name, task in found.items()}


def _over_seeds(study: Study, answered: Answered, domain: str | None = None) -> Grades:
    asked, grades = _questions(study, domain), {}
    for name in sorted(answered):
        found: dict[str, list[float]] = {}
        for (question, _), grade in answered[name].items():
            found.setdefault(question, []).append(grade)
        grades[name] = [fmean(found[question]) if question in found else None for question in asked[name]]
    return grades


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
    against = study.grid.against
    return _family(study, [(method, against) for method in study.methods if method != against])


def source_contributions(study: Study) -> tuple[str, tuple[Contribution, ...]]:
    """The method with all source tasks and what each brings to it, the largest first; ("", ()) if there is none."""
    for full in study.grid.methods:
        variants = {
            one.name: one.without
            for one in study.grid.methods
            if one.without and replace(one, name=full.name, about=full.about, without="") == full
        }
        if variants:
            family = _family(study, [(full.name, name) for name in variants])
            found = [Contribution(task=variants[one.b], comparison=one) for one in family]
            return full.name, tuple(sorted(found, key=lambda one: one.gain, reverse=True))
    return "", ()


def _family(study: Study, pairs: Iterable[tuple[str, str]]) -> tuple[Comparison, ...]:
    """Each pair compared, where the two have answers in common."""
    grades = [(names, *paired_grades(study, *names)) for names in pairs]
    return as_family(compare(a, b, names=names, weights=study.weights) for names, a, b in grades if a)


def without_result(study: Study) -> dict[str, list[str]]:
    """The cells that have no scores, by method."""
    found: dict[str, list[str]] = {}
    for result in study.results:
        if result.stopped:
            found.setdefault(result.method, []).append(f"{result.domain} seed {result.seed}".strip())
    return found


def improved_share(study: Study, method: str) -> tuple[float | None, float | None]:
    """Of the generalize protocol: the mean score, and the share of user prompts that do better than `against`'s."""
    own, other = _generalized(study, method), _generalized(study, study.grid.against)
    if not own:
        return None, None
    shared = [key for key in own if key in other]
    better = sum(own[key] > other[key] for key in shared)
    share = better / len(shared) if shared and method != study.grid.against else None
    return _mean_over_tasks(own, study.weights), share


def _generalized(study: Study, method: str) -> dict[tuple[str, int, str, int], float]:
    return {
        (result.domain, result.seed, row.task, row.prompt): row.score
        for _, result in study.of_method(method)
        for row in result.generalized
        if row.score is not None
    }


def _mean_over_tasks(scores: Mapping[tuple[str, int, str, int], float], weights: Mapping[str, float]) -> float:
    tasks: dict[str, list[float]] = {}
    for (domain, _, task, _), score in scores.items():
        tasks.setdefault(f"{domain}/{task}", []).append(score)
    return weighted_mean([fmean(found) for found in tasks.values()], [weights[task] for task in tasks])


def adaptation(study: Study, method: str) -> dict[int, list[float]]:
    """Of the adapt protocol: by train size, the mean test score of each round over tasks and seeds.

    A size is that of the task with the most examples: where a task has fewer, its curve is on all that it has. A curve
    with a test that nothing was answered in is left out.
    """
    return {
        max(curve.examples for _, curve in curves): _mean_curve(curves)
        for curves in sorted(_by_size(study, method), key=lambda found: max(curve.examples for _, curve in found))
    }


def _by_size(study: Study, method: str) -> list[list[tuple[float, Curve]]]:
    """For each amount of data that was asked for, the curves of all tasks and seeds with their tasks' weights."""
    weights = study.weights
    sizes: dict[int, list[tuple[float, Curve]]] = {}
    for _, result in study.of_method(method):
        seen: Counter[str] = Counter()
        for curve in result.adapted:
            if all(point.test.score is not None for point in curve.points):
                sizes.setdefault(seen[curve.task], []).append((weights[f"{result.domain}/{curve.task}"], curve))
            seen[curve.task] += 1
    return list(sizes.values())


def _mean_curve(curves: Sequence[tuple[float, Curve]]) -> list[float]:
    scores = [[point.test.score or 0.0 for point in curve.points] for _, curve in curves]
    return [weighted_mean(there, [weight for weight, _ in curves]) for there in zip(*scores, strict=True)]


def rounds_needed(curve: Sequence[float], goal: float) -> int | None:
    """The first round that reaches a score; None if none does."""
    return next((number for number, score in enumerate(curve) if score >= goal), None)


def examples_needed(curves: Mapping[int, Sequence[float]], goal: float) -> int | None:
    """The smallest train size whose last round reaches a score; None if none does."""
    return next((size for size, curve in sorted(curves.items()) if curve[-1] >= goal), None)
