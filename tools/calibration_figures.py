"""The intervals of metaspo.engine.statistics, a second time: for many repetitions at once, all seeds alike."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from calibration_world import World
from numpy.typing import NDArray
from scipy.special import stdtrit

from metaspo.engine.statistics import Interval, SplitGrades, compare, mean_score

Floats = NDArray[np.floating]
Bounds = tuple[Floats, Floats]
TAIL = 0.025
LOW, HIGH, MOST = 93.0, 97.0, 5.5  # of coverage; of equal methods that are called different
AGAIN = 10  # times as many repetitions, where they are in more than `MOST`
NOTHING = 1e-18


class Both(NamedTuple):
    """Intervals with other examples of these tasks, and with other tasks."""

    examples: Bounds
    tasks: Bounds


class Parts(NamedTuple):
    """The variance of means over tasks and seeds: from seed to seed, by questions, by tasks; what is in two of them."""

    mean: Floats
    seeds: Floats
    questions: Floats
    tasks: Floats
    in_questions: Floats
    in_tasks: Floats


def covered(bounds: Bounds, truth: Floats) -> float:
    """How often the interval holds the truth, in percent."""
    return 100 * float(((bounds[0] <= truth) & (truth <= bounds[1])).mean())


def lowest_to_highest(figures: Iterable[float]) -> str:
    """As tables have it."""
    all_of_them = list(figures)
    return f"{min(all_of_them):.1f}–{max(all_of_them):.1f}"


def marked(coverage: float) -> str:
    """As tables of what is outside have it: "·" inside, bold below."""
    if LOW <= coverage <= HIGH:
        return "·"
    return f"{coverage:.1f}" if coverage > HIGH else f"**{coverage:.1f}**"


def measured_again(
    told: Callable[[np.random.Generator, int], float], rng: np.random.Generator, repetitions: int
) -> float:
    """How often equal methods are called different. Of hundreds of cells some are above by chance: what is, is measured
    again."""
    first = told(rng, repetitions)
    return first if first <= MOST else told(rng.spawn(1)[0], AGAIN * repetitions)


def parts_of(values: Floats) -> Parts:
    """Of repetitions x tasks x seeds x examples."""
    repetitions, tasks, seeds, examples = values.shape
    by_task = values.mean(axis=3, dtype=float)
    by_seed = by_task.mean(axis=1)
    mean = by_seed.mean(axis=1)
    of_tasks = (by_task - by_seed[:, None]) / tasks
    by_question = values.mean(axis=2, dtype=float)
    away = by_question - by_question.mean(axis=2, keepdims=True)
    more, more_tasks = examples / (examples - 1), tasks / max(tasks - 1, 1)
    questions = more * (away**2).sum(axis=(1, 2)) / (tasks * examples) ** 2
    of_mean = more_tasks * (of_tasks.mean(axis=2) ** 2).sum(axis=1)
    if seeds == 1:
        nothing = np.zeros(repetitions)
        return Parts(mean, nothing, questions, of_mean, nothing, nothing)
    # The variance over seeds of a question's part, from sums of squares: values of right and wrong are their squares.
    squares = (values.astype(np.float32) ** 2).sum(axis=(2, 3)) - examples * (by_task**2).sum(axis=2)
    within = squares - seeds * (away**2).sum(axis=2)
    doubled = more * within.sum(axis=1) / (seeds - 1) / (tasks * examples) ** 2 / seeds
    in_tasks = more_tasks * of_tasks.var(axis=2, ddof=1).sum(axis=1) / seeds
    return Parts(mean, by_seed.var(axis=1, ddof=1) / seeds, questions, of_mean, doubled, in_tasks)


def score_bounds(grades: Floats) -> Both:
    """Of one method's scores."""
    _, tasks, seeds, examples = grades.shape
    parts, many = parts_of(grades), tasks * examples
    free = np.full(len(grades), max(seeds - 1, 1))
    variance, quantile = _add(parts.seeds, free, parts.questions - parts.in_questions, tasks * (examples - 1))
    near = _wilson(parts.mean, variance, quantile, many)
    return Both(near, _wider(near, _wilson(parts.mean, *_over_tasks(parts, parts.seeds, free, tasks), many)))


def gain_bounds(grades: Floats) -> Both:
    """Of the first method less the second."""
    _, _, tasks, seeds, examples = grades.shape
    many = tasks * examples
    parts = parts_of(grades[:, 0].astype(np.float32) - grades[:, 1].astype(np.float32))
    a, b = parts_of(grades[:, 0]).seeds, parts_of(grades[:, 1]).seeds
    squares = (a**2 + b**2) / max(seeds - 1, 1)
    free = np.where(squares > 0, (a + b) ** 2 / np.where(squares > 0, squares, 1), max(seeds - 1, 1))
    kept = many / (many + 2)
    doubt = (1 - kept) * (0.5 + kept * parts.mean**2) / (many + 2)
    rest = kept**2 * np.maximum(parts.questions - parts.in_questions, 0) + doubt
    near = _around(kept * parts.mean, *_add(a + b, free, rest, tasks * (examples - 1)))
    far = _around(parts.mean, *_over_tasks(parts, a + b, free, tasks))
    return Both(near, _wider(near, far))


def share_bounds(wins: Floats) -> Bounds:
    """Of a share of user prompts that do better, over tasks; of repetitions x tasks x seeds x user prompts."""
    _, tasks, seeds, prompts = wins.shape
    parts, many = parts_of(wins), tasks * seeds * prompts
    free, of_task = np.full(len(wins), max(seeds - 1, 1)), seeds * prompts
    away = wins - wins.mean(axis=3, keepdims=True, dtype=float)
    questions = of_task / (of_task - 1) * (away**2).sum(axis=(1, 2, 3)) / many**2 * (seeds == 1)
    near = _wilson(parts.mean, *_add(parts.seeds, free, questions, tasks * (of_task - 1)), many)
    return _wider(near, _wilson(parts.mean, *_over_tasks(parts, parts.seeds, free, tasks), many))


def same_as_engine(world: World, repetitions: int) -> None:
    """Raises `AssertionError` if metaspo says anything else of the first repetitions."""
    few = world.grades[:repetitions]
    gains, scores = gain_bounds(few), score_bounds(few[:, 0])
    for place, (first, second) in enumerate(few.astype(float)):
        a, b = (
            [_split(task, seed, row) for task, rows in enumerate(method) for seed, row in enumerate(rows)]
            for method in (first, second)
        )
        compared, scored = compare(a, b), mean_score(a)
        for bounds, theirs in (
            (gains.examples, compared.interval),
            (gains.tasks, compared.over_tasks),
            (scores.examples, scored.over_examples),
            (scores.tasks, scored.over_tasks),
        ):
            assert isinstance(theirs, Interval)
            assert np.allclose([bounds[0][place], bounds[1][place]], [theirs.low, theirs.high], atol=1e-6), (
                bounds,
                theirs,
            )
        assert (compared.p < 2 * TAIL) == (not compared.interval.low <= 0 <= compared.interval.high)


def _split(task: int, seed: int, row: Floats) -> SplitGrades:
    return SplitGrades(task=f"t{task}", seed=seed, grades=row.tolist())


def _add(seeds: Floats, free: Floats, units: Floats, freedom: int) -> tuple[Floats, Floats]:
    units = np.maximum(units, 0)
    variance = seeds + units
    alone = stdtrit(freedom, 1 - TAIL)
    squares = seeds * stdtrit(np.maximum(free, 1), 1 - TAIL) ** 2 + units * alone**2
    there = variance >= NOTHING
    return variance, np.where(there, np.sqrt(squares / np.where(there, variance, 1)), alone)


def _over_tasks(parts: Parts, seeds: Floats, free: Floats, tasks: int) -> tuple[Floats, Floats]:
    variance, quantile = _add(seeds, free, parts.tasks - parts.in_tasks, tasks - 1)
    return np.maximum(variance, parts.tasks * (stdtrit(tasks - 1, 1 - TAIL) / quantile) ** 2), quantile


def _wilson(mean: Floats, variance: Floats, quantile: Floats, many: float | Floats) -> Bounds:
    own = mean * (1 - mean) / np.where(variance > 0, variance, 1)
    many = np.maximum(np.where(variance > 0, np.minimum(many, own), many), 1)
    spread = quantile**2 / many
    middle = (mean + spread / 2) / (1 + spread)
    reach = quantile * np.sqrt(variance + spread / (4 * many)) / (1 + spread)
    return np.where(mean > 0, np.maximum(middle - reach, 0), 0), np.where(mean < 1, np.minimum(middle + reach, 1), 1)


def _around(middle: Floats, variance: Floats, quantile: Floats) -> Bounds:
    reach = quantile * np.sqrt(variance)
    return np.maximum(middle - reach, -1), np.minimum(middle + reach, 1)


def _wider(a: Bounds, b: Bounds) -> Bounds:
    return np.minimum(a[0], b[0]), np.maximum(a[1], b[1])
