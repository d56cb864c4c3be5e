"""Rate limits: never above the limit in any window, close below it, and nobody is starved."""

import random
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaspo.backends import LimitHints
from metaspo.scheduling.limits.counting import DECLARED, LARGER, USED
from metaspo.scheduling.limits.limits import RAMP_CUT, RateLimits, counts_days
from metaspo.scheduling.limits.quota import Quota
from metaspo.scheduling.limits.window import Window


def run_arrivals(limits: RateLimits, arrivals: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Send each call, first come first served, as early as the limits allow; returns times and tokens."""
    now = 0.0
    sent = []
    for at, tokens in arrivals:
        now = max(now, at)
        while (wait := limits.wait(tokens, now)) > 0:
            now += wait
        limits.reserve(tokens, now)
        sent.append((now, tokens))
    return sent


def most_in_any_window(sent: list[tuple[float, int]], period: float) -> tuple[int, int]:
    """By brute force: the most calls and tokens in any half-open window of that length."""
    calls = tokens = 0
    for start, _ in sent:
        inside = [amount for at, amount in sent if start <= at < start + period]
        calls, tokens = max(calls, len(inside)), max(tokens, sum(inside))
    return calls, tokens


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 200),
    st.integers(500, 20_000),
    st.sampled_from([0.01, 0.3, 2.0]),
)
def test_no_minute_ever_holds_more_than_the_limits(seed: int, requests: int, tokens: int, gap: float) -> None:
    """Whatever arrives, no 60 seconds hold more calls or tokens than are allowed."""
    rng = random.Random(seed)
    at = rng.random() * 1e4
    arrivals = []
    for _ in range(200):
        at += rng.expovariate(1 / gap)
        arrivals.append((at, rng.randint(1, 500)))
    sent = run_arrivals(RateLimits(requests_per_minute=requests, tokens_per_minute=tokens), arrivals)
    calls_seen, tokens_seen = most_in_any_window(sent, 60.0)
    assert calls_seen <= requests
    assert tokens_seen <= tokens


def test_no_day_holds_more_than_its_limit() -> None:
    """The day limits hold for any 24 hours."""
    limits = RateLimits(requests_per_day=50, tokens_per_day=900)
    sent = run_arrivals(limits, [(number * 200.0, 10 + number % 30) for number in range(300)])
    calls, tokens = most_in_any_window(sent, 86_400.0)
    assert calls <= 50
    assert tokens <= 900


@pytest.mark.parametrize(("requests", "tokens"), [(600, None), (None, 200_000), (600, 200_000)])
def test_a_busy_lane_uses_its_limit(requests: int | None, tokens: int | None) -> None:
    """With enough to do, at least 97% of the tighter limit is used."""
    limits = RateLimits(requests_per_minute=requests, tokens_per_minute=tokens)
    sent = run_arrivals(limits, [(0.0, 500)] * 4_000)
    seconds = sent[-1][0] - sent[0][0]
    share_of_requests = len(sent) / seconds * 60 / requests if requests else 0.0
    share_of_tokens = 500 * len(sent) / seconds * 60 / tokens if tokens else 0.0
    assert 0.97 <= max(share_of_requests, share_of_tokens) <= 1.0


def test_no_second_gets_a_minutes_burst() -> None:
    """A limit of 6,000 a minute is kept as about 100 a second from the first one on."""
    sent = run_arrivals(RateLimits(requests_per_minute=6_000), [(0.0, 1)] * 2_000)
    calls, _ = most_in_any_window(sent, 1.0)
    assert calls <= 100 + 60 + 1


def test_a_large_call_waits_no_longer_than_its_share() -> None:
    """First in line, it saves up: small ones behind it do not delay it, and it is not sent early."""
    limits = RateLimits(tokens_per_minute=6_000)
    sent = run_arrivals(limits, [(0.0, 60)] + [(0.0, 3_000)] + [(0.0, 10)] * 5)
    assert 29 <= sent[1][0] <= 33


def test_a_call_larger_than_the_limit_goes_alone() -> None:
    """It cannot fit, so it waits for an empty minute instead of waiting for ever."""
    limits = RateLimits(tokens_per_minute=1_000)
    sent = run_arrivals(limits, [(0.0, 10), (0.0, 5_000)])
    assert sent[1][0] <= 125


def test_settling_gives_back_what_was_not_used() -> None:
    """An estimate ten times too high does not cost a tenth of the limit once answers are in."""
    limits = RateLimits(tokens_per_minute=60_000)
    now, sent = 0.0, 0
    while now < 600:
        wait = limits.wait(1_000, now)
        if wait > 0:
            now += wait
            continue
        reservation = limits.reserve(1_000, now)
        limits.settle(reservation, tokens=100, now=now)
        sent += 1
    assert sent >= 0.9 * 6_000


def test_what_never_arrived_counts_for_nothing() -> None:
    """A call that reached no server is given back whole."""
    limits = RateLimits(requests_per_minute=10, tokens_per_minute=100)
    for _ in range(50):
        assert limits.wait(50, 0.0) <= 35
        limits.give_back(limits.reserve(50, 0.0), 0.0)
    assert limits.requests.used_in_minute(0.0) == 0
    assert limits.tokens.used_in_minute(0.0) == 0


def test_a_hold_stops_everything_for_its_time() -> None:
    """After a refusal nothing goes until the time is over."""
    limits = RateLimits()
    limits.hold(20.0, 5.0)
    assert limits.wait(1, 5.0) == pytest.approx(20.0)
    assert limits.wait(1, 24.0) == pytest.approx(1.0)
    assert limits.wait(1, 25.0) == 0.0


@pytest.mark.parametrize("limits", [RateLimits(requests_per_minute=6_000), RateLimits(tokens_per_minute=6_000)])
def test_nothing_is_saved_up_for_the_end_of_a_hold(limits: RateLimits) -> None:
    """What went at once then might be refused as this was: whatever is limited keeps to its pace at once."""
    limits.hold(20.0, 5.0)
    limits.reserve(1, 25.0)
    assert limits.wait(1, 25.0) == pytest.approx(2 / 100, rel=0.05)


def test_a_later_and_shorter_hold_never_shortens_one_in_force() -> None:
    """The longest of what the provider asked for counts."""
    limits = RateLimits()
    limits.hold(60.0, 0.0)
    limits.hold(5.0, 1.0)
    assert limits.wait(1, 1.0) == pytest.approx(59.0)
    limits.hold(100.0, 2.0)
    assert limits.wait(1, 2.0) == pytest.approx(100.0)


def test_headers_set_limits_nobody_told_us() -> None:
    """An unlimited lane keeps the limit that the first answer shows; a lower one replaces it."""
    limits = RateLimits()
    reservation = limits.reserve(10, 0.0)
    assert limits.hear(LimitHints(requests_limit=60, tokens_limit=6_000), reservation, 0.0)
    sent = run_arrivals(limits, [(0.0, 10)] * 100)
    assert most_in_any_window(sent, 60.0)[0] <= 60
    assert limits.hear(LimitHints(requests_limit=30), reservation, sent[-1][0])
    assert limits.requests.per_minute == 30


def test_headers_never_raise_a_limit_that_was_set() -> None:
    """The user's own limit is the upper bound."""
    limits = RateLimits(requests_per_minute=20)
    limits.hear(LimitHints(requests_limit=500), limits.reserve(1, 0.0), 0.0)
    assert limits.requests.per_minute == 20


def test_a_provider_that_has_counted_more_is_believed() -> None:
    """Little left in the headers makes us wait for the refill."""
    quota = Quota(per_minute=6_000, per_day=None, now=0.0)
    quota.feed_back(0, taken_then=quota.taken, at=0.0, now=0.0)
    assert quota.wait(100, 0.0) == pytest.approx(100 / 99, rel=0.05)


def test_an_old_header_is_brought_up_to_date() -> None:
    """What was refilled and sent since the header was written counts too, so a slow answer does not stall the lane."""
    quota = Quota(per_minute=6_000, per_day=None, now=0.0)
    then = quota.taken
    now = 0.0
    for _ in range(30):
        now += quota.wait(100, now)
        quota.take(100, now)
    quota.feed_back(3_000, taken_then=then, at=0.0, now=now)
    assert quota.wait(100, now) <= 1.5


def test_what_is_left_is_not_used_to_the_last() -> None:
    """Of the most that the provider lets us save up a part stays there, for calls that count for more than we think."""
    quota = Quota(per_minute=6_000, per_day=None, now=0.0)
    quota.feed_back(50, taken_then=quota.taken, at=0.0, now=0.0, charged=10)
    assert quota.wait(10, 0.0) == 0.0
    assert quota.wait(25, 0.0) > 0


def test_a_header_has_seen_its_own_call() -> None:
    """What the call turned out not to need is in what the header says is left; it is not added once more."""
    quota = Quota(per_minute=60_000, per_day=None, now=0.0)
    taken = quota.take(500, 0.0)
    quota.correct(taken, 100, 0.0)
    quota.feed_back(0, taken_then=taken.taken, at=0.0, now=0.0)
    assert quota.wait(10, 0.0) > 0


def test_a_header_has_seen_the_calls_before_its_own_too() -> None:
    """However late they end: nothing of theirs is added once more, while that of a later call is. A header that was
    overtaken changes nothing of that."""
    quota = Quota(per_minute=60_000, per_day=None, now=0.0)
    before, own, after = quota.take(300, 0.0), quota.take(50, 0.0), quota.take(100, 0.1)
    overtaken = partial(quota.feed_back, 90, taken_then=before.taken, at=0.0, now=0.1, charged=300)
    overtaken()
    quota.feed_back(100, taken_then=own.taken, at=0.1, now=0.1, charged=50)
    overtaken()
    wait = quota.wait(100, 0.1)
    quota.correct(before, 0, 0.1)
    assert quota.wait(100, 0.1) == wait
    quota.correct(after, 0, 0.1)
    assert quota.wait(100, 0.1) <= wait - 0.1


def test_refusals_of_one_burst_are_one_refusal() -> None:
    """However many were refused at one moment, the pace goes down once, by the least step."""
    limits = RateLimits(requests_per_minute=600)
    for call in [limits.reserve(1, 0.0) for _ in range(6)]:
        limits.refused(call, 0.0)
    assert 0.97 * 600 <= len(run_arrivals_from(limits, 1.0, 61.0)) < 0.995 * 600


def test_requests_per_day_in_the_header_are_not_taken_for_a_minute() -> None:
    """One of 10,000 used and 8.64 s to refill it is a day's limit; one of 60 and 1 s is a minute's."""
    assert counts_days(LimitHints(requests_limit=10_000, requests_remaining=9_999, requests_reset=8.64))
    assert not counts_days(LimitHints(requests_limit=60, requests_remaining=59, requests_reset=1.0))
    assert not counts_days(LimitHints(requests_limit=60))
    limits = RateLimits(requests_per_minute=500)
    hints = LimitHints(requests_limit=10_000, requests_remaining=9_999, requests_reset=8.64)
    assert not limits.hear(hints, limits.reserve(1, 0.0), 0.0)


def test_slow_down_lowers_the_rate_and_grows_it_by_half_in_15_minutes() -> None:
    """After 600 calls in a minute the lane goes on at 70% of that, and is 50% up a quarter of an hour later."""
    limits = RateLimits()
    for tenth in range(600):
        limits.reserve(1, tenth / 10)
    limits.slow_down(60.0)
    sent = run_arrivals_from(limits, 60.0, 1_100.0)
    first = sum(60 <= at < 120 for at in sent)
    later = sum(960 <= at < 1_020 for at in sent)
    assert first == pytest.approx(600 * RAMP_CUT, rel=0.05)
    assert later == pytest.approx(first * 1.5, rel=0.1)


def test_traffic_that_grew_too_fast_is_cut_once_in_a_quarter_of_a_minute() -> None:
    """What is told again before that is of calls that went before the first cut."""
    rates = []
    for again in (14.9, 15.0):
        limits = RateLimits()
        for tenth in range(600):
            limits.reserve(1, tenth / 10)
        limits.slow_down(60.0)
        before = rate_of(limits, 60.0)
        limits.slow_down(60.0 + again)
        rates.append(rate_of(limits, 75.0) / before)
    assert rates[0] == pytest.approx(1, rel=0.02)
    assert rates[1] < 0.9


def rate_of(limits: RateLimits, now: float) -> float:
    """Calls a second, by how long the second of two waits."""
    limits.reserve(1, now)
    return 1 / limits.wait(1, now)


@pytest.mark.parametrize(("way", "tokens"), [(USED, 10), (DECLARED, 900), (LARGER, 600)])
def test_a_call_waits_for_what_it_counts_as(way: int, tokens: int) -> None:
    """What it declares, where that is what counts: as long as one that uses so much."""
    limits, plain = RateLimits(tokens_per_minute=6_000), RateLimits(tokens_per_minute=6_000)
    limits.counting.way = way
    for each in (limits, plain):
        while each.wait(10, 0.0) == 0:
            each.reserve(10, 0.0, (10, 10))
    assert limits.wait(10, 0.0, (900, 600)) == plain.wait(tokens, 0.0) > 0


def run_arrivals_from(limits: RateLimits, now: float, end: float) -> list[float]:
    """Send as fast as the limits allow."""
    sent = []
    while now < end:
        wait = limits.wait(1, now)
        if wait > 0:
            now += wait
        else:
            limits.reserve(1, now)
            sent.append(now)
            now += 0.01
    return sent


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 50)), max_size=60))
def test_a_window_counts_at_least_the_truth(steps: list[tuple[float, int]]) -> None:
    """What it says was used in the last minute is never less than what was, nor than a little more time holds."""
    window = Window(period=60.0)
    now = 0.0
    taken: list[tuple[float, int]] = []
    for gap, amount in steps:
        now += gap
        window.take(amount, now)
        taken.append((now, amount))
        assert window.used >= sum(amount for at, amount in taken if at > now - 60)
        assert window.used <= sum(amount for at, amount in taken if at > now - 60.6)


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 50), st.integers(-50, 50), st.integers(0, 9)), max_size=60))
def test_a_window_agrees_with_a_list_of_all_that_was_taken(steps: list[tuple[float, int, int, int]]) -> None:
    """Corrections of any age included: it is never below what was used in the last minute, nor above what was in a
    little more time."""
    window, now = Window(period=60.0), 0.0
    taken: list[tuple[float, int, int]] = []
    for gap, amount, change, back in steps:
        now += gap
        taken.append((now, window.take(amount, now), amount))
        if back < len(taken):
            at, slot, counted = taken[-1 - back]
            change = max(change, -counted)
            window.correct(slot, change, now)
            taken[-1 - back] = (at, slot, counted + change)
        assert window.used >= sum(counted for at, _, counted in taken if at > now - 60)
        assert window.used <= sum(counted for at, _, counted in taken if at > now - 60.6)
