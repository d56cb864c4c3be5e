"""One model's lane: which request goes when, to which endpoint, and what becomes of it.

There is no task per waiting request and nothing polls. Every change (a request came, a slot is free, a limit passed, an
endpoint is back) schedules one run of `_pump`, which starts what may start now and, if the rate limit is what holds the
first request back, sets one timer for when it no longer does. Only a call in flight has a task. These are plain asyncio
tasks and timers, because a task group and a cancel scope per call would cost half as much as the call itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from metaspo.backends import (
    Backend,
    BackendError,
    Completion,
    FatalError,
    Reply,
    TimedOut,
)
from metaspo.scheduling import events
from metaspo.scheduling.account import Account
from metaspo.scheduling.budget import Cost
from metaspo.scheduling.endpoints import Endpoint, Endpoints
from metaspo.scheduling.errors import RunStopped
from metaspo.scheduling.estimate import TokenEstimator
from metaspo.scheduling.flight import Flight, FlightTable, State, Waiter
from metaspo.scheduling.funding import Funding, unpark
from metaspo.scheduling.pace import Pace
from metaspo.scheduling.queue import Priority, PriorityQueue
from metaspo.scheduling.recovery import Recovery, describe, duration
from metaspo.scheduling.settings import LaneSettings
from metaspo.scheduling.statistics import EndpointStatistics, LaneStatistics
from metaspo.scheduling.watch import EndpointWatch, WatchHooks

DEFAULTS = LaneSettings()
OVERDUE = 5.0  # seconds that a backend gets beyond its time limit before its call is cancelled
UNKEPT = 8  # answers that may be on their way to the store beside a full lane; in wider lanes, one for each slot
WAITING_STATES = frozenset({State.NEW, State.QUEUED, State.PARKED, State.BACKING_OFF})

Keep = Callable[[Flight, Account, Completion], Awaitable[Completion]]
Listener = Callable[[events.Event], None]


class Lane:
    """One model: its endpoints, queue, limits and prices. Made by the user, driven by one `Gateway`."""

    def __init__(self, name: str, backends: Sequence[Backend], settings: LaneSettings = DEFAULTS) -> None:
        self.name = name
        self.settings = settings
        self._queue: PriorityQueue[Flight] = PriorityQueue()
        self._endpoints = Endpoints(backends)
        estimator = TokenEstimator()
        self._pace = Pace(name, settings, estimator, emit=self._emit)
        self._funding = Funding(name, settings, estimator, on_exhausted=self._exhaust)
        self._tasks: set[asyncio.Task[Completion]] = set()
        self._in_flight = 0
        self._unkept = 0  # answers that are here and not in the store yet
        self._filled_to = 0  # calls in flight when the dispatcher last had its turn
        self._answered = 0
        self._pumping = False
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return (
            f"<Lane {self.name!r} queued={len(self._queue)} in_flight={self._in_flight}/{self._pace.control.limit}"
            f" answered={self._answered} endpoints={self._endpoints.all}>"
        )

    @property
    def stopped(self) -> RunStopped | None:
        """Why nothing can be asked of this lane any more; None while it can."""
        return self._recovery.ended

    # Opened and closed by the gateway

    def open(self, flights: FlightTable, *, keep: Keep, listener: Listener | None) -> None:
        """Take part in a running event loop. `keep` stores an answer that an account paid for and returns the
        canonical one."""
        self._loop = asyncio.get_running_loop()
        self._flights = flights
        self._keep = keep
        self._listener = listener
        hooks = WatchHooks(
            has_work=self._has_work,
            ready=self._endpoint_ready,
            rested=self._endpoint_rested,
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

    async def aclose(self, *, grace: float) -> None:
        """Fail what waits, let answers that are paid for come in for `grace` seconds, end everything else."""
        self._recovery.close(RunStopped("The gateway was closed while requests were waiting; start the run again."))
        if self._timer is not None:
            self._timer.cancel()
        await self._watch.cancel()
        for flight in self._flights:
            if flight.lane is self and flight.state is State.FLYING and self.settings.charges == "compute":
                self._abort(flight)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for endpoint in self._endpoints.all:
            await endpoint.backend.aclose()

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
        elif flight.state is State.PARKED and waiter.account is not flight.waiters[0].account:
            unpark(flight, waiter.account)
            self.requeue(flight)
        elif flight.state is State.QUEUED and flight.payer is waiter.account:
            self._funding.release(flight)

    def requeue(self, flight: Flight) -> None:
        """Put a flight back into its place."""
        assert flight.ticket is not None
        self._queue.put_back(flight, ticket=flight.ticket)
        self._enter(flight)

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
                        unpark(flight, account)
                        lane.requeue(flight)

    def statistics(self) -> LaneStatistics:
        """The lane now."""
        now = self._loop.time()
        requests, tokens = self._pace.limits.requests, self._pace.limits.tokens
        return LaneStatistics(
            name=self.name,
            queued=len(self._queue),
            in_flight=self._in_flight,
            retrying=self._recovery.retrying,
            concurrency=self._pace.control.limit,
            requests_in_minute=requests.used_in_minute(now),
            requests_per_minute=requests.per_minute,
            tokens_in_minute=tokens.used_in_minute(now),
            tokens_per_minute=tokens.per_minute,
            held=self._pace.limits.held_for(now),
            answered=self._answered,
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

    # The dispatcher

    def _schedule_pump(self) -> None:
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        try:
            self._start_what_may(self._loop.time())
        except BaseException as error:
            self._fail_waiting(error)  # a mistake in here must not leave anybody waiting for ever
            raise

    def _start_what_may(self, now: float) -> None:
        limited = False
        while self._queue and self._has_room():
            flight = self._queue.peek()
            if not self._funding.reserve(flight):
                if flight.state is State.PARKED and flight.ticket is not None:
                    self._queue.remove(flight.ticket)
                continue
            wait = self._pace.wait(flight.size, now)
            if wait > self.settings.patience:
                self._recovery.give_up(f"its rate limit is used up for the next {duration(wait)}")
                break
            if wait > 0:
                limited = True
                self._pump_at(now + wait)
                break
            endpoint = self._endpoints.pick(flight.request)
            if endpoint is None:
                if self._endpoints.none_up():
                    self._recovery.failing(now)
                break
            self._queue.pop()
            self._launch(flight, endpoint, now)
        self._pace.note_limited(limited, now)
        self._filled_to = self._in_flight

    def _has_room(self) -> bool:
        """Whether a slot is free, and few enough answers would be lost if the process were killed: those in flight and
        those that the store has not kept yet."""
        limit = self._pace.control.limit
        if self._in_flight + self._recovery.kept_slots >= limit:
            return False
        return self._in_flight + self._unkept < limit + max(limit, UNKEPT)

    def _launch(self, flight: Flight, endpoint: Endpoint, now: float) -> None:
        self._pace.launch(flight, now)
        flight.state = State.FLYING
        flight.sent = now
        flight.overdue = False
        flight.endpoint = endpoint
        flight.guard = self._loop.call_at(now + self.settings.time_limit + OVERDUE, self._overdue, flight)
        endpoint.in_flight += 1
        self._in_flight += 1
        flight.task = task = self._loop.create_task(self._fly(flight, endpoint))
        self._tasks.add(task)
        task.add_done_callback(partial(self._over, flight))

    async def _fly(self, flight: Flight, endpoint: Endpoint) -> Completion:
        reply = await endpoint.backend.complete(flight.request, time_limit=self.settings.time_limit)
        payer = self._landed(flight, endpoint, reply)
        self._unkept += 1
        try:
            completion = await self._keep(flight, payer, reply.completion)
        finally:
            self._unkept -= 1
            self._schedule_pump()
        payer.tally(self.name).store_seconds += self._loop.time() - flight.landed_at
        return completion

    # What became of a call

    def _landed(self, flight: Flight, endpoint: Endpoint, reply: Reply) -> Account:
        """The answer is here: free the slot before the answer is kept. Returns the account that paid."""
        now = flight.landed_at = self._loop.time()
        # Many answers may come at one moment: what was out before the first of them is what counts.
        in_flight = max(self._filled_to, self._in_flight)
        self._free_slot(flight, endpoint)
        flight.state = State.LANDED
        self._answered += 1
        self._recovery.succeeded()
        if endpoint.succeed():
            self._emit(events.EndpointUp(lane=self.name, at=now, endpoint=endpoint.backend.name))
        self._pace.answered(flight, reply, now, in_flight=in_flight)
        return self._funding.book_answer(flight, reply.completion.usage)

    def _over(self, flight: Flight, task: "asyncio.Task[Completion]") -> None:
        """A call's task has ended, one way or another."""
        self._tasks.discard(task)
        flight.task = None
        if task.cancelled():
            self._cancelled(flight)
        elif (error := task.exception()) is None:
            self._flights.finish(flight, task.result())
        elif flight.state is State.LANDED:
            self._flights.fail(flight, error)
        else:
            self._failed(flight, error)

    def _failed(self, flight: Flight, error: BaseException) -> None:
        assert flight.endpoint is not None
        self._free_slot(flight, flight.endpoint)
        self._recovery.failed(flight, flight.endpoint, error)

    def _cancelled(self, flight: Flight) -> None:
        if flight.state is State.LANDED:
            self._flights.fail(flight, RunStopped("The gateway was closed before an answer was kept."))
        elif flight.overdue:
            limit = self.settings.time_limit
            self._failed(flight, TimedOut(f"{self.name} gave no answer within {limit:g} seconds."))
        else:
            assert flight.endpoint is not None
            self._free_slot(flight, flight.endpoint)
            self._funding.book_at_most(flight)
            self._flights.fail(flight, RunStopped("The gateway was closed while a call was under way."))

    def _overdue(self, flight: Flight) -> None:
        """A backend did not keep its time limit."""
        flight.overdue = True
        if flight.task is not None:
            flight.task.cancel()

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
            self._schedule_pump()
        elif flight.state is State.FLYING and self.settings.charges == "compute":
            self._abort(flight)

    def _abort(self, flight: Flight) -> None:
        self._flights.drop(flight)
        if flight.task is not None:
            flight.task.cancel()

    # Small parts

    def _enter(self, flight: Flight) -> None:
        now = self._loop.time()
        flight.state = State.QUEUED
        flight.entered = now
        flight.limiter_then = self._pace.limited_seconds(now)
        self._schedule_pump()

    def _take_out(self, flight: Flight) -> None:
        """Remove a flight from wherever it waits, and release what it has reserved."""
        if flight.state is State.QUEUED and flight.ticket is not None:
            self._queue.remove(flight.ticket)
        elif flight.state is State.PARKED and flight.account is not None:
            unpark(flight, flight.account)
        else:
            self._recovery.end_back_off(flight)
        flight.state = State.NEW
        self._funding.release(flight)

    def _free_slot(self, flight: Flight, endpoint: Endpoint) -> None:
        if flight.guard is not None:
            flight.guard.cancel()
            flight.guard = None
        endpoint.in_flight -= 1
        self._in_flight -= 1
        self._schedule_pump()

    def _pump_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._schedule_pump)

    def _has_work(self) -> bool:
        return bool(self._queue or self._in_flight or self._recovery.retrying)

    def _fatal(self, error: FatalError) -> None:
        self._recovery.stop(error)

    def _endpoint_ready(self, endpoint: Endpoint) -> None:
        self._schedule_pump()

    def _endpoint_rested(self, endpoint: Endpoint, wait: float, error: BackendError) -> None:
        now = self._loop.time()
        name = endpoint.backend.name
        self._emit(events.EndpointDown(lane=self.name, at=now, endpoint=name, wait=wait, reason=describe(error)))
        if self._endpoints.none_up():
            self._emit(events.Waiting(lane=self.name, at=now, patience=self._recovery.patience))
        self._recovery.note(error)
        self._schedule_pump()  # which notices when none is left

    def _emit(self, event: events.Event) -> None:
        if self._listener is not None:
            self._loop.call_soon(self._listener, event)  # a listener that raises must not disturb the lane
