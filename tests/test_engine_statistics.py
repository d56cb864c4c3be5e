"""Intervals of gains: they cover the truth as often as they say, and are points where nothing varies."""

from random import Random

import pytest
from scipy.stats import binom

from metaspo.engine.optimize.result import Gain
from metaspo.engine.statistics import Interval, paired_gain_interval


def world(rng: Random, *, tasks: int, size: int, gain: float) -> tuple[list[list[float]], list[list[float]]]:
    """Grades of the same examples before and after: each has a difficulty of its own, `gain` is the true mean gain."""
    before, after = [], []
    for _ in range(tasks):
        hard = [rng.uniform(0.1, 0.6) for _ in range(size)]
        before.append([float(rng.random() < p) for p in hard])
        after.append([float(rng.random() < p + gain) for p in hard])
    return before, after


def test_the_interval_covers_the_true_gain_about_as_often_as_it_says() -> None:
    rng, runs, gain = Random(20), 120, 0.15
    covered = 0
    for seed in range(runs):
        interval = paired_gain_interval(*world(rng, tasks=3, size=60, gain=gain), seed=seed)
        covered += interval.low <= gain <= interval.high
    # A percentile bootstrap of this size is a little narrow.
    low, high = (float(binom.ppf(q, runs, 0.94)) for q in (0.0005, 0.9995))
    assert low <= covered <= high


def test_no_gain_is_hardly_ever_called_one() -> None:
    rng, runs = Random(21), 120
    wrongly = sum(
        paired_gain_interval(*world(rng, tasks=3, size=60, gain=0.0), seed=seed).low > 0 for seed in range(runs)
    )
    assert wrongly <= binom.ppf(0.9995, runs, 0.03)


def test_pairing_narrows_the_interval() -> None:
    rng = Random(3)
    before = [[float(rng.random() < 0.5) for _ in range(100)]]
    after = [[max(grade, float(rng.random() < 0.1)) for grade in before[0]]]
    shuffled = [sorted(after[0])]
    paired, unpaired = paired_gain_interval(before, after), paired_gain_interval(before, shuffled)
    assert paired.high - paired.low < (unpaired.high - unpaired.low) / 2


@pytest.mark.parametrize(
    ("before", "after", "gain"), [([1, 0, 1], [1, 0, 1], 0.0), ([0, 0], [1, 1], 1.0), ([0], [1], 1.0)]
)
def test_differences_that_are_all_equal_give_a_point(before: list[float], after: list[float], gain: float) -> None:
    assert paired_gain_interval([before], [after]) == Interval(gain, gain)


def test_the_same_grades_give_the_same_interval() -> None:
    before, after = world(Random(5), tasks=2, size=30, gain=0.1)
    assert paired_gain_interval(before, after) == paired_gain_interval(before, after)


def test_a_task_with_one_example_does_not_hide_the_doubt_in_the_others() -> None:
    before, after = world(Random(6), tasks=1, size=40, gain=0.1)
    interval = paired_gain_interval([*before, [0.0]], [*after, [1.0]])
    assert interval.low < interval.high


@pytest.mark.parametrize(("before", "after"), [([[1.0]], [[1.0, 0.0]]), ([[1.0]], []), ([[]], [[]])])
def test_grades_that_do_not_pair_are_refused(before: list[list[float]], after: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="same examples"):
        paired_gain_interval(before, after)


@pytest.mark.parametrize(
    ("interval", "says"),
    [(Interval(0.01, 0.2), "better"), (Interval(-0.2, -0.01), "worse"), (Interval(-0.1, 0.1), "not distinguishable")],
)
def test_a_verdict_says_which_side_of_zero_the_interval_lies(interval: Interval, says: str) -> None:
    gain = Gain(role="target", tasks=1, before=0.5, after=0.6, interval=interval)
    assert gain.verdict.startswith(says)
