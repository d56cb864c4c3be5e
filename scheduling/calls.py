"""The calls of one lane that are out.

A task makes one call after the other as long as the lane has a next one for it, so that a busy lane makes no task for
a call: between two calls there is no turn of the event loop, and what one call leaves is what the next one takes. An
answer is handed over to be kept; the slot is free before that.
"""

import asyncio
from collections.abc import Callable

from metaspo.backends import Completion, ConnectionLost, Reply, TimedOut
from metaspo.backends.deadlines import Deadlines
from metaspo.scheduling import events
from metaspo.scheduling.account import Account
from metaspo.scheduling.endpoints import Endpoint
from metaspo.scheduling.errors import RunStopped
from metaspo.scheduling.flight import Flight, FlightTable, State
from metaspo.scheduling.funding import Funding
from metaspo.scheduling.pace import Pace
from metaspo.scheduling.recovery import Recovery
from metaspo.scheduling.settings import LaneSettings

OVERDUE = 5.0  # seconds that a backend gets beyond its time limit before its call is cancelled

Keep = Callable[[Flight, Account, Completion], None]


class Calls:
    """Makes calls, and books what becomes of them.

    Attributes:
        in_flight: calls that are out.
        unkept: answers that are here and not in the store yet.
        answered: calls answered so far.
    """

    def __init__(
        self,
        lane: str,
        settings: LaneSettings,
        *,
        pace: Pace,
        funding: Funding,
        choose: Callable[[float], Flight | None],
        slot_free: Callable[[], None],
        broken: Callable[[BaseException], None],
        emit: Callable[[events.Event], None],
    ) -> None:
        """`choose` takes the next flight that may go at that time out of the queue and gives it an endpoint;
        `slot_free` is told of a free slot that no answer's task goes on with; `broken` of a mistake in the lane."""
        self.in_flight = 0
        self.unkept = 0
        self.answered = 0
        self._lane = lane
        self._time_limit = settings.time_limit
        self._pace = pace
        self._funding = funding
        self._choose = choose
        self._slot_free = slot_free
        self._broken = broken
        self._emit = emit
        self._tasks: dict[asyncio.Task[None], Flight] = {}
        self._deadlines = Deadlines(self._overdue)

    def __repr__(self) -> str:
        return f"<Calls in_flight={self.in_flight} unkept={self.unkept} answered={self.answered}>"

    def open(self, flights: FlightTable, recovery: Recovery, keep: Keep) -> None:
        """Take part in a running event loop."""
        self._loop = asyncio.get_running_loop()
        self._flights = flights
        self._recovery = recovery
        self._keep = keep

    def launch(self, flight: Flight, now: float) -> None:
        """Make a call in a task of its own."""
        task = self._loop.create_task(self._work(flight))
        task.add_done_callback(self._over)
        self._take_slot(flight, task, now)

    def abort(self, flight: Flight) -> None:
        """Break a call off."""
        if flight.task is not None:
            flight.task.cancel()

    def lose(self, endpoint: Endpoint) -> None:
        """Nobody listens at an endpoint any more: what is still out there goes elsewhere, without waiting for ever."""
        for task, flight in self._tasks.items():
            if flight.state is State.FLYING and flight.endpoint is endpoint:
                flight.broken_off = ConnectionLost(
                    f"{endpoint.backend.name} refuses connections while a call is under way.", before_answer=True
                )
                task.cancel()

    async def aclose(self, *, grace: float) -> None:
        """Let calls come in for `grace` seconds and break off what is then still out."""
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=grace)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        self._deadlines.close()

    async def _work(self, flight: Flight | None) -> None:
        task = asyncio.current_task()
        assert task is not None
        while flight is not None:
            assert flight.endpoint is not None
            reply = await flight.endpoint.backend.complete(flight.request, time_limit=self._time_limit)
            now = self._loop.time()
            self._landed(flight, reply, now)
            del reply
            flight = self._choose(now)
            if flight is not None:
                self._take_slot(flight, task, now)

    def _take_slot(self, flight: Flight, task: "asyncio.Task[None]", now: float) -> None:
        assert flight.endpoint is not None
        self._pace.launch(flight, now)
        flight.state = State.FLYING
        flight.sent = now
        flight.broken_off = None
        flight.task = task
        flight.endpoint.in_flight += 1
        self.in_flight += 1
        self._tasks[task] = flight
        self._deadlines.add(flight, now + self._time_limit + OVERDUE)

    def _free_slot(self, flight: Flight) -> None:
        assert flight.endpoint is not None
        self._deadlines.discard(flight)
        flight.task = None
        flight.endpoint.in_flight -= 1
        self.in_flight -= 1

    def _landed(self, flight: Flight, reply: Reply, now: float) -> None:
        """The answer is here: free the slot, book the call, and hand the answer over to be kept."""
        endpoint = flight.endpoint
        assert endpoint is not None
        flight.landed_at = now
        in_flight = self.in_flight
        self._free_slot(flight)
        flight.state = State.LANDED
        self.answered += 1
        self._recovery.succeeded()
        if endpoint.succeed():
            self._emit(events.EndpointUp(lane=self._lane, at=now, endpoint=endpoint.backend.name))
        self._pace.answered(flight, reply, now, in_flight=in_flight)
        payer = self._funding.book_answer(flight, reply.completion.usage)
        self.unkept += 1
        self._keep(flight, payer, reply.completion)

    def _over(self, task: "asyncio.Task[None]") -> None:
        """A task has ended: there was nothing more to do, or its last call brought no answer."""
        flight = self._tasks.pop(task)
        error = None if task.cancelled() else task.exception()
        if flight.state is State.FLYING:
            if error is not None:
                self._failed(flight, error)
            else:
                self._cancelled(flight)
            self._slot_free()
        elif error is not None:
            if flight.state is State.LANDED:
                self._flights.fail(flight, error)
            self._broken(error)  # a mistake in here must not leave anybody waiting for ever
            raise error

    def _failed(self, flight: Flight, error: BaseException) -> None:
        assert flight.endpoint is not None
        self._free_slot(flight)
        self._recovery.failed(flight, flight.endpoint, error)

    def _cancelled(self, flight: Flight) -> None:
        if flight.broken_off is not None:
            self._failed(flight, flight.broken_off)
        else:
            self._free_slot(flight)
            self._funding.book_at_most(flight)
            self._flights.fail(flight, RunStopped("The gateway was closed while a call was under way."))

    def _overdue(self, flight: Flight) -> None:
        """A backend did not keep its time limit."""
        flight.broken_off = TimedOut(f"{self._lane} gave no answer within {self._time_limit:g} seconds.")
        self.abort(flight)
