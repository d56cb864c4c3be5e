"""The retry table: complete, bounded, and the same for the same draws."""

import random
from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaspo.backends import (
    AccessDenied,
    BackendError,
    ConnectionLost,
    CreditExhausted,
    FatalError,
    HalfAnswer,
    LocalServerFailed,
    ModelFileUnavailable,
    NotInstalled,
    Overloaded,
    RateLimited,
    RequestRejected,
    ServerFault,
    SlowDown,
    TimedOut,
    TransientError,
    UnknownModel,
    Unreachable,
    WrongForm,
)
from metaspo.scheduling.retry import (
    ASKED_JITTER,
    FIRST_WAIT,
    JITTER,
    LONGEST_HOLD,
    LONGEST_WAIT,
    OVERLOAD_FACTOR,
    QUICK_RETRIES,
    Decision,
    NotHere,
    Retries,
    back_off,
    decide,
    may_be_charged,
)

EXAMPLES: list[BackendError] = [
    RateLimited("x"),
    SlowDown("x"),
    Overloaded("x"),
    ServerFault("x"),
    Unreachable("x"),
    ConnectionLost("x", before_answer=True),
    ConnectionLost("x", before_answer=False),
    TimedOut("x"),
    HalfAnswer("x"),
    RequestRejected("x"),
    AccessDenied("x"),
    CreditExhausted("x"),
    UnknownModel("x"),
    WrongForm("x"),
    ModelFileUnavailable("x"),
    LocalServerFailed("x"),
    NotInstalled("x"),
]
TRANSIENT = [error for error in EXAMPLES if isinstance(error, TransientError)]


def all_subclasses(kind: type) -> set[type]:
    """The class's descendants."""
    children: list[type] = kind.__subclasses__()
    return {kind}.union(*(all_subclasses(child) for child in children))


def verdict(
    error: TransientError, *, failures: int = 0, quick_retries: int = 0, seed: int = 0, another: bool = False
) -> Decision:
    """The table's word for a fresh generator."""
    return decide(error, failures=failures, quick_retries=quick_retries, rng=random.Random(seed), another=another)


def test_every_error_of_a_backend_is_in_the_table() -> None:
    """A class added to the backends must be added here, and so be thought about."""
    families: set[type] = {BackendError, TransientError, FatalError}
    assert {type(error) for error in EXAMPLES} | families == {
        kind for kind in all_subclasses(BackendError) if kind.__module__ == "metaspo.backends.errors"
    }


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
def test_every_retry_waits_uses_an_attempt_or_is_bounded_otherwise(error: TransientError) -> None:
    """Nothing may spin: an immediate retry is counted, or its endpoint is rested."""
    result = verdict(error)
    if result.wait == 0:
        assert result.quick or result.endpoint == "rest"


@pytest.mark.parametrize("error", [*TRANSIENT, NotHere("x")], ids=repr)
def test_what_a_replica_refuses_first_is_asked_at_another_at_once_and_no_more_follows(error: TransientError) -> None:
    """Once: after any other failure, and where no other one is, all is as with one server. Nor are more calls let out
    for the moment where it was the call that was too much."""
    held: Literal["hold", "fine"] = "fine" if isinstance(error, NotHere) else "hold"
    elsewhere = verdict(error, another=True) == Decision(elsewhere=True, concurrency=held)
    assert elsewhere == isinstance(error, Overloaded | ServerFault | NotHere)
    assert elsewhere or verdict(error, another=True) == verdict(error)
    assert verdict(error, another=True, failures=1) == verdict(error, failures=1)
    assert not verdict(error).elsewhere


def test_what_a_person_has_to_mend_at_one_replica_is_waited_out() -> None:
    """Where no other one is up; it is no attempt of the request's, and nobody need go slower: the replica rests."""
    decision = verdict(NotHere("x"), failures=2)
    assert decision == Decision(wait=back_off(2, random.Random(0)), spoke=True, endpoint="count")


def test_refusals_for_the_rate_use_no_attempt_and_cut() -> None:
    """They are about us together, not about the request."""
    for error in (RateLimited("x"), SlowDown("x"), Overloaded("x")):
        result = verdict(error)
        assert result.concurrency == "cut"
        assert not result.uses_attempt
        assert result.hold == (not isinstance(error, Overloaded))


def test_a_stale_connection_is_retried_at_once_a_few_times() -> None:
    """And after that like any other fault."""
    error = ConnectionLost("x", before_answer=True)
    assert [verdict(error, quick_retries=n).quick for n in range(QUICK_RETRIES + 1)] == [True] * QUICK_RETRIES + [False]
    late = verdict(error, quick_retries=QUICK_RETRIES)
    assert late.uses_attempt
    assert late.wait > 0


@settings(deadline=None)
@given(st.floats(0, 1e5), st.integers(0, 100), st.integers(0, 10_000))
def test_retry_after_is_kept(retry_after: float, failures: int, seed: int) -> None:
    """Never earlier than the server asked, and not much later, unless we wait for longer anyway."""
    wait = verdict(RateLimited("x", retry_after=retry_after), failures=failures, seed=seed).wait
    assert retry_after <= wait <= max(1.05 * retry_after, LONGEST_WAIT)


@settings(deadline=None)
@given(st.floats(0, 1e5), st.integers(0, 100), st.integers(0, 10_000))
def test_no_header_makes_it_faster_than_our_own_back_off(retry_after: float, failures: int, seed: int) -> None:
    """`Retry-After: 0` and its like would be thousands of requests a second."""
    for error in (RateLimited, SlowDown, Overloaded, ServerFault):
        ours = verdict(error("x"), failures=failures, seed=seed).wait
        assert verdict(error("x", retry_after=retry_after), failures=failures, seed=seed).wait >= ours > 0


@settings(deadline=None)
@given(st.floats(LONGEST_HOLD, 1e5, exclude_min=True), st.integers(0, 100), st.integers(0, 10_000))
def test_an_endpoint_rests_for_as_long_as_its_limit_asks_whatever_the_request_met_before(
    retry_after: float, failures: int, seed: int
) -> None:
    error, rng = RateLimited("x", retry_after=retry_after), random.Random(seed)
    decision = decide(error, failures=failures, quick_retries=0, rng=rng, standby=True)
    assert (decision.endpoint, decision.elsewhere) == ("rest", True)
    assert retry_after <= decision.wait <= retry_after * (1 + ASKED_JITTER)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_back_off_is_bounded_and_drawn_from_the_given_generator(failures: int, seed: int) -> None:
    """However often it failed."""
    wait = back_off(failures, random.Random(seed))
    assert 0 < wait <= LONGEST_WAIT
    assert wait == back_off(failures, random.Random(seed))


def test_what_may_have_been_worked_on_is_charged() -> None:
    """Refusals cost nothing; a lost answer may; a stale connection only counts where tokens cost money."""
    charged = {type(error).__name__ for error in EXAMPLES if may_be_charged(error, billing="time")}
    assert charged == {"TimedOut", "HalfAnswer", "ConnectionLost"}
    stale = ConnectionLost("x", before_answer=True)
    assert not may_be_charged(stale, billing="time")
    assert may_be_charged(stale, billing="tokens")


@pytest.mark.parametrize(
    ("error", "decision"),
    [
        (RateLimited("x"), Decision(concurrency="cut", hold=True)),
        (SlowDown("x"), Decision(concurrency="cut", hold=True)),
        (Overloaded("x"), Decision(concurrency="cut", keeps_slot=True)),
        (ServerFault("x"), Decision(uses_attempt=True, endpoint="count", concurrency="hold")),
        (TimedOut("x"), Decision(uses_attempt=True, endpoint="count", concurrency="hold")),
        (
            HalfAnswer("x"),
            Decision(uses_attempt=True, spoke=True, endpoint="count", concurrency="hold"),
        ),
        (
            ConnectionLost("x", before_answer=False),
            Decision(uses_attempt=True, endpoint="count", concurrency="hold"),
        ),
        (ConnectionLost("x", before_answer=True), Decision(quick=True)),
        (Unreachable("x"), Decision(endpoint="rest")),
        (TransientError("x"), Decision(uses_attempt=True)),
    ],
    ids=repr,
)
def test_an_error_means_what_its_row_says(error: TransientError, decision: Decision) -> None:
    """The module's table, row by row, but for the waits."""
    assert replace(verdict(error), wait=0.0) == decision


@pytest.mark.parametrize("failures", range(9))
def test_a_wait_is_a_doubled_one_less_a_quarter_at_most_and_a_servers_one_more_a_twentieth_at_most(
    failures: int,
) -> None:
    """By chance anything between these, so that requests which failed together come back apart."""

    def waits(error: TransientError) -> tuple[float, float]:
        drawn = [verdict(error, failures=failures, seed=seed).wait for seed in range(200)]
        return min(drawn), max(drawn)

    for error, first in ((ServerFault("x"), FIRST_WAIT), (Overloaded("x"), OVERLOAD_FACTOR * FIRST_WAIT)):
        longest = min(first * 2**failures, LONGEST_WAIT)
        assert waits(error) == pytest.approx(((1 - JITTER) * longest, longest), rel=0.02)
        assert waits(error)[1] <= longest
    low, high = waits(RateLimited("x", retry_after=1_000.0))
    assert 1_000 <= low <= 1_002
    assert 1_048 <= high <= 1_050


def test_what_a_request_has_met_is_counted_by_kind() -> None:
    """An immediate retry is no failure; what counts is an attempt; refusals in a row add up what they have it wait."""

    def after(past: Retries, *, now: float, wait: float = 0.0, counts: bool = False, quick: bool = False) -> Retries:
        return past.after(counts=counts, quick=quick, wait=wait, now=now)

    begun = after(after(Retries(), now=5.0, wait=2.0), now=8.0, wait=4.0)
    assert begun == Retries(failures=2, refused_for=6.0, again_at=12.0)
    assert after(begun, now=9.0, quick=True) == Retries(failures=2, quick=1)
    tried = after(after(begun, now=9.0, quick=True), now=10.0, wait=8.0, counts=True)
    assert tried == Retries(failures=3, attempts=1, quick=1, tried_at=10.0, began_at=10.0)
    assert after(tried, now=11.0, wait=9.0) == Retries(4, 1, 1, 9.0, 10.0, 10.0, 20.0)


def test_where_nothing_is_waited_for_the_time_between_two_refusals_counts() -> None:
    """Up to the longest wait, and no wait twice: what stands in the queue for hours is not refused so long."""
    past = Retries()
    for now, wait, refused_for in [(5, 0, 0), (6, 0, 1), (6, 30, 31), (40, 0, 35), (20_000, 0, 95), (20_000, 0, 95)]:
        past = past.after(counts=False, quick=False, wait=wait, now=now)
        assert past.refused_for == refused_for
