"""Why a run stops. Everything paid for is kept: the same run, started again, goes on from there.

`str(error)` is one sentence that says why, and holds for whoever asks: a run, a program with a gateway of its own, a
client of a server. How to go on is for those to say who know which it is. A request that the server will never answer
is not among these: it comes back as `metaspo.backends.RequestRejected` and the run goes on without it.
"""

from metaspo.backends import FatalError, RequestRejected


class GivenUp(RequestRejected):
    """A request used up its attempts while the server answered others: the fault is the request's, and the run goes on.

    It is not stored: whoever asks again, as the same run started again does, has it tried again.
    """


class RunStopped(Exception):
    """The run cannot go on now; raised as itself to requests that still waited when the gateway was closed."""


class _OfLane(RunStopped):
    """Of one lane; `lane` is its name."""

    def __init__(self, message: str, *, lane: str) -> None:
        super().__init__(message)
        self.lane = lane


class LaneStopped(_OfLane):
    """No request to this lane can succeed until a person does something: bad key, exhausted credit, unknown model;
    `error` is what says so."""

    def __init__(self, message: str, *, lane: str, error: FatalError | None = None) -> None:
        super().__init__(message, lane=lane)
        self.error = error


KEPT = "; everything answered is kept and costs nothing again: for more,"
ASK_FOR_LESS = ": ask for less (max_tokens), or"


class BudgetExhausted(RunStopped):
    """The next call might overshoot a cap, and no call is out that could give something back. `advice`: what stands
    between the facts and that the cap may be raised.

    Attributes:
        cap: "calls", "tokens" or "dollars"; of a command also "hours".
        limit: the cap.
        spent: what the account has spent of it.
    """

    def __init__(self, facts: str, *, cap: str, limit: float, spent: float, advice: str = KEPT) -> None:
        super().__init__(f"{facts}{advice} raise the cap on {cap}.")
        self.cap = cap
        self.limit = limit
        self.spent = spent


class Unavailable(_OfLane):
    """A request used up its attempts and no other one succeeds, or nothing did for as long as the patience lasts."""
