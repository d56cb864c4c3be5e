"""Whether A beats B: paired comparisons on the examples that both answered.

An example's difficulty cancels in its difference, so that pairs show far smaller gains than two scores side by side.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import isclose
from statistics import fmean
from typing import Literal

from metaspo.engine.statistics.interval import TAIL, Interval, percentile_interval
from metaspo.engine.statistics.intervals import weighted_mean, weights_of
from metaspo.engine.statistics.resampling import RESAMPLES, TaskGrades, draw_over_examples, draw_over_tasks, mean_of

Verdict = Literal["better", "worse", "noise"]
Pairs = tuple[Sequence[float], Sequence[float]]
ROUNDING = 1e-9  # sums of floats that are equal on paper


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A against B on the examples that both answered; mean grades, 0 to 1, averaged over tasks.

    Attributes:
        a, b: what is compared, by name.
        examples: the shared examples of all tasks.
        interval: 95%, of A - B with other examples of these tasks.
        over_tasks: 95%, of A - B with other tasks of this kind; None for a single task.
        test: how `p` was found: McNemar's exact test, or random swaps of A and B.
        p: how likely a difference of at least this size is, either way, if A and B are equally good.
        p_adjusted: `p` after Holm's correction for the family of comparisons it belongs to.
        family: how many comparisons that family has.
    """

    a: str
    b: str
    score_a: float
    score_b: float
    tasks: int
    examples: int
    interval: Interval
    over_tasks: Interval | None
    test: Literal["mcnemar", "swaps"]
    p: float
    p_adjusted: float
    family: int = 1

    @property
    def difference(self) -> float:
        """A minus B."""
        return self.score_a - self.score_b

    @property
    def verdict(self) -> Verdict:
        """Whether A is better or worse than B, or not to be told from it: by `p_adjusted` at 5%."""
        if self.p_adjusted >= 2 * TAIL or not self.difference:
            return "noise"
        return "better" if self.difference > 0 else "worse"

    @property
    def sentence(self) -> str:
        """What it comes to, for people."""
        said = {
            "better": f"{self.a} is better than {self.b}",
            "worse": f"{self.a} is worse than {self.b}",
            "noise": f"{self.a} and {self.b} cannot be told apart: the difference is not distinguishable from noise",
        }[self.verdict]
        corrected = f" corrected for {self.family} comparisons" if self.family > 1 else ""
        return (
            f"{said} ({100 * self.difference:+.1f} points on {self.examples} shared examples, 95% interval "
            f"{100 * self.interval.low:+.1f} to {100 * self.interval.high:+.1f}, p = {self.p_adjusted:.2g}{corrected})."
        )


def paired_gain_interval(
    before: Sequence[Sequence[float]],
    after: Sequence[Sequence[float]],
    *,
    weights: Sequence[float] | None = None,
    over: Literal["examples", "tasks"] = "examples",
    seed: int = 0,
) -> Interval:
    """Interval of the mean over tasks of (after - before), from grades of the same examples under both prompts.

    Percentile bootstrap: examples are resampled within each task (strata) and stay paired.

    Args:
        before, after: per task the grades of its examples, 0 to 1, in the same order.
        weights: of the tasks; all alike if left out.
        over: "examples" takes the tasks as given, "tasks" resamples them too (see `mean_interval`).
        seed: of the resampling.

    Raises:
        ValueError: if the shapes differ or a task has no examples.
    """
    if [len(task) for task in before] != [len(task) for task in after] or not before or not all(map(len, before)):
        raise ValueError("before and after must hold grades of the same examples, at least one per task")
    samples = [mean_of(_differences((a, b))) for a, b in zip(after, before, strict=True)]
    draw = draw_over_tasks if over == "tasks" else draw_over_examples
    return percentile_interval(draw(samples, weights_of(samples, weights), seed=seed))


def compare(
    a: TaskGrades,
    b: TaskGrades,
    *,
    names: tuple[str, str] = ("A", "B"),
    weights: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare A with B on the tasks that both have, and there on the examples that both answered.

    Where every grade is 0 or 1 and every example weighs the same, `p` is McNemar's exact test; else the same test by
    random swaps. The intervals are those of `paired_gain_interval`.

    Args:
        weights: of tasks, by name; 1 for those left out.

    Raises:
        ValueError: if they share no answered example, or a task's grades are not of the same examples.
    """
    pairs = shared(a, b)
    given = [(weights or {}).get(task, 1.0) for task in pairs]
    left, right = [pair[0] for pair in pairs.values()], [pair[1] for pair in pairs.values()]
    exact = _is_mcnemar(list(pairs.values()), given)
    if exact:
        p = mcnemar(list(chain.from_iterable(left)), list(chain.from_iterable(right)))
    else:
        p = swap_test(left, right, weights=given, seed=seed)
    return Comparison(
        a=names[0],
        b=names[1],
        score_a=weighted_mean([fmean(grades) for grades in left], given),
        score_b=weighted_mean([fmean(grades) for grades in right], given),
        tasks=len(pairs),
        examples=sum(map(len, left)),
        interval=paired_gain_interval(right, left, weights=given, seed=seed),
        over_tasks=paired_gain_interval(right, left, weights=given, over="tasks", seed=seed)
        if len(pairs) > 1
        else None,
        test="mcnemar" if exact else "swaps",
        p=p,
        p_adjusted=p,
    )


def compare_all(
    methods: Mapping[str, TaskGrades], *, against: str, weights: Mapping[str, float] | None = None, seed: int = 0
) -> tuple[Comparison, ...]:
    """Every other method against one of them, as one family. Raises `ValueError` as `compare` does."""
    return as_family(
        compare(grades, methods[against], names=(name, against), weights=weights, seed=seed)
        for name, grades in methods.items()
        if name != against
    )


def as_family(comparisons: Iterable[Comparison]) -> tuple[Comparison, ...]:
    """The comparisons with `p_adjusted` for being looked at together: all that one would report a success of."""
    family = tuple(comparisons)
    adjusted = holm([one.p for one in family])
    return tuple(replace(one, p_adjusted=p, family=len(family)) for one, p in zip(family, adjusted, strict=True))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down correction (S. Holm, Scandinavian Journal of Statistics 6, 1979), in the order given.

    Of all comparisons where there is no difference, the chance that even one falls below 5% is at most 5%, whatever
    they have in common.
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return tuple(adjusted)


def mcnemar(a: Sequence[float], b: Sequence[float]) -> float:
    """The exact two-sided p of McNemar's test (Q. McNemar, Psychometrika 12, 1947) from grades of 0 and 1.

    Of the examples that one got right and the other wrong, each is as likely to favour A as B if they are equally good.
    """
    from scipy.stats import binomtest  # here: scipy.stats takes half a second to import

    wins = sum(one > other for one, other in zip(a, b, strict=True))
    losses = sum(one < other for one, other in zip(a, b, strict=True))
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def swap_test(
    a: Sequence[Sequence[float]], b: Sequence[Sequence[float]], *, weights: Sequence[float], seed: int = 0
) -> float:
    """The two-sided p of the mean over tasks of A - B when A and B are swapped at random, example by example.

    Fisher's paired randomization test; McNemar's is what it comes to for grades of 0 and 1 that all weigh the same.
    Never below 1 / (1 + `RESAMPLES`).
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    found, swapped = 0.0, np.zeros(RESAMPLES)
    for pair, weight in zip(zip(a, b, strict=True), weights, strict=True):
        differences = np.asarray(_differences(pair))
        sizes, counts = np.unique(np.abs(differences), return_counts=True)
        swaps = rng.binomial(counts, 0.5, size=(RESAMPLES, len(counts)))
        found += weight * float(differences.mean())
        swapped += weight * ((counts - 2 * swaps) @ sizes) / len(differences)
    return float((1 + (np.abs(swapped) >= abs(found) - ROUNDING).sum()) / (1 + RESAMPLES))


def shared(a: TaskGrades, b: TaskGrades) -> dict[str, tuple[list[float], list[float]]]:
    """Per task that both have the grades of the examples that both answered; tasks without any are left out.

    Raises:
        ValueError: if a task's grades are not of the same examples, or nothing is shared.
    """
    pairs = {}
    for task in a:
        if task not in b:
            continue
        if len(a[task]) != len(b[task]):
            raise ValueError(f"task '{task}': {len(a[task])} and {len(b[task])} grades are not of the same examples")
        both = [(x, y) for x, y in zip(a[task], b[task], strict=True) if x is not None and y is not None]
        if both:
            pairs[task] = ([x for x, _ in both], [y for _, y in both])
    if not pairs:
        raise ValueError("there is no example that both have answered")
    return pairs


def _differences(pair: Pairs) -> list[float]:
    return [one - other for one, other in zip(*pair, strict=True)]


def _is_mcnemar(pairs: Sequence[Pairs], weights: Sequence[float]) -> bool:
    """Whether all grades are 0 or 1 and all examples, of whichever task, weigh the same."""
    each = [weight / len(pair[0]) for pair, weight in zip(pairs, weights, strict=True)]
    alike = all(isclose(weight, each[0]) for weight in each)
    return alike and all(grade in (0, 1) for pair in pairs for side in pair for grade in side)
