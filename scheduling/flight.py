"""Single flight: one request on its way to an answer, and everybody who waits for it.

A waiter that leaves does not disturb the others. When the last one leaves, the flight has no purpose any more and its
lane withdraws it.
"""

import asyncio
from collections.abc import Iterator
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from metaspo.backends import Completion, Reply, Request, RequestRejected, TransientError
from metaspo.scheduling.account import Account
from metaspo.scheduling.budget import Cost
from metaspo.scheduling.endpoints import Endpoint
from metaspo.scheduling.estimate import Size, size_of
from metaspo.scheduling.limits import Reservation
from metaspo.scheduling.queue import Priority, Ticket

if TYPE_CHECKING:
    from metaspo.scheduling.lane import Lane


class Waiter(Protocol):
    """Somebody who wants an answer."""

    @property
    def account(self) -> Account:
        """Who pays for it, if this waiter is the first."""
        ...

    def resolve(self, flight: "Flight", completion: Completion) -> None:
        """The answer is here."""
        ...

    def fail(self, flight: "Flight", error: BaseException) -> None:
        """There will be no answer."""
        ...


class State(Enum):
    """Where a flight is."""

    NEW = "new"
    QUEUED = "queued"
    PARKED = "parked"  # until its account has room in the budget
    BACKING_OFF = "backing off"
    FLYING = "flying"
    LANDED = "landed"  # answered, being stored
    OVER = "over"


class Flight:
    """One request under way; mutable, owned by its lane.

    Attributes:
        payer: whose budget the call is reserved against; set from the first waiter when it is reserved.
        parked_with: the account whose purse it waits for, in its queue at `parked_ticket`; None if it waits for none.
        cost: what is reserved; None while nothing is.
        broken_off: why the lane itself ended the call that is out; None if it did not.
        failures: failed calls so far; attempts: those that count against the request.
        refused_since: when the failures that do not count began; None if the last one counted.
        expected_tokens: what the call is thought to take; set when it is asked whether it may go.
        entered: when it came into the queue last; limiter_then: the lane's limiter clock at that time.
    """

    __slots__ = (
        "attempts",
        "backed_off_at",
        "broken_off",
        "cost",
        "endpoint",
        "entered",
        "expected_tokens",
        "failures",
        "keeps_slot",
        "key",
        "landed_at",
        "lane",
        "limiter_seconds",
        "limiter_then",
        "parked_ticket",
        "parked_with",
        "payer",
        "priority",
        "queue_seconds",
        "quick_retries",
        "refused_since",
        "request",
        "reservation",
        "retry_seconds",
        "sent",
        "size",
        "state",
        "task",
        "ticket",
        "timer",
        "waiters",
    )

    def __init__(self, key: str, request: Request, *, lane: "Lane", priority: Priority) -> None:
        self.key = key
        self.request = request
        self.lane = lane
        self.priority = priority
        self.size: Size = size_of(request)
        self.state = State.NEW
        self.waiters: list[Waiter] = []
        self.payer: Account | None = None
        self.cost: Cost | None = None
        self.reservation: Reservation | None = None
        self.endpoint: Endpoint | None = None
        self.ticket: Ticket | None = None
        self.parked_ticket: Ticket | None = None
        self.parked_with: Account | None = None
        self.task: asyncio.Task[Reply] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.broken_off: TransientError | None = None
        self.keeps_slot = False
        self.failures = 0
        self.attempts = 0
        self.quick_retries = 0
        self.expected_tokens = 0
        self.refused_since: float | None = None
        self.entered = self.limiter_then = self.sent = self.landed_at = self.backed_off_at = 0.0
        self.queue_seconds = self.limiter_seconds = self.retry_seconds = 0.0

    def __repr__(self) -> str:
        return f"<Flight {self.key[:8]} {self.state.value} waiters={len(self.waiters)} failures={self.failures}>"

    @property
    def account(self) -> Account | None:
        """Who pays: whoever it is reserved for, else the first waiter."""
        if self.payer is not None:
            return self.payer
        return self.waiters[0].account if self.waiters else None


class FlightTable:
    """All flights that somebody waits for, by key: equal requests find each other here."""

    __slots__ = ("_flights",)

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def __iter__(self) -> Iterator[Flight]:
        return iter(list(self._flights.values()))

    def get(self, key: str) -> Flight | None:
        """The flight of that request, if one is under way."""
        return self._flights.get(key)

    def add(self, flight: Flight) -> None:
        """Let others find it."""
        self._flights[flight.key] = flight

    def drop(self, flight: Flight) -> None:
        """Nobody may join it any more."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def finish(self, flight: Flight, completion: Completion) -> None:
        """Hand the answer to everybody who waits."""
        flight.state = State.OVER
        self.drop(flight)
        waiters, flight.waiters = flight.waiters, []
        for waiter in waiters:
            waiter.resolve(flight, completion)

    def fail(self, flight: Flight, error: BaseException) -> None:
        """Tell everybody who waits that there will be no answer."""
        flight.state = State.OVER
        self.drop(flight)
        waiters, flight.waiters = flight.waiters, []
        for waiter in waiters:
            waiter.account.tally(flight.lane.name).failed += 1
            waiter.fail(flight, error)


class SingleWaiter:
    """One call of `complete`."""

    __slots__ = ("account", "future")

    def __init__(self, account: Account, future: "asyncio.Future[Completion]") -> None:
        self.account = account
        self.future = future

    def resolve(self, flight: Flight, completion: Completion) -> None:
        """Wake the caller with the answer."""
        if not self.future.done():
            self.future.set_result(completion)

    def fail(self, flight: Flight, error: BaseException) -> None:
        """Wake the caller with the error."""
        if not self.future.done():
            self.future.set_exception(error)


class BatchWaiter:
    """One call of `complete_many`: answers by position, no task and no future per request."""

    __slots__ = ("_more", "_room", "account", "done", "positions", "results", "sealed")

    def __init__(self, account: Account, size: int, done: "asyncio.Future[None]") -> None:
        self.account = account
        self.results: list[Completion | RequestRejected | None] = [None] * size
        self.positions: dict[Flight, int] = {}
        self.done = done
        self.sealed = False
        self._more: dict[Flight, list[int]] = {}  # further positions of flights that stand for several
        self._room: asyncio.Future[None] | None = None

    def expect(self, flight: Flight, position: int) -> None:
        """A flight's answer is to stand at that position, too."""
        if flight in self.positions:
            self._more.setdefault(flight, []).append(position)
        else:
            self.positions[flight] = position

    def resolve(self, flight: Flight, completion: Completion) -> None:
        """Put the answer where it belongs."""
        self._put(flight, completion)

    def fail(self, flight: Flight, error: BaseException) -> None:
        """A rejected request is a result; every other error ends the batch."""
        if isinstance(error, RequestRejected):
            self._put(flight, error)
            return
        self.positions.pop(flight, None)
        if not self.done.done():
            self.done.set_exception(error)
        self._wake()

    async def wait_for_room(self, most: int) -> None:
        """Return when fewer than `most` are under way, or none of them matters any more."""
        while len(self.positions) >= most and not self.done.done():
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def seal(self) -> None:
        """All requests are on their way: the batch is done when nothing is missing."""
        self.sealed = True
        self._wake()

    def _put(self, flight: Flight, result: Completion | RequestRejected) -> None:
        position = self.positions.pop(flight, None)
        if position is not None:
            self.results[position] = result
        for position in self._more.pop(flight, ()):
            self.results[position] = result
        self._wake()

    def _wake(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        if self.sealed and not self.positions and not self.done.done():
            self.done.set_result(None)
