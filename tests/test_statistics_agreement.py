"""How far two graders agree: Cohen's kappa and its interval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sizes import rest_is_slow

from metaspo.engine.statistics.agreement import agreement

GRADES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


def test_of_two_grades_it_is_cohens_own() -> None:
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: observed 0.7, by chance 0.5, kappa 0.4.
    pairs = [(1.0, 1.0)] * 20 + [(1.0, 0.0)] * 5 + [(0.0, 1.0)] * 10 + [(0.0, 0.0)] * 15
    found = agreement(pairs)
    assert found.same == 0.7
    assert found.kappa == pytest.approx(0.4)
    assert found.interval is not None
    assert found.interval.low < 0.4 < found.interval.high


def test_grades_that_are_near_count_for_more_than_those_far_off() -> None:
    near = agreement([(0.0, 0.5), (0.5, 1.0), (1.0, 1.0), (0.0, 0.0)]).kappa
    far = agreement([(0.0, 1.0), (1.0, 0.5), (1.0, 1.0), (0.0, 0.0)]).kappa
    assert near is not None
    assert far is not None
    assert near > far


def test_a_mean_of_several_grades_is_the_same_where_it_is_nearest_to_it_on_the_scale() -> None:
    pairs = [(0.5, 0.4), (0.5, 0.625), (0.0, 0.0), (1.0, 0.875), (1.0, 0.7), (0.25, 1.0)]
    assert agreement(pairs).same == pytest.approx(1 / 6), "as a score that is no mean is"
    assert agreement(pairs, step=0.25).same == pytest.approx(2 / 6), "half a step off is between two of the scale"


@given(st.lists(st.tuples(GRADES, GRADES), min_size=1, max_size=30))
def test_it_is_the_same_whoever_comes_first_and_no_more_than_1(pairs: list[tuple[float, float]]) -> None:
    one, other = agreement(pairs), agreement([(b, a) for a, b in pairs])
    assert one == other
    if one.kappa is not None:
        assert one.kappa <= 1
        assert (one.kappa == 1) == (one.same == 1)


def test_full_agreement_on_few_answers_leaves_something_open_and_on_one_grade_says_nothing() -> None:
    few, many = agreement([(0.0, 0.0), (1.0, 1.0)] * 4), agreement([(0.0, 0.0), (1.0, 1.0)] * 200)
    assert few.interval is not None
    assert many.interval is not None
    assert few.kappa == many.kappa == 1
    assert 0 < few.interval.low < 0.6 < 0.9 < many.interval.low < 1
    assert agreement([(1.0, 1.0)] * 9).kappa is None


@pytest.mark.parametrize("answers", rest_is_slow([40, 120]))
def test_the_interval_holds_the_true_kappa_about_as_often_as_it_says(answers: int) -> None:
    rng = np.random.default_rng(5)
    truth, held, runs = 0.6, 0, 200  # half are good; the judge errs on a fifth of each: 1 - 2 * 0.2
    for _ in range(runs):
        good = rng.random(answers) < 0.5
        said = good ^ (rng.random(answers) < 0.2)
        interval = agreement(list(zip(good.astype(float), said.astype(float), strict=True))).interval
        held += interval is not None and interval.low <= truth <= interval.high
    assert 0.90 <= held / runs <= 0.99


def test_no_answer_has_no_agreement() -> None:
    with pytest.raises(ValueError, match="at least one"):
        agreement([])
