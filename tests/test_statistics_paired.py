"""Paired comparisons: exact against their definitions, seldom wrong where nothing differs, corrected as a family."""

from itertools import chain, combinations, product
from math import comb
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, permutation_test

from metaspo.engine.statistics import (
    TaskGrades,
    compare,
    compare_all,
    holm,
    mcnemar,
    paired_gain_interval,
    shared,
    swap_test,
)

BITS = st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0])), min_size=1, max_size=30)
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def equal_pair(rng: Random, size: int) -> tuple[list[float], list[float]]:
    """Grades of two methods that are equally good, on examples of various difficulty."""
    hard = [rng.random() for _ in range(size)]
    return [float(rng.random() < p) for p in hard], [float(rng.random() < p) for p in hard]


@given(BITS)
def test_mcnemars_p_is_the_chance_of_discordant_pairs_as_uneven_as_these(pairs: list[tuple[float, float]]) -> None:
    a, b = [one for one, _ in pairs], [other for _, other in pairs]
    wins, losses = sum(x > y for x, y in pairs), sum(x < y for x, y in pairs)
    tail = sum(comb(wins + losses, k) for k in range(min(wins, losses) + 1)) / 2 ** (wins + losses)
    assert mcnemar(a, b) == pytest.approx(min(1.0, 2 * tail))


@pytest.mark.parametrize(
    ("tasks", "weights"),
    [
        ([([1, 1, 1, 0, 1, 1], [0, 0, 0, 1, 0, 1])], [1.0]),
        ([([1, 0.5, 1], [0.2, 0, 0.9]), ([0.3, 0.9, 1, 1], [0.5, 0, 0, 0.5])], [1.0, 2.0]),
    ],
)
def test_the_swap_test_is_the_share_of_all_swaps_that_differ_as_much(
    tasks: list[tuple[list[float], list[float]]], weights: list[float]
) -> None:
    parts = [
        weight * (x - y) / len(a)
        for (a, b), weight in zip(tasks, weights, strict=True)
        for x, y in zip(a, b, strict=True)
    ]
    sums = [abs(sum(map(float.__mul__, map(float, signs), parts))) for signs in product((1, -1), repeat=len(parts))]
    exact = np.mean(np.asarray(sums) >= abs(sum(parts)) - 1e-12)
    found = swap_test([a for a, _ in tasks], [b for _, b in tasks], weights=weights)
    assert found == pytest.approx(exact, abs=0.02)


def test_the_swap_test_is_scipys() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.uniform(size=40), rng.uniform(size=40) - 0.1

    def statistic(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.asarray(np.mean(x - y, axis=axis))

    theirs = permutation_test((a, b), statistic, permutation_type="samples", vectorized=True, rng=rng)
    assert swap_test([list(a)], [list(b)], weights=[1.0]) == pytest.approx(theirs.pvalue, abs=0.02)


@settings(deadline=None, max_examples=30)
@given(BITS)
def test_mcnemar_is_what_swaps_come_to_for_right_and_wrong(pairs: list[tuple[float, float]]) -> None:
    a, b = [one for one, _ in pairs], [other for _, other in pairs]
    assert swap_test([a], [b], weights=[1.0]) == pytest.approx(mcnemar(a, b), abs=0.025)


def test_equally_good_methods_are_seldom_told_apart() -> None:
    rng, runs, wrongly, wrongly_by_swaps = Random(6), 150, 0, 0
    for _ in range(runs):
        pairs = {task: equal_pair(rng, 30) for task in "ab"}
        a = {task: pair[0] for task, pair in pairs.items()}
        b = {task: pair[1] for task, pair in pairs.items()}
        left, right = list(a.values()), list(b.values())
        wrongly += mcnemar(list(chain(*left)), list(chain(*right))) < 0.05
        wrongly_by_swaps += swap_test(left, right, weights=[1.0, 2.0]) < 0.05
    assert max(wrongly, wrongly_by_swaps) <= binom.ppf(0.9995, runs, 0.05)


def test_a_large_gain_is_told_from_noise_with_its_sign() -> None:
    rng = Random(7)
    b = {"t": [float(rng.random() < 0.5) for _ in range(200)]}
    a = {"t": [max(grade, float(rng.random() < 0.3)) for grade in b["t"]]}
    there, back = compare(a, b, names=("new", "old")), compare(b, a, names=("old", "new"))
    assert (there.verdict, back.verdict) == ("better", "worse")
    assert there.p == back.p
    assert there.difference == -back.difference > 0
    assert there.interval.low > 0 > back.interval.high
    assert there.sentence.startswith("new is better than old")


def test_the_same_grades_cannot_be_told_apart() -> None:
    one = compare({"t": [0.0, 1.0, 1.0]}, {"t": [0.0, 1.0, 1.0]})
    assert (one.p, one.verdict, one.difference) == (1.0, "noise", 0.0)
    assert "not distinguishable from noise" in one.sentence


@given(BITS, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=20)
def test_the_order_of_the_examples_does_not_matter(pairs: list[tuple[float, float]], rng: Random) -> None:
    shuffled = list(pairs)
    rng.shuffle(shuffled)
    found = [compare({"t": [x for x, _ in rows]}, {"t": [y / 2 for _, y in rows]}) for rows in (list(pairs), shuffled)]
    assert found[0].interval == found[1].interval
    assert found[0].p == found[1].p


def test_only_tasks_and_examples_that_both_answered_are_compared() -> None:
    a: TaskGrades = {"t": [1.0, None, 0.0, 1.0], "mine": [1.0]}
    b: TaskGrades = {"t": [0.0, 1.0, None, 1.0], "yours": [1.0], "unanswered": [None]}
    assert shared(a, b) == {"t": ([1.0, 1.0], [0.0, 1.0])}
    found = compare(a, b)
    assert (found.tasks, found.examples, found.score_a, found.score_b) == (1, 2, 1.0, 0.5)


@pytest.mark.parametrize(("a", "b"), [({"t": [1.0]}, {"t": [1.0, 0.0]}), ({"t": [1.0]}, {"u": [1.0]})])
def test_grades_of_other_examples_are_refused(a: dict[str, list[float]], b: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match=r"same examples|no example"):
        compare(a, b)


@pytest.mark.parametrize(
    ("a", "weights", "test"),
    [
        ({"s": [1.0, 0.0], "t": [0.0, 0.0]}, {}, "mcnemar"),
        ({"s": [1.0, 0.0], "t": [0.0]}, {}, "swaps"),
        ({"s": [1.0, 0.0], "t": [0.0]}, {"s": 2.0}, "mcnemar"),
        ({"s": [0.5, 0.0], "t": [0.0, 1.0]}, {}, "swaps"),
    ],
)
def test_mcnemars_test_is_used_where_examples_are_right_or_wrong_and_weigh_the_same(
    a: dict[str, list[float]], weights: dict[str, float], test: str
) -> None:
    assert compare(a, {task: [0.0] * len(grades) for task, grades in a.items()}, weights=weights).test == test


def test_weights_move_the_difference() -> None:
    a, b = {"s": [1.0, 1.0], "t": [0.0, 0.0]}, {"s": [0.0, 0.0], "t": [1.0, 1.0]}
    assert compare(a, b).difference == 0
    assert compare(a, b, weights={"s": 3.0}).difference == pytest.approx(0.5)


def test_the_interval_over_tasks_is_wide_where_tasks_disagree() -> None:
    before = [[0.0] * 30, [1.0] * 30, [0.0, 1.0] * 15]
    after = [[1.0] * 30, [0.0] * 30, [0.0, 1.0] * 15]
    examples, tasks = (paired_gain_interval(before, after, over=over) for over in ("examples", "tasks"))
    assert examples.high - examples.low == 0
    assert tasks.low < -0.5 < 0.5 < tasks.high


@given(P_VALUES)
def test_holm_is_closed_testing_by_bonferroni(p_values: list[float]) -> None:
    """A comparison's p is the largest Bonferroni p of all sets of comparisons that it is in."""
    places = range(len(p_values))
    for place, adjusted in enumerate(holm(p_values)):
        sets = [
            chosen for size in range(1, len(p_values) + 1) for chosen in combinations(places, size) if place in chosen
        ]
        by_definition = max(min(1.0, len(chosen) * min(p_values[one] for one in chosen)) for chosen in sets)
        assert adjusted == pytest.approx(by_definition)


def test_many_comparisons_that_say_nothing_seldom_say_one_thing() -> None:
    rng, families = Random(8), 60
    wrongly = 0
    for _ in range(families):
        hard = [rng.random() for _ in range(40)]
        methods = {str(n): {"t": [float(rng.random() < p) for p in hard]} for n in range(9)}
        adjusted = holm([mcnemar(methods[str(n)]["t"], methods["0"]["t"]) for n in range(1, 9)])
        wrongly += min(adjusted) < 0.05
    assert wrongly <= binom.ppf(0.9995, families, 0.05)


def test_a_family_is_all_methods_against_one() -> None:
    rng = Random(9)
    methods = {name: {"t": [float(rng.random() < p) for _ in range(60)]} for name, p in [("x", 0.5), ("y", 0.6)]}
    methods["best"] = {"t": [1.0] * 60}
    family = compare_all(methods, against="x")
    assert [(one.a, one.b, one.family) for one in family] == [("y", "x", 2), ("best", "x", 2)]
    assert all(one.p <= one.p_adjusted <= min(1.0, 2 * one.p) for one in family)
    assert family[1].verdict == "better"
