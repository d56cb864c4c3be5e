"""What a lane learns from each call: which errors slow it down, and how."""

import random

import pytest
from scheduling_world import ANSWER_TOKENS, PROMPT_TOKENS, answer

from metaspo.backends import (
    ConnectionLost,
    HalfAnswer,
    LimitHints,
    Overloaded,
    RateLimited,
    ServerFault,
    SlowDown,
    TimedOut,
    TransientError,
    Unreachable,
)
from metaspo.scheduling import ConcurrencyChanged, Event, LaneSettings, LimitsLearned
from metaspo.scheduling.limits.concurrency import FIRST
from metaspo.scheduling.limits.counting import DECLARED, USED
from metaspo.scheduling.limits.throttle import SCOUTS, Throttle
from metaspo.scheduling.retry import decide

MINUTE_LIMITS = LaneSettings(requests_per_minute=600, tokens_per_minute=60_000)
DAY_LIMITS = LaneSettings(requests_per_day=5_000, tokens_per_day=900_000)  # no pace in the way of a hold


def failed(throttle: Throttle, error: TransientError, *, at: float = 100.0) -> float:
    """A call of 500 tokens fails; returns how long the lane is held for."""
    call = throttle.limits.reserve(500, at)
    decision = decide(error, failures=0, quick_retries=0, rng=random.Random(0))
    throttle.failed(call, error, decision, at)
    held = throttle.limits.held_for(at)
    assert held == (pytest.approx(decision.wait) if decision.hold else 0.0)
    return held


@pytest.mark.parametrize(
    ("error", "requests", "tokens"),
    [
        (Unreachable("x"), 0, 0),
        (RateLimited("x"), 1, 0),
        (SlowDown("x"), 1, 0),
        (Overloaded("x"), 1, 500),
        (ServerFault("x"), 1, 500),
        (TimedOut("x"), 1, 500),
        (HalfAnswer("x"), 1, 500),
        (ConnectionLost("x", before_answer=False), 1, 500),
    ],
    ids=repr,
)
def test_a_failed_call_counts_against_the_limits_as_far_as_the_provider_has_seen_it(
    error: TransientError, requests: int, tokens: int
) -> None:
    """Not at all if it reached nobody; as a request without tokens if it was refused for the rate."""
    throttle = Throttle(MINUTE_LIMITS, endpoints=1)
    failed(throttle, error)
    assert throttle.limits.requests.used_in_minute(100.0) == requests
    assert throttle.limits.tokens.used_in_minute(100.0) == tokens


@pytest.mark.parametrize(
    ("error", "settings", "cut"),
    [
        (RateLimited("x"), LaneSettings(), True),
        (RateLimited("x"), DAY_LIMITS, True),
        (RateLimited("x"), MINUTE_LIMITS, False),
        (SlowDown("x"), MINUTE_LIMITS, True),
        (Overloaded("x"), MINUTE_LIMITS, True),
        (ServerFault("x"), LaneSettings(), False),
        (Unreachable("x"), LaneSettings(), False),
    ],
    ids=repr,
)
def test_refusals_cut_the_calls_in_flight_unless_it_was_a_known_rate(
    error: TransientError, settings: LaneSettings, cut: bool
) -> None:
    """Where limits per minute are known, the pace is what was too much."""
    throttle = Throttle(settings, endpoints=2)
    before = throttle.concurrency
    failed(throttle, error)
    assert (throttle.concurrency < before) == cut


def test_a_servers_own_wait_is_the_cool_down_of_a_cut() -> None:
    """A second refusal within it cuts no further."""
    for retry_after, cut_again in ((1_000.0, False), (None, True)):
        throttle = Throttle(LaneSettings(), endpoints=4)
        failed(throttle, Overloaded("x", retry_after=retry_after))
        cut = throttle.concurrency
        failed(throttle, Overloaded("x"), at=200.0)
        assert (throttle.concurrency < cut) == cut_again


def test_a_fault_in_every_round_keeps_the_lane_from_growing() -> None:
    """Where nothing fails it tries more."""
    for faults in (True, False):
        throttle, at, most, taken = Throttle(LaneSettings(), endpoints=1), 0.0, 0, 0.0
        for number in range(100):
            at += 0.1
            taken += 0.1 * throttle.concurrency
            call = throttle.limits.reserve(1, at)
            throttle.answered(call, answer("x"), at, taken=taken)
            if faults and number % 10 == 0:
                failed(throttle, HalfAnswer("x"), at=at)
            most = max(most, throttle.concurrency)
        assert (most > FIRST) == (not faults)


def test_traffic_that_grew_too_fast_goes_on_slowly_and_a_refusal_for_the_rate_only_waits() -> None:
    """After the hold, calls are spread where the provider said so."""
    for error, spread in ((SlowDown("x"), True), (RateLimited("x"), False)):
        throttle = Throttle(DAY_LIMITS, endpoints=1)
        after = 100.0 + failed(throttle, error)
        throttle.limits.reserve(1, after)
        assert (throttle.limits.wait(1, after) > 1.0) == spread


def test_a_refusal_for_a_known_rate_lowers_the_pace() -> None:
    """Until a minute has passed without another one."""
    throttle = Throttle(MINUTE_LIMITS, endpoints=1)
    untouched = Throttle(MINUTE_LIMITS, endpoints=1)
    failed(throttle, RateLimited("x"))
    for each in (throttle, untouched):
        each.limits.requests.drain(150.0, until=150.0)
    assert throttle.limits.wait(1, 150.0) > untouched.limits.wait(1, 150.0)


@pytest.mark.parametrize("fails", [True, False])
def test_limits_that_headers_tell_are_kept_whether_the_call_was_answered_or_not(fails: bool) -> None:
    """And it is said once that they are other ones."""
    said = list[Event]()
    throttle = Throttle(LaneSettings(), endpoints=1, emit=said.append)
    hints = LimitHints(requests_limit=30, requests_remaining=29)
    for at in (1.0, 2.0):
        call = throttle.limits.reserve(500, at)
        if fails:
            error = ServerFault("x", hints=hints)
            decision = decide(error, failures=0, quick_retries=0, rng=random.Random(0))
            throttle.failed(call, error, decision, at)
        else:
            throttle.answered(call, answer("x")._replace(hints=hints), at, taken=at)
    assert said == [LimitsLearned(lane="", at=1.0, requests_per_minute=30, tokens_per_minute=None)]
    assert throttle.limits.requests.per_minute == 30


def test_an_answer_is_settled_at_what_it_used() -> None:
    """Prompt and completion tokens together."""
    throttle = Throttle(MINUTE_LIMITS, endpoints=1)
    call = throttle.limits.reserve(500, 1.0)
    throttle.answered(call, answer("x"), 1.0, taken=1.0)
    assert throttle.limits.tokens.used_in_minute(1.0) == PROMPT_TOKENS + ANSWER_TOKENS


@pytest.mark.parametrize(
    ("settings", "first"),
    [
        (LaneSettings(concurrency=50, billing="tokens"), SCOUTS),
        (LaneSettings(concurrency=3, billing="tokens"), 3),
        (LaneSettings(concurrency=50), 50),
        (LaneSettings(concurrency=50, billing="tokens", tokens_per_minute=1_000), 50),
        (LaneSettings(concurrency=50, billing="tokens", requests_per_minute=1_000), 50),
    ],
)
def test_where_tokens_cost_money_and_no_limits_are_known_a_few_calls_go_ahead(
    settings: LaneSettings, first: int
) -> None:
    """Until one is answered."""
    throttle = Throttle(settings, endpoints=1)
    assert throttle.concurrency == first
    throttle.answered(throttle.limits.reserve(1, 0.0), answer("x"), 1.0, taken=1.0)
    assert throttle.concurrency == settings.concurrency


def test_what_a_failure_changes_is_told() -> None:
    """The calls that may be out, and limits that its headers told; with what holds the lane."""
    events = list[Event]()
    throttle = Throttle(LaneSettings(concurrency="auto"), endpoints=1, lane="lane", emit=events.append)
    failed(throttle, Overloaded("full", hints=LimitHints(requests_limit=600)))
    (learned,) = [event for event in events if isinstance(event, LimitsLearned)]
    (changed,) = [event for event in events if isinstance(event, ConcurrencyChanged)]
    assert (learned.requests_per_minute, learned.tokens_per_minute) == (600, None)
    assert (changed.before, changed.after) == (FIRST, throttle.concurrency)
    assert throttle.concurrency < FIRST


@pytest.mark.parametrize(
    ("hints", "way"),
    [
        (None, USED),
        (LimitHints(tokens_limit=60_000, tokens_remaining=59_000), USED),
        (LimitHints(tokens_limit=60_000, tokens_remaining=59_000, tokens_reset=1.0), DECLARED),
    ],
    ids=repr,
)
def test_the_first_answer_tells_whether_headers_will_say_how_calls_count(hints: LimitHints | None, way: int) -> None:
    """If so, all that is declared counts until they have; else what is used does from the start."""
    throttle = Throttle(LaneSettings(), endpoints=1)
    assert throttle.limits.reads_declared
    call = throttle.limits.reserve(500, 0.0, (900, 600))
    throttle.answered(call, answer("x")._replace(hints=hints), 1.0, taken=1.0)
    assert throttle.limits.counting.way == way
    assert throttle.limits.reads_declared == (hints is not None), "the limit of tokens is known"
