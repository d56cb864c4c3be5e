"""Whether A beats B: paired comparisons on the examples that both answered.

An example's difficulty cancels in its difference, so that pairs show far smaller gains than two scores side by side.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Literal

from metaspo.backends.counted import counted
from metaspo.engine.statistics.crossed import Crossed, Part, Units, crossed
from metaspo.engine.statistics.grades import Grade, SplitGrades, Values, values_of
from metaspo.engine.statistics.interval import TAIL, Interval
from metaspo.engine.statistics.scores import check, only, over_tasks, variance_parts
from metaspo.engine.statistics.student import combined, quantile, total, two_sided

Verdict = Literal["better", "worse", "noise"]
Pair = tuple[SplitGrades, SplitGrades]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A against B on the examples that both answered: scores, 0 to 1, averaged over tasks, then over seeds.

    Attributes:
        a, b: what is compared, by name.
        examples: the shared questions of all tasks; one that several seeds answered counts once.
        seeds: how many the verdict is about; 1 also where seeds do not matter.
        interval: 95%, of A - B with other examples of these tasks, and with other seeds where there are several.
        over_tasks: 95%, of A - B with other tasks of this kind, too; None for a single task.
        p: how likely a difference of at least this size is, either way, if A and B are equally good on these tasks.
        p_adjusted: `p` after Holm's correction for the family of comparisons it belongs to.
        family: how many comparisons that family has.
        one_run: whether A or B would be another prompt with another seed, but only one seed is there.
    """

    a: str
    b: str
    score_a: float
    score_b: float
    tasks: int
    examples: int
    seeds: int
    interval: Interval
    over_tasks: Interval | None
    p: float
    p_adjusted: float
    family: int = 1
    one_run: bool = False

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
        claim = {
            "better": f"{self.a} is better than {self.b}",
            "worse": f"{self.a} is worse than {self.b}",
            "noise": f"{self.a} and {self.b} cannot be told apart: the difference is not distinguishable from noise",
        }[self.verdict]
        corrected = f" corrected for {self.family} comparisons" if self.family > 1 else ""
        seeds = f" and {self.seeds} seeds" if self.seeds > 1 else ""
        caution = " This is of the prompts that this one seed found; other seeds may find others." * self.one_run
        return (
            f"{claim} ({100 * self.difference:+z.1f} points on {counted(self.examples, 'shared example')}{seeds}, "
            f"95% interval {100 * self.interval.low:+z.1f} to {100 * self.interval.high:+z.1f}, "
            f"p = {self.p_adjusted:.2g}{corrected}).{caution}"
        )


def compare(
    a: Sequence[SplitGrades],
    b: Sequence[SplitGrades],
    *,
    names: tuple[str, str] = ("A", "B"),
    seeds_matter: bool = True,
) -> Comparison:
    """Compare A with B on the tasks, seeds and user prompts that both have, and there on the examples both answered.

    The variance of the difference is what examples and seeds give it, crossed. Seeds of A and B are independent of each
    other where every seed answered the same questions; where each drew its own, they are compared seed by seed.

    Args:
        seeds_matter: whether another seed would have found another prompt, for A or B.

    Raises:
        ValueError: if they share no answered example, grades without questions are not equally many, or weights are not
            above 0.
    """
    pairs = shared(a, b)
    check([row for row, _ in pairs])
    left = [(row, values_of(row.grades)) for row, _ in pairs]
    right = [(row, values_of(row.grades)) for _, row in pairs]
    differences = [(row, _less(x, y)) for (row, x), (_, y) in zip(left, right, strict=True)]
    table = crossed(differences)
    several = len(table.by_seed) > 1 and seeds_matter
    of_a, of_b = crossed(left), crossed(right)
    seeds = _seeds(table, of_a, of_b) if several else None
    mean, parts = _with_one_more(table, seeds, differences)
    examples = _interval(mean, total(parts), quantile(parts))
    tasks = len({row.task for row, _ in differences})
    p = two_sided(mean, parts)
    return Comparison(
        a=names[0],
        b=names[1],
        score_a=of_a.mean,
        score_b=of_b.mean,
        tasks=tasks,
        examples=len({(row.task, name) for row, _ in differences for name in row.questions or range(len(row.grades))}),
        seeds=len(table.by_seed) if several else 1,
        interval=examples,
        over_tasks=_interval(table.mean, *over_tasks(seeds, table.tasks)).wider(examples) if tasks > 1 else None,
        p=p,
        p_adjusted=p,
        one_run=seeds_matter and not several,
    )


def as_family(comparisons: Iterable[Comparison]) -> tuple[Comparison, ...]:
    """The comparisons with `p_adjusted` for being looked at together: all that one would report a success of."""
    family = tuple(comparisons)
    adjusted = holm([comparison.p for comparison in family])
    return tuple(
        replace(comparison, p_adjusted=p, family=len(family)) for comparison, p in zip(family, adjusted, strict=True)
    )


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down correction (S. Holm, Scandinavian Journal of Statistics 6, 1979), in the order given.

    Of all comparisons where there is no difference, the chance that even one falls below 5% is at most 5%, whatever
    they have in common.
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = highest
    return tuple(adjusted)


def shared(a: Sequence[SplitGrades], b: Sequence[SplitGrades]) -> list[Pair]:
    """The splits that both have, question by question as far as both answered; a split without any is left out.

    Raises:
        ValueError: if grades without questions are not equally many.
    """
    others = {(row.task, row.seed, row.prompt): row for row in b}
    pairs = ((row, others[key]) for row in a if (key := (row.task, row.seed, row.prompt)) in others)
    return [pair for pair in (_answered_by_both(*pair) for pair in pairs) if pair[0].grades]


def _answered_by_both(a: SplitGrades, b: SplitGrades) -> Pair:
    if list(a.questions) != list(b.questions):
        b = _in_order_of(a, b)
    if len(a.grades) != len(b.grades):
        many = f"{len(a.grades)} and {len(b.grades)}"
        raise ValueError(f"task '{a.task}': {many} grades are not of the same examples")
    both = [x is not None and y is not None for x, y in zip(a.grades, b.grades, strict=True)]
    return only(a, both), only(b, both)


def _in_order_of(a: SplitGrades, b: SplitGrades) -> SplitGrades:
    """B's grades of A's questions, None where B has none; a question that stands twice is told by its place."""
    grades: dict[Hashable, list[Grade]] = {}
    for name, grade in zip(b.questions, b.grades, strict=True):
        grades.setdefault(name, []).append(grade)
    rest = {name: iter(of_question) for name, of_question in grades.items()}
    return replace(b, questions=a.questions, grades=[next(rest.get(name, iter(())), None) for name in a.questions])


def _less(a: Values, b: Values) -> Values:
    return Values(a.each - b.each, max(a.thinness, b.thinness))


def _seeds(table: Crossed, a: Crossed, b: Crossed) -> Part | None:
    """What seeds give to the variance of A - B."""
    if not table.alike or a.seeds is None or b.seeds is None:
        return table.seeds
    return combined(a.seeds, b.seeds)


def _with_one_more(
    table: Crossed, seeds: Part | None, differences: Sequence[tuple[SplitGrades, Values]]
) -> tuple[float, Sequence[Part]]:
    """The mean of the difference and its variance as if one example more had gone either way in half, so that no
    interval is a point (A. Agresti and Y. Min, Statistics in Medicine 24, 2005)."""
    kept = table.examples / (table.examples + 2)
    units = Units(kept**2 * table.questions.variance, kept**2 * table.questions.doubled, table.questions.freedom)
    return kept * table.mean, variance_parts(seeds, units, doubt=_doubt(table, differences))


def _doubt(table: Crossed, differences: Sequence[tuple[SplitGrades, Values]]) -> float:
    """The variance that one example more gives which went half A's way and half B's, and one tie."""
    largest = max(float(abs(values.each).max()) for _, values in differences)
    farthest = min(largest, 1.0) or 1.0
    more = table.examples + 2
    return 2 / more * (farthest**2 / 2 + table.examples / more * table.mean**2) / more


def _interval(middle: float, variance: float, by: float) -> Interval:
    reach = by * sqrt(variance)
    return Interval(max(middle - reach, -1.0), min(middle + reach, 1.0))
