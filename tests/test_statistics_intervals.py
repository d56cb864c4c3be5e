"""Intervals of scores: they cover the truth as often as they say, and agree with scipy where scipy has them."""

from collections import Counter
from random import Random
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, bootstrap
from world import split_score

from metaspo.engine.statistics import (
    Interval,
    macro_f1_interval,
    mean_interval,
    mean_score,
    score_interval,
    weighted_mean,
    wilson_interval,
)
from metaspo.engine.statistics.resampling import macro_f1_of, mean_of
from metaspo.engine.tasks import MacroF1

GRADES = st.lists(st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0]), min_size=1, max_size=20)
LABELS = st.lists(
    st.tuples(st.sampled_from("ABc"), st.sampled_from(["a", "B", "c", "other", None])), min_size=1, max_size=20
)
RUNS = 150


def lowest_count(coverage: float, runs: int = RUNS) -> float:
    """How often an interval of this coverage covers at the least, but for one time in 2,000."""
    return float(binom.ppf(0.0005, runs, coverage))


@given(st.data())
def test_a_share_has_wilsons_interval(data: st.DataObject) -> None:
    examples = data.draw(st.integers(1, 600))
    right = data.draw(st.integers(0, examples))
    theirs = binomtest(right, examples).proportion_ci(method="wilson")
    ours = score_interval([1.0] * right + [0.0] * (examples - right))
    assert ours == wilson_interval(right, examples)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_all_right_answers_still_leave_a_doubt() -> None:
    assert score_interval([1.0] * 50).low < 0.95
    assert score_interval([1.0] * 50).high == 1.0


@pytest.mark.parametrize("examples", [20, 50, 500])
def test_wilsons_interval_covers_the_true_share_about_as_often_as_it_says(examples: int) -> None:
    """Over all true shares from 5% to 95%, by the binomial law itself."""
    shares, counts = np.linspace(0.05, 0.95, 181), np.arange(examples + 1)
    intervals = [wilson_interval(int(count), examples) for count in counts]
    covers = [
        sum(binom.pmf(counts, examples, share)[[one.low <= share <= one.high for one in intervals]]) for share in shares
    ]
    assert 0.94 <= np.mean(covers) <= 0.96


def test_a_bootstrapped_score_covers_the_truth_about_as_often_as_it_says() -> None:
    rng, covered = Random(1), 0
    for seed in range(RUNS):
        grades = [rng.choice([0.0, 0.2, 0.4, 1.0]) for _ in range(60)]
        interval = score_interval(grades, seed=seed)
        covered += interval.low <= 0.4 <= interval.high
    assert covered >= lowest_count(0.93)


def test_macro_f1s_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Two labels, 70% and 30% of the examples, each predicted right four times of five."""
    truth = fmean([2 * 0.56 / (0.7 + 0.62), 2 * 0.24 / (0.3 + 0.38)])
    rng, covered = Random(2), 0
    for seed in range(RUNS):
        right = ["yes" if rng.random() < 0.7 else "no" for _ in range(150)]
        labels: list[tuple[str, str | None]] = [
            (label, label if rng.random() < 0.8 else {"yes": "no", "no": "yes"}[label]) for label in right
        ]
        interval = macro_f1_interval(labels, seed=seed)
        covered += interval.low <= truth <= interval.high
    assert covered >= lowest_count(0.92)


@given(labels=LABELS, weights=st.lists(st.integers(0, 4), min_size=20, max_size=20))
def test_a_resample_of_labels_has_the_macro_f1_that_the_metric_gives_it(
    labels: list[tuple[str, str | None]], weights: list[int]
) -> None:
    cells = sorted({(right.casefold(), (said or "").casefold()) for right, said in labels})
    drawn = [max(weights[0], 1), *weights[1 : len(cells)]]
    whole = [(said or None, (right,)) for (right, said), n in zip(cells, drawn, strict=True) for _ in range(n)]
    found = macro_f1_of(labels).statistic(np.asarray([drawn], float))[0]
    assert found == pytest.approx(split_score(MacroF1(), whole))


@given(LABELS)
def test_labels_have_the_macro_f1_that_the_metric_gives_them(labels: list[tuple[str, str | None]]) -> None:
    whole = [(said, (right,)) for right, said in labels]
    assert macro_f1_of(labels).value == pytest.approx(split_score(MacroF1(), whole))


@settings(deadline=None, max_examples=20)
@given(grades=GRADES, labels=LABELS, rng=st.randoms(use_true_random=False))
def test_the_order_of_the_examples_does_not_matter(
    grades: list[float], labels: list[tuple[str, str | None]], rng: Random
) -> None:
    before = (score_interval(grades), macro_f1_interval(labels), mean_score([grades, grades]))
    rng.shuffle(grades)
    rng.shuffle(labels)
    assert (score_interval(grades), macro_f1_interval(labels), mean_score([grades, sorted(grades)])) == before


@given(GRADES)
def test_drawing_counts_is_drawing_examples(grades: list[float]) -> None:
    """A resample holds as many examples, each outcome as often in the mean as in the sample, and nothing else."""
    sample = mean_of(grades)
    assert sorted(sample.counts) == sorted(Counter(grades).values())
    assert sample.value == pytest.approx(np.mean(grades))
    draws = sample.draw(np.random.default_rng(1), 4_000)
    spread = float(np.std(grades)) / len(grades) ** 0.5
    assert float(draws.mean()) == pytest.approx(np.mean(grades), abs=5 * spread / 4_000**0.5 + 1e-12)
    assert float(draws.std()) == pytest.approx(spread, rel=0.1, abs=1e-12)


def test_the_stratified_bootstrap_is_scipys() -> None:
    rng = np.random.default_rng(3)
    tasks = [rng.choice([0.0, 0.5, 1.0], size=size) for size in (40, 100, 15)]

    def mean_of_means(*drawn: np.ndarray, axis: int) -> np.ndarray:
        return np.asarray(np.mean([task.mean(axis=axis) for task in drawn], axis=0))

    theirs = bootstrap(tasks, mean_of_means, n_resamples=9_999, method="percentile", rng=rng).confidence_interval
    ours = mean_interval([list(task) for task in tasks], over="examples")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.006)


def test_the_interval_over_tasks_covers_the_mean_of_all_such_tasks_and_the_one_over_examples_that_of_these() -> None:
    rng, over = Random(4), Counter[str]()
    for seed in range(80):
        truths = [rng.uniform(0.3, 0.9) for _ in range(8)]
        tasks = [[float(rng.random() < truth) for _ in range(40)] for truth in truths]
        found = mean_score(tasks, seed=seed)
        assert found.over_tasks is not None
        over["tasks"] += found.over_tasks.low <= 0.6 <= found.over_tasks.high
        over["examples"] += found.over_examples.low <= sum(truths) / 8 <= found.over_examples.high
        over["other tasks, by examples"] += found.over_examples.low <= 0.6 <= found.over_examples.high
    assert over["tasks"] >= lowest_count(0.93, 80)
    assert over["examples"] >= lowest_count(0.93, 80)
    assert over["other tasks, by examples"] < lowest_count(0.93, 80)


def test_weights_say_how_much_a_task_counts() -> None:
    """A task of weight 3 counts as three tasks, in the mean and in its interval over examples."""
    tasks, weights = [[0.0, 1.0] * 20, [1.0, 1.0, 0.0] * 20], [3.0, 1.0]
    found = mean_score(tasks, weights=weights)
    assert found.score == pytest.approx((3 * 0.5 + 2 / 3) / 4)
    plain = mean_interval([tasks[0]], over="examples")
    assert found.over_examples.high - found.over_examples.low > 0.7 * (plain.high - plain.low)
    alike, plain = (mean_interval(tasks, over="tasks", weights=weights) for weights in ([5.0, 5.0], None))
    assert (alike.low, alike.high) == pytest.approx((plain.low, plain.high))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_weights_of_one_give_the_plain_mean(figures: list[float]) -> None:
    assert weighted_mean(figures, [1.0] * len(figures)) == fmean(figures)


def test_a_single_task_says_nothing_of_other_tasks() -> None:
    found = mean_score([[0.0, 1.0, 1.0]])
    assert found.over_tasks is None
    assert isinstance(found.over_examples, Interval)


@pytest.mark.parametrize(("tasks", "weights"), [([], None), ([[]], None), ([[1.0]], [1.0, 1.0]), ([[1.0]], [0.0])])
def test_no_mean_of_nothing(tasks: list[list[float]], weights: list[float] | None) -> None:
    with pytest.raises(ValueError, match=r"at least one|one weight"):
        mean_interval(tasks, over="tasks", weights=weights)
    with pytest.raises(ValueError, match="at least one"):
        score_interval([])
