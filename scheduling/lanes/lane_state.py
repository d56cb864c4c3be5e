"""The decisions of one lane: which request goes when and where.

Synchronous and told the time. Nothing here waits, makes a call or looks at a server: whoever drives it (`OpenLane`)
makes the calls that `next_start` and looks at the endpoints that `tick` hands out, says how they ended, and comes back
when it is woken or at `wake_at`. This, with `Waiting` and `Unanswered`, is the only writer of a flight's state while
the flight is under way; each other decision has an owner of its own: `Books` (money), `CallsOut` (slots, late calls),
`Throttle` (rates, concurrency), `Endpoints` and `Looks` (where), `Unanswered` (failures and the end).
"""

from collections.abc import Sequence
from math import inf

from metaspo.backends import Backend, Completion, Reply, Usage
from metaspo.backends.counted import counted
from metaspo.cache import StoreError
from metaspo.scheduling.budget.account import Account, Funds
from metaspo.scheduling.budget.budget import Cost
from metaspo.scheduling.lanes.books import Books
from metaspo.scheduling.lanes.calls_out import CallsOut
from metaspo.scheduling.lanes.endpoints import LOAD_PERIOD, Endpoint, Endpoints
from metaspo.scheduling.lanes.flight import Call, Flight, State, Waiter
from metaspo.scheduling.lanes.hedging import Hedging
from metaspo.scheduling.lanes.looks import Looks
from metaspo.scheduling.lanes.patience import duration
from metaspo.scheduling.lanes.recovery import UNWANTED, Recovery
from metaspo.scheduling.lanes.surroundings import Surroundings
from metaspo.scheduling.lanes.unanswered import Unanswered
from metaspo.scheduling.lanes.waiting import Waiting
from metaspo.scheduling.limits.throttle import Throttle
from metaspo.scheduling.queue import Priority
from metaspo.scheduling.settings import LaneSettings
from metaspo.scheduling.statistics import LaneStatistics
from metaspo.scheduling.stopwatch import Stopwatch


class LaneState:
    """One lane of an open gateway.

    Attributes:
        books: what its calls cost; unanswered: what becomes of calls that fail, and how everything ends.
        verdicts: what stops it; doubt: what shows whether its server answers; looks: what looks at it tell.
        closed: whether its gateway is closed.
        allowance: what it may send of limits that it shares with other processes; None where it shares none.
    """

    def __init__(
        self,
        name: str,
        backends: Sequence[Backend],
        settings: LaneSettings,
        around: Surroundings,
        *,
        standby: Sequence[Backend] = (),
        now: float,
    ) -> None:
        self.name = name
        self.settings = settings
        self.closed = False
        self._around = around
        calls = self._calls = CallsOut(name, settings)
        waiting = self._waiting = Waiting(calls.held)
        endpoints = self._endpoints = Endpoints(backends, standby=standby, now=now)
        throttle = self._throttle = Throttle(settings, endpoints=len(backends), lane=name, emit=around.emit)
        self.allowance = throttle.limits.shared
        self.books = Books(name, settings, around)
        recovery = self._recovery = Recovery(self, settings, around, endpoints=endpoints, calls=calls)
        self.verdicts, self.doubt = recovery.verdicts, recovery.doubt
        self.unanswered = Unanswered(
            self, around, calls=calls, waiting=waiting, throttle=throttle, books=self.books, recovery=recovery
        )
        self.looks = Looks(self.unanswered, recovery, endpoints=endpoints, throttle=throttle, calls=calls)
        self._hedging = Hedging(recovery, endpoints=endpoints, limits=throttle.limits, calls=calls, books=self.books)
        self._idle = Stopwatch()  # runs while there are free slots and nothing in the queue
        self._idle.run(True, now)
        self._held_until = inf  # by the rate limit

    def __repr__(self) -> str:
        return (
            f"<LaneState {self.name!r} {self._waiting} {self._calls} {self._throttle} endpoints={self._endpoints.all}>"
        )

    # Requests come and go

    def submit(self, flight: Flight, now: float) -> None:
        """Put a new flight into the queue."""
        self._somebody_waits()
        self._waiting.enter(flight, now)
        self._around.wake()

    def join(self, flight: Flight, waiter: Waiter, priority: Priority) -> None:
        """One more waits for a flight; if that one is more urgent, so is the flight."""
        flight.waiters.append(waiter)
        if priority < flight.priority:
            self._waiting.hurry(flight, priority)

    def leave(self, flight: Flight, waiter: Waiter, now: float) -> None:
        """A waiter is gone. Cases: it had left or been served before; nobody else waits, so that the flight loses its
        purpose; the flight stands in the line of an account that is not to pay any more; the leaver was to pay."""
        if waiter not in flight.waiters:
            return
        flight.waiters.remove(waiter)
        if not flight.waiters:
            self.unanswered.withdraw(flight, now)
        elif flight.state is State.PARKED and flight.line is not flight.payer.parked:
            self.resume(flight, now)
        elif flight.funds is not None and flight.funds.account is waiter.account:
            self.books.release(flight, now)

    def resume(self, flight: Flight, now: float) -> None:
        """Put a flight back into its place in the queue, from wherever it waits."""
        self._waiting.put_back(flight, now)
        self._around.wake()

    def claimed(self, flight: Flight, state: State, now: float) -> None:
        """Where a flight goes now that somebody has its claim: back into the queue, aside, or nowhere."""
        self._calls.claiming -= flight.state is State.CLAIMING
        flight.state = state
        if state is State.QUEUED:
            self._somebody_waits()
            self.resume(flight, now)
        self._around.wake()

    def count_hit(self, flight: Flight, completion: Completion) -> None:
        """A flight's answer was found in the store after all."""
        flight.in_store = True
        self.books.hits(flight.payer, (completion,))

    def allowed(self) -> None:
        """Something of a shared limit may be used, now or at a known time, or of a shared cap."""
        self._around.wake()

    def stored(self) -> None:
        """An answer of this lane is in the store, or could not be kept."""
        self._calls.unstored -= 1
        if self._waiting.queue or not self._idle.running:
            self._around.wake()

    def _somebody_waits(self) -> None:
        """For this lane's server from here on: while nobody did, no patience was lost."""
        patience = self._recovery.patience
        if patience.failing_since is not None and not (self._waiting or self._calls):
            patience.start_anew()

    # What is due

    def look_for_late_at(self, when: float) -> None:
        """No call is late before then: answers may have come that nobody has read yet."""
        self._calls.overdue_at = max(self._calls.overdue_at, when)

    def tick(self, now: float) -> Sequence[Endpoint]:
        """Do what is due by the clock; returns the endpoints to be looked at: started, probed, or asked for gauges."""
        if now >= self._calls.overdue_at:
            queued, idle = bool(self._waiting.queue), self._endpoints.any_idle()
            self._calls.look_for_late(now, queued=queued, slots=self._throttle.concurrency, idle=idle)
        if now >= self._waiting.next_try_at:
            self._waiting.come_back(now)
        if now >= self.verdicts.reopens_at:
            self.verdicts.clear()
        patience = self._recovery.patience
        for suspect in self.doubt.ask_anew(now):
            attempts = suspect.retries.attempts
            self._around.flights.fail(suspect, patience.unavailable(f"a request failed {counted(attempts, 'time')}"))
        if now >= patience.deadline and self._waiting and not self._calls:
            self.unanswered.give_up(patience.ended(now), now)  # calls that are out may still succeed
        if now >= self._endpoints.look_at and self._has_work():
            return self._endpoints.take_due(now)
        return ()

    def wake_at(self) -> float:
        """When something is due next; infinite if nothing will be."""
        if self.closed:
            return inf
        wake_at, look_at, patience = self._calls.overdue_at, self._endpoints.look_at, self._recovery.patience
        if self._held_until < wake_at:
            wake_at = self._held_until
        if self._waiting.next_try_at < wake_at:
            wake_at = self._waiting.next_try_at
        if self.verdicts.reopens_at < wake_at:
            wake_at = self.verdicts.reopens_at
        if look_at < wake_at and self._has_work():
            wake_at = look_at
        if patience.failing_since is not None and self._waiting and not self._calls:
            wake_at = min(wake_at, patience.deadline)
        return wake_at

    def next_start(self, now: float) -> Call | None:
        """The call of the first in the queue, on its way from here on; None if it may not go now.

        What may hold it back, in this order: there is no slot; a more urgent call is out, and enough are to keep the
        servers busy; it is not cleared (then it leaves the queue, and the next one is the first); the rate limit; no
        endpoint takes it.
        """
        waiting, calls, wait, flight = self._waiting, self._calls, 0.0, None
        slots, limits = self._throttle.concurrency, self._throttle.limits
        if self.allowance is not None:
            self.allowance.demand = min(waiting.queued + len(calls.late), calls.free(slots))
        while (room := calls.has_slot(slots)) and (flight := waiting.first()) is not None:
            if calls.in_flight >= self._throttle.control.enough and calls.has_more_urgent(flight.priority):
                break
            if (funds := self._cleared(flight, now)) is None:
                continue
            tokens = self.books.expected_tokens(flight)
            declared = flight.size.declared() if limits.reads_declared else ()
            wait = limits.wait(tokens, now, declared)
            if wait > 0:
                break
            endpoint = self._endpoints.pick(flight.request, avoid=flight.avoids())
            if endpoint is None:
                if self._endpoints.none_up():
                    self._recovery.patience.failing(now)
                break
            self._idle.run(False, now)
            waiting.go(flight, now)
            return calls.start(flight, endpoint, funds, limits.reserve(tokens, now, declared), now)
        if wait > self.settings.patience:
            self.unanswered.give_up(f"its rate limit is used up for the next {duration(wait)}", now)
            wait = 0.0
        self._held_until = now + wait if wait > 0 else inf
        waiting.limiter.run(wait > 0, now)
        idle = room and flight is None and not waiting.queued
        self._idle.run(idle, now)
        calls.filled(now)
        return self._hedging.next_start(now) if calls.late and idle else None

    def _cleared(self, flight: Flight, now: float) -> Funds | None:
        """The most that the call of the first in the queue can cost, set aside, and the right to ask it; None where it
        leaves the queue.

        Cases: its purse's share of a common cap is on its way, and it lets others go; another process asks the same (a
        proof is asked in any case: its answer is known); what is set aside cannot be written down, and it fails; its
        account cannot pay, and no more is on its way: it goes into that one's line until a call of the account gives
        something back, or, if none is out, the account is exhausted, or the flight too much for it.
        """
        waiting = self._waiting
        if flight.funds is None and flight.payer.purse.filling:
            waiting.let_others_go(flight)  # not into its purse's line, where each is given what it may wait with
            return None
        if not self.doubt.is_proof(flight) and (state := self._around.claim(flight)) is not None:
            waiting.move(flight, state)
            self._calls.claiming += state is State.CLAIMING
            self.books.release(flight, now)  # a proof sets funds aside unclaimed, and may be one no longer
            return None
        if flight.funds is not None:
            return flight.funds
        account = flight.payer
        try:
            funds = flight.funds = self.books.set_aside(account, flight, now)
        except StoreError as error:
            self.unanswered.fail(flight, error, now)
            return None
        if funds is not None or account.exhausted is not None or account.purse.filling:
            return funds
        if flight.state is not State.OVER and flight.payer is account:
            waiting.move(flight, State.PARKED)
            waiting.stand_in(account.parked, flight, priority=flight.priority)
        return None

    def landed(self, call: Call, reply: Reply, now: float) -> Account | None:
        """A call was answered. Returns the account that paid; the answer is to be stored, and then the flight ends.
        None where its flight had ended before, by a call beside: then this one is only paid for."""
        flight = call.flight
        first = flight.state is State.FLYING
        self._calls.answered_by(call, now, first=first)
        self._around.wake()
        if first:
            flight.state, flight.since = State.LANDED, now
            flight.endpoint, flight.sent = call.endpoint, call.sent
            self._calls.abort_all(flight, UNWANTED)
        self._recovery.answered(call, now)
        self._throttle.answered(call.reservation, reply, now, taken=self._calls.taken(now))
        if (within := self._throttle.control.look_within) < LOAD_PERIOD:
            self._endpoints.look_by(now + within)
        payer = self.books.answered(call, reply.completion.usage, now, first=first)
        return payer if first else None

    # Money

    def upper_bound(self, flight: Flight) -> Cost:
        """The most that the flight's call can cost."""
        return self.books.upper_bound(flight)

    def fund(self, flight: Flight, now: float) -> bool:
        """Go on with a flight that waits for its payer's purse, if that has room for it. It fails where what is set
        aside cannot be written down."""
        try:
            flight.funds = self.books.fund(flight.payer, flight)
        except StoreError as error:
            self.unanswered.fail(flight, error, now)
            return True
        if flight.funds is not None:
            self.resume(flight, now)
        return flight.funds is not None

    def payer_exhausted(self, flight: Flight, now: float) -> None:
        """The account that was to pay for a waiting flight cannot, though nothing is out: another one does, or it
        fails. One that is not exhausted may have room for it."""
        payer, at_most = flight.payer, self.upper_bound(flight)
        error = payer.exhausted
        if alone := error is None and payer.purse.is_beyond(at_most):
            error = payer.purse.exhaustion(at_most, account=payer.name, alone=True)

        def cannot(waiter: Waiter) -> bool:
            """For good; where requests fail alone also one that is not exhausted: such would take turns for ever."""
            purse = waiter.account.purse
            return purse.exhausted is not None or (alone and purse.is_beyond(at_most))

        flight.waiters.sort(key=cannot)
        if error is not None and cannot(flight.waiters[0]):
            self.unanswered.fail(flight, error, now)
        elif flight.state is State.PARKED:
            self.resume(flight, now)

    def price_of(self, usage: Usage) -> float | None:
        """Dollars that a call of this usage costs; None where no price is known."""
        prices = self.settings.prices
        return prices.dollars(usage) if prices is not None else None

    def _has_work(self) -> bool:
        waits = self._waiting or (self._calls and self.verdicts.any is None)
        return self.verdicts.of(None) is None and bool(waits)

    def statistics(self, now: float) -> LaneStatistics:
        """The lane now."""
        limits = self._throttle.limits
        return LaneStatistics(
            name=self.name,
            queued=self._waiting.queued,
            in_flight=self._calls.in_flight,
            retrying=self._waiting.retrying,
            concurrency=self._throttle.concurrency,
            requests_in_minute=limits.requests.used_in_minute(now),
            requests_per_minute=limits.requests.per_minute,
            tokens_in_minute=limits.tokens.used_in_minute(now),
            tokens_per_minute=limits.tokens.per_minute,
            held=limits.held_for(now),
            answered=self._calls.answered,
            idle_seconds=self._idle.seconds(now),
            stopped=str(self.verdicts.any or ""),
            endpoints=tuple(endpoint.statistics() for endpoint in self._endpoints.all),
        )
