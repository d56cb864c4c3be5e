"""Intervals of scores: they cover the truth as often as they say, and agree with scipy where scipy has them."""

from collections import Counter
from collections.abc import Sequence
from random import Random
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from scipy.stats import t as student
from world import split_score

from metaspo.engine.statistics import (
    Grade,
    Interval,
    MeanScore,
    SplitGrades,
    mean_score,
    score_interval,
    weighted_mean,
    wilson_interval,
)
from metaspo.engine.statistics.grades import macro_f1_values
from metaspo.engine.tasks import MacroF1

GRADES = st.lists(st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0]), min_size=1, max_size=20)
LABELS = st.lists(
    st.tuples(st.sampled_from("ABc"), st.sampled_from(["a", "B", "c", "other", None])), min_size=1, max_size=20
)
RUNS = 150


def lowest_count(coverage: float, runs: int = RUNS) -> float:
    """How often an interval of this coverage covers at the least, but for one time in 2,000."""
    return float(binom.ppf(0.0005, runs, coverage))


def scored(tasks: Sequence[Sequence[Grade]], weights: Sequence[float] | None = None) -> MeanScore:
    """The mean over tasks under one seed."""
    rows = [
        SplitGrades(task=str(place), grades=grades, weight=weight)
        for place, (grades, weight) in enumerate(zip(tasks, weights or [1.0] * len(tasks), strict=True))
    ]
    return mean_score(rows)


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


@given(st.lists(st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=1, max_size=8), min_size=1, max_size=4))
def test_no_interval_is_a_point_or_leaves_0_to_1(tasks: list[list[float]]) -> None:
    found = scored(tasks)
    for interval in (found.over_examples, found.over_tasks):
        if interval is not None:
            assert 0 <= interval.low <= found.score + 1e-9
            assert found.score - 1e-9 <= interval.high <= 1
            assert interval.high - interval.low > 0.01


@pytest.mark.parametrize("examples", [20, 50, 500])
def test_wilsons_interval_covers_the_true_share_about_as_often_as_it_says(examples: int) -> None:
    """Over all true shares from 5% to 95%, by the binomial law itself."""
    shares, counts = np.linspace(0.05, 0.95, 181), np.arange(examples + 1)
    intervals = [wilson_interval(int(count), examples) for count in counts]
    covers = [
        sum(binom.pmf(counts, examples, share)[[one.low <= share <= one.high for one in intervals]]) for share in shares
    ]
    assert 0.94 <= np.mean(covers) <= 0.96


@pytest.mark.parametrize("levels", [(0.0, 0.2, 0.4, 1.0), (0.4, 0.5, 0.3)])
def test_a_mean_grade_covers_the_truth_about_as_often_as_it_says(levels: tuple[float, ...]) -> None:
    rng, covered = Random(1), 0
    for _ in range(RUNS):
        interval = score_interval([rng.choice(levels) for _ in range(60)])
        covered += interval.low <= fmean(levels) <= interval.high
    assert covered >= lowest_count(0.94)


@pytest.mark.parametrize(("examples", "share", "right"), [(150, 0.7, 0.8), (50, 0.9, 0.95), (20, 0.5, 0.5)])
def test_macro_f1s_interval_covers_the_truth_about_as_often_as_it_says(
    examples: int, share: float, right: float
) -> None:
    """Two labels, each predicted right equally often."""
    rare, wrong = 1 - share, 1 - right
    truth = fmean(
        [
            2 * share * right / (share + share * right + rare * wrong),
            2 * rare * right / (rare + rare * right + share * wrong),
        ]
    )
    rng, covered = Random(2), 0
    for _ in range(RUNS):
        gold = ["yes" if rng.random() < share else "no" for _ in range(examples)]
        labels = [(label, label if rng.random() < right else {"yes": "no", "no": "yes"}[label]) for label in gold]
        interval = score_interval(labels)
        covered += interval.low <= truth <= interval.high
    assert covered >= lowest_count(0.93)


@given(LABELS)
def test_the_score_of_labels_is_the_macro_f1_that_the_metric_gives_them(labels: list[tuple[str, str | None]]) -> None:
    whole = [(said, (right,)) for right, said in labels]
    assert scored([labels]).score == pytest.approx(split_score(MacroF1(), whole))


@given(LABELS.filter(lambda labels: len(labels) > 1))
def test_a_labels_value_is_what_macro_f1_loses_without_it(labels: list[tuple[str, str | None]]) -> None:
    def score(of: Sequence[tuple[str, str | None]]) -> float:
        return split_score(MacroF1(), [(said, (right,)) for right, said in of])

    whole = score(labels)
    losses = np.array([whole - score(labels[:place] + labels[place + 1 :]) for place in range(len(labels))])
    expected = (len(labels) - 1) * (losses - losses.mean()) + whole
    assert macro_f1_values(labels).each == pytest.approx(expected)


def test_a_rare_label_makes_few_examples_of_many() -> None:
    """Of 45 and 5 examples, macro-F1 rests on as many as 18 would tell of a share: 4 / (1/45 + 1/5)."""
    values = macro_f1_values([("a", "a")] * 45 + [("b", "b")] * 5)
    assert 50 / values.thinness == pytest.approx(18)


@settings(deadline=None, max_examples=20)
@given(grades=GRADES, labels=LABELS, rng=st.randoms(use_true_random=False))
def test_the_order_of_the_examples_does_not_matter(
    grades: list[float], labels: list[tuple[str, str | None]], rng: Random
) -> None:
    def figures() -> list[float]:
        intervals = (score_interval(grades), score_interval(labels), scored([grades, grades]).over_examples)
        return [end for interval in intervals for end in (interval.low, interval.high)]

    before = figures()
    rng.shuffle(grades)
    rng.shuffle(labels)
    assert figures() == pytest.approx(before)


def test_the_interval_over_tasks_covers_the_mean_of_all_such_tasks_and_the_one_over_examples_that_of_these() -> None:
    rng, over = Random(4), Counter[str]()
    for _ in range(RUNS):
        truths = [rng.uniform(0.3, 0.9) for _ in range(8)]
        found = scored([[float(rng.random() < truth) for _ in range(40)] for truth in truths])
        assert found.over_tasks is not None
        over["tasks"] += found.over_tasks.low <= 0.6 <= found.over_tasks.high
        over["examples"] += found.over_examples.low <= sum(truths) / 8 <= found.over_examples.high
        over["other tasks, by examples"] += found.over_examples.low <= 0.6 <= found.over_examples.high
    assert over["tasks"] >= lowest_count(0.95)
    assert over["examples"] >= lowest_count(0.95)
    assert over["other tasks, by examples"] < lowest_count(0.95)


@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_the_interval_over_few_tasks_covers_the_mean_of_all_such_tasks(tasks: int) -> None:
    rng, covered = Random(tasks), 0
    for _ in range(RUNS):
        found = scored(
            [[float(rng.random() < p) for _ in range(40)] for p in (rng.uniform(0.3, 0.9) for _ in range(tasks))]
        )
        assert found.over_tasks is not None
        covered += found.over_tasks.low <= 0.6 <= found.over_tasks.high
    assert covered >= lowest_count(0.95)


def test_the_interval_over_tasks_is_no_narrower_than_that_over_examples() -> None:
    """Tasks that happen to come out alike do not make their examples any surer."""
    found = scored([[1.0, 0.0] * 5, [0.0, 1.0] * 5])
    assert found.over_tasks is not None
    assert found.over_tasks.low <= found.over_examples.low < found.over_examples.high <= found.over_tasks.high


def test_many_alike_tasks_have_students_interval_over_tasks() -> None:
    """Far from 0 and 1, and with many examples: the mean ± t s / √tasks."""
    shares = [0.42, 0.47, 0.5, 0.53, 0.58] * 4
    found = scored([[1.0] * round(1_000 * share) + [0.0] * round(1_000 * (1 - share)) for share in shares]).over_tasks
    assert found is not None
    reach = student.ppf(0.975, 19) * np.std(shares, ddof=1) / 20**0.5
    assert (found.low, found.high) == pytest.approx((0.5 - reach, 0.5 + reach), abs=1e-4)


def test_seeds_that_lie_apart_widen_the_interval_by_students_law() -> None:
    """Every example alike within a seed: what is left is Student's interval of the seeds' means."""
    rows = [SplitGrades(task="t", seed=seed, grades=[mean] * 4_000) for seed, mean in enumerate([0.4, 0.5, 0.6])]
    found = mean_score(rows)
    reach = student.ppf(0.975, 2) * 0.1 / 3**0.5
    # Wilson's interval of the same standard error.
    assert found.over_examples.high - found.over_examples.low == pytest.approx(2 * reach, rel=0.25)
    assert found.over_examples.low < 0.3
    assert found.score == pytest.approx(0.5)


def test_the_seeds_of_a_fixed_prompt_only_draw_examples() -> None:
    """The same answers three times are no more, and no less, sure than once."""
    once = SplitGrades(task="t", grades=[1.0, 0.0, 1.0, 1.0] * 10, questions=range(40))
    thrice = [SplitGrades(task="t", grades=once.grades, questions=once.questions, seed=seed) for seed in range(3)]
    found = mean_score(thrice, seeds_matter=False)
    expected = mean_score([once])
    assert (found.over_examples.low, found.over_examples.high) == pytest.approx(
        (expected.over_examples.low, expected.over_examples.high)
    )


def test_a_question_that_stands_twice_counts_twice_in_the_score_and_once_in_its_interval() -> None:
    plain = SplitGrades(task="t", grades=[1.0, 0.0, 1.0, 1.0] * 10, questions=range(40))
    twice = SplitGrades(task="t", grades=[*plain.grades, *plain.grades], questions=[*range(40), *range(40)])
    one, two = mean_score([plain]), mean_score([twice])
    assert (two.score, two.over_examples.low) == pytest.approx((one.score, one.over_examples.low))
    assert mean_score([SplitGrades(task="t", grades=[1.0, 1.0, 0.0], questions="aab")]).score == pytest.approx(2 / 3)


def test_an_example_without_an_answer_is_no_zero() -> None:
    assert scored([[1.0, None], [None], [0.0]]).score == 0.5


def test_weights_say_how_much_a_task_counts() -> None:
    tasks, weights = [[0.0, 1.0] * 20, [1.0, 1.0, 0.0] * 20], [3.0, 1.0]
    found = scored(tasks, weights)
    assert found.score == pytest.approx((3 * 0.5 + 2 / 3) / 4)
    plain = scored([tasks[0]]).over_examples
    assert found.over_examples.high - found.over_examples.low > 0.7 * (plain.high - plain.low)
    alike, plain_tasks = scored(tasks, [5.0, 5.0]).over_tasks, scored(tasks).over_tasks
    assert alike is not None
    assert plain_tasks is not None
    assert (alike.low, alike.high) == pytest.approx((plain_tasks.low, plain_tasks.high))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_weights_of_one_give_the_plain_mean(figures: list[float]) -> None:
    assert weighted_mean(figures, [1.0] * len(figures)) == fmean(figures)


def test_a_single_task_says_nothing_of_other_tasks() -> None:
    found = scored([[0.0, 1.0, 1.0]])
    assert found.over_tasks is None
    assert isinstance(found.over_examples, Interval)


@pytest.mark.parametrize(("tasks", "weights"), [([], []), ([[]], [1.0]), ([[None]], [1.0]), ([[1.0]], [0.0])])
def test_no_mean_of_nothing(tasks: list[list[Grade]], weights: list[float]) -> None:
    with pytest.raises(ValueError, match=r"no answered example|above 0"):
        scored(tasks, weights)


def test_no_interval_of_nothing() -> None:
    with pytest.raises(ValueError, match="no answered example"):
        score_interval([])
