"""The luck of the best of several: close to what it truly is, and the bound above it."""

from itertools import combinations, product
from math import comb, fsum, sqrt
from random import Random
from statistics import fmean
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, t
from sizes import rest_is_slow

from metaspo.engine.statistics import Optimism, TaskGrades, at_most, of_the_best, reselected

WEIGHTS = {"s": 2.0, "t": 1.0}
GRADES = st.sampled_from([0.0, 0.5, 1.0])


def round_of(rng: Random, *, spread: float, candidates: int = 9) -> tuple[list[TaskGrades], list[float]]:
    """Grades of an incumbent and its candidates on two tasks, and their true scores."""
    hard = {task: [rng.uniform(0.2, 0.8) for _ in range(50)] for task in WEIGHTS}
    field: list[TaskGrades] = []
    truths = []
    for _ in range(candidates + 1):
        better = rng.gauss(0, spread)
        chances = {task: [min(max(p + better, 0), 1) for p in row] for task, row in hard.items()}
        field.append({task: [float(rng.random() < p) for p in row] for task, row in chances.items()})
        truths.append(sum(WEIGHTS[task] * sum(row) / 50 for task, row in chances.items()) / 3)
    return field, truths


def score_of(grades: TaskGrades) -> float:
    """The weighted mean over both tasks."""
    return sum(WEIGHTS[task] * sum(grade or 0.0 for grade in row) / 50 for task, row in grades.items()) / 3


def lucks_of(*, spread: float, rounds: int = 150, candidates: int = 9) -> list[tuple[float, float, float]]:
    """Of many rounds the true luck of the winner, its estimate and its bound."""
    rng, lucks = Random(11), []
    for seed in range(rounds):
        field, truths = round_of(rng, spread=spread, candidates=candidates)
        estimate = reselected(field[1:], incumbent=field[0], weights=WEIGHTS, seed=seed)
        if estimate is None:
            continue
        winner = max(range(1, candidates + 1), key=lambda place: score_of(field[place]))
        assert estimate.score == pytest.approx(score_of(field[winner]))
        bound = at_most(field[winner], field[0], candidates=candidates, score=estimate.score, weights=WEIGHTS)
        lucks.append((estimate.score - truths[winner], estimate.luck, bound.luck))
    return lucks


def means(lucks: list[tuple[float, float, float]]) -> list[float]:
    return [sum(column) / len(lucks) for column in zip(*lucks, strict=True)]


def test_the_luck_among_equally_good_candidates_is_estimated_as_it_is() -> None:
    true, estimated, most = means(lucks_of(spread=0))
    assert estimated == pytest.approx(true, rel=0.2)
    assert most > 1.4 * true


@pytest.mark.parametrize(("spread", "candidates"), rest_is_slow([(0.0, 9), (0.0, 1), (0.1, 9)]))
def test_the_luck_passes_its_bound_in_5_of_100_rounds_at_most(spread: float, candidates: int) -> None:
    lucks = lucks_of(spread=spread, candidates=candidates)
    above = sum(true > most for true, _, most in lucks)
    assert above <= binom.ppf(0.9995, len(lucks), 0.05)


def test_where_candidates_differ_the_luck_is_less_and_the_estimate_follows() -> None:
    true, estimated, most = means(lucks_of(spread=0.1))
    assert true < most / 2
    assert true - 0.005 < estimated < 0.65 * most


def test_a_candidate_far_ahead_owes_nothing_to_luck() -> None:
    field, _ = round_of(Random(1), spread=0)
    best: TaskGrades = {task: [1.0] * 50 for task in WEIGHTS}
    found = reselected([*field, best])
    assert found is not None
    assert found.luck < 0.001


def test_a_candidate_that_was_not_scored_to_the_end_takes_no_part_and_is_said() -> None:
    field, _ = round_of(Random(2), spread=0)
    best: TaskGrades = {task: [1.0] * 50 for task in WEIGHTS}
    dropped: TaskGrades = {task: [0.0] * 49 + [None] for task in WEIGHTS}
    some, all_known = reselected([best, *field[1:4], dropped]), reselected([best, *field[1:4]])
    assert some is not None
    assert all_known is not None
    assert (some.luck, some.score) == (all_known.luck, all_known.score)
    assert (some.candidates, some.complete) == (5, 4)
    assert "at least" in some.sentence
    assert "only 4 of them" in some.sentence
    assert "at least" not in all_known.sentence


def test_nothing_is_said_where_nothing_was_chosen() -> None:
    one: TaskGrades = {"t": [1.0, 0.0]}
    assert reselected([one], incumbent=one) is None  # a tie: the incumbent stays
    assert reselected([{"t": [None, 1.0]}]) is None
    assert reselected([{"t": [1.0]}, {"t": [0.0]}]) is None


def test_the_same_grades_give_the_same_estimate() -> None:
    field, _ = round_of(Random(3), spread=0.05)
    assert reselected(field, seed=4) == reselected(field, seed=4)


def test_in_which_order_a_candidate_has_its_tasks_is_no_matter() -> None:
    """The weights are theirs by name."""
    field, _ = round_of(Random(3), spread=0.05)
    turned: list[TaskGrades] = [dict(reversed(list(each.items()))) for each in field[1:]]
    told = [reselected(each, incumbent=field[0], weights=WEIGHTS, seed=4) for each in (field[1:], turned)]
    assert told[0] == told[1] is not None


def test_a_lone_candidate_was_not_chosen_from_any() -> None:
    lone = reselected([{"t": [1.0, 0.0, 1.0]}])
    assert lone is not None
    assert lone.score == pytest.approx(2 / 3)
    assert lone.luck == 0.0


def test_odd_and_single_examples_are_no_trouble() -> None:
    grades: list[TaskGrades] = [{"s": [1.0], "t": [1.0, 0.0, 1.0]}, {"s": [0.0], "t": [0.0, 1.0, 1.0]}]
    found = reselected(grades)
    assert found is not None
    assert 0 <= found.luck <= 1


def test_candidates_scored_on_other_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="same examples"):
        reselected([{"t": [1.0, 0.0]}, {"t": [1.0, 0.0, 1.0]}])


@pytest.mark.parametrize("grades", [{"s": [1.0]}, {"t": [None, 1.0]}])
def test_without_an_example_that_both_have_answered_there_is_no_bound(grades: TaskGrades) -> None:
    with pytest.raises(ValueError, match="no example that both have answered"):
        at_most(grades, {"t": [1.0, None]}, candidates=1, score=0.5)


@pytest.mark.parametrize("candidates", [1, 2, 9])
def test_the_bound_is_the_95th_percentile_of_the_highest_of_students_draws(candidates: int) -> None:
    """Of one candidate, too, above 0: it had to beat the incumbent, by luck perhaps. Half of 100 rows differ."""
    new, old = {"t": [1.0, 0.0, 1.0, 0.0] * 25}, {"t": [1.0, 0.0, 0.0, 1.0] * 25}
    found = at_most(new, old, candidates=candidates, score=0.5).luck
    highest = found / (sqrt(0.5 / 100) / sqrt(2))
    assert found > 0
    assert t.cdf(highest, 99) ** (candidates + 1) == pytest.approx(0.95)


def test_luck_is_no_more_than_the_score() -> None:
    found = at_most({"t": [1.0, 0.0, 0.0]}, {"t": [0.0, 0.0, 0.0]}, candidates=9, score=1 / 3)
    assert found.luck == 1 / 3


def test_the_bound_holds_on_few_examples() -> None:
    """Of 20 examples, where the noise itself is hardly known: by the normal law it is passed in 6.5 of 100 rounds."""
    rng, above = Random(4), []
    for _ in range(6_000):
        hard = [rng.uniform(0.2, 0.8) for _ in range(20)]
        field = [[float(rng.random() < chance) for chance in hard] for _ in range(4)]
        winner = max(field, key=sum)  # ties to the incumbent, which is the first
        score = fmean(winner)
        bound = at_most({"t": winner}, {"t": field[0]}, candidates=3, score=score)
        if winner is not field[0]:
            above.append(score - fmean(hard) > bound.luck)
    assert fmean(above) < 0.055


def test_more_candidates_and_more_disagreement_leave_more_room_for_luck() -> None:
    old: TaskGrades = {"t": [1.0, 0.0] * 25}
    near, far = {"t": [1.0, 0.0] * 24 + [1.0, 1.0]}, {"t": [0.0, 1.0] * 24 + [1.0, 1.0]}

    def luck(winner: TaskGrades, candidates: int) -> float:
        return at_most(winner, old, candidates=candidates, score=0.5).luck

    assert luck(near, 3) < luck(near, 9) < luck(far, 9)
    assert luck(old, 9) == 0


def test_a_bound_says_that_it_is_one() -> None:
    bound = Optimism(score=0.712, luck=0.034, candidates=9, complete=9, kind="bound")
    assert bound.sentence == (
        "train score 71.2%, of which at most 3.4 points (95% sure) are the luck of having picked the best of 9"
    )
    alone = Optimism(score=0.712, luck=0.034, candidates=1, complete=1, kind="estimate")
    assert alone.sentence.endswith("about 3.4 points are the luck of having picked it over the one before")


@pytest.mark.parametrize("candidates", [1, 2])
def test_the_bound_for_few_candidates_is_what_theory_gives_and_above_zero(candidates: int) -> None:
    """Of one candidate, too: it had to beat the incumbent."""
    winner: TaskGrades = {"s": [1.0, 1.0, 1.0, 0.0], "t": [1.0, 0.0, 1.0]}
    incumbent: TaskGrades = {"s": [1.0, 0.0, 0.0, 0.0], "t": [0.0, 0.0, 1.0]}
    # Differences 0 1 1 0 and 1 0 0: with mean squares of 1/2 and 1/3. The tasks weigh 2/3 and 1/3.
    parts = [(2 / 3) ** 2 * (1 / 2) / 4, (1 / 3) ** 2 * (1 / 3) / 3]
    error = sum(parts)
    freedom = error**2 / (parts[0] ** 2 / 3 + parts[1] ** 2 / 2)  # Welch
    highest = t.ppf(0.95 ** (1 / (candidates + 1)), freedom)
    bound = at_most(winner, incumbent, candidates=candidates, score=0.7, weights=WEIGHTS)
    assert bound.luck == pytest.approx(highest * sqrt(error / 2), rel=1e-4)
    assert bound.luck > 0


def test_a_task_that_only_one_of_the_two_was_scored_on_is_left_out_of_the_bound_wherever_it_stands() -> None:
    """The others count as if it were not there."""
    new: TaskGrades = {"t": [1.0, 0.0, 1.0, 0.0]}
    old: TaskGrades = {"t": [1.0, 0.0, 0.0, 1.0]}
    alone = {"s": [1.0, 1.0]}
    bounds = [
        at_most(winner, old, candidates=3, score=0.5).luck for winner in (new, {**alone, **new}, {**new, **alone})
    ]
    assert bounds[0] > 0
    assert bounds == [bounds[0]] * 3


def halves_of(many: int) -> list[tuple[float, tuple[int, ...]]]:
    """Every half of so many examples that there may be, with how likely it is; all of them, where there is but one."""
    sizes = [many // 2] if many % 2 == 0 else [many // 2, many // 2 + 1]
    return [(1 / len(sizes) / comb(many, size), chosen) for size in sizes for chosen in combinations(range(many), size)]


@given(
    st.integers(2, 4).flatmap(
        lambda count: st.tuples(
            st.lists(
                st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=4, max_size=4), min_size=count, max_size=count
            ),
            st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=3, max_size=3), min_size=count, max_size=count),
            st.lists(st.sampled_from([0.0, 1.0]), min_size=count, max_size=count),
        )
    ),
    st.booleans(),
)
@settings(max_examples=40)
def test_the_estimate_is_the_mean_fall_over_all_halves_there_are(
    grades: tuple[list[list[float]], list[list[float]], list[float]], incumbent: bool
) -> None:
    """From the half that the best was chosen on to the other, ties to the earlier, over the noise of half as many."""
    even, odd, single = grades
    field: list[TaskGrades] = [{"t": t, "s": s, "one": [u]} for t, s, u in zip(even, odd, single, strict=True)]
    weights, whole = {"t": 2.0, "s": 1.0, "one": 0.5}, 3.5
    falls: list[tuple[float, float]] = []
    for (p, in_t), (q, in_s) in product(halves_of(4), halves_of(3)):

        def score(
            grades: TaskGrades, inside: bool, in_t: tuple[int, ...] = in_t, in_s: tuple[int, ...] = in_s
        ) -> float:
            t = fmean(cast(float, grades["t"][row]) for row in range(4) if (row in in_t) == inside)
            s = fmean(cast(float, grades["s"][row]) for row in range(3) if (row in in_s) == inside)
            return (2.0 * t + s + 0.5 * cast(float, grades["one"][0])) / whole

        best = max(field, key=lambda grades: round(score(grades, True), 9))
        falls.append((p * q, score(best, True) - score(best, False)))
    expected = fsum(chance * fall for chance, fall in falls)
    spread = sqrt(fsum(chance * (fall - expected) ** 2 for chance, fall in falls) / 1_000)
    old, *new = field
    found = reselected(new, incumbent=old, weights=weights) if incumbent else reselected(field, weights=weights)
    scores = [
        fmean([fmean(cast(list[float], grades[task])) for task in weights], weights=list(weights.values()))
        for grades in field
    ]
    if found is None:
        assert incumbent
        assert round(scores[0], 9) == round(max(scores), 9)
    else:
        assert found.score == pytest.approx(max(scores))
        assert found.luck == pytest.approx(max(0.0, expected / sqrt(2)), abs=4 * spread + 1e-9)
        assert found.kind == "estimate"
        assert found.candidates == found.complete == len(field) - incumbent


@pytest.mark.parametrize(("tried", "rows"), [(1, 20), (5, 20), (20, 40)])
def test_what_each_tasks_best_gains_among_equally_good_prompts_is_told_as_it_is(tried: int, rows: int) -> None:
    rng, true, told = Random(5), [], []
    for _ in range(400):
        first, best = {}, {}
        for task in WEIGHTS:
            prompts = [[float(rng.random() < 0.6) for _ in range(rows)] for _ in range(tried + 1)]
            first[task], best[task] = prompts[0], max(prompts, key=sum)
        true.append(score_of_rows(best, rows) - score_of_rows(first, rows))
        told.append(of_the_best(first, best, tried=dict.fromkeys(WEIGHTS, tried), weights=WEIGHTS))
    assert fmean(told) == pytest.approx(fmean(true), rel=0.2)


@given(st.lists(st.tuples(GRADES, GRADES), min_size=1, max_size=9), st.integers(1, 200))
def test_luck_has_brought_no_more_than_there_was_to_gain(rows: list[tuple[float, float]], tried: int) -> None:
    first, best = zip(*rows, strict=True)
    luck = of_the_best({"s": first, "t": [0.0]}, {"s": best, "t": [1.0]}, tried={"s": tried, "t": 0})
    assert 0 <= luck <= (1 - fmean(first)) / 2 + 1e-9


def score_of_rows(grades: TaskGrades, rows: int) -> float:
    """The weighted mean over both tasks, of so many rows each."""
    return sum(WEIGHTS[task] * sum(grade or 0.0 for grade in row) / rows for task, row in grades.items()) / 3


def test_a_prompt_that_stays_has_no_luck_in_it() -> None:
    first: TaskGrades = {"s": [1.0, 0.0, 0.0, 1.0], "t": [0.0, 1.0]}
    turned: TaskGrades = {"s": [1.0, 1.0, 1.0, 0.0], "t": [0.0, 1.0]}
    assert of_the_best(first, turned, tried={"s": 0, "t": 3}) == 0
    assert of_the_best(first, turned, tried={"s": 2, "t": 3}) > 0


def test_what_a_prompt_truly_mends_is_not_taken_for_luck() -> None:
    """The noise is told by what it breaks: more that is mended beside that leaves the luck as it was."""
    first: TaskGrades = {"s": [1.0] * 2 + [0.0] * 18}
    mends = [of_the_best(first, {"s": [0.0, 1.0] + [1.0] * n + [0.0] * (18 - n)}, tried={"s": 9}) for n in (3, 9, 18)]
    assert mends == [pytest.approx(mends[0])] * 3
    breaks_two = of_the_best(first, {"s": [0.0, 0.0] + [1.0] * 9 + [0.0] * 9}, tried={"s": 9})
    assert breaks_two > mends[1] > 0
