"""Every decision of one lane: which request goes when and where, and what becomes of calls that fail.

Synchronous and told the time. Nothing here waits, makes a call or looks at a server: whoever drives it (`OpenLane`)
makes the calls that `next_start` and looks at the endpoints that `tick` hands out, says how they ended, and comes back
when it is woken or at `wake_at`. This is the only writer of a flight's state while the flight is under way.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from math import inf

from metaspo.backends import (
    Backend,
    BackendError,
    Completion,
    ConnectionLost,
    FatalError,
    Reply,
    Request,
    RequestRejected,
    TimedOut,
    TransientError,
    Unreachable,
    WrongForm,
)
from metaspo.cache import request_key
from metaspo.scheduling import events, retry
from metaspo.scheduling.account import Account, Funds
from metaspo.scheduling.budget import NOTHING, Cost
from metaspo.scheduling.endpoints import LOAD_PERIOD, Endpoint, Endpoints, Health
from metaspo.scheduling.errors import GivenUp, LaneStopped, RunStopped
from metaspo.scheduling.estimate import TokenEstimator
from metaspo.scheduling.flight import Call, Flight, Line, State, Waiter
from metaspo.scheduling.lateness import Lateness
from metaspo.scheduling.patience import Patience, describe, duration
from metaspo.scheduling.queue import Priority, PriorityQueue
from metaspo.scheduling.settings import LaneSettings
from metaspo.scheduling.single_flight import FlightTable
from metaspo.scheduling.statistics import LaneStatistics
from metaspo.scheduling.stopwatch import Stopwatch
from metaspo.scheduling.throttle import Throttle

LOOK_AGAIN = 0.5  # seconds between looks at calls that are out, at least
OVERDUE = 5.0  # seconds that a backend gets beyond its time limit before its call is broken off
UNSTORED = 8  # answers that may be on their way to the store beside a full lane; in wider lanes, one for each slot
VERDICT_LASTS = 60.0  # seconds, where many programs ask: somebody mends a key or tops up while they go on
ONE_CALL = Cost(calls=1)
WAITING_STATES = frozenset({State.QUEUED, State.CLAIMING, State.ELSEWHERE, State.PARKED, State.BACKING_OFF})


class Hung(TimedOut):
    """No answer for far longer than others take."""


class LaneState:
    """One lane of an open gateway.

    Attributes:
        closed: whether its gateway is closed.
    """

    def __init__(
        self,
        name: str,
        backends: Sequence[Backend],
        settings: LaneSettings,
        *,
        flights: FlightTable,
        now: float,
        emit: Callable[[events.Event], None],
        wake: Callable[[], None],
        claim: Callable[[Flight], State | None] = lambda flight: None,
        many_programs: bool = False,
    ) -> None:
        """`flights` are the gateway's; `emit` is told what users may want to see, `wake` that something may start;
        `claim` says where a flight goes whose call may not be made now (see `Claimer`). With `many_programs` the form
        of one request says nothing of the next, and no verdict is for good."""
        self.name = name
        self.settings = settings
        self.closed = False
        self._stopped: RunStopped | None = None  # all of it
        self._verdicts: dict[str, LaneStopped] = {}  # by model: what one is told says nothing of the next
        self._many_programs = many_programs
        self._reopens_at = inf
        self._flights = flights
        self._emit = emit
        self._wake = wake
        self._claim = claim
        self._claims_out = 0
        self._queue: PriorityQueue[Flight] = PriorityQueue()
        self._back_offs: PriorityQueue[Flight] = PriorityQueue()  # by the time when they are over
        self._suspects: PriorityQueue[Flight] = PriorityQueue()  # without attempts left, the server being in doubt
        self._witnesses: dict[str, Request] = {}  # by model: what was answered last, now or in an earlier session
        self._control: Flight | None = None  # asks a witness once more
        self._slots_held: set[Flight] = set()  # by those of them that a full server refused
        self._calls: dict[Flight, Call] = {}  # that are out and not broken off, in the order in which they were sent
        self._in_flight = 0  # all that are out
        self._in_flight_at_fill = 0  # as the slots were filled last: answers that come together count as one moment
        self._unstored = 0
        self._sent = 0
        self._endpoints = Endpoints(backends, now=now)
        self._estimator = TokenEstimator()
        self._patience = Patience(name, settings)
        self._rng = random.Random(f"retries of {name}")  # nothing but waiting times depends on its draws
        self._throttle = Throttle(settings, endpoints=len(backends))
        self._lateness = Lateness(settings.billing)
        self._idle = Stopwatch()  # runs while there are free slots and nothing in the queue
        self._limiter = Stopwatch()  # runs while the rate limit is what holds the first in the queue back
        self._idle.run(True, now)
        self._held_until = inf  # by the rate limit
        self._overdue_at = inf  # no call is before
        self._next_try_at = inf  # no back-off is over before

    def __repr__(self) -> str:
        return (
            f"<LaneState {self.name!r} queued={len(self._queue)} in_flight={self._in_flight} {self._throttle}"
            f" answered={self._lateness.answered} endpoints={self._endpoints.all}>"
        )

    @property
    def stopped(self) -> RunStopped | None:
        """Why nothing of the lane, or of one model on it, may be sent any more; None while all may."""
        return next(iter(self._verdicts.values()), self._stopped)

    def stopped_for(self, model: str) -> RunStopped | None:
        """Why nothing may be sent to a model any more; None while something may."""
        return self._verdicts.get(model, self._stopped) if self._verdicts else self._stopped

    def reopen(self) -> None:
        """A person has mended what the verdicts were about: ask again."""
        self._verdicts.clear()
        self._reopens_at = inf
        if not self.closed:
            self._stopped = None

    def answered_before(self, request: Request) -> None:
        """The model has answered this one, some time: asked again, it shows whether the server answers at all."""
        self._witnesses[request.model] = request

    # Requests come and go

    def submit(self, flight: Flight, now: float) -> None:
        """Put a new flight into the queue."""
        flight.ticket = self._queue.push(flight, priority=flight.priority)
        self._queued(flight, now)

    def join(self, flight: Flight, waiter: Waiter, priority: Priority) -> None:
        """One more waits for a flight; if that one is more urgent, so is the flight."""
        flight.waiters.append(waiter)
        if priority < flight.priority:
            flight.priority = priority
            queued = self._queue.remove(flight.ticket)
            flight.ticket = self._queue.push(flight, priority=priority)
            if not queued:
                self._queue.remove(flight.ticket)  # it keeps the place for when it comes back

    def leave(self, flight: Flight, waiter: Waiter, now: float) -> None:
        """A waiter is gone. Cases: it had left or been served before; nobody else waits, so that the flight loses its
        purpose; the flight stands in the line of an account that is not to pay any more; the leaver was to pay."""
        if waiter not in flight.waiters:
            return
        flight.waiters.remove(waiter)
        if not flight.waiters:
            self._withdraw(flight, now)
        elif flight.state is State.PARKED and flight.line is not flight.payer.parked:
            self.resume(flight, now)
        elif flight.funds is not None and flight.funds.account is waiter.account:
            self._release(flight, now)

    def resume(self, flight: Flight, now: float) -> None:
        """Put a flight back into its place in the queue, from wherever it waits."""
        self._leave_line(flight)
        self._queue.put_back(flight, ticket=flight.ticket)
        self._queued(flight, now)

    def claimed(self, flight: Flight, state: State, now: float) -> None:
        """Where a flight goes now that somebody has its claim: back into the queue, aside, or nowhere."""
        self._claims_out -= flight.state is State.CLAIMING
        flight.state = state
        if state is State.QUEUED:
            self.resume(flight, now)
        self._wake()

    def count_hit(self, flight: Flight, completion: Completion) -> None:
        """A flight's answer was found in the store after all."""
        tally, prices = flight.payer.tally(self.name), self.settings.prices
        flight.found = True
        tally.hits += 1
        if prices is None:
            tally.unpriced_saved += 1
        else:
            tally.dollars_saved += prices.dollars(completion.usage)

    def stored(self) -> None:
        """An answer of this lane is in the store, or could not be kept."""
        self._unstored -= 1
        if self._queue or not self._idle.running:
            self._wake()

    # What is due

    def tick(self, now: float) -> Sequence[Endpoint]:
        """Do what is due by the clock; returns the endpoints to be looked at: started, probed, or asked for gauges."""
        if now >= self._overdue_at:
            self._break_off_overdue(now)
        if now >= self._next_try_at:
            self._come_back(now)
        if now >= self._reopens_at:
            self.reopen()
        patience = self._patience
        if patience.failing_since is not None and now >= patience.deadline and not self._calls:
            self._give_up(patience.ended(now), now)  # calls that are out may still succeed
        if now >= self._endpoints.look_at and self._has_work():
            return self._endpoints.take_due(now)
        return ()

    def wake_at(self) -> float:
        """When something is due next; infinite if nothing will be."""
        if self.closed:
            return inf
        wake_at, look_at, patience = self._overdue_at, self._endpoints.look_at, self._patience
        if self._held_until < wake_at:
            wake_at = self._held_until
        if self._next_try_at < wake_at:
            wake_at = self._next_try_at
        if self._reopens_at < wake_at:
            wake_at = self._reopens_at
        if look_at < wake_at and self._has_work():
            wake_at = look_at
        if patience.failing_since is not None and not self._calls:
            wake_at = min(wake_at, patience.deadline)
        return wake_at

    def next_start(self, now: float) -> Call | None:
        """The call of the first in the queue, on its way from here on; None if it may not go now.

        What may hold it back, in this order: there is no slot; another process asks it, or nobody can pay (then it
        leaves the queue, and the next one is the first); the rate limit; no endpoint takes it.
        """
        queue, wait, room, flight = self._queue, 0.0, self._has_slot(), None
        while room and (flight := queue.first()) is not None:
            if (state := self._claim(flight)) is not None:
                queue.remove(flight.ticket)
                flight.state = state
                self._claims_out += state is State.CLAIMING
                room = self._has_slot()
                continue
            funds = flight.funds or self._reserve(flight, now)
            if funds is None:
                continue
            tokens = self._estimator.expected(flight.size)
            wait = self._throttle.limits.wait(tokens, now)
            if wait > 0:
                break
            endpoint = self._endpoints.pick(flight.request)
            if endpoint is None:
                if self._endpoints.none_up():
                    self._patience.failing(now)
                break
            queue.pop()
            return self._start(flight, endpoint, funds, tokens, now)
        if wait > self.settings.patience:
            self._give_up(f"its rate limit is used up for the next {duration(wait)}", now)
            wait = 0.0
        self._held_until = now + wait if wait > 0 else inf
        self._limiter.run(wait > 0, now)
        self._idle.run(room and flight is None, now)
        self._in_flight_at_fill = self._in_flight
        return None

    # How calls and looks end

    def landed(self, call: Call, reply: Reply, now: float) -> Account:
        """A call was answered. Returns the account that paid; the answer is to be stored, and then the flight ends."""
        flight, usage = call.flight, reply.completion.usage
        self._ended(call)
        flight.state, flight.since = State.LANDED, now
        self._lateness.note_answer(call.number, now - call.sent, call.funds.at_most.tokens)
        self._unstored += 1
        self._patience.succeeded()
        self._witnesses[flight.request.model] = flight.request
        if self._suspects or flight is self._control:
            self._convict()
        if call.endpoint.succeed(now):
            self._endpoints.look_next(call.endpoint, now)
            self._emit(events.EndpointUp(lane=self.name, at=now, endpoint=call.endpoint.backend.name))
        before = self._throttle.control.limit
        learned = self._throttle.answered(call.reservation, reply, now, in_flight=self._in_flight_at_fill)
        self._tell_limits(learned, before, now)
        self._estimator.observe(flight.size, usage)
        prices = self.settings.prices
        dollars = prices.dollars(usage) if prices is not None else 0.0
        account = call.funds.account
        tally = account.tally(self.name)
        tally.calls += 1
        tally.prompt_tokens += usage.prompt_tokens
        tally.completion_tokens += usage.completion_tokens
        tally.cached_tokens += usage.cached_tokens
        tally.dollars += dollars
        tally.unpriced += prices is None
        tally.queue_seconds += flight.queue_seconds
        tally.limiter_seconds += flight.limiter_seconds
        tally.server_seconds += now - call.sent
        tally.retry_seconds += flight.retry_seconds
        self._settle(call.funds, Cost(1, usage.prompt_tokens + usage.completion_tokens, dollars), now)
        return account

    def failed(self, call: Call, error: BaseException, now: float) -> None:
        """A call brought no answer: book it, and do what the table in `retry` says."""
        flight = call.flight
        self._ended(call)
        self._patience.heard = self._patience.heard or not isinstance(error, Unreachable)
        if isinstance(error, BackendError) and retry.may_be_charged(error, billing=self.settings.billing):
            self._book_at_most(call, now)
        else:
            self._settle(call.funds, NOTHING, now)
        past = flight.retries
        decision = retry.decide(error, failures=past.failures, quick_retries=past.quick, rng=self._rng)
        if isinstance(error, TransientError):
            self._patience.last_error = error
            self._slow_down(call, error, decision, now)
            self._try_again(call, error, decision, now)
        elif isinstance(error, WrongForm) and self._many_programs:
            self._flights.fail(flight, RequestRejected(str(error)))
        elif isinstance(error, FatalError):
            self._flights.fail(flight, self.stop(error, now, model=flight.request.model))
        else:
            self._flights.fail(flight, error)

    def cancelled(self, call: Call, now: float) -> None:
        """A call was broken off: by the lane, or because everything ends."""
        if isinstance(call.abort_reason, Hung):
            self._ask_again(call, call.abort_reason, now)
            return
        if isinstance(call.abort_reason, BackendError):
            self.failed(call, call.abort_reason, now)
            return
        self._ended(call)
        self._book_broken_off(call, now)
        self._flights.fail(call.flight, RunStopped("The gateway was closed while a call was under way."))

    def broken(self, call: Call, mistake: BaseException, now: float) -> None:
        """A mistake in here, as a call's end was booked: nobody may be left waiting for ever."""
        self.fail_waiting(mistake, now)
        if call.flight.state is State.FLYING:
            self._book_at_most(call, now)
        elif call.flight.state is State.LANDED:
            self.stored()
        self._flights.fail(call.flight, mistake)

    def looked(self, endpoint: Endpoint, was: Health, gauges: Mapping[str, float], now: float) -> None:
        """A look at an endpoint went well (`was`: its health when it began). What has changed meanwhile stays."""
        if endpoint.health is not was:
            return
        if was is Health.UP:
            if gauges:
                self._endpoints.look_next(endpoint, now + LOAD_PERIOD)
                running, waiting, preempted = self._endpoints.hear_load(endpoint, gauges)
                self._throttle.control.on_load(now, running=running, waiting=waiting, preempted=preempted)
            return
        endpoint.health = Health.UP if was is Health.COLD else Health.TRIAL
        if was is Health.COLD:
            self._endpoints.look_next(endpoint, now + LOAD_PERIOD)

    def look_failed(self, endpoint: Endpoint, was: Health, error: BaseException, now: float) -> None:
        """A look at an endpoint went wrong. Cases: it answers calls, so that its gauges can wait; it refuses what a
        probe asks, but answers, and whether calls work only a call can tell; only a person can mend it; it is still not
        there; a mistake in the backend, which does not matter where only gauges were asked for."""
        if endpoint.health is not was:
            return
        if was is Health.UP and isinstance(error, BackendError):
            self._endpoints.look_next(endpoint, now + LOAD_PERIOD)
        elif isinstance(error, FatalError | RequestRejected) and was is Health.DOWN:
            endpoint.health = Health.TRIAL
        elif isinstance(error, FatalError):
            self.stop(error, now)
        elif isinstance(error, BackendError):
            if isinstance(error, Unreachable) and error.refused and self.settings.billing == "time":
                self._lose(endpoint)  # where tokens cost money, an answer may still come over its open connection
            self._rest(endpoint, error, now)
        elif was is not Health.UP:
            self._endpoints.look_next(endpoint, now + LOAD_PERIOD)
            self.fail_waiting(error, now)

    # The end

    def stop(self, error: FatalError, now: float, *, model: str | None = None) -> RunStopped:
        """Nothing can succeed, of one model or of any, until a person does something. Returns what all that wait are
        told. What a call meets may be about its model only: another one hears a verdict of its own."""
        verdict = self._stopped if model is None else self.stopped_for(model)
        if verdict is None:
            message = str(error) or f"The lane {self.name} cannot go on ({type(error).__name__})."
            verdict = LaneStopped(message, lane=self.name)
            verdict.__cause__ = error
            if model is None:
                self._stopped = verdict
            else:
                self._verdicts[model] = verdict
            if self._many_programs:
                self._reopens_at = min(self._reopens_at, now + VERDICT_LASTS)
            self._emit(events.LaneGaveUp(lane=self.name, at=now, reason=message, final=not self._many_programs))
        self.fail_waiting(verdict, now, model=model)
        return verdict

    def close(self, now: float) -> None:
        """Send nothing from now on, fail what waits, and break off what only costs time."""
        reason = RunStopped("The gateway was closed while requests were waiting; start the run again.")
        self._stopped = self._stopped or reason
        self.fail_waiting(reason, now)
        if self.settings.billing == "time":
            for call in list(self._calls.values()):
                self._abort(call, reason)

    def fail_waiting(self, error: BaseException, now: float, *, model: str | None = None) -> None:
        """Fail every flight of this lane, or of one model on it, that is not out."""
        for flight in self._flights:
            if flight.home is not self or flight.state not in WAITING_STATES:
                continue
            if model is None or flight.request.model == model:
                self._take_out(flight, now)
                self._flights.fail(flight, error)

    def payer_exhausted(self, flight: Flight, now: float) -> None:
        """The account that was to pay for a waiting flight cannot: another one does, or it fails."""
        error = flight.payer.exhausted
        flight.waiters.sort(key=lambda waiter: waiter.account.exhausted is not None)
        if error is not None and flight.waiters[0].account.exhausted is not None:
            self._take_out(flight, now)
            self._flights.fail(flight, error)
        elif flight.state is State.PARKED:
            self.resume(flight, now)

    # Money

    def upper_bound(self, flight: Flight) -> Cost:
        """The most that the flight's call can cost."""
        prompt, completion = self._estimator.upper_bound(flight.size)
        prices = self.settings.prices
        dollars = prices.upper_bound(prompt, completion) if prices is not None else 0.0
        return Cost(1, prompt + completion, dollars)

    def _reserve(self, flight: Flight, now: float) -> Funds | None:
        """Set the most the call can cost aside. Where the account cannot, the flight goes into its line until a call
        of that account gives something back, or, if none is out, the account is exhausted."""
        account, at_most = flight.payer, self.upper_bound(flight)
        flight.funds = account.reserve(at_most)
        if flight.funds is None and account.exhausted is None and account.purse.out:
            self._queue.remove(flight.ticket)
            flight.state = State.PARKED
            self._stand_in(account.parked, flight, priority=flight.priority)
        elif flight.funds is None:
            self._exhaust(account, at_most, now)
        return flight.funds

    def _exhaust(self, account: Account, at_most: Cost, now: float) -> None:
        """A call of that cost does not fit although nothing is out: whatever the account was to pay for, on any lane,
        is paid by another one or fails."""
        if account.exhausted is None:
            account.purse.exhausted = account.purse.exhaustion(at_most, account=account.name)
            reason = str(account.exhausted)
            self._emit(events.BudgetReached(lane=self.name, at=now, account=account.name, reason=reason))
        for flight in self._flights:
            if flight.state in WAITING_STATES and flight.payer.purse is account.purse:
                flight.home.payer_exhausted(flight, now)

    def _settle(self, funds: Funds, actual: Cost, now: float, *, answered: bool = True) -> None:
        too_much = funds.account.settle(funds.at_most, actual, now, answered=answered)
        if too_much is not None:
            self._exhaust(funds.account, too_much, now)

    def _book_at_most(self, call: Call, now: float) -> None:
        """The call may have been worked on and paid for: count it at the most it can have cost."""
        tally = call.funds.account.tally(self.name)
        tally.calls += 1
        tally.withdrawn += not call.flight.waiters
        tally.dollars += call.funds.at_most.dollars
        tally.unpriced += self.settings.prices is None
        self._settle(call.funds, call.funds.at_most, now, answered=False)

    def _book_broken_off(self, call: Call, now: float) -> None:
        """The lane ended the call: where tokens cost money, it may be charged all the same; else it was just a call."""
        if self.settings.billing == "tokens":
            self._book_at_most(call, now)
            return
        tally = call.funds.account.tally(self.name)
        tally.calls += 1
        tally.withdrawn += not call.flight.waiters
        tally.unpriced += self.settings.prices is None
        self._settle(call.funds, ONE_CALL, now)

    def _release(self, flight: Flight, now: float) -> None:
        """The call will not be made, or not by whoever had set something aside."""
        funds, flight.funds = flight.funds, None
        if funds is not None:
            self._settle(funds, NOTHING, now)

    # Slots and calls

    def _has_slot(self) -> bool:
        """Whether a slot is free, and few enough answers would be lost if the process were killed: those in flight and
        those that the store has not kept yet."""
        limit, in_flight = self._throttle.concurrency, self._in_flight + self._claims_out
        if in_flight + len(self._slots_held) >= limit:
            return False
        return in_flight + self._unstored < limit + max(limit, UNSTORED)

    def _start(self, flight: Flight, endpoint: Endpoint, funds: Funds, tokens: int, now: float) -> Call:
        if self._idle.running:
            self._idle.run(False, now)
        if self._limiter.running:
            self._limiter.run(False, now)
        limited = self._limiter.seconds(now) - flight.limiter_then
        flight.limiter_seconds += limited
        flight.queue_seconds += now - flight.since - limited
        flight.state = State.FLYING
        flight.funds = None
        call = Call(flight, endpoint, funds, self._throttle.limits.reserve(tokens, now), now)
        self._sent += 1
        call.number = self._sent
        endpoint.in_flight += 1
        self._in_flight += 1
        self._calls[flight] = call
        if self._overdue_at == inf:
            self._overdue_at = now + LOOK_AGAIN
        return call

    def _ended(self, call: Call) -> None:
        self._calls.pop(call.flight, None)
        self._in_flight -= 1
        call.endpoint.in_flight -= 1
        self._wake()

    def _abort(self, call: Call, reason: BackendError | RunStopped) -> None:
        """Break a call off, unless its answer is here already: then whoever asks again shall find it."""
        if call.cancel():
            call.abort_reason = reason
            del self._calls[call.flight]
            if not isinstance(reason, BackendError):
                self._flights.drop(call.flight)

    def _break_off_overdue(self, now: float) -> None:
        """A backend that does not keep its time limit is not waited for, and neither is a call that hangs."""
        limit = self.settings.time_limit
        self._overdue_at = inf
        for call in list(self._calls.values()):
            late_at = call.sent + self._lateness.limit(call.funds.at_most.tokens, asked_again=call.flight.hung)
            due = call.sent + limit + OVERDUE
            if now >= due:
                self._abort(call, TimedOut(f"{self.name} gave no answer within {limit:g} seconds."))
                continue
            if now >= late_at and self._may_ask_again(call):
                self._abort(call, Hung(f"{self.name} gave no answer for {now - call.sent:.3g} seconds."))
                continue
            self._overdue_at = min(self._overdue_at, due, late_at if now < late_at < inf else now + LOOK_AGAIN)
        if self._calls:
            self._overdue_at = max(self._overdue_at, now + LOOK_AGAIN)

    def _may_ask_again(self, call: Call) -> bool:
        """Where tokens cost money, only if there is nothing else to do meanwhile."""
        if self.settings.billing == "tokens" and self._queue:
            return False
        slots = self._throttle.concurrency
        return self._lateness.may_ask_again(call.number, out=self._in_flight, slots=slots, asked_again=call.flight.hung)

    def _ask_again(self, call: Call, reason: Hung, now: float) -> None:
        """A call that hung is broken off. It says nothing of the server, nor of the request."""
        flight = call.flight
        self._lateness.note_asked_again()
        flight.hung += 1
        self._ended(call)
        self._book_broken_off(call, now)
        if (stopped := self.stopped_for(flight.request.model)) is not None:
            self._flights.fail(flight, stopped)
        elif not flight.waiters:
            self._end_unwanted(flight)
        else:
            self._back_off(flight, reason, retry.Decision(then="again"), now)

    def _lose(self, endpoint: Endpoint) -> None:
        """Nobody listens at an endpoint any more: what is still out there goes elsewhere, without waiting for ever."""
        words = f"{endpoint.backend.name} refuses connections while a call is under way."
        for call in list(self._calls.values()):
            if call.endpoint is endpoint:
                self._abort(call, ConnectionLost(words, before_answer=True))

    def _withdraw(self, flight: Flight, now: float) -> None:
        """Nobody waits for this flight any more."""
        if flight.state in WAITING_STATES:
            self._flights.drop(flight)  # before its funds are released: it is nobody's to pay any more
            self._take_out(flight, now)
            flight.state = State.OVER
            self._wake()
        elif self.settings.billing == "time" and (call := self._calls.get(flight)) is not None:  # not broken off yet
            self._abort(call, RunStopped("Nobody waits for this call any more."))

    def _take_out(self, flight: Flight, now: float) -> None:
        """Remove a flight from wherever it waits, and release what is reserved for it."""
        self._claims_out -= flight.state is State.CLAIMING
        self._queue.remove(flight.ticket)
        self._leave_line(flight)
        self._release(flight, now)

    def _stand_in(self, line: Line, flight: Flight, *, priority: tuple[float, ...]) -> None:
        flight.line, flight.line_ticket = line, line.push(flight, priority=priority)

    def _leave_line(self, flight: Flight) -> None:
        if flight.line is not None:
            flight.line.remove(flight.line_ticket)
            flight.line = None
            self._slots_held.discard(flight)

    def _queued(self, flight: Flight, now: float) -> None:
        flight.state = State.QUEUED
        flight.since = now
        flight.limiter_then = self._limiter.seconds(now)
        self._wake()

    def _has_work(self) -> bool:
        waits = self._queue or self._back_offs or (self._calls and not self._verdicts)
        return self._stopped is None and bool(waits)

    # Failures

    def _try_again(self, call: Call, error: TransientError, decision: retry.Decision, now: float) -> None:
        """Bring a failed flight back into the queue, at once or later, or give up on it."""
        flight, endpoint = call.flight, call.endpoint
        past = flight.retries
        proven = endpoint.answers_since(past.tried_at)  # then it is the request
        on_trial = endpoint.health is Health.TRIAL and decision.endpoint == "count" and not proven
        rests = decision.endpoint == "rest" or (
            decision.endpoint == "count" and not proven and endpoint.fail(flight.key)
        )
        if rests and endpoint.health is not Health.DOWN:
            self._rest(endpoint, error, now)
        counts = decision.uses_attempt and not rests
        flight.retries = past.after(counts=counts, quick=decision.quick, now=now)
        if not counts and not decision.quick:
            self._patience.failing(now)
        if (stopped := self.stopped_for(flight.request.model)) is not None:
            self._flights.fail(flight, stopped)
        elif self._patience.used_up(flight.retries):
            self._without_attempts(call, past, error, now)
        elif reason := self._patience.reason_to_give_up(flight.retries, error, now):
            self._flights.fail(flight, self._patience.unavailable(reason))
        elif not flight.waiters:
            self._end_unwanted(flight)
        else:
            self._back_off(flight, error, decision, now)
            witness = self._witnesses.get(flight.request.model) if on_trial else None
            if witness is not None and flight is not self._control and witness != flight.request:
                self._ask_witness(witness, flight.payer, now)  # a better trial than one more of those that fail

    def _without_attempts(self, call: Call, past: retry.Retries, error: TransientError, now: float) -> None:
        """A request has used up its attempts: is it to blame, or the server? Cases: that has answered others since
        the try before; nothing says that it ever answers; it is the doubted server's proof that failed; else it
        is asked once more what it could answer before, and that decides."""
        flight, patience = call.flight, self._patience
        since = call.sent if past.tried_at is None else past.tried_at
        flight.verdict = f"no answer in {flight.retries.attempts} tries (last: {describe(error)})"
        witness = self._witnesses.get(flight.request.model)
        if call.endpoint.answers_since(since) and flight is not self._control:
            self._flights.fail(flight, _given_up(flight))
        elif witness is None or flight is self._control or not self._can_prove(witness):
            self._flights.fail(flight, patience.unavailable(f"a request failed {flight.retries.attempts} times"))
        elif not flight.waiters:
            self._end_unwanted(flight)
        else:
            flight.state, flight.since = State.BACKING_OFF, now
            self._stand_in(self._suspects, flight, priority=())
            self._ask_witness(witness, flight.payer, now)

    def _end_unwanted(self, flight: Flight) -> None:
        """It was left to finish into the cache, and it has not."""
        self._flights.drop(flight)
        flight.state = State.OVER

    def _can_prove(self, witness: Request) -> bool:
        """Whether its answer would say something: it is asked for that alone."""
        return self._control is not None or self._flights.get(request_key(witness)) is None

    def _ask_witness(self, witness: Request, account: Account, now: float) -> None:
        """Have one request answered that was answered before, unless that is under way."""
        key = request_key(witness)
        if self._control is not None or self._flights.get(key) is not None:
            return
        self._control = Flight(key, witness, _Control(account, self._proof_failed), home=self, priority=())
        self._flights.add(self._control)
        self._emit(events.Doubted(lane=self.name, at=now, key=key))
        self.submit(self._control, now)

    def _convict(self) -> None:
        """The server answers: what has no attempts left is to blame for that."""
        self._control = None
        while self._suspects:
            flight = self._suspects.pop()
            flight.line = None
            self._flights.fail(flight, _given_up(flight))

    def _proof_failed(self, error: BaseException) -> None:
        """It does not: whoever has no attempts left is told the same."""
        self._control = None
        while self._suspects:
            flight = self._suspects.pop()
            flight.line = None
            self._flights.fail(flight, error)

    def _back_off(self, flight: Flight, error: TransientError, decision: retry.Decision, now: float) -> None:
        flight.payer.tally(self.name).retries += 1
        wait = 0.0 if decision.hold else decision.wait  # for then the limits hold everything back
        attempt, reason = flight.retries.failures, describe(error)
        self._emit(events.Retried(lane=self.name, at=now, attempt=attempt, wait=wait, reason=reason))
        if wait <= 0:
            self.resume(flight, now)
            return
        flight.state, flight.since = State.BACKING_OFF, now
        self._stand_in(self._back_offs, flight, priority=(now + wait,))
        self._next_try_at = min(self._next_try_at, now + wait)
        if decision.keeps_slot:
            self._slots_held.add(flight)

    def _come_back(self, now: float) -> None:
        """Those whose back-off is over by now try again."""
        self._next_try_at = inf
        while self._back_offs:
            (until,) = self._back_offs.first_priority()
            if until > now:
                self._next_try_at = until
                return
            flight = self._back_offs.pop()
            flight.retry_seconds += now - flight.since
            self.resume(flight, now)

    def _give_up(self, reason: str, now: float) -> None:
        """Fail what waits; what comes later is tried anew."""
        error = self._patience.unavailable(reason)
        self._patience.failing_since = None
        self._emit(events.LaneGaveUp(lane=self.name, at=now, reason=str(error), final=False))
        self.fail_waiting(error, now)

    def _rest(self, endpoint: Endpoint, error: BackendError, now: float) -> None:
        """Send nothing to an endpoint until it answers a probe."""
        wait = endpoint.rest()
        self._endpoints.look_next(endpoint, now + wait)
        name = endpoint.backend.name
        self._emit(events.EndpointDown(lane=self.name, at=now, endpoint=name, wait=wait, reason=describe(error)))
        if self._endpoints.none_up():
            self._emit(events.Waiting(lane=self.name, at=now, patience=self._patience.seconds))
        self._patience.last_error = error
        self._wake()

    # What calls and gauges teach

    def _slow_down(self, call: Call, error: TransientError, decision: retry.Decision, now: float) -> None:
        before = self._throttle.control.limit
        learned = self._throttle.failed(call.reservation, error, decision, now)
        if decision.hold:
            self._emit(events.HeldBack(lane=self.name, at=now, wait=decision.wait, reason=str(error)))
        self._tell_limits(learned, before, now)

    def _tell_limits(self, learned: bool, before: int, now: float) -> None:
        control, limits = self._throttle.control, self._throttle.limits
        if learned:
            requests, tokens = limits.requests.per_minute, limits.tokens.per_minute
            self._emit(
                events.LimitsLearned(lane=self.name, at=now, requests_per_minute=requests, tokens_per_minute=tokens)
            )
        if control.limit != before:
            self._emit(events.ConcurrencyChanged(lane=self.name, at=now, before=before, after=control.limit))

    def statistics(self, now: float) -> LaneStatistics:
        """The lane now."""
        limits = self._throttle.limits
        return LaneStatistics(
            name=self.name,
            queued=len(self._queue),
            in_flight=self._in_flight,
            retrying=len(self._back_offs),
            concurrency=self._throttle.concurrency,
            requests_in_minute=limits.requests.used_in_minute(now),
            requests_per_minute=limits.requests.per_minute,
            tokens_in_minute=limits.tokens.used_in_minute(now),
            tokens_per_minute=limits.tokens.per_minute,
            held=limits.held_for(now),
            answered=self._lateness.answered,
            idle_seconds=self._idle.seconds(now),
            stopped=str(self.stopped or ""),
            endpoints=tuple(endpoint.statistics() for endpoint in self._endpoints.all),
        )


class _Control:
    """Waits for the answer of a request that is asked again to see whether the server answers at all."""

    def __init__(self, account: Account, failed: Callable[[BaseException], None]) -> None:
        self.account = account
        self._failed = failed

    def resolve(self, flight: Flight, completion: Completion) -> None:
        """It does; its lane knew when the answer came."""

    def fail(self, flight: Flight, error: BaseException) -> None:
        """It does not, or could not be asked."""
        self._failed(error)


def _given_up(flight: Flight) -> GivenUp:
    return GivenUp(f"{flight.verdict}, while the server answered other requests")
