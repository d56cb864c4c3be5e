"""Single flight: equal requests find each other, and all who wait for an answer get it.

A waiter that leaves does not disturb the others. When the last one leaves, the flight has no purpose any more and its
lane withdraws it.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextvars import Context

from metaspo.backends import Completion, RequestRejected
from metaspo.scheduling.budget.account import Account
from metaspo.scheduling.lanes.call_record import CallReports
from metaspo.scheduling.lanes.flight import Flight, State, Waiter


class FlightTable:
    """All flights that somebody waits for, by key: equal requests find each other here."""

    __slots__ = ("_flights", "_reports", "on_drop")

    def __init__(self, reports: CallReports | None = None) -> None:
        self._reports = reports
        self._flights: dict[str, Flight] = {}
        self.on_drop: Callable[[str], None] | None = None  # told the key of every flight that is over

    def __len__(self) -> int:
        return len(self._flights)

    def __iter__(self) -> Iterator[Flight]:
        return iter(list(self._flights.values()))

    def get(self, key: str) -> Flight | None:
        """The flight of that request, if one is under way."""
        return self._flights.get(key)

    def add(self, flight: Flight) -> None:
        """Let equal requests find a flight."""
        self._flights[flight.key] = flight

    def drop(self, flight: Flight) -> None:
        """Let nobody join a flight any more."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
            if self.on_drop is not None:
                self.on_drop(flight.key)

    def finish(self, flight: Flight, completion: Completion) -> None:
        """Hand the answer to everybody who waits; what it costs is what whoever joined would have paid alone."""
        for account in flight.joined:
            account.tally(flight.home.name).worth_of_joined(flight.home.price_of(completion.usage))
        for waiter in self._end(flight, completion):
            waiter.resolve(flight, completion)

    def fail(self, flight: Flight, error: BaseException) -> None:
        """Tell everybody who waits that there will be no answer."""
        for waiter in self._end(flight, error):
            waiter.account.tally(flight.home.name).failed += 1
            waiter.fail(flight, error)

    def _end(self, flight: Flight, end: Completion | BaseException) -> list[Waiter]:
        """End a flight; returns who waited for it."""
        flight.state = State.OVER
        if self._reports is not None:
            self._reports.over(flight, end)
        self.drop(flight)
        waiters, flight.waiters = flight.waiters, []
        return waiters


class SingleWaiter:
    """One call of `complete`.

    Attributes:
        flight: what it waits for; None until it is known that the store has no answer, and where it has one.
        joined: whether somebody had asked for it before.
    """

    __slots__ = ("account", "context", "flight", "future", "joined")

    def __init__(
        self, account: Account, future: "asyncio.Future[Completion]", *, context: Context | None = None
    ) -> None:
        self.account = account
        self.context = context
        self.future = future
        self.flight: Flight | None = None
        self.joined = False

    def asked(self, flight: Flight) -> int:
        """One request."""
        return 1

    def resolve(self, flight: Flight, completion: Completion) -> None:
        """Wake the caller with the answer."""
        if not self.future.done():
            self.future.set_result(completion)

    def fail(self, flight: Flight, error: BaseException) -> None:
        """Wake the caller with the error."""
        if not self.future.done():
            self.future.set_exception(error)


OnAnswer = Callable[[int, Completion | RequestRejected, bool], None]
"""Told the position of a request, what came of it, and whether it was in the store."""


class BatchWaiter:
    """One call of `complete_many`: answers by position, no task and no future per request."""

    __slots__ = ("_more", "_on_answer", "_room", "account", "context", "done", "positions", "results", "sealed")

    def __init__(
        self,
        account: Account,
        size: int,
        done: "asyncio.Future[None]",
        *,
        on_answer: OnAnswer | None = None,
        context: Context | None = None,
    ) -> None:
        self.account = account
        self.context = context
        self._on_answer = on_answer
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

    def put_stored(self, hits: Mapping[int, Completion]) -> None:
        """What was in the store, by position."""
        for position, completion in hits.items():
            self.results[position] = completion
            if self._on_answer is not None:
                self._on_answer(position, completion, True)

    def asked(self, flight: Flight) -> int:
        """As many requests as the batch has equal ones."""
        return 1 + len(self._more.get(flight, ()))

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

    async def wait_for_room(self, window: int) -> None:
        """Return when fewer than `window` are under way, or none of them matters any more."""
        while len(self.positions) >= window and not self.done.done():
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def seal(self) -> None:
        """All requests are on their way: the batch is done when nothing is missing."""
        self.sealed = True
        self._wake()

    def _put(self, flight: Flight, result: Completion | RequestRejected) -> None:
        first = self.positions.pop(flight, None)
        for position in (*(() if first is None else (first,)), *self._more.pop(flight, ())):
            self.results[position] = result
            if self._on_answer is not None:
                self._on_answer(position, result, flight.in_store)
        self._wake()

    def _wake(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        if self.sealed and not self.positions and not self.done.done():
            self.done.set_result(None)
