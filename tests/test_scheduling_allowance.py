"""What a lane takes of a shared rate: no more than was granted, not before its time, nothing kept unused."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.backends import LimitHints
from metaspo.scheduling.limits.allowance import BATCH, KEPT, UNKNOWN, Allowance, Rate, Wanted
from metaspo.scheduling.limits.limits import RateLimits


def make_allowance(*, requests: float = 100.0, tokens: float = 10_000.0) -> Allowance:
    """So many a second."""
    allowance = Allowance("group")
    allowance.rates = Rate(requests, requests * BATCH), Rate(tokens, tokens * BATCH)
    return allowance


def granted(allowance: Allowance, now: float, wait: float = 0.0) -> Wanted:
    """What it asked for then, granted."""
    wanted = allowance.asked(now)
    assert wanted is not None
    allowance.granted(wait, requests_sent=wanted.requests, tokens_sent=wanted.own_tokens, now=now)
    return wanted


def test_nothing_goes_before_it_is_granted_and_due() -> None:
    allowance = make_allowance()
    assert allowance.wait(10, 10, 0.0) == UNKNOWN
    granted(allowance, 0.0, wait=0.25)
    assert allowance.wait(10, 10, 0.1) == pytest.approx(0.15)
    assert allowance.wait(10, 10, 0.25) == 0.0


def test_a_tenth_of_a_second_of_the_tighter_rate_is_asked_for_at_once() -> None:
    rates = (100.0, 10_000.0, 10), (100.0, 500.0, 5), (1.0, 500.0, 1), (0.0, 500.0, 5), (100.0, 0.0, 10)
    for requests, tokens, calls in rates:
        allowance = make_allowance(requests=requests, tokens=tokens)
        allowance.demand = 64
        allowance.wait(10, 8, 0.0)
        assert allowance.asked(0.0) == Wanted(calls, calls * 10, calls * 8)
        assert allowance.asked(0.0) is None


def test_no_more_is_asked_for_than_could_go() -> None:
    allowance = make_allowance()
    allowance.demand = 3
    allowance.wait(10, 10, 0.0)
    assert granted(allowance, 0.0).requests == 3
    assert allowance.wait(10, 10, 0.0) == 0.0
    assert allowance.asked(0.0) is None  # three could go, and three may


def test_the_next_batch_is_asked_for_while_one_is_used() -> None:
    allowance = make_allowance()
    allowance.demand = 64
    allowance.wait(10, 10, 0.0)
    granted(allowance, 0.0)
    assert allowance.wait(10, 10, 0.0) == 0.0
    assert granted(allowance, 0.0, wait=0.5).requests == 10
    for _ in range(10):
        assert allowance.wait(10, 10, 0.1) == 0.0
        allowance.take(10)
    assert allowance.wait(10, 10, 0.1) == pytest.approx(0.4)


def test_what_is_left_of_a_batch_goes_with_the_next_one() -> None:
    """And half a batch's tokens beyond both, as calls differ."""
    allowance = make_allowance(tokens=1_000.0)
    allowance.demand = 64
    allowance.wait(10, 10, 0.0)
    granted(allowance, 0.0)
    for _ in range(4):
        assert allowance.wait(10, 10, 0.0) == 0.0
        allowance.take(10)
    granted(allowance, 0.0, wait=0.5)
    assert (allowance.wait(210, 10, 0.5), allowance.wait(211, 10, 0.5)) == (0.0, UNKNOWN)
    for _ in range(16):
        assert allowance.wait(10, 10, 0.5) == 0.0
        allowance.take(10)
    assert allowance.wait(10, 10, 0.5) == UNKNOWN


def test_what_nobody_looked_for_until_its_time_was_over_is_given_back_at_once() -> None:
    allowance = make_allowance()
    allowance.wait(10, 7, 0.0)
    granted(allowance, 0.0, wait=0.5)
    assert allowance.asked(0.5 + KEPT) == Wanted(more_requests=-1, more_tokens=-10, unsent_requests=1, unsent_tokens=7)


def test_what_is_not_used_in_time_is_given_back() -> None:
    allowance = make_allowance()
    allowance.demand = 4
    allowance.wait(10, 7, 0.0)
    granted(allowance, 0.0)
    assert allowance.wait(10, 7, 0.0) == 0.0
    allowance.take(10)
    assert allowance.asked(KEPT - 0.01) is None
    assert allowance.asked(allowance.expires_at()) == Wanted(
        more_requests=-3, more_tokens=-30, unsent_requests=3, unsent_tokens=21
    ), "when that was said, or who waits for the moment would ask again and again"
    assert allowance.wait(10, 7, KEPT + 0.01) == UNKNOWN


def test_a_call_far_larger_than_what_was_granted_waits_for_more() -> None:
    allowance = make_allowance()
    allowance.demand = 2
    allowance.wait(10, 10, 0.0)
    granted(allowance, 0.0)
    assert allowance.wait(2_000, 2_000, 0.0) == UNKNOWN
    wanted = granted(allowance, 0.0, wait=0.2)
    assert wanted.tokens >= 2_000
    assert allowance.wait(2_000, 2_000, 0.2) == 0.0


def test_what_was_taken_too_much_is_told_with_the_next_ask() -> None:
    allowance = make_allowance()
    allowance.demand = 1
    allowance.wait(10, 10, 0.0)
    granted(allowance, 0.0)
    assert allowance.wait(12, 12, 0.0) == 0.0
    allowance.take(12)
    allowance.wait(10, 10, 0.0)
    granted(allowance, 0.0)
    allowance.wait(10, 10, 0.0)  # the second batch has come
    allowance.take(10)
    allowance.wait(10, 10, 0.0)
    wanted = allowance.asked(0.0)
    assert wanted is not None
    assert wanted.more_tokens == 2


def test_each_call_knows_how_much_all_have_sent() -> None:
    allowance = make_allowance()
    allowance.demand = 3
    allowance.wait(10, 7, 0.0)
    allowance.asked(0.0)
    allowance.granted(0.0, requests_sent=103, tokens_sent=1_021, now=0.0)
    assert allowance.wait(10, 7, 0.0) == 0.0
    assert [allowance.take(10) for _ in range(3)] == [(101, 1_007), (102, 1_014), (103, 1_021)]


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 0.6), st.integers(1, 40), st.integers(1, 12), st.floats(0, 0.5)), min_size=1, max_size=60
    )
)
def test_no_more_requests_go_than_were_taken_and_the_rest_is_given_back(
    steps: list[tuple[float, int, int, float]],
) -> None:
    allowance, now, taken, gone = make_allowance(), 0.0, 0, 0
    for passed, tokens, demand, wait in steps:
        now += passed
        allowance.demand = demand
        if allowance.wait(tokens, tokens, now) == 0.0:
            allowance.take(tokens)
            gone += 1
        if (wanted := allowance.asked(now)) is not None:
            taken += wanted.requests + wanted.more_requests
            allowance.granted(wait, requests_sent=0, tokens_sent=0, now=now)
        assert gone <= taken
    allowance.give_all_back()
    assert allowance.expires_at() == inf
    if (wanted := allowance.asked(now)) is not None:
        taken += wanted.requests + wanted.more_requests
    assert gone == taken


def test_a_refusal_holds_everybody_and_what_was_not_used_comes_back() -> None:
    allowance = Allowance("group")
    limits = RateLimits(requests_per_minute=6_000, tokens_per_minute=600_000, shared=allowance)
    assert limits.wait(100, 0.0) == UNKNOWN
    granted(allowance, 0.0)
    assert limits.wait(100, 0.0) == 0.0
    reservation = limits.reserve(100, 0.0)
    limits.settle(reservation, tokens=60, now=0.1)
    limits.hold(2.0, 0.1)
    wanted = allowance.asked(0.1)
    assert wanted is not None
    assert (wanted.more_tokens, wanted.hold) == (-40, 2.0)


def test_limits_that_are_not_known_yet_are_shared_once_they_are() -> None:
    allowance = Allowance("group")
    limits = RateLimits(shared=allowance)
    assert limits.wait(100, 0.0) == 0.0
    limits.reserve(100, 0.0)
    assert allowance.asked(0.0) is None
    limits.hear(LimitHints(requests_limit=600, requests_remaining=599), limits.reserve(100, 1.0), 1.0)
    assert [rate.per_second > 0 for rate in allowance.rates] == [True, False]
    assert limits.wait(100, 1.0) > 0
    assert allowance.asked(1.0) is not None


def test_who_shares_a_limit_is_told_of_a_slower_pace() -> None:
    """As long as it lasts, or others would go on at the old one."""
    allowance = Allowance("group")
    limits = RateLimits(requests_per_minute=600, shared=allowance)
    limits.wait(1, 0.0)
    granted(allowance, 0.0)
    assert limits.wait(1, 0.0) == 0.0
    before = allowance.rates[0]
    limits.refused(limits.reserve(1, 0.0), 0.0)
    assert allowance.rates[0].per_second < before.per_second
