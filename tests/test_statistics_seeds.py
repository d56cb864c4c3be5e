"""Several seeds are reported apart."""

from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from metaspo.engine.statistics import over_seeds


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_the_mean_over_seeds_has_students_interval(figures: list[float]) -> None:
    found = over_seeds(figures)
    assert found.interval is not None
    scale = stdev(figures) / len(figures) ** 0.5
    reach = student.ppf(0.975, len(figures) - 1) * scale
    assert found.interval.low == pytest.approx(fmean(figures) - reach)
    assert found.interval.high == pytest.approx(fmean(figures) + reach)


def test_one_seed_says_nothing_of_others() -> None:
    assert over_seeds([0.7]) == (0.7, None)


def test_a_seed_more_or_fewer_examples_cannot_narrow_what_is_known_of_other_seeds() -> None:
    """The interval knows the seeds' figures alone: equal figures of many or few examples say the same."""
    found = over_seeds([0.6, 0.7, 0.8])
    assert found.interval is not None
    assert found.interval.low < 0.6 < 0.8 < found.interval.high


def test_no_seed_has_no_mean() -> None:
    with pytest.raises(ValueError, match="at least one seed"):
        over_seeds([])
