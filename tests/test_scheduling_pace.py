"""How fast a lane may go, to the figure: waits that are exact, refusals that slow it down, headers that teach it."""

from copy import deepcopy

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from metaspo.backends import LimitHints
from metaspo.scheduling.limits.limits import (
    RAMP_COOL_DOWN,
    RAMP_CUT,
    RAMP_GROWTH,
    RAMP_OVER,
    RAMP_PERIOD,
    RateLimits,
    counts_days,
)
from metaspo.scheduling.limits.quota import HEADROOM, IDLE_CHARGE, LEARN_DOWN, MAX_CHARGE, MIN_CHARGE, SPARE, Quota
from metaspo.scheduling.limits.squeeze import MAX_SQUEEZED, RELAX
from metaspo.scheduling.limits.window import Bucket, Window


def pace(limits: RateLimits, now: float, *, tokens: bool = False) -> float:
    """Calls, or tokens, per second once all that was saved up is gone."""
    quota = deepcopy(limits.tokens if tokens else limits.requests)
    quota.drain(now, until=now)
    return 1 / quota.wait(1, now)


@settings(max_examples=60)
@example(5, 9, [(3, "w", 21), (0, "w", 14), (1, "w", 32)])
@given(
    st.integers(1, 9),
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from("wtgls"), st.integers(0, 40)), max_size=40),
)
def test_a_bucket_agrees_with_one_that_is_filled_second_by_second(
    rate: int, burst: int, steps: list[tuple[int, str, int]]
) -> None:
    """It holds its burst, or what was asked of it last if that is more; what is given back does not overfill it."""
    bucket, now = Bucket(rate=rate, burst=burst, now=7.0), 7.0
    level, cap, speed = burst, burst, rate
    for gap, what, amount in steps:
        now += gap
        if what == "w":
            cap = max(burst, amount)  # asked first: it saves up to that from here on
            level = min(level, cap) if gap == 0 else level
        for _ in range(gap):
            level = min(level + speed, cap)
        if what == "w":
            assert bucket.wait(amount, now) == pytest.approx(max(amount - level, 0) / speed, abs=1e-6)
        elif what == "t":
            bucket.take(amount, now)
            level -= amount
        elif what == "g":
            bucket.take(-amount, now)
            level = min(level + amount, cap)
        elif what == "l":
            bucket.lower_to(amount - 20, now)
            level = min(level, amount - 20)
        else:
            speed = 1 + amount % 9
            bucket.change_rate(speed, now)


STEPS = st.lists(
    st.tuples(st.sampled_from("rrrrsgh"), st.floats(0, 20), st.integers(0, 400)),
    max_size=25,
)


@given(
    st.none() | st.integers(1, 30),
    st.none() | st.integers(50, 3_000),
    st.none() | st.integers(1, 12),
    st.none() | st.integers(50, 2_000),
    st.booleans(),
    STEPS,
    st.integers(0, 500),
)
def test_a_wait_is_as_long_as_it_must_be_and_no_longer(
    requests: int | None,
    tokens: int | None,
    day_requests: int | None,
    day_tokens: int | None,
    slow: bool,
    steps: list[tuple[str, float, int]],
    next_call: int,
) -> None:
    """When it is over a call may go, and a moment before it may not, whatever limits, holds and ramps there are."""
    limits = RateLimits(
        requests_per_minute=requests,
        tokens_per_minute=tokens,
        requests_per_day=day_requests,
        tokens_per_day=day_tokens,
    )
    now, out = 0.0, []
    for what, gap, amount in steps:
        now += gap
        if what == "r":
            now += limits.wait(amount, now)
            out.append(limits.reserve(amount, now))
        elif what == "s" and out:
            limits.settle(out.pop(), tokens=amount // 2, now=now)
        elif what == "g" and out:
            limits.give_back(out.pop(), now)
        elif what == "h":
            limits.hold(amount / 10, now)
    if slow:
        limits.slow_down(now)
        limits.reserve(1, now)
    wait = deepcopy(limits).wait(next_call, now)
    assert wait >= 0
    assert deepcopy(limits).wait(next_call, now + wait) <= 1e-5 * (1 + now + wait)
    if wait > 0.01:
        assert deepcopy(limits).wait(next_call, now + 0.99 * wait) > 0
    if (requests, tokens, day_requests, day_tokens) == (None,) * 4 and not slow:
        assert wait == limits.held_for(now)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 480), st.integers(0, 9)), max_size=40), st.integers(1, 12), st.integers(1, 40))
def test_a_window_waits_until_enough_of_what_was_taken_is_a_period_old(
    steps: list[tuple[int, int]], amount: int, limit: int
) -> None:
    """Within two of its slots; what is more than the limit waits until nothing is left."""
    window, now = Window(period=60.0), 0.0
    taken: list[tuple[float, int]] = []
    for gap, count in steps:
        now += gap / 16
        window.take(count, now)
        taken.append((now, count))
    room = limit - amount if amount < limit else 0

    def used(at: float) -> int:
        return sum(count for then, count in taken if then > at - 60)

    free = min(at for at in [now, *(then + 60 for then, _ in taken)] if at >= now and used(at) <= room)
    wait = window.wait(amount, limit, now)
    assert free - now <= wait <= free - now + 0.51


@pytest.mark.parametrize("tokens", [False, True])
def test_a_refusal_slows_the_pace_by_how_soon_it_came(tokens: bool) -> None:
    """A tenth if within 4 seconds, a twentieth after 8, a hundredth after 40 or more; of requests and tokens alike."""
    limits = RateLimits(requests_per_minute=6_000, tokens_per_minute=600_000)
    full = pace(limits, 0.0, tokens=tokens)
    assert full == pytest.approx((10_000 if tokens else 100) * (1 - HEADROOM))
    at, divisor = 1_000.0, 1.0
    for after, step in [(1_000.0, 0.01), (1.0, 0.1), (4.0, 0.1), (8.0, 0.05), (20.0, 0.02), (40.0, 0.01), (90.0, 0.01)]:
        at += after
        call = limits.reserve(1, at)
        limits.refused(call, at + 0.5)
        at += 0.5
        divisor *= 1 + step
        assert pace(limits, at, tokens=tokens) == pytest.approx(full / divisor)
        before = limits.reserve(1, at)  # sent before the refusal was heard
        limits.refused(before, at + 0.1)
        assert pace(limits, at, tokens=tokens) == pytest.approx(full / divisor)
    for _ in range(100):
        at += 1.0
        limits.refused(limits.reserve(1, at), at)
    assert pace(limits, at, tokens=tokens) == pytest.approx(full / MAX_SQUEEZED)


def test_a_refusal_of_a_call_sent_before_the_limits_were_heard_tells_nothing() -> None:
    """Nor of one that was sent at that very moment."""
    limits = RateLimits()
    early = limits.reserve(1, 5.0)
    limits.hear(LimitHints(requests_limit=600, tokens_limit=6_000), early, 6.0)
    full = pace(limits, 6.0)
    for at in (5.0, 6.0):
        limits.refused(limits.reserve(1, at), 6.5)
    assert pace(limits, 6.0) == full
    limits.hear(LimitHints(requests_limit=600, tokens_limit=6_000), early, 7.0)  # nothing new
    limits.refused(limits.reserve(1, 6.8), 7.5)
    assert pace(limits, 8.0) < full


def test_a_pace_that_was_slowed_down_comes_back_a_hundredth_a_minute() -> None:
    """From a minute after the last refusal on, and up to the limit."""
    limits = RateLimits(requests_per_minute=6_000)
    full = pace(limits, 0.0)
    for at in (100.0, 101.0, 102.0):
        limits.refused(limits.reserve(1, at), at)
    divisor = 1.01 * 1.1 * 1.1
    limits.wait(1, 162.0)
    assert pace(limits, 162.0) == pytest.approx(full / divisor)
    limits.wait(1, 222.0)
    assert pace(limits, 222.0) == pytest.approx(full / (divisor * RELAX**2))
    limits.wait(1, 282.0)  # a minute, and no more, since then
    assert pace(limits, 282.0) == pytest.approx(full / (divisor * RELAX**2))
    limits.wait(1, 1e5)
    assert pace(limits, 1e5) == pytest.approx(full)


def test_traffic_that_grew_too_fast_goes_on_from_what_it_was_until_four_times_that() -> None:
    """One storm cuts once; a ramp of its own afterwards; a lane that has sent nothing goes as if it had sent one."""
    limits = RateLimits()
    assert deepcopy(limits).wait(1, 0.0) == 0

    def spacing(at: float) -> float:
        """Seconds between two calls by the ramp as it is then."""
        ramped = deepcopy(limits)
        ramped.wait(1, at)
        ramped.reserve(1, at)
        ramped.wait(1, at + 1e-9)
        return ramped.wait(1, at + 2e-9)

    for number in range(60):
        limits.reserve(1, float(number))
    limits.slow_down(60.0)
    slow = 1 / RAMP_CUT
    assert spacing(60.0) == pytest.approx(slow, rel=0.02)
    limits.slow_down(60.0 + RAMP_COOL_DOWN - 0.1)
    assert spacing(74.9) == pytest.approx(slow, rel=0.02)
    assert spacing(60.0 + RAMP_PERIOD) == pytest.approx(slow / RAMP_GROWTH, rel=0.01)
    over = 60.0
    while RAMP_CUT * RAMP_GROWTH ** ((over - 60.0) / RAMP_PERIOD) < RAMP_OVER:
        over += 1.0
    assert spacing(over - 1.0) == pytest.approx(1 / RAMP_OVER, rel=0.01)
    assert spacing(over) == 0.0
    assert spacing(1e9) == 0.0, "after decades too, in which half as much again is no number any more"
    limits.slow_down(60.0 + RAMP_COOL_DOWN)
    assert spacing(75.0) == pytest.approx(60 / (45 * RAMP_CUT), rel=0.05)
    idle = RateLimits()
    idle.slow_down(0.0)
    idle.reserve(1, 0.0)
    assert idle.wait(1, 0.0) == pytest.approx(60 / RAMP_CUT)


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "days"),
    [
        (1_000, 900, 8_640.0, True),
        (1_000, 900, 4_320.0, False),
        (1_000, 900, 4_330.0, True),
        (1_000, 900, 17_270.0, True),
        (1_000, 900, 17_280.0, False),
        (1_000, 1_000, 8_640.0, False),
        (1_000, 1_001, 8_640.0, False),
        (1_000, 0, 86_400.0, True),
        (1_000, 0, 60.0, False),
        (1_000, None, 8_640.0, False),
        (None, 900, 8_640.0, False),
        (1_000, 900, None, False),
    ],
)
def test_a_limit_that_takes_half_a_day_to_two_days_to_refill_is_a_days(
    limit: int | None, remaining: int | None, reset: float | None, days: bool
) -> None:
    """By how long what is used takes to come back."""
    hints = LimitHints(requests_limit=limit, requests_remaining=remaining, requests_reset=reset)
    assert counts_days(hints) is days


# What headers teach. A limit of 6,000 a minute comes back at 100 a second; calls are paced at 99, 60 may go at once.


def quota(*, per_day: int | None = None, charge_varies: bool = True) -> Quota:
    return Quota(per_minute=6_000, per_day=per_day, now=0.0, charge_varies=charge_varies)


@pytest.mark.parametrize(
    ("remaining", "since", "taken_since", "left"),
    [
        (30, 0.0, 0, 30),
        (30, 0.2, 0, 50),
        (30, 0.2, 40, 10),
        (0, 0.0, 0, 0),
        (0, 0.0, 25, -25),
        (5_000, 0.0, 0, 60),
        (5_000, 0.0, 100, -40),
    ],
)
def test_what_a_header_leaves_is_what_may_go(remaining: int, since: float, taken_since: int, left: int) -> None:
    """With what came back since, without what was taken since; never more than there is room for."""
    limited = quota()
    then = limited.taken
    if taken_since:
        limited.take(taken_since, 0.0)
    limited.feed_back(remaining, taken_then=then, at=0.0, now=since)
    assert limited.wait(1_000, since) == pytest.approx((1_000 - left) / 99, abs=0.21)
    if not since:
        assert limited.wait(1_000, since) == pytest.approx((1_000 - left) / 99)


@pytest.mark.parametrize(("fullest", "spare"), [(6, 6 * SPARE), (30, 30 * SPARE), (90, 60), (5_000, 60)])
def test_part_of_what_the_provider_saves_up_for_us_stays_there(fullest: int, spare: float) -> None:
    """Two thirds of the most that was ever left after a call, a hundredth of the limit at most."""
    limited = quota()
    limited.feed_back(fullest, taken_then=0, at=0.0, now=0.0, charged=1)
    limited.feed_back(40, taken_then=0, at=0.0, now=0.0, charged=0)
    assert limited.wait(1_000, 0.0) == pytest.approx((1_000 - min(40, fullest) + spare) / 99)
    limited.wait(0, 100.0)
    assert limited.wait(1_000, 100.0) == pytest.approx((1_000 - min(60, max(fullest, 1))) / 99)


def heard(*headers: tuple[float, int, int, int], of: Quota | None = None) -> Quota:
    """A quota that has met these headers: at, remaining, taken since the header before, charged for the last call."""
    limited = quota() if of is None else of
    for at, remaining, taken, charged in headers:
        if taken:
            limited.take(taken, at)
        limited.feed_back(remaining, taken_then=limited.taken, at=at, now=at, charged=charged)
    return limited


FULL = (0.0, 5_000, 100, 100)  # the most that was ever left, beside its call of 100
LESS = (10.0, 3_000, 1_000, 100)  # how full it was in between is not known: some of the refill may be lost


@pytest.mark.parametrize(
    ("headers", "charge"),
    [
        ([FULL, LESS], 1.0),
        ([FULL, LESS, (12.0, 2_200, 1_000, 100)], 1.0),  # 3,000 and 200 more, less 1,000
        ([FULL, LESS, (12.0, 1_200, 1_000, 100)], 1.5),  # 2,000 counted for 1,000: half of the way
        ([FULL, LESS, (12.0, 2_700, 1_000, 100)], 0.75),  # 500 counted for 1,000
        ([FULL, LESS, (12.0, 1_200, 1_000, 0)], 1.0),  # refused: nothing is known of what it took
        ([FULL, LESS, (12.0, 2_900, 0, 0), (12.5, 2_000, 500, 100)], 1.0),  # nor is there anything to compare with
        ([FULL, LESS, (9.0, 100, 1_000, 100)], 1.0),  # it was overtaken
        ([FULL, LESS, (10.0, 100, 1_000, 100)], 1.0),
        ([FULL, LESS, (10.5, 2_850, 100, 100)], 1.0),  # too little to tell ...
        ([FULL, LESS, (10.5, 2_850, 100, 100), (11.0, 2_800, 20, 100)], 1.75),
        ([FULL, LESS, (12.0, 3_150, 1_000, 100)], (1 + MIN_CHARGE) / 2),
        ([FULL, LESS, (31.0, 0, 400, 100)], (1 + 5_100 / 400) / 2),  # as full as it gets, and no fuller
        ([FULL, LESS, (31.1, 0, 400, 100)], 1.0),
        ([FULL, LESS, (12.0, 100, 60, 100), (12.1, 100, 60, 100)], 1 + (3_110 / 120 - 1) / 2),
    ],
)
def test_how_a_provider_counts_is_learned_from_two_headers(
    headers: list[tuple[float, int, int, int]], charge: float
) -> None:
    """What it has counted between them against what was reserved: a fiftieth of a limit at least, in one or more."""
    assert heard(*headers).charge == pytest.approx(charge)


def test_a_provider_that_counts_beyond_reason_is_not_followed_there() -> None:
    """Neither up nor down; and where a request is a request nothing is learned."""
    limited = heard(FULL, LESS)
    for step in range(1, 12):
        limited.feed_back(5_000, taken_then=limited.taken, at=20.0 * step, now=20.0 * step, charged=0)
        start = 20.0 * step + 10
        limited.feed_back(4_400, taken_then=limited.taken, at=start, now=start, charged=100)
        limited.take(120, start)
        limited.feed_back(0, taken_then=limited.taken, at=start + 1, now=start + 1, charged=100)
    assert limited.charge == pytest.approx(MAX_CHARGE, rel=0.02)
    assert limited.charge <= MAX_CHARGE
    assert heard(FULL, LESS, (12.0, 1_200, 1_000, 100), of=quota(charge_varies=False)).charge == 1.0


def test_where_nearly_all_is_left_we_may_count_too_much() -> None:
    """A little less each fiftieth of the limit, down to a tenth less; who was charged less stays there."""
    limited = heard(FULL)
    charges = []
    for step in range(1, 21):
        limited.take(60, float(step))
        limited.feed_back(4_991, taken_then=limited.taken, at=float(step), now=float(step), charged=100)
        charges.append(limited.charge)
    assert charges == pytest.approx([max(IDLE_CHARGE, LEARN_DOWN ** (step // 2)) for step in range(1, 21)])
    low = heard(FULL, LESS, (12.0, 3_150, 1_000, 100))
    low.take(120, 13.0)
    before = low.charge
    low.feed_back(4_991, taken_then=low.taken, at=13.0, now=13.0, charged=100)
    assert low.charge == before < IDLE_CHARGE


def test_what_is_charged_otherwise_is_waited_for_taken_and_given_back_as_it_is_charged() -> None:
    """At one and a half for each: 100 are 150 of the limit, and what is corrected is corrected by as much."""
    limited = heard(FULL, LESS, (12.0, 1_200, 1_000, 100), of=quota(per_day=900_000))
    assert limited.charge == 1.5
    day = limited._day
    assert day is not None
    before, of_day = limited.used_in_minute(12.0), day.used
    call = limited.take(101, 12.0)
    assert (call.amount, call.charged) == (101, 152)
    assert limited.used_in_minute(12.0) == before + 152
    assert day.used == of_day + 152
    limited.correct(call, 33, 12.0)
    assert (limited.used_in_minute(12.0), day.used, call.charged) == (before + 50, of_day + 50, 50)
    taken = limited.taken
    limited.give_back(call, 12.0)
    assert (limited.used_in_minute(12.0), day.used, limited.taken) == (before, of_day, taken - 101)
    limited.drain(1_000.0, until=1_000.0)
    assert limited.wait(11, 1_000.0) == pytest.approx(17 / 99)


def test_a_limit_that_is_learned_is_one_at_least_and_no_more_than_was_set() -> None:
    """It is said when it changes; what was learned of the old one is forgotten."""
    limited = heard(FULL, LESS, (10.5, 2_850, 100, 100))
    assert [limited.learn(limit, 20.0) for limit in (6_000, 9_000, 3_000, 3_000, 0, 0)] == [
        False,
        False,
        True,
        False,
        True,
        False,
    ]
    assert limited.per_minute == 1
    again = heard(FULL, LESS, (10.5, 2_850, 100, 100))
    again.learn(5_999, 10.6)
    assert heard((11.0, 2_800, 20, 100), (12.0, 1_000, 20, 100), of=again).charge == 1.0
    free = Quota(per_minute=None, per_day=None, now=0.0)
    free.feed_back(0, taken_then=0, at=0.0, now=0.0, charged=5)
    free.drain(0.0, until=0.0)
    free.squeeze(2.0, 0.0)
    assert free.wait(10**9, 0.0) == 0.0
    assert free.learn(60, 5.0)
    free.drain(5.0, until=5.0)
    assert free.wait(1, 5.0) == pytest.approx(1 / (1 - HEADROOM))


def test_of_a_limit_that_is_another_one_it_is_not_known_what_is_saved_up() -> None:
    """What was left beside a call of the old one, five times as much, presses nobody."""
    limited = heard(FULL, LESS)
    limited.learn(5_999, 15.0)
    again = heard((20.0, 1_000, 100, 100), (21.0, 1_050, 100, 100), (22.0, 1_060, 100, 100), of=limited)
    assert again.charge == LEARN_DOWN


def test_what_was_learned_of_how_calls_count_is_forgotten_where_they_count_otherwise() -> None:
    """The charge, the header that came last and what was counted before."""
    limited = heard(FULL, LESS, (12.0, 1_200, 1_000, 100), (12.5, 1_100, 100, 100))
    assert limited.charge == 1.5
    limited.count_otherwise(13.0)
    assert limited.charge == 1.0
    assert heard((13.5, 1_050, 110, 100), (14.0, 1_080, 20, 100), of=limited).charge == 1.0


def test_a_pace_that_was_slowed_for_want_of_knowing_how_tokens_count_is_given_back_as_that_is_learned() -> None:
    """A charge of one and a half makes up for a pace divided by as much; requests are told of nothing."""
    limits = RateLimits(requests_per_minute=6_000, tokens_per_minute=6_000)
    full, at = pace(limits, 0.0), 0.0
    for step in range(30):
        at = 1_000.0 + step
        limits.refused(limits.reserve(1, at), at)
    assert pace(limits, at) == pytest.approx(full / min(1.01 * 1.1**29, MAX_SQUEEZED))
    now = 2_000.0
    for passed, remaining, taken in ((0.0, 5_000, 100), (10.0, 3_000, 1_000), (12.0, 1_200, 1_000)):
        call = limits.reserve(taken, now + passed)
        hints = LimitHints(tokens_limit=6_000, tokens_remaining=remaining)
        limits.hear(hints, call, now + passed)
    charge = limits.tokens.charge
    assert charge > 1.2
    assert pace(limits, now + 12) == pytest.approx(full / (min(1.01 * 1.1**29, MAX_SQUEEZED) / charge))


def test_a_refused_calls_headers_teach_no_charge_and_still_say_what_is_left() -> None:
    """Of tokens and of requests alike; those of a day say nothing of the minute."""
    for refused in (False, True):
        limits = RateLimits(requests_per_minute=6_000, tokens_per_minute=6_000)
        for at, remaining, taken in ((0.0, 5_000, 100), (10.0, 3_000, 1_000), (12.0, 1_200, 1_000)):
            call = limits.reserve(taken, at)
            hints = LimitHints(requests_limit=6_000, requests_remaining=10, tokens_remaining=remaining)
            assert not limits.hear(hints, call, at, refused=refused)
        assert (limits.tokens.charge == 1.0) == refused
        assert limits.requests.charge == 1.0
        spare = 0.0 if refused else 10 * SPARE
        assert limits.requests.wait(100, 12.0) == pytest.approx((100 - 10 + spare) / 99)
    limits = RateLimits(requests_per_minute=6_000)
    call = limits.reserve(1, 0.0)
    limits.hear(LimitHints(requests_limit=10_000, requests_remaining=9_999, requests_reset=8.64), call, 0.0)
    assert limits.requests.wait(1_000, 0.0) == pytest.approx((1_000 - 59) / 99)
    limits.hear(LimitHints(requests_remaining=0), call, 0.0)  # of which limit is not said
    assert limits.requests.wait(1_000, 0.0) == pytest.approx((1_000 - 59) / 99)


def test_a_limit_that_is_learned_sets_pace_and_burst_anew() -> None:
    """Up as well as down, as far as was set; a smaller burst at once."""
    limited, now = Quota(per_minute=None, per_day=None, now=0.0), 0.0
    for limit in (6_000, 600, 60_000):
        now += 1_000.0
        assert limited.learn(limit, now)
        limited.drain(now, until=now)
        assert limited.wait(1, now) == pytest.approx(60 / (limit * (1 - HEADROOM)))
        now += 1_000.0
        limited.wait(0, now)
        more = min(10_000, limit) - limit * HEADROOM
        assert limited.wait(10_000, now) == pytest.approx(more / (limit * (1 - HEADROOM) / 60))


def test_headers_of_a_limit_that_is_none_teach_nothing() -> None:
    """Where nothing is limited, and where a day is."""
    for per_day in (None, 500):
        free = Quota(per_minute=None, per_day=per_day, now=0.0)
        for at, remaining in ((0.0, 5_000), (10.0, 3_000), (12.0, 0)):
            call = free.take(100, at)
            free.feed_back(remaining, taken_then=call.taken, at=at, now=at, charged=100)
        assert (free.charge, free.per_minute) == (1.0, None)
        assert free.wait(100, 12.0) == 0.0
        assert free.used_in_minute(12.0) == 300
