"""One model's lane: which request goes when, to which endpoint, and what becomes of it.

The lane itself is who comes and who goes: `dispatch` says whose turn it is, `calls` makes the calls, `recovery` says
what becomes of those that fail.
"""

import asyncio
from collections.abc import Callable, Sequence

from metaspo.backends import Backend, BackendError, FatalError
from metaspo.backends.closing import close_all
from metaspo.scheduling import events
from metaspo.scheduling.account import Account
from metaspo.scheduling.budget import Cost
from metaspo.scheduling.calls import Calls, Keep
from metaspo.scheduling.dispatch import Dispatcher
from metaspo.scheduling.endpoints import Endpoint, Endpoints
from metaspo.scheduling.errors import RunStopped
from metaspo.scheduling.estimate import TokenEstimator
from metaspo.scheduling.flight import Flight, FlightTable, State, Waiter
from metaspo.scheduling.funding import Funding, unpark
from metaspo.scheduling.pace import Pace
from metaspo.scheduling.queue import Priority, PriorityQueue
from metaspo.scheduling.recovery import Recovery, describe
from metaspo.scheduling.settings import LaneSettings
from metaspo.scheduling.statistics import EndpointStatistics, LaneStatistics
from metaspo.scheduling.watch import EndpointWatch, WatchHooks

DEFAULTS = LaneSettings()
WAITING_STATES = frozenset({State.NEW, State.QUEUED, State.PARKED, State.BACKING_OFF})

Listener = Callable[[events.Event], None]


class Lane:
    """One model: its endpoints, queue, limits and prices. Made by the user, driven by one `Gateway`."""

    def __init__(self, name: str, backends: Sequence[Backend], settings: LaneSettings = DEFAULTS) -> None:
        self.name = name
        self.settings = settings
        self._queue: PriorityQueue[Flight] = PriorityQueue()
        self._endpoints = Endpoints(backends)
        estimator = TokenEstimator()
        self._pace = Pace(name, settings, estimator, endpoints=len(backends), emit=self._emit)
        self._funding = Funding(name, settings, estimator, on_exhausted=self._exhaust)
        self._dispatcher = Dispatcher(
            settings,
            queue=self._queue,
            endpoints=self._endpoints,
            pace=self._pace,
            funding=self._funding,
            broken=self._fail_waiting,
        )
        self._calls = Calls(
            name,
            settings,
            pace=self._pace,
            funding=self._funding,
            slot_free=self._dispatcher.wake,
            broken=self._fail_waiting,
            emit=self._emit,
        )

    def __repr__(self) -> str:
        calls = self._calls
        return (
            f"<Lane {self.name!r} queued={len(self._queue)} in_flight={calls.in_flight}/{self._pace.most_in_flight}"
            f" answered={calls.answered} endpoints={self._endpoints.all}>"
        )

    @property
    def stopped(self) -> RunStopped | None:
        """Why nothing can be asked of this lane any more; None while it can."""
        return self._recovery.ended

    # Opened and closed by the gateway

    def open(self, flights: FlightTable, *, keep: Keep, listener: Listener | None) -> None:
        """Take part in a running event loop. `keep` stores an answer that an account paid for and ends the flight;
        `answer_kept` is called when that is done."""
        self._loop = asyncio.get_running_loop()
        self._flights = flights
        self._listener = listener
        hooks = WatchHooks(
            has_work=self._has_work,
            ready=self._endpoint_ready,
            rested=self._endpoint_rested,
            gone=self._endpoint_gone,
            fatal=self._fatal,
            broken=self._fail_waiting,
        )
        self._watch = EndpointWatch(self._endpoints, self._pace.control, hooks)
        self._recovery = Recovery(
            self.name,
            self.settings,
            flights=flights,
            pace=self._pace,
            funding=self._funding,
            watch=self._watch,
            requeue=self.requeue,
            fail_waiting=self._fail_waiting,
            emit=self._emit,
        )
        self._calls.open(flights, self._recovery, keep)
        self._dispatcher.open(self._calls, self._recovery)

    async def aclose(self, *, grace: float) -> None:
        """Fail what waits, let answers that are paid for come in for `grace` seconds, end everything else."""
        self._recovery.close(RunStopped("The gateway was closed while requests were waiting; start the run again."))
        self._dispatcher.close()
        await self._watch.cancel()
        for flight in self._flights:
            if flight.lane is self and flight.state is State.FLYING and self.settings.charges == "compute":
                self._abort(flight)
        await self._calls.aclose(grace=grace)
        await close_all(endpoint.backend.aclose() for endpoint in self._endpoints.all)

    # Requests come and go

    def submit(self, flight: Flight) -> None:
        """Put a new flight into the queue."""
        flight.ticket = self._queue.push(flight, priority=flight.priority)
        self._enter(flight)
        self._watch.work_came()

    def join(self, flight: Flight, waiter: Waiter, priority: Priority) -> None:
        """One more waits for a flight; if that one is more urgent, so is the flight."""
        flight.waiters.append(waiter)
        if priority < flight.priority and flight.ticket is not None:
            flight.priority = priority
            queued = self._queue.remove(flight.ticket)
            ticket = self._queue.push(flight, priority=priority)
            flight.ticket = ticket
            if not queued:
                self._queue.remove(ticket)  # it keeps the place for when it comes back

    def leave(self, flight: Flight, waiter: Waiter) -> None:
        """A waiter is gone; with the last one the flight loses its purpose."""
        if waiter not in flight.waiters:
            return
        flight.waiters.remove(waiter)
        if not flight.waiters:
            self._withdraw(flight)
        elif flight.state is State.PARKED and flight.parked_with is not flight.account:
            unpark(flight)  # who was to pay is gone; another one may have room in the budget
            self.requeue(flight)
        elif flight.state is State.QUEUED and flight.payer is waiter.account:
            self._funding.release(flight)

    def requeue(self, flight: Flight) -> None:
        """Put a flight back into its place."""
        assert flight.ticket is not None
        self._queue.put_back(flight, ticket=flight.ticket)
        self._enter(flight)

    def answer_kept(self) -> None:
        """An answer of this lane is in the store, or could not be kept."""
        self._calls.unkept -= 1
        self._dispatcher.wake()

    def most(self, flight: Flight) -> Cost:
        """The most that the flight's call can cost."""
        return self._funding.most(flight)

    def account_exhausted(self, account: Account) -> None:
        """Whoever waits for what only this account would have paid gets its error."""
        error = account.exhausted
        assert error is not None
        for flight in self._flights:
            if flight.state in WAITING_STATES and flight.account is account:
                able = [waiter for waiter in flight.waiters if waiter.account.exhausted is None]
                lane = flight.lane
                if not able:
                    lane._take_out(flight)
                    self._flights.fail(flight, error)
                else:
                    flight.waiters.sort(key=lambda waiter: waiter.account.exhausted is not None)
                    if flight.state is State.PARKED:
                        unpark(flight)
                        lane.requeue(flight)

    def statistics(self) -> LaneStatistics:
        """The lane now."""
        now = self._loop.time()
        requests, tokens = self._pace.limits.requests, self._pace.limits.tokens
        return LaneStatistics(
            name=self.name,
            queued=len(self._queue),
            in_flight=self._calls.in_flight,
            retrying=self._recovery.retrying,
            concurrency=self._pace.most_in_flight,
            requests_in_minute=requests.used_in_minute(now),
            requests_per_minute=requests.per_minute,
            tokens_in_minute=tokens.used_in_minute(now),
            tokens_per_minute=tokens.per_minute,
            held=self._pace.limits.held_for(now),
            answered=self._calls.answered,
            idle_seconds=self._dispatcher.idle.seconds(now),
            stopped=str(self.stopped or ""),
            endpoints=tuple(
                EndpointStatistics(
                    name=endpoint.backend.name,
                    health=endpoint.health.value,
                    in_flight=endpoint.in_flight,
                    answered=endpoint.answered,
                )
                for endpoint in self._endpoints.all
            ),
        )

    # Nobody can pay, nobody waits

    def _exhaust(self, account: Account, most: Cost) -> None:
        if account.exhausted is None:
            account.exhausted = account.purse.exhausted(most, account=account.name)
            reason = str(account.exhausted)
            self._emit(events.BudgetReached(lane=self.name, at=self._loop.time(), account=account.name, reason=reason))
        self.account_exhausted(account)

    def _fail_waiting(self, error: BaseException) -> None:
        """Fail every flight of this lane that is not out."""
        for flight in self._flights:
            if flight.lane is self and flight.state in WAITING_STATES:
                self._take_out(flight)
                self._flights.fail(flight, error)

    def _withdraw(self, flight: Flight) -> None:
        """Nobody waits for this flight any more."""
        if flight.state in WAITING_STATES:
            self._take_out(flight)
            self._flights.drop(flight)
            flight.state = State.OVER
            self._dispatcher.wake()
        elif flight.state is State.FLYING and self.settings.charges == "compute":
            self._abort(flight)

    def _abort(self, flight: Flight) -> None:
        if self._calls.abort(flight):  # else its answer is here already, and whoever asks again shall find it
            self._flights.drop(flight)

    # Small parts

    def _enter(self, flight: Flight) -> None:
        now = self._loop.time()
        flight.state = State.QUEUED
        flight.entered = now
        flight.limiter_then = self._pace.limited_seconds(now)
        self._dispatcher.wake()

    def _take_out(self, flight: Flight) -> None:
        """Remove a flight from wherever it waits, and release what it has reserved."""
        if flight.state is State.QUEUED and flight.ticket is not None:
            self._queue.remove(flight.ticket)
        elif flight.state is State.PARKED:
            unpark(flight)
        else:
            self._recovery.end_back_off(flight)
        flight.state = State.NEW
        self._funding.release(flight)

    def _has_work(self) -> bool:
        return bool(self._queue or self._calls.in_flight or self._recovery.retrying)

    def _fatal(self, error: FatalError) -> None:
        self._recovery.stop(error)

    def _endpoint_ready(self, endpoint: Endpoint) -> None:
        self._dispatcher.wake()

    def _endpoint_gone(self, endpoint: Endpoint) -> None:
        if self.settings.charges == "compute":  # an answer that costs money may still come over its open connection
            self._calls.lose(endpoint)

    def _endpoint_rested(self, endpoint: Endpoint, wait: float, error: BackendError) -> None:
        now = self._loop.time()
        name = endpoint.backend.name
        self._emit(events.EndpointDown(lane=self.name, at=now, endpoint=name, wait=wait, reason=describe(error)))
        if self._endpoints.none_up():
            self._emit(events.Waiting(lane=self.name, at=now, patience=self._recovery.patience))
        self._recovery.note(error)
        self._dispatcher.wake()  # which notices when none is left

    def _emit(self, event: events.Event) -> None:
        if self._listener is not None:
            self._loop.call_soon(self._listener, event)  # a listener that raises must not disturb the lane
