"""Betting: what a wager promises, whatever the rows."""

import copy
import math
from collections.abc import Sequence
from random import Random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sizes import rest_is_slow

from metaspo.engine.selection.betting import BOLD, HORIZON, MIN_VARIANCE, PRIOR_ROWS, PRIOR_SLOPE, SLACK, Wager

GRADE = st.sampled_from([0.0, 0.25, 0.5, 1.0])
RATE = st.floats(0.01, 0.49)
ROWS = st.lists(st.tuples(GRADE, GRADE), min_size=1, max_size=5)


def at_least_as_good(rows: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The rows (candidate's grade, known grade), with sides exchanged if the candidate is the worse one."""
    if sum(grade for grade, _ in rows) < sum(known for _, known in rows):
        return [(known, grade) for grade, known in rows]
    return rows


@given(ROWS, RATE)
def test_capital_never_grows_in_the_mean_while_the_claim_is_true(rows: list[tuple[float, float]], rate: float) -> None:
    """Whatever came before: over all rows that may come next, the mean of the capital is at most what it is."""

    def descend(wager: Wager, left: list[tuple[float, float]]) -> None:
        if not left:
            return
        after = []
        for position, (grade, known) in enumerate(left):
            one = copy.copy(wager)
            one.take(grade, known)
            assert one.capital >= 0
            after.append(one.capital)
            descend(one, left[:position] + left[position + 1 :])
        assert sum(after) / len(after) <= wager.capital + 1e-6

    rows = at_least_as_good(rows)
    descend(Wager([known for _, known in rows], rate=rate), rows)


def given_up(wager: Wager, *, rate: float) -> bool:
    """By Ville's inequality."""
    return wager.capital * rate >= 1


def ever_lost(rows: Sequence[tuple[float, float]], *, rate: float) -> bool:
    wager = Wager([known for _, known in rows], rate=rate)
    for grade, known in rows[:-1]:
        wager.take(grade, known)
        if given_up(wager, rate=rate):
            return True
    return False


@pytest.mark.parametrize(
    ("rate", "agreeing"),
    rest_is_slow([(0.05, 0.9), (0.2, 0.0), (0.2, 0.5), (0.05, 0.0), (0.05, 0.5), (0.2, 0.9)], but=3),
)
def test_a_candidate_that_beats_the_bar_by_one_row_is_lost_no_more_often_than_the_rate(
    rate: float, agreeing: float
) -> None:
    """The claim that is hardest to tell from a false one; three standard deviations are allowed."""
    rng = Random(f"{rate} {agreeing}")
    known = [float(rng.random() < 0.6) for _ in range(150)]
    swapped = [grade if rng.random() < agreeing else 0.0 for grade in known]
    misses = [row for row, grade in enumerate(swapped) if not grade]
    for row in rng.sample(misses, int(sum(known) - sum(swapped)) + 1):
        swapped[row] = 1.0
    assert sum(swapped) == sum(known) + 1
    rows, rounds, lost = list(zip(swapped, known, strict=True)), 600, 0
    for _ in range(rounds):
        rng.shuffle(rows)
        lost += ever_lost(rows, rate=rate)
    assert lost / rounds <= rate + 3 * (rate * (1 - rate) / rounds) ** 0.5


def test_a_candidate_that_is_much_worse_is_lost_by_half_of_the_rows() -> None:
    rng = Random(1)
    rows = [(float(row % 10 < 4), float(row % 10 < 7)) for row in range(300)]
    for _ in range(50):
        rng.shuffle(rows)
        wager = Wager([known for _, known in rows], rate=0.05)
        for grade, known in rows[:150]:
            if not given_up(wager, rate=0.05):
                wager.take(grade, known)
        assert given_up(wager, rate=0.05)


def test_the_worst_row_against_known_grades_all_alike_costs_the_bold_share_of_the_capital() -> None:
    """They tell nothing of a row, so no capital is held back for what they might."""
    wager = Wager([0.5] * 4, rate=1e-6)
    wager.take(1.0, 0.5)
    assert wager.capital == pytest.approx(1 - BOLD)


def capital_of(rows: Sequence[tuple[float, float]], *, rate: float) -> float:
    """Of a wager on these rows, by the formulas, from all that was seen before each row."""
    known = [k for _, k in rows]
    middle = fmean(known)
    spread = fmean((k - middle) ** 2 for k in known)
    capital, noise = 1.0, PRIOR_ROWS * max(spread, MIN_VARIANCE)
    for row, (grade, k) in enumerate(rows):
        seen = rows[:row]
        need = max((sum(known) - SLACK - sum(g for g, _ in seen)) / (len(rows) - row), 0.0)
        rest = fmean(known[row:])
        slope = 0.0
        if spread:
            g_seen, k_seen = (fmean([pair[side] for pair in seen] or [0.0]) for side in (0, 1))
            together = sum((g - g_seen) * (k_ - k_seen) for g, k_ in seen)
            alone = sum((k_ - k_seen) ** 2 for _, k_ in seen)
            prior = PRIOR_ROWS * spread
            slope = min(max((together + PRIOR_SLOPE * prior) / (alone + prior), 0.0), 1.0)
        if need < 1:
            wished = math.sqrt(2 * math.log(1 / rate) / (HORIZON * len(rows)) / (noise / (row + PRIOR_ROWS)))
            stake = min(wished, BOLD / (1 - need + slope * rest))
            capital *= 1 - stake * (grade - need - slope * (k - rest))
        weight = row + PRIOR_ROWS
        expected = (sum(g for g, _ in seen) + PRIOR_ROWS * middle) / weight
        known_expected = (sum(k_ for _, k_ in seen) + PRIOR_ROWS * middle) / weight
        noise += (grade - expected - slope * (k - known_expected)) ** 2
    return capital


@settings(max_examples=60)
@given(st.lists(st.tuples(GRADE, GRADE), min_size=1, max_size=40), RATE)
def test_the_capital_is_what_the_formulas_give_from_the_whole_past(
    rows: list[tuple[float, float]], rate: float
) -> None:
    """Row by row, however slopes and noise are kept."""
    wager = Wager([known for _, known in rows], rate=rate)
    for row, (grade, known) in enumerate(rows, start=1):
        wager.take(grade, known)
        assert row < len(rows) or wager.capital == pytest.approx(capital_of(rows, rate=rate), rel=1e-6)
