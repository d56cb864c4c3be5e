"""Figures against plain loops over what they are defined by: tasks, user prompts, seeds, questions, weights."""

from collections.abc import Sequence
from itertools import product
from math import sqrt
from random import Random
from statistics import NormalDist, fmean, variance

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from metaspo.engine.statistics import Interval, SplitGrades, compare, mean_score, score_interval
from metaspo.engine.statistics.crossed import Part, crossed
from metaspo.engine.statistics.grades import Grade, Values, values_of
from metaspo.engine.statistics.interval import CONFIDENCE, wilson
from metaspo.engine.statistics.scores import answered
from metaspo.engine.statistics.student import combined, quantile, total

Cell = tuple[str, int, int]  # task, seed, prompt


def study(
    seed: int, *, tasks: int, seeds: int, prompts: int, questions: int, missing: float = 0.0, named: bool = True
) -> list[SplitGrades]:
    """Splits of every task, seed and prompt; tasks count 1, 2, 3."""
    rng = Random(seed)
    rows = []
    for task, of_seed, prompt in product(range(tasks), range(seeds), range(prompts)):
        count = questions + task
        grades: list[Grade] = [None if rng.random() < missing else rng.randint(0, 4) / 4 for _ in range(count)]
        grades[rng.randrange(count)] = 0.25
        names = [f"q{number}" for number in range(count)] if named else []
        rows.append(
            SplitGrades(
                task=f"t{task}", grades=grades, questions=names, seed=5 + of_seed, prompt=prompt, weight=task + 1.0
            )
        )
    return rows


class ByHand:
    """The mean of a study and where its variance comes from, one thing after the other."""

    def __init__(self, rows: Sequence[SplitGrades], thinness: float = 1.0) -> None:
        self.seeds = sorted({row.seed for row in rows})
        self.tasks = sorted({row.task for row in rows})
        share: dict[tuple[str, int, int], float] = {}
        for row in rows:
            of_task = [other for other in rows if (other.task, other.seed) == (row.task, row.seed)]
            there = {other.task: other.weight for other in rows if other.seed == row.seed}
            share[row.task, row.seed, row.prompt] = row.weight / sum(there.values()) / len(of_task)
        moves: dict[tuple[str, str, int], float] = {}
        weights: dict[tuple[str, str, int], float] = {}
        self.sums: dict[tuple[str, int], float] = {}
        self.shares: dict[tuple[str, int], float] = {}
        for row in rows:
            each = share[row.task, row.seed, row.prompt]
            grades = [grade for grade in row.grades if isinstance(grade, float)]
            middle = fmean(grades)
            at = row.task, row.seed
            self.sums[at] = self.sums.get(at, 0.0) + each * middle
            self.shares[at] = self.shares.get(at, 0.0) + each
            for name, grade in zip(row.questions, grades, strict=True):
                cell = row.task, str(name), row.seed
                moves[cell] = moves.get(cell, 0.0) + each * (grade - middle) / len(grades)
                weights[cell] = weights.get(cell, 0.0) + each / len(grades)
        self.by_seed = [sum(self.sums.get((task, seed), 0.0) for task in self.tasks) for seed in self.seeds]
        self.mean = fmean(self.by_seed)
        asked = {task: sorted({name for of, name, _ in moves if of == task}) for task in self.tasks}
        of_tasks = {
            task: [[moves.get((task, name, seed), 0.0) for seed in self.seeds] for name in asked[task]]
            for task in self.tasks
        }
        self.questions = self._units(list(of_tasks.values()))
        self.over_tasks = self._units(
            [
                [
                    [
                        self.sums.get((task, seed), 0.0) - self.shares.get((task, seed), 0.0) * mean
                        for seed, mean in zip(self.seeds, self.by_seed, strict=True)
                    ]
                    for task in self.tasks
                ]
            ]
        )
        self.examples = 1 / sum(
            thinness * fmean(weights.get((task, name, seed), 0.0) for seed in self.seeds) ** 2
            for task in self.tasks
            for name in asked[task]
        )
        whole = [
            fmean(weights.get((task, name, seed), 0.0) > 0 for name in asked[task] for seed in self.seeds)
            for task in self.tasks
        ]
        self.answered = fmean(whole)

    @staticmethod
    def _units(strata: Sequence[Sequence[Sequence[float]]]) -> tuple[float, float, int]:
        whole = doubled = 0.0
        for units in strata:
            larger = len(units) / max(len(units) - 1, 1)
            whole += larger * sum(fmean(unit) ** 2 for unit in units)
            if len(units[0]) > 1:
                doubled += larger * sum(variance(unit) / len(unit) for unit in units)
        return whole, doubled, sum(len(units) - 1 for units in strata)


@settings(max_examples=60)
@given(
    st.integers(0, 2**32),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(2, 5),
    st.sampled_from([0.0, 0.05, 0.3]),
)
def test_a_mean_and_its_parts_are_what_they_are_defined_as(
    seed: int, tasks: int, seeds: int, prompts: int, questions: int, missing: float
) -> None:
    """A task's weight is shared by its prompts; questions count by name; seeds and tasks are told apart."""
    rows = [
        answered(row)
        for row in study(seed, tasks=tasks, seeds=seeds, prompts=prompts, questions=questions, missing=missing)
    ]
    del rows[1:2]  # not every seed has every task's every prompt
    found, by_hand = crossed([(row, values_of(row.grades)) for row in rows]), ByHand(rows)
    assert found.mean == pytest.approx(by_hand.mean)
    assert list(found.by_seed) == pytest.approx(by_hand.by_seed)
    assert found.examples == pytest.approx(by_hand.examples)
    for part, units in ((found.questions, by_hand.questions), (found.tasks, by_hand.over_tasks)):
        assert (part.variance, part.doubled, part.freedom) == pytest.approx(units)
    if len(by_hand.seeds) == 1:
        assert found.seeds is None
    else:
        assert found.seeds is not None
        assert found.seeds.variance == pytest.approx(variance(by_hand.by_seed) / len(by_hand.seeds))
        assert found.seeds.freedom == len(by_hand.seeds) - 1
    if abs(by_hand.answered - 0.9) > 1e-9:
        assert found.alike == (by_hand.answered > 0.9)
    thin = crossed([(row, Values(values_of(row.grades).each, 2.5)) for row in rows])
    assert thin.examples == pytest.approx(found.examples / 2.5)
    last = {row.task: place for place, row in enumerate(rows)}
    mixed = [2.5 if last[row.task] == place else 1.0 for place, row in enumerate(rows)]
    of_the_thinnest = crossed(
        [(row, Values(values_of(row.grades).each, n)) for row, n in zip(rows, mixed, strict=True)]
    )
    assert of_the_thinnest.examples == pytest.approx(thin.examples)


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_the_intervals_of_a_mean_are_wilsons_of_all_its_parts(
    seed: int, tasks: int, seeds: int, seeds_matter: bool
) -> None:
    """Other seeds where they matter, with what they and the questions have both counted taken off once; of other tasks
    no less than Student's t over the tasks."""
    rows = study(seed, tasks=tasks, seeds=seeds, prompts=1, questions=9)
    found, by_hand = mean_score(rows, seeds_matter=seeds_matter), ByHand(rows)

    def interval(units: tuple[float, float, int], *, least: float = 0.0) -> Interval:
        whole, doubled, freedom = units
        parts = [Part(whole, freedom)]
        if seeds > 1 and seeds_matter:
            between = Part(variance(by_hand.by_seed) / seeds, seeds - 1)
            parts = [between, Part(max(whole - doubled, 0.0), freedom)]
        return wilson(
            by_hand.mean, max(total(parts), (least / quantile(parts)) ** 2), by_hand.examples, quantile(parts)
        )

    def close(a: Interval, b: Interval) -> bool:
        return (a.low, a.high) == pytest.approx((b.low, b.high))

    over_examples = interval(by_hand.questions)
    assert close(found.over_examples, over_examples)
    assert found.score == pytest.approx(by_hand.mean)
    if tasks == 1:
        assert found.over_tasks is None
    else:
        wide = interval(by_hand.over_tasks, least=student.ppf(0.975, tasks - 1) * sqrt(by_hand.over_tasks[0]))
        both = Interval(min(wide.low, over_examples.low), max(wide.high, over_examples.high))
        assert found.over_tasks is not None
        assert close(found.over_tasks, both)


@given(st.floats(0.01, 0.99), st.floats(1, 1_000), st.floats(1, 50), st.floats(0.5, 4))
def test_wilsons_bounds_are_the_shares_that_the_score_is_so_many_standard_errors_away_from(
    score: float, examples: float, more: float, quantile: float
) -> None:
    """A variance larger than that of a share is that of fewer examples; one smaller leaves the doubt of one example."""
    found = wilson(score, score * (1 - score) / examples, examples * more, quantile)
    assert 0 <= found.low < score < found.high <= 1
    for bound in (found.low, found.high):
        if 1e-9 < bound < 1 - 1e-9:
            assert abs(score - bound) == pytest.approx(quantile * sqrt(bound * (1 - bound) / examples), abs=1e-9)
    none = wilson(score, 0.0, examples, quantile)
    half = quantile**2 / (2 * examples) / (1 + quantile**2 / examples)
    middle = (score + quantile**2 / examples / 2) / (1 + quantile**2 / examples)
    assert (none.low, none.high) == pytest.approx((max(middle - half, 0), min(middle + half, 1)))
    assert wilson(0.0, 0.0, examples, quantile).low == 0.0
    assert wilson(1.0, 0.0, examples, quantile).high == 1.0
    assert wilson(0.0, 0.0, examples, quantile).high > 0.0
    few = wilson(score, 4 * score * (1 - score), examples, quantile)  # as if of a quarter of an example: of one
    reach = quantile * sqrt(4 * score * (1 - score) + quantile**2 / 4) / (1 + quantile**2)
    middle = (score + quantile**2 / 2) / (1 + quantile**2)
    assert (few.low, few.high) == pytest.approx((max(middle - reach, 0), min(middle + reach, 1)))


@pytest.mark.parametrize(("right", "many"), [(0, 5), (3, 5), (5, 5), (40, 60)])
def test_a_plain_share_is_told_by_the_normal_distribution_and_repeated_questions_are_not(right: int, many: int) -> None:
    """Where a question stands twice the share's examples are fewer than its answers."""
    grades: list[Grade] = [*[1.0] * right, *[0.0] * (many - right)]
    normal = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share = right / many
    plain = score_interval([*grades, None])
    assert plain == wilson(share, share * (1 - share) / many, many, normal)
    assert score_interval(grades, [f"q{number}" for number in range(many)]) == plain
    twice = score_interval([*grades, *grades], 2 * [f"q{number}" for number in range(many)])
    assert twice.high - twice.low > score_interval([*grades, *grades]).high - score_interval([*grades, *grades]).low
    graded: list[Grade] = [0.5, *grades]
    assert score_interval(graded) == mean_score([SplitGrades(task="", grades=graded)]).over_examples


GRADES = st.lists(st.tuples(*[st.sampled_from([0.0, 0.25, 1.0])] * 2), min_size=2, max_size=30)


@given(GRADES)
def test_a_comparison_is_students_with_one_example_more_that_went_half_either_way_and_one_tie(
    pairs: list[tuple[float, float]],
) -> None:
    """Of one task and one seed: the mean, interval and p of the differences and these two."""
    differences = [x - y for x, y in pairs]
    many = len(pairs)
    found = compare(
        [SplitGrades(task="t", grades=[x for x, _ in pairs])],
        [SplitGrades(task="t", grades=[y for _, y in pairs])],
    )
    far = max(map(abs, differences)) or 1.0
    added = [(1.0, one) for one in differences] + [(0.5, far), (0.5, -far), (1.0, 0.0)]
    middle = sum(weight * one for weight, one in added) / (many + 2)
    squares = sum(weight * (one - middle) ** 2 for weight, one in added)
    squares += sum((one - fmean(differences)) ** 2 for one in differences) / (many - 1)
    error = sqrt(squares) / (many + 2)
    reach = float(student.ppf((1 + CONFIDENCE) / 2, many - 1)) * error
    interval = max(middle - reach, -1.0), min(middle + reach, 1.0)
    assert (found.interval.low, found.interval.high) == pytest.approx(interval)
    assert found.p == pytest.approx(2 * float(student.sf(abs(middle) / error, many - 1)), rel=1e-4)
    assert (found.score_a, found.score_b) == pytest.approx((fmean(x for x, _ in pairs), fmean(y for _, y in pairs)))
    assert (found.examples, found.tasks, found.seeds, found.over_tasks) == (many, 1, 1, None)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(2, 3), st.booleans(), st.booleans())
def test_a_comparison_over_seeds_adds_what_seeds_give_to_what_questions_and_tasks_give(
    seed: int, tasks: int, seeds: int, own: bool, seeds_matter: bool
) -> None:
    """Independent seeds of A and B where all answered the same questions; seed by seed where each has its own."""
    sides = [study(seed + side, tasks=tasks, seeds=seeds, prompts=1, questions=6) for side in (0, 1)]
    if own:
        sides = [
            [
                SplitGrades(
                    task=row.task,
                    grades=row.grades,
                    questions=[f"{row.seed}/{name}" for name in row.questions],
                    seed=row.seed,
                    weight=row.weight,
                )
                for row in rows
            ]
            for rows in sides
        ]
    a, b = sides
    less = [
        SplitGrades(
            task=x.task,
            grades=[float(p) - float(q) for p, q in zip(x.grades, y.grades, strict=True)],  # type: ignore[arg-type]
            questions=x.questions,
            seed=x.seed,
            weight=x.weight,
        )
        for x, y in zip(a, b, strict=True)
    ]
    found, table, of_a, of_b = compare(a, b, seeds_matter=seeds_matter), ByHand(less), ByHand(a), ByHand(b)
    kept, more = table.examples / (table.examples + 2), table.examples + 2
    far = max(abs(grade) for row in less for grade in row.grades if isinstance(grade, float))
    doubt = 2 / more * (far**2 / 2 + table.examples / more * table.mean**2) / more

    def between(side: ByHand) -> Part:
        return Part(variance(side.by_seed) / seeds, seeds - 1)

    def interval(units: tuple[float, float, int], middle: float, doubt: float) -> tuple[float, float]:
        whole, doubled, freedom = units
        parts = [Part(whole + doubt, freedom)]
        if seeds_matter:
            of_seeds = between(table) if own else combined(between(of_a), between(of_b))
            parts = [of_seeds, Part(max(whole - doubled, 0.0) + doubt, freedom)]
        reach = quantile(parts) * sqrt(total(parts))
        return max(middle - reach, -1.0), min(middle + reach, 1.0)

    whole, doubled, freedom = table.questions
    low, high = interval((kept**2 * whole, kept**2 * doubled, freedom), kept * table.mean, doubt)
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))
    assert (found.seeds, found.tasks, found.one_run) == (seeds if seeds_matter else 1, tasks, False)
    assert found.difference == pytest.approx(table.mean)
    assert found.examples == sum(6 + task for task in range(tasks)) * (seeds if own else 1)
    if tasks == 1:
        assert found.over_tasks is None
    else:
        alone = student.ppf(0.975, tasks - 1) * sqrt(table.over_tasks[0])
        wide = interval(table.over_tasks, table.mean, 0.0)
        wide = min(wide[0], max(table.mean - alone, -1.0)), max(wide[1], min(table.mean + alone, 1.0))
        assert found.over_tasks is not None
        both = min(wide[0], low), max(wide[1], high)
        assert (found.over_tasks.low, found.over_tasks.high) == pytest.approx(both)
