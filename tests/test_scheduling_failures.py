"""What a caller is told of a call that brought no answer: what it is, when to try again, whether that is any use."""

import pytest

from metaspo.backends import (
    AccessDenied,
    BackendBroken,
    CreditExhausted,
    FatalError,
    Overloaded,
    RateLimited,
    RequestRejected,
    UnknownModel,
    WrongForm,
)
from metaspo.cache import StoreError
from metaspo.scheduling.client.failures import call_failed
from metaspo.scheduling.errors import BudgetExhausted, GivenUp, LaneStopped, RunStopped, Unavailable
from metaspo.scheduling.lanes.patience import Patience
from metaspo.scheduling.settings import LaneSettings

USUAL_WAIT = 30.0


def stopped(cause: BaseException | None) -> LaneStopped:
    """A lane stopped for that."""
    error = LaneStopped("it is stopped", lane="m")
    error.__cause__ = cause
    return error


def unavailable(cause: BaseException | None) -> Unavailable:
    """Nobody answers; that was the last that was heard."""
    error = Unavailable("nobody answers", lane="m")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind", "status", "retry_after"),
    [
        (GivenUp("no answer in 8 tries"), "given_up", 502, None),
        (RequestRejected("too long"), "rejected", 400, None),
        (stopped(UnknownModel("no such model")), "model", 404, None),
        (stopped(CreditExhausted("no credit")), "credit", 402, None),
        (stopped(AccessDenied("the key is wrong")), "access", 502, None),
        (stopped(WrongForm("no temperature")), "rejected", 400, None),
        (stopped(FatalError("a redirect")), "unavailable", 503, USUAL_WAIT),
        (stopped(None), "unavailable", 503, USUAL_WAIT),
        (unavailable(None), "unavailable", 503, USUAL_WAIT),
        (unavailable(RateLimited("slower")), "unavailable", 503, USUAL_WAIT),
        (unavailable(RateLimited("slower", retry_after=7.0)), "unavailable", 503, 7.0),
        (unavailable(Overloaded("at once", retry_after=0.0)), "unavailable", 503, 0.0),
        (RunStopped("it is closed"), "closed", 503, USUAL_WAIT),
        (StoreError("the disk is full"), "store", 500, None),
        (ValueError("no lane of that name"), "request", 400, None),
    ],
)
def test_a_failure_is_told_by_kind_status_and_when_to_try_again(
    error: BaseException, kind: str, status: int, retry_after: float | None
) -> None:
    """The wait that a server asked for where it did; what names none passes only if somebody does something."""
    failed = call_failed(error)
    assert (failed.kind, failed.status, failed.retry_after) == (kind, status, retry_after)
    assert failed.final == (retry_after is None)
    wait = "" if not retry_after else f" Try again in {retry_after:g} seconds."
    assert str(failed) == f"{error}{wait}"
    assert failed.__cause__ is error
    assert call_failed(failed) is failed, "it has been told already"


def test_why_it_stops_holds_for_whoever_asks() -> None:
    """A client of a server and a program with its own gateway have no run to start again: who has one says so."""
    cap = BudgetExhausted("9 of 9 calls are spent", cap="calls", limit=9, spent=9)
    failed = call_failed(cap)
    assert (failed.kind, failed.status, failed.final) == ("budget", 402, True)
    assert str(failed).startswith("9 of 9 calls are spent; ")
    assert str(failed).endswith("raise the cap on calls.")
    for stop in (cap, Patience("base", LaneSettings()).unavailable("nothing succeeded")):
        assert "is kept" in str(stop)
        assert "run" not in str(stop)


def test_a_mistake_of_ours_says_that_it_is_one() -> None:
    failed = call_failed(KeyError("x"))
    assert (failed.kind, failed.status, failed.final) == ("bug", 500, True)
    assert str(failed) == "A mistake in metaspo: KeyError: 'x'"


def test_a_mistake_in_a_backend_is_not_said_to_be_ours() -> None:
    failed = call_failed(BackendBroken("The backend mine (own.Mine) raised KeyError: 'x'."))
    assert (failed.kind, str(failed)) == ("bug", "The backend mine (own.Mine) raised KeyError: 'x'.")
