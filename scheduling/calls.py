"""The calls of one lane that are out: one task each, which is the backend's own coroutine.

What becomes of a call is booked when its task is over, in a turn of the event loop that does nothing else: doing one
thing for all answers that came together costs a tenth less than doing everything for one after the other. An answer is
handed over to be kept; the slot is free before that.
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
        filled: calls that were out when the slots had been filled last; answers that come together count as one moment.
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
        slot_free: Callable[[], None],
        broken: Callable[[BaseException], None],
        emit: Callable[[events.Event], None],
    ) -> None:
        """`slot_free` is told of every slot that becomes free; `broken` of a mistake in the lane."""
        self.in_flight = 0
        self.filled = 0
        self.unkept = 0
        self.answered = 0
        self._lane = lane
        self._time_limit = settings.time_limit
        self._pace = pace
        self._funding = funding
        self._slot_free = slot_free
        self._broken = broken
        self._emit = emit
        self._tasks: dict[asyncio.Task[Reply], Flight] = {}
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
        """Make a call at the endpoint chosen for it."""
        endpoint = flight.endpoint
        assert endpoint is not None
        self._pace.launch(flight, now)
        call = endpoint.backend.complete(flight.request, time_limit=self._time_limit)
        task = self._loop.create_task(call)
        task.add_done_callback(self._over)
        flight.state = State.FLYING
        flight.sent = now
        flight.broken_off = None
        flight.task = task
        endpoint.in_flight += 1
        self.in_flight += 1
        self._tasks[task] = flight
        self._deadlines.add(flight, now + self._time_limit + OVERDUE)

    def abort(self, flight: Flight) -> bool:
        """Break a call off; false if it has ended already and is about to be booked."""
        return flight.task is not None and flight.task.cancel()

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

    def _over(self, task: "asyncio.Task[Reply]") -> None:
        """A call has ended, in whatever way: free its slot and book it."""
        flight = self._tasks.pop(task)
        self._free_slot(flight)
        self._slot_free()
        try:
            if task.cancelled():
                self._cancelled(flight)
            elif (error := task.exception()) is not None:
                self._failed(flight, error)
            else:
                self._landed(flight, task.result())
        except BaseException as mistake:  # in here, which must not leave anybody waiting for ever
            self._broken(mistake)
            if flight.state is not State.OVER:
                self._funding.book_at_most(flight)
                self._flights.fail(flight, mistake)
            raise

    def _free_slot(self, flight: Flight) -> None:
        assert flight.endpoint is not None
        self._deadlines.discard(flight)
        flight.task = None
        flight.endpoint.in_flight -= 1
        self.in_flight -= 1

    def _landed(self, flight: Flight, reply: Reply) -> None:
        """The answer is here: book the call, and hand the answer over to be kept."""
        endpoint = flight.endpoint
        assert endpoint is not None
        flight.landed_at = now = self._loop.time()
        flight.state = State.LANDED
        self.answered += 1
        self._recovery.succeeded()
        if endpoint.succeed():
            self._emit(events.EndpointUp(lane=self._lane, at=now, endpoint=endpoint.backend.name))
        self._pace.answered(flight, reply, now, in_flight=self.filled)
        payer = self._funding.book_answer(flight, reply.completion.usage)
        self.unkept += 1
        self._keep(flight, payer, reply.completion)

    def _failed(self, flight: Flight, error: BaseException) -> None:
        assert flight.endpoint is not None
        self._recovery.failed(flight, flight.endpoint, error)

    def _cancelled(self, flight: Flight) -> None:
        if flight.broken_off is not None:
            self._failed(flight, flight.broken_off)
        else:
            self._funding.book_at_most(flight)
            self._flights.fail(flight, RunStopped("The gateway was closed while a call was under way."))

    def _overdue(self, flight: Flight) -> None:
        """A backend did not keep its time limit."""
        flight.broken_off = TimedOut(f"{self._lane} gave no answer within {self._time_limit:g} seconds.")
        self.abort(flight)
