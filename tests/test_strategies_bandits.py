"""Bandit policies: their published formulas by hand, and what holds for every policy."""

from collections.abc import Callable
from math import ceil, inf, log2
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaspo.engine.strategies.bandits import (
    Policy,
    Pull,
    SuccessiveHalving,
    SuccessiveRejects,
    UpperConfidence,
    schedule,
    ucb,
    ucb_e,
)
from metaspo.engine.strategies.search import RoundSize
from metaspo.engine.strategies.selection import max_calls_of_ranking


def play(policy: Policy, score: Callable[[int], float | None]) -> list[Pull]:
    """Score whatever a policy asks for; its pulls."""
    pulls: list[Pull] = []
    while (pull := policy.next()) is not None:
        pulls.append(pull)
        policy.tell([score(arm) for arm in pull.arms], examples=pull.examples)
    return pulls


@st.composite
def policies(draw: st.DrawFn, *, arms: st.SearchStrategy[int] | None = None) -> Policy:
    """Any policy, with a budget that is enough for every arm."""
    count = draw(arms or st.integers(1, 20))
    keep = draw(st.integers(1, 5))
    kind = draw(st.sampled_from(["ucb", "ucb-e", "halving", "rejects"]))
    if kind == "halving":
        return SuccessiveHalving(count, budget=draw(st.integers(5 * count, 3000)), keep=keep)
    if kind == "rejects":
        return SuccessiveRejects(count, budget=draw(st.integers(2 * count, 3000)), keep=keep)
    width = draw(st.integers(1, 8))
    return UpperConfidence(
        count,
        rounds=ceil(count / width) + draw(st.integers(0, 5)),
        width=width,
        examples=draw(st.integers(1, 40)),
        c=draw(st.floats(0, 3)),
        bonus="ucb" if kind == "ucb" else "ucb-e",
        clock=draw(st.sampled_from(["rounds", "examples"])),
    )


def test_ucb_adds_the_root_of_log_total_over_pulls() -> None:
    """0.5 + sqrt(ln 3 / 4): ln 3 = 1.0986, a fourth 0.27465, its root 0.52407; an arm never pulled comes first."""
    assert ucb(0.5, pulls=4, total=3) == pytest.approx(1.02407, abs=1e-5)
    assert ucb(0.5, pulls=4, total=3, c=2) == pytest.approx(1.54814, abs=1e-5)
    assert ucb(0.0, pulls=0, total=3) == inf


def test_ucb_e_does_not_look_at_the_total() -> None:
    """0.5 + sqrt(1/4) = 1, and with c = 2: 0.5 + 2 sqrt(2/8) = 1.5."""
    assert ucb_e(0.5, pulls=4) == pytest.approx(1.0)
    assert ucb_e(0.5, pulls=8, c=2) == pytest.approx(1.5)
    assert ucb_e(0.0, pulls=0) == inf


def test_ucb_pulls_the_arms_with_the_highest_indexes() -> None:
    """Round 1: never pulled. Round 2: arm 2, then 0.5 + sqrt(ln 2 / 4) beats 0.25 + the same. Round 3: n = 8, 4, 4."""
    policy = UpperConfidence(3, rounds=3, width=2, examples=4)
    assert policy.next() == Pull((0, 1), 4)
    policy.tell([0.5, 0.25], examples=4)
    assert policy.next() == Pull((0, 2), 4)
    policy.tell([0.0, 0.25], examples=4)
    assert [policy.mean(arm) for arm in range(3)] == [0.25, 0.25, 0.25]
    assert policy.next() == Pull((1, 2), 4)  # 0.25 + sqrt(ln 3 / 4) = 0.774 twice, arm 0: 0.25 + sqrt(ln 3 / 8) = 0.621
    policy.tell([0.75, 0.5], examples=4)
    assert policy.next() is None
    assert policy.ranking() == [1, 2, 0]  # means 0.5, 0.375, 0.25


def test_the_clock_is_the_round_or_the_examples_of_all_arms() -> None:
    """After n = 20 and 10 with means 0.5 and 0.38: ln 4 gives 0.763 > 0.752, ln 30 gives 0.912 < 0.963."""
    chosen = []
    for rounds in (True, False):
        policy = UpperConfidence(2, rounds=4, width=1, examples=10, clock="rounds" if rounds else "examples")
        pulls = play(policy, lambda arm: (0.5, 0.38)[arm])
        chosen.append([pull.arms for pull in pulls])
    assert chosen == [[(0,), (1,), (0,), (0,)], [(0,), (1,), (0,), (1,)]]


def test_arms_with_equal_indexes_come_by_position() -> None:
    assert UpperConfidence(4, rounds=1, width=2, examples=1).next() == Pull((0, 1), 1)


def test_a_mean_counts_every_example_once() -> None:
    """1 on 10 examples and 0.4 on 5 (the arena had no more) is 12 of 15."""
    policy = UpperConfidence(1, rounds=2, width=1, examples=10)
    policy.tell([1.0], examples=10)
    policy.tell([0.4], examples=5)
    assert policy.mean(0) == pytest.approx(0.8)


def test_halving_shares_the_budget_over_its_rounds_and_keeps_the_better_half() -> None:
    """Five arms, budget 60: 3 rounds of 20: 60/15 = 4 each, 3 left with 60/9 = 6, 2 left with 60/6 = 10."""
    policy = SuccessiveHalving(5, budget=60)
    pulls = play(policy, lambda arm: (0.1, 0.5, 0.3, 0.4, 0.2)[arm])
    assert pulls == [Pull((0, 1, 2, 3, 4), 4), Pull((1, 2, 3), 6), Pull((1, 3), 10)]
    assert policy.ranking() == [1, 3, 2, 4, 0]


def test_halving_judges_by_the_last_round_alone() -> None:
    """Arm 0 leads in the first round and over everything; arm 1 is better in the second."""
    policy = SuccessiveHalving(4, budget=16)
    policy.tell([1.0, 0.6, 0.0, 0.1], examples=2)
    assert policy.next() == Pull((0, 1), 4)
    policy.tell([0.5, 0.6], examples=4)
    assert policy.next() is None
    assert policy.ranking() == [1, 0, 3, 2]


def test_halving_for_a_beam_stops_there() -> None:
    """Five arms for a beam of 2: ceil(log2 2.5) = 2 rounds: 60/10 = 6 each, then 3 with 60/6 = 10, 2 stay."""
    policy = SuccessiveHalving(5, budget=60, keep=2)
    pulls = play(policy, lambda arm: arm / 10)
    assert pulls == [Pull((0, 1, 2, 3, 4), 6), Pull((2, 3, 4), 10)]
    assert policy.ranking() == [4, 3, 2, 1, 0]


def test_halving_orders_the_beam_by_the_last_round() -> None:
    """Arm 0 has the better mean of all 16 examples (.69 to .56), arm 1 of the last ten."""
    policy = SuccessiveHalving(5, budget=60, keep=2)
    policy.tell([1.0, 0.5, 0.6, 0.0, 0.1], examples=6)
    assert policy.next() == Pull((0, 1, 2), 10)
    policy.tell([0.5, 0.6, 0.1], examples=10)
    assert policy.ranking() == [1, 0, 2, 4, 3]


def test_ucb_ranks_arms_that_were_never_pulled_last() -> None:
    """Behind those with a mean of 0."""
    policy = UpperConfidence(3, rounds=1, width=2, examples=1)
    policy.tell([0.0, 0.0], examples=1)
    assert policy.ranking() == [0, 1, 2]


def test_the_most_calls_may_be_those_of_fewer_arms() -> None:
    """Halving with a budget of 10: four arms take 4 x 1 + 2 x 2 = 8 calls, three 3 x 1 + 2 x 2 = 7, two 2 x 5 = 10."""
    size = RoundSize(level="user", candidates=1, tasks=1, nodes=1, rows=100)
    most = [
        max_calls_of_ranking(size, prompts=count, policy=lambda arms: SuccessiveHalving(arms, budget=10))
        for count in (1, 4)
    ]
    assert most == [0, 10]


def test_rejects_brings_the_arms_left_to_equal_numbers_and_drops_the_worst() -> None:
    """Four arms, budget 100: L = 19/12, 96/L = 60.6; by 4, 3, 2: 16, 21, 31 examples, so 16, then 5, then 10 more."""
    policy = SuccessiveRejects(4, budget=100)
    pulls = play(policy, lambda arm: (0.3, 0.1, 0.4, 0.2)[arm])
    assert pulls == [Pull((0, 1, 2, 3), 16), Pull((0, 2, 3), 5), Pull((0, 2), 10)]
    assert policy.ranking() == [2, 0, 3, 1]


def test_rejects_for_a_beam_spends_the_budget_on_the_beam() -> None:
    """Four arms for 2: L = 2/3 + 1/3 + 1/4 = 5/4, 96/L = 76.8; by 4 and 3: 20 and 26; 80 + 18 of 100 examples."""
    policy = SuccessiveRejects(4, budget=100, keep=2)
    assert play(policy, lambda arm: arm / 10) == [Pull((0, 1, 2, 3), 20), Pull((1, 2, 3), 6)]
    assert policy.ranking() == [3, 2, 1, 0]


def test_rejects_judges_by_everything_seen() -> None:
    """Means after 16 + 5: arm 0 (16 x 0.5 + 5 x 0) / 21 = 0.381 is above arm 2's 0.35, arm 3's 0.3 goes."""
    policy = SuccessiveRejects(4, budget=100)
    policy.tell([0.5, 0.1, 0.35, 0.3], examples=16)
    policy.tell([0.0, 0.35, 0.3], examples=5)
    assert policy.next() == Pull((0, 2), 10)


def test_an_arm_that_cannot_be_scored_is_the_phases_rejected() -> None:
    """Three are left after a refusal, as after a rejection: the next goal is 21 examples."""
    policy = SuccessiveRejects(4, budget=100)
    policy.tell([0.5, None, 0.0, 0.3], examples=16)
    assert policy.next() == Pull((0, 2, 3), 5)
    assert 1 not in policy.ranking()


def test_nothing_is_pulled_where_everything_is_kept() -> None:
    """Three arms for a beam of four."""
    assert SuccessiveHalving(3, budget=100, keep=4).next() is None
    assert SuccessiveRejects(3, budget=100, keep=4).next() is None


def test_telling_more_than_was_asked_is_an_error() -> None:
    """A score too many, or scores after the end."""
    policy = UpperConfidence(2, rounds=1, width=1, examples=1)
    with pytest.raises(ValueError, match="zip"):
        policy.tell([0.5, 0.5], examples=1)
    policy = UpperConfidence(2, rounds=1, width=1, examples=1)
    policy.tell([0.5], examples=1)
    with pytest.raises(RuntimeError, match="at its end"):
        policy.tell([0.5], examples=1)


def test_a_policy_shows_its_state() -> None:
    """Arms in play and examples seen."""
    policy = SuccessiveRejects(4, budget=100)
    policy.tell([0.5, 0.1, 0.35, 0.3], examples=16)
    assert repr(policy) == "<SuccessiveRejects: 3 of 4 arms in play, 64 examples seen>"


@settings(deadline=None)
@given(arms=st.integers(1, 30), keep=st.integers(1, 6), budget=st.integers(150, 5000), seed=st.integers(0, 2**32))
def test_budgets_are_never_exceeded(arms: int, keep: int, budget: int, seed: int) -> None:
    """Arms times examples over all pulls, where the budget has an example for each arm and round."""
    rng = Random(seed)
    for policy in (
        SuccessiveHalving(arms, budget=budget, keep=keep),
        SuccessiveRejects(arms, budget=budget, keep=keep),
    ):
        pulls = play(policy, lambda arm: rng.random())
        assert sum(len(pull.arms) * pull.examples for pull in pulls) <= budget
        assert len(policy._alive) == min(arms, keep)


@settings(deadline=None)
@given(arms=st.integers(2, 400))
def test_halving_takes_as_many_rounds_as_published(arms: int) -> None:
    """ceil(log2 n)."""
    assert len(schedule(SuccessiveHalving(arms, budget=10_000))) == ceil(log2(arms))


@settings(deadline=None)
@given(policy=policies(), seed=st.integers(0, 2**32))
def test_the_arm_that_is_always_better_is_ranked_first(policy: Policy, seed: int) -> None:
    """Whatever the others do."""
    rng = Random(seed)
    best = rng.randrange(policy.arms)
    pulls = play(policy, lambda arm: 1.0 if arm == best else rng.random() * 0.99)
    if pulls:
        assert policy.ranking()[0] == best


@settings(deadline=None)
@given(policy=policies(), refusals=st.sets(st.integers(0, 19)), seed=st.integers(0, 2**32))
def test_every_arm_that_can_be_scored_is_ranked_once(policy: Policy, refusals: set[int], seed: int) -> None:
    """And one that cannot is never pulled again."""
    rng = Random(seed)
    pulled: list[int] = []
    while (pull := policy.next()) is not None:
        assert policy.next() == pull, "asking twice changes nothing"
        assert not refusals & set(pull.arms) & set(pulled)
        pulled += pull.arms
        told = [None if arm in refusals else rng.random() for arm in pull.arms]
        policy.tell(told, examples=pull.examples)
    assert sorted(policy.ranking()) == [arm for arm in range(policy.arms) if arm not in refusals & set(pulled)]


@settings(deadline=None)
@given(width=st.integers(1, 5), arms=st.integers(1, 20), seed=st.integers(0, 2**32))
def test_ucb_pulls_every_arm_once_before_any_twice(width: int, arms: int, seed: int) -> None:
    """As far as the rounds go."""
    rng = Random(seed)
    pulls = play(UpperConfidence(arms, rounds=8, width=width, examples=5), lambda arm: rng.random())
    order = [arm for pull in pulls for arm in pull.arms]
    assert len(set(order[:arms])) >= min(arms, len(order)) - (width - 1)
    assert set(order) == set(range(arms)) or len(order) < arms


@settings(deadline=None)
@given(arms=st.integers(1, 20), budget=st.integers(1, 3000), keep=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_the_sizes_of_pulls_do_not_depend_on_the_scores(arms: int, budget: int, keep: int, seed: int) -> None:
    """So that calls can be counted beforehand."""
    rng = Random(seed)
    makes: list[Callable[[], Policy]] = [
        lambda: SuccessiveHalving(arms, budget=budget, keep=keep),
        lambda: SuccessiveRejects(arms, budget=budget, keep=keep),
        lambda: UpperConfidence(arms, rounds=6, width=3, examples=7),
    ]
    for make in makes:
        expected = [(len(pull.arms), pull.examples) for pull in schedule(make())]
        played = play(make(), lambda arm: rng.random())
        assert [(len(pull.arms), pull.examples) for pull in played] == expected
