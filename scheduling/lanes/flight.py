"""One request on its way to an answer: what is known of it, whoever waits for it, and where it is.

Mutable, and changed by its lane's `LaneState` (with `Waiting` and `Unanswered`) alone; `FlightTable` ends it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import Context
from enum import Enum
from typing import NamedTuple, Protocol

from metaspo.backends import BackendError, Completion, Request, Usage
from metaspo.scheduling.budget.account import Account, Funds
from metaspo.scheduling.budget.budget import Cost
from metaspo.scheduling.errors import RunStopped
from metaspo.scheduling.estimate import size_of
from metaspo.scheduling.lanes.endpoints import Endpoint
from metaspo.scheduling.limits.limits import Reservation
from metaspo.scheduling.queue import Priority, Ticket
from metaspo.scheduling.retry import NotHere, Retries


class State(Enum):
    """Where a flight is."""

    QUEUED = "queued"
    CLAIMING = "being claimed"  # its turn has come; whether it is ours to ask is not known yet
    ELSEWHERE = "asked elsewhere"  # by another process that shares the store
    PARKED = "parked"  # until its account has room in the budget
    BACKING_OFF = "backing off"
    FLYING = "flying"
    LANDED = "landed"  # answered, being stored
    OVER = "over"


WAITING_STATES = frozenset({State.QUEUED, State.CLAIMING, State.ELSEWHERE, State.PARKED, State.BACKING_OFF})


class Waiter(Protocol):
    """Somebody who wants an answer."""

    @property
    def account(self) -> Account:
        """Who pays for it, if this waiter is the first."""
        ...

    @property
    def context(self) -> Context | None:
        """Where it asked, to report its call from there; None where nobody is told of calls."""
        ...

    def asked(self, flight: "Flight") -> int:
        """How many requests of it the flight stands for."""
        ...

    def resolve(self, flight: "Flight", completion: Completion) -> None:
        """Take the answer of a flight that it waited for."""
        ...

    def fail(self, flight: "Flight", error: BaseException) -> None:
        """Take the error of one that ended without an answer."""
        ...


class Home(Protocol):
    """The lane of a flight, as far as the gateway, the store's writer, accounts and other lanes have to do with it."""

    @property
    def name(self) -> str:
        """The lane's name."""
        ...

    def upper_bound(self, flight: "Flight") -> Cost:
        """The most that a call of the flight can cost."""
        ...

    def fund(self, flight: "Flight", now: float) -> bool:
        """Go on with a flight that waits for its payer's purse; false if that has no room for it."""
        ...

    def price_of(self, usage: Usage) -> float | None:
        """Dollars that a call of this usage costs; None where no price is known."""
        ...

    def submit(self, flight: "Flight", now: float) -> None:
        """Put a new flight into the queue."""
        ...

    def join(self, flight: "Flight", waiter: Waiter, priority: Priority) -> None:
        """One more waits for the flight, with that priority."""
        ...

    def leave(self, flight: "Flight", waiter: Waiter, now: float) -> None:
        """A waiter gives up; a flight that nobody else waits for is withdrawn."""
        ...

    def resume(self, flight: "Flight", now: float) -> None:
        """Put the flight back into its place in the queue, from wherever it waits."""
        ...

    def payer_exhausted(self, flight: "Flight", now: float) -> None:
        """The account that was to pay for the flight cannot: another waiter's does, or the flight fails."""
        ...

    def stored(self) -> None:
        """An answer of the lane is in the store, or could not be kept."""
        ...

    def claimed(self, flight: "Flight", state: State, now: float) -> None:
        """Move the flight to where it goes now that somebody has its claim: the queue, aside, or its end."""
        ...

    def count_hit(self, flight: "Flight", completion: Completion) -> None:
        """The flight's answer was found in the store after all."""
        ...


class Line(Protocol):
    """Where a flight may wait other than in its lane's queue: an account's line for funds, or the back-offs."""

    def push(self, item: "Flight", *, priority: tuple[float, ...]) -> Ticket:
        """Put a flight at its place in the line."""
        ...

    def remove(self, ticket: Ticket) -> bool:
        """Take out the flight of that place; false if it is not there."""
        ...


class Refusal(NamedTuple):
    """What a replica said to a request in place of an answer, and when."""

    error: BackendError
    at: float


NO_PLACE = Ticket((), -1)  # of a flight that has not been in its lane's queue yet


class Flight:
    """One request under way.

    Attributes:
        home: its lane.
        ticket: its place in the lane's queue, which it keeps while it is elsewhere.
        funds: what is set aside for its call while it waits for its turn; None while nothing is.
        line, line_ticket: where it waits while it is parked or backs off; None while it does not.
        since: when it came to where it is; limiter_then: the lane's limiter clock when it came into the queue last.
        queue_seconds, limiter_seconds, retry_seconds: how long it has waited for a slot or an endpoint, for the rate
            limit, and between tries.
        verdict: what came of its tries, once none is left; hung: how many of its calls were broken off
            for hanging, or failed beside another one.
        refused_by: the replicas that failed at it, until all have: then only the last, and those that a person has to
            mend.
        joined: whoever asked for the first time, while it was under way already.
        in_store: whether its answer turned out to be in the store.
        out: its calls that are out and not broken off, in the order in which they were sent.
        calls: how many went; endpoint, sent: where to and when the one did that was answered, or else the last one.
    """

    __slots__ = (
        "calls",
        "endpoint",
        "funds",
        "home",
        "hung",
        "in_store",
        "joined",
        "key",
        "limiter_seconds",
        "limiter_then",
        "line",
        "line_ticket",
        "out",
        "priority",
        "queue_seconds",
        "refused_by",
        "request",
        "retries",
        "retry_seconds",
        "sent",
        "since",
        "size",
        "state",
        "ticket",
        "verdict",
        "waiters",
    )

    def __init__(self, key: str, request: Request, waiter: Waiter, *, home: Home, priority: Priority) -> None:
        self.key = key
        self.request = request
        self.waiters = [waiter]
        self.home = home
        self.priority = priority
        self.size = size_of(request)
        self.state = State.QUEUED
        self.ticket = NO_PLACE
        self.funds: Funds | None = None
        self.line: Line | None = None
        self.line_ticket = NO_PLACE
        self.retries = NO_RETRIES
        self.verdict = ""
        self.hung = 0
        self.refused_by: Mapping[Endpoint, Refusal] = NOBODY
        self.joined: tuple[Account, ...] = ()
        self.in_store = False
        self.out: list[Call] = []
        self.calls = 0
        self.endpoint: Endpoint | None = None
        self.sent = 0.0
        self.since = self.limiter_then = 0.0
        self.queue_seconds = self.limiter_seconds = self.retry_seconds = 0.0

    def __repr__(self) -> str:
        return f"<Flight {self.key[:8]} {self.state.value} waiters={len(self.waiters)} {self.retries}>"

    @property
    def payer(self) -> Account:
        """Who pays for it while it waits: whoever it is reserved for, else the first waiter."""
        return self.funds.account if self.funds is not None else self.waiters[0].account

    def avoids(self) -> Sequence[Collection[Endpoint]]:
        """Where it is best not asked next, in groups: who refuses what only a person can mend; who failed at it, and
        where its calls hang that are out, or else the last one did."""
        hung = [call.endpoint for call in self.out]
        if self.hung and not hung and self.endpoint is not None:
            hung = [self.endpoint]
        if not self.refused_by:
            return (hung,) if hung else ()
        return self.closed_at(), [*self.refused_by, *hung]

    def closed_at(self) -> list[Endpoint]:
        """The replicas that refuse it for what only a person can mend."""
        return [endpoint for endpoint, refusal in self.refused_by.items() if isinstance(refusal.error, NotHere)]

    def refused(self, endpoint: Endpoint, refusal: Refusal, *, another: bool) -> None:
        """A replica failed at it; `another` that has not is up."""
        kept = self.refused_by if another else {each: self.refused_by[each] for each in self.closed_at()}
        self.refused_by = {**kept, endpoint: refusal}

    def upper_bound(self) -> Cost:
        """The most that its call can cost."""
        return self.home.upper_bound(self)

    def fund(self, now: float) -> bool:
        """Its turn in the line for its payer's purse has come; false if there is no room."""
        return self.home.fund(self, now)

    def ask_again(self, now: float) -> None:
        """It may be that its payer's purse never has room for it."""
        self.home.resume(self, now)


NO_RETRIES = Retries()
NOBODY: Mapping[Endpoint, Refusal] = {}


class Call:
    """One try of a flight, on its way to an endpoint or out there.

    Attributes:
        cancel: ends it; false if it has ended already and is about to be booked. Set by whoever makes the call.
        abort_reason: why the lane ended it; None if it did not.
        number: greater than that of every earlier call of its lane.
        booked: whether its funds are settled.
    """

    __slots__ = ("abort_reason", "booked", "cancel", "endpoint", "flight", "funds", "number", "reservation", "sent")

    def __init__(
        self, flight: Flight, endpoint: Endpoint, funds: Funds, reservation: Reservation, sent: float, number: int
    ) -> None:
        self.flight = flight
        self.endpoint = endpoint
        self.funds = funds
        self.reservation = reservation
        self.sent = sent
        self.cancel: Callable[[], bool] = _nothing_to_cancel
        self.abort_reason: BackendError | RunStopped | None = None
        self.number = number
        self.booked = False

    def __repr__(self) -> str:
        return f"<Call {self.flight.key[:8]} at {self.endpoint.name} since {self.sent:g}>"


def _nothing_to_cancel() -> bool:
    return False
