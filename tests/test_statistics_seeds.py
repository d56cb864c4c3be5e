"""Several seeds are reported apart."""

from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from metaspo.engine.statistics import over_seeds


@given(st.dictionaries(st.integers(), st.floats(0, 1), min_size=2, max_size=6))
def test_seeds_stay_apart_and_their_mean_has_students_interval(figures: dict[int, float]) -> None:
    found = over_seeds(figures)
    assert dict(found.figures) == figures
    assert found.lowest <= found.mean + 1e-12
    assert found.interval is not None
    scale = stdev(figures.values()) / len(figures) ** 0.5
    reach = student.ppf(0.975, len(figures) - 1) * scale
    assert found.interval.low == pytest.approx(fmean(figures.values()) - reach)
    assert found.interval.high == pytest.approx(fmean(figures.values()) + reach)


def test_one_seed_says_nothing_of_others() -> None:
    found = over_seeds({42: 0.7})
    assert (found.mean, found.deviation, found.interval) == (0.7, None, None)
    assert "one seed only" in found.sentence


def test_a_seed_more_or_fewer_examples_cannot_narrow_what_is_known_of_other_seeds() -> None:
    """The interval knows the seeds' figures alone: equal figures of many or few examples say the same."""
    found = over_seeds({1: 0.6, 2: 0.7, 3: 0.8})
    assert found.interval is not None
    assert found.interval.low < 0.6 < 0.8 < found.interval.high
    assert found.sentence.startswith("70.0 over 3 seeds, 60.0 to 80.0")


def test_no_seed_has_no_mean() -> None:
    with pytest.raises(ValueError, match="at least one seed"):
        over_seeds({})
