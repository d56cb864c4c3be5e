"""What to do about a call that failed: one table from the error's class and the request's past, with no I/O.

| error                     | again?  | after                        | uses an attempt | endpoint       | concurrency |
|---------------------------|---------|------------------------------|-----------------|----------------|-------------|
| RateLimited               | yes     | back-off, or Retry-After     | no              | -              | cut (*)     |
| SlowDown                  | yes     | back-off, or Retry-After     | no              | -              | cut, ramp   |
| Overloaded                | yes     | long back-off, or Retry-After| no              | -              | cut         |
| ServerFault               | yes     | back-off, or Retry-After     | yes             | counts against | hold        |
| TimedOut                  | yes     | back-off                     | yes             | counts against | hold        |
| HalfAnswer                | yes     | back-off                     | yes (+)         | counts against | hold        |
| ConnectionLost, mid-answer| yes     | back-off                     | yes             | counts against | hold        |
| ConnectionLost, before    | yes     | at once; 3 times, then as above | no, then yes | -              | -           |
| Unreachable               | yes     | at once, elsewhere           | no              | rested         | -           |
| RequestRejected           | no: the request fails |
| FatalError                | no: the lane stops (WrongForm, where many programs ask: the request fails) |
| NotHere                   | yes     | back-off                     | no              | counts against | -           |

Where RateLimited asks for more than 10 s, or its endpoint is resting already and another one is up that has not refused
the request, and there is a standby, the endpoint rests for so long, and nothing is held. The standby is asked at once,
or as soon as it answers again: it may be resting, too, or have failed at this very request.

NotHere is a FatalError of one of several replicas, while another one may answer. Where it, Overloaded or ServerFault is
the first that a request meets, and a replica is up that has not refused it yet, that one is asked at once instead, and
nothing else follows, but that the last two hold the number of calls in flight. Only once all have refused it may it be
the request that fails, or the lane.

Of two waits it is the longer one. What uses an attempt waits no longer than the second time where its endpoint answers
nearly all others: then it is the request that fails, and there is nobody to spare.

(*) Not where limits per minute are known: then the rate was too high, and is lower from there on. Nor where the server
refuses by chance, which takes no part in what it lets through.

A request without attempts left fails alone if the server answers others meanwhile (`doubt` says how that is found
out); else the server is to blame, and the lane's patience is over for it.

What uses no attempt is bounded by the lane's patience, of which it takes its wait; Unreachable, which has none, the
time since the one before, up to the longest wait: a request that ends its server each time would be asked for ever.
RateLimited and SlowDown hold the whole lane; where a pace is learned from refusals, for a moment or as long as the
server asks, and not at all where it refuses by chance. The other waits are the request's alone.
A failure that gets its endpoint rested uses no attempt either: it was not the request's. (+) Half an answer does: a
server that sends nothing else is there, and waiting for it to come back would be in vain.
"""

import random
from dataclasses import dataclass
from typing import Literal, NamedTuple

from metaspo.backends import (
    BackendError,
    ConnectionLost,
    HalfAnswer,
    Overloaded,
    RateLimited,
    ServerFault,
    SlowDown,
    TimedOut,
    TransientError,
    Unreachable,
)

FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
OVERLOAD_FACTOR = 2.0
JITTER = 0.25
ASKED_JITTER = 0.05  # of a wait that the server asks for
QUICK_RETRIES = 3
LONGEST_HOLD = 10.0  # seconds that a limit may hold a lane with a standby, which costs money


class NotHere(TransientError):
    """One of several replicas refuses for a reason that only a person can mend; another one may answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What follows from a failed call.

    Attributes:
        wait: seconds before it goes into the queue again.
        uses_attempt: whether it counts against the request; spoke: even if its endpoint is rested, for that did answer.
        endpoint: "rest" it, let it "count" against it, or "fine".
        concurrency: "cut", "hold", or "fine".
        hold: the provider counts what we send: nothing of the lane goes before `wait` is over, or, where it is asked
            elsewhere, nothing to that endpoint.
        keeps_slot: the server is full: the call keeps its slot while it waits, or the whole queue would be refused.
        quick: an immediate retry without penalty; elsewhere: the same on another replica.
    """

    wait: float = 0.0
    uses_attempt: bool = False
    spoke: bool = False
    endpoint: Literal["rest", "count", "fine"] = "fine"
    concurrency: Literal["cut", "hold", "fine"] = "fine"
    hold: bool = False
    keeps_slot: bool = False
    quick: bool = False
    elsewhere: bool = False


class Retries(NamedTuple):
    """What a request has met so far.

    Attributes:
        failures: failed calls, immediate retries not counted; attempts: those that count against the request.
        quick: immediate retries.
        began_at, tried_at: when the first and the last of the attempts failed; None before the first.
        refused_for: seconds to wait after failures that do not count, in a row; 0 if the last one counted. Time in the
            queue is not among them, which others go before it, and nobody refuses.
        again_at: when the last of these waits was over; None before the first.
    """

    failures: int = 0
    attempts: int = 0
    quick: int = 0
    refused_for: float = 0.0
    tried_at: float | None = None
    began_at: float | None = None
    again_at: float | None = None

    def after(self, *, counts: bool, quick: bool, wait: float, now: float) -> "Retries":
        """And one more failure, after which it waits for so many seconds."""
        if quick:
            return self._replace(quick=self.quick + 1, refused_for=0.0, again_at=None)
        if counts:
            began_at = now if self.began_at is None else self.began_at
            return Retries(self.failures + 1, self.attempts + 1, self.quick, tried_at=now, began_at=began_at)
        waited = wait
        if not wait and self.again_at is not None:
            waited = min(max(0.0, now - self.again_at), LONGEST_WAIT)
        return self._replace(failures=self.failures + 1, refused_for=self.refused_for + waited, again_at=now + wait)


def back_off(failures: int, rng: random.Random, *, first: float = FIRST_WAIT) -> float:
    """Seconds to wait after so many failures in a row: doubling, bounded, and up to a quarter shorter by chance."""
    wait = min(first * 2.0 ** min(failures, 30), LONGEST_WAIT)
    return wait * (1 - JITTER * rng.random())


def decide(
    error: TransientError,
    *,
    failures: int,
    quick_retries: int,
    rng: random.Random,
    alone: bool = False,
    another: bool = False,
    standby: bool = False,
    resting: bool = False,
) -> Decision:
    """The table above, of errors after which a request goes again. `failures`: how often this one failed before,
    immediate retries not counted; `alone`: while its endpoint answered nearly all others; `another`: a replica is up
    that has not refused it; `standby`: one that stands by for its endpoint may answer; `resting`: its endpoint is,
    while another is up."""
    own = min(failures, 1) if alone else failures
    match error:
        case NotHere() if another and not failures:
            return Decision(elsewhere=True)
        case Overloaded() | ServerFault() if another and not failures:
            return Decision(elsewhere=True, concurrency="hold")
        case RateLimited() if standby and (resting or (error.retry_after or 0.0) > LONGEST_HOLD):
            wait = _wait(error, 0, rng)  # the endpoint's, of which failures of this request at others say nothing
            return Decision(wait=wait, endpoint="rest", hold=True, elsewhere=True)
        case RateLimited() | SlowDown():
            return Decision(wait=_wait(error, failures, rng), concurrency="cut", hold=True)
        case Overloaded():
            wait = _wait(error, failures, rng, FIRST_WAIT * OVERLOAD_FACTOR)
            return Decision(wait=wait, concurrency="cut", keeps_slot=True)
        case Unreachable():
            return Decision(endpoint="rest")
        case NotHere():
            return Decision(wait=_wait(error, failures, rng), spoke=True, endpoint="count")
        case ConnectionLost(before_answer=True) if quick_retries < QUICK_RETRIES:
            return Decision(quick=True)
        case HalfAnswer():
            wait = _wait(error, own, rng)
            return Decision(wait=wait, uses_attempt=True, spoke=True, endpoint="count", concurrency="hold")
        case ServerFault() | TimedOut() | ConnectionLost():
            wait = _wait(error, own, rng)
            return Decision(wait=wait, uses_attempt=True, endpoint="count", concurrency="hold")
    return Decision(wait=_wait(error, own, rng), uses_attempt=True)


def may_be_charged(error: BackendError, *, billing: Literal["time", "tokens"]) -> bool:
    """Whether a failed call may have been worked on and paid for, so that the budget must count it at its most.

    Refused and unreachable calls were not. A connection lost before any answer is a stale one in most cases; where
    tokens cost money it is counted all the same.
    """
    match error:
        case ConnectionLost(before_answer=True):
            return billing == "tokens"
        case TimedOut() | HalfAnswer() | ConnectionLost():
            return True
    return False


def _wait(error: TransientError, failures: int, rng: random.Random, first: float = FIRST_WAIT) -> float:
    """A server can only make it longer, so that none (`Retry-After: 0`) can make a loop without rest of it."""
    wait = back_off(failures, rng, first=first)
    if error.retry_after is None:
        return wait
    # Never earlier than asked; the jitter spreads those that were told the same.
    return max(wait, error.retry_after * (1 + ASKED_JITTER * rng.random()))
