"""How long a lane waits for its server: from when, until when, and what it says then."""

from math import inf

import pytest

from metaspo.backends import RateLimited, ServerFault, TransientError
from metaspo.scheduling import LaneSettings, Unavailable
from metaspo.scheduling.lanes.patience import Patience, describe, duration
from metaspo.scheduling.retry import Retries


def patience(*, heard: bool = True) -> Patience:
    """Of 300 seconds, or 15 where nothing was ever heard; three attempts."""
    patience = Patience("lane", LaneSettings(patience=300, first_patience=15, attempts=3))
    if heard:
        patience.succeeded()
    return patience


def test_it_runs_from_the_first_failure_until_an_answer() -> None:
    """Later failures do not prolong it, an answer ends it, and a first word is never waited for longer than others."""
    waiting = patience()
    assert waiting.deadline == inf
    waiting.failing(10.0)
    waiting.failing(200.0)
    assert waiting.deadline == 310.0
    waiting.last_error = ServerFault("500")
    waiting.succeeded()
    assert [waiting.deadline, waiting.failing_since, waiting.last_error] == [inf, None, None]
    first = patience(heard=False)
    first.failing(10.0)
    assert first.deadline == 25.0
    short = Patience("lane", LaneSettings(patience=5, first_patience=15))
    short.failing(10.0)
    assert short.deadline == 15.0


@pytest.mark.parametrize(
    ("past", "error", "reason"),
    [
        (Retries(), RateLimited("429"), ""),
        (Retries(), RateLimited("429", retry_after=300.0), ""),
        (Retries(), RateLimited("429", retry_after=301.0), "it asks to wait for 5 minutes"),
        (Retries(refused_for=330.0), RateLimited("429"), ""),
        (Retries(refused_for=331.0), RateLimited("429"), "a request was refused for 5 minutes"),
        (Retries(refused_for=331.0), RateLimited("429", retry_after=9e4), "it asks to wait for 25.0 hours"),
    ],
)
def test_a_request_is_given_up_when_it_would_take_longer_than_the_patience(
    past: Retries, error: TransientError, reason: str
) -> None:
    """By the server's own word, or by what it has waited after refusals before, this one's 30 seconds left out; not
    where it takes exactly as long."""
    assert patience().reason_to_give_up(past, error, wait=30.0) == reason


def test_attempts_are_used_up_at_the_last() -> None:
    """Those that count, not all failures."""
    assert [patience().used_up(Retries(failures=9, attempts=tried)) for tried in (2, 3, 4)] == [False, True, True]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 seconds"),
        (119.0, "119 seconds"),
        (120.0, "2 minutes"),
        (7_199.0, "120 minutes"),
        (7_200.0, "2.0 hours"),
        (90_000.0, "25.0 hours"),
    ],
)
def test_a_time_is_told_in_the_unit_that_fits(seconds: float, words: str) -> None:
    """For people."""
    assert duration(seconds) == words


def test_giving_up_says_why_what_failed_last_and_what_to_do() -> None:
    """And of which lane."""
    waiting = patience()
    waiting.failing(10.0)
    assert waiting.ended(100.0) == "nothing succeeded for 90 seconds"
    assert "last" not in str(waiting.unavailable("it is so"))
    waiting.last_error = ServerFault("500")
    error = waiting.unavailable("it is so")
    assert isinstance(error, Unavailable)
    assert error.lane == "lane"
    for words in ("lane", "it is so", f"last: {describe(waiting.last_error)}", "is kept."):
        assert words in str(error)
    assert describe(waiting.last_error) == "500"
