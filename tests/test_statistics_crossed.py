"""Where the variance of a mean comes from: as a two-way analysis of variance has it, nothing counted twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student
from scipy.stats import ttest_ind

from metaspo.engine.statistics.crossed import Part, crossed
from metaspo.engine.statistics.grades import SplitGrades, values_of
from metaspo.engine.statistics.student import combined, quantile, total, two_sided

PARTS = st.lists(st.builds(Part, st.floats(1e-6, 1.0), st.integers(1, 300)), min_size=1, max_size=2)


def table_of(values: np.ndarray) -> list[SplitGrades]:
    """Questions by seeds, of one task."""
    return [SplitGrades(task="t", seed=seed, grades=list(column)) for seed, column in enumerate(values.T)]


def test_the_parts_are_the_mean_squares_of_questions_by_seeds() -> None:
    """(MS questions + MS seeds - MS rest) / (questions x seeds), as in textbooks."""
    rng = np.random.default_rng(1)
    values = rng.random((30, 4)) + rng.random((30, 1)) + 0.1 * rng.random((1, 4))
    questions, seeds = values.shape
    by_question, by_seed = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    of_questions = seeds * ((by_question - values.mean()) ** 2).sum() / (questions - 1)
    of_seeds = questions * ((by_seed - values.mean()) ** 2).sum() / (seeds - 1)
    rest = ((values - by_question - by_seed + values.mean()) ** 2).sum() / (questions - 1) / (seeds - 1)
    found = crossed([(row, values_of(row.grades)) for row in table_of(values)])
    assert found.seeds is not None
    many = questions * seeds
    assert found.questions.variance == pytest.approx(of_questions / many)
    assert found.seeds.variance == pytest.approx(of_seeds / many)
    assert found.questions.doubled == pytest.approx(rest / many)
    assert (found.questions.freedom, found.seeds.freedom) == (29, 3)
    assert found.alike


def test_where_each_seed_has_its_own_questions_both_parts_hold_the_same() -> None:
    rng = np.random.default_rng(2)
    rows = [
        SplitGrades(task="t", seed=seed, grades=list(rng.random(20)), questions=[f"{seed}/{n}" for n in range(20)])
        for seed in range(3)
    ]
    found = crossed([(row, values_of(row.grades)) for row in rows])
    assert not found.alike
    assert found.questions.doubled == pytest.approx(found.questions.variance)


@given(PARTS, st.floats(-5, 5))
def test_p_is_below_5_percent_where_the_interval_leaves_out_0(parts: list[Part], difference: float) -> None:
    outside = abs(difference) > quantile(parts) * total(parts) ** 0.5
    p = two_sided(difference, parts)
    assert 0 < p <= 1
    assert (p < 0.05) == outside or p == pytest.approx(0.05)


@given(st.integers(1, 200), st.floats(0, 30))
def test_one_part_is_students_test(freedom: int, reached: float) -> None:
    expected = max(2 * student.sf(reached, freedom), 2e-15)
    assert two_sided(reached, [Part(1.0, freedom)]) == pytest.approx(expected, rel=1e-6)


def test_a_difference_that_is_no_number_is_evidence_of_nothing() -> None:
    assert two_sided(float("nan"), [Part(1.0, 5)]) == pytest.approx(1.0)


def test_two_parts_lie_between_the_two_and_go_by_the_larger() -> None:
    few, many = Part(1.0, 2), Part(1.0, 500)
    assert student.ppf(0.975, 500) < quantile([few, many]) < student.ppf(0.975, 2)
    assert quantile([few, Part(1e-9, 500)]) == pytest.approx(student.ppf(0.975, 2))


def test_a_variance_that_is_rounding_counts_as_none() -> None:
    """Two seeds that score the same leave their interval to the questions, whichever way their means were rounded."""
    assert quantile([Part(1e-33, 1), Part(0.0, 50)]) == quantile([Part(0.0, 1), Part(0.0, 50)])


def test_the_difference_of_two_is_welchs() -> None:
    a, b = [0.1, 0.4, 0.3, 0.35], [0.5, 0.9, 0.2, 0.6]
    parts = [Part(float(np.var(one, ddof=1)) / 4, 3) for one in (a, b)]
    both = combined(*parts)
    theirs = ttest_ind(a, b, equal_var=False)
    assert both.freedom == pytest.approx(theirs.df)
    assert two_sided(float(np.mean(a) - np.mean(b)), [both]) == pytest.approx(theirs.pvalue)
    assert combined(Part(0.0, 2), Part(0.0, 4)) == Part(0.0, 2)


def test_a_task_without_examples_has_no_score() -> None:
    with pytest.raises(ValueError, match="at least one example"):
        values_of([])
