"""What the calls of one lane cost: set aside before each goes, booked when it is over, told to whoever pays.

Synchronous, told the time. A call costs what its answer says it used; one without an answer costs nothing if it never
reached the server, the most it can have cost if that may be charged, and else it was just a call.
"""

from collections.abc import Sequence
from contextlib import suppress

from metaspo.backends import BackendError, Completion, Usage
from metaspo.cache import StoreError
from metaspo.scheduling import events, retry
from metaspo.scheduling.budget.account import Account, Funds
from metaspo.scheduling.budget.budget import NOTHING, Cost
from metaspo.scheduling.estimate import TokenEstimator
from metaspo.scheduling.lanes.flight import WAITING_STATES, Call, Flight
from metaspo.scheduling.lanes.surroundings import Surroundings
from metaspo.scheduling.settings import LaneSettings
from metaspo.scheduling.statistics import LaneUse

ONE_CALL = Cost(calls=1)
UNSEEN = 32  # times what a call can take by its limit, for a lane of which no answer has told yet whether that is kept


class Books:
    """What the calls of one lane cost."""

    __slots__ = ("_billing", "_emit", "_estimator", "_flights", "_lane", "_many_programs", "_prices")

    def __init__(self, lane: str, settings: LaneSettings, around: Surroundings) -> None:
        self._lane = lane
        self._prices, self._billing = settings.prices, settings.billing
        self._flights = around.flights
        self._emit = around.emit
        self._many_programs = around.many_programs
        self._estimator = TokenEstimator()

    def __repr__(self) -> str:
        return f"<Books of {self._lane!r} {self._estimator}>"

    def expected_tokens(self, flight: Flight) -> int:
        """What the flight's call will take, most likely."""
        return self._estimator.expected(flight.size)

    def upper_bound(self, flight: Flight) -> Cost:
        """The most that the flight's call can cost."""
        prompt, completion = self._estimator.upper_bound(flight.size)
        prices = self._prices
        dollars = prices.upper_bound(prompt, completion) if prices is not None else 0.0
        return Cost(1, prompt + completion, dollars)

    def set_aside(self, account: Account, flight: Flight, now: float) -> Funds | None:
        """The most the call can cost, out of an account; None where that cannot. If no call is out that may give
        something back, the account is exhausted then; where many programs ask, what can never be paid waits for none.
        """
        funds = self.fund(account, flight)
        if funds is None:
            at_most = self.upper_bound(flight)
            if not account.purse.may_pay_later(at_most, alone=self._many_programs):
                self._exhaust(account, at_most, now)
        return funds

    def fund(self, account: Account, flight: Flight) -> Funds | None:
        """The most the call can cost, out of an account; None where that has no room for it now."""
        at_most = self.upper_bound(flight)
        return account.reserve(at_most) if self._may_go(account, at_most) else None

    def _may_go(self, account: Account, at_most: Cost) -> bool:
        """Near a cap few calls go at first, or one: some providers count far more than a request's limit, as its answer
        tells."""
        purse = account.purse
        if self._estimator.seen or not purse.out:
            return True
        more = purse.reserved.plus(at_most)
        beyond = Cost(0, (UNSEEN - 1) * more.tokens, (UNSEEN - 1) * more.dollars)
        return purse.short_of(at_most.plus(beyond)) is None

    def at_hand(self, flight: Flight) -> Funds | None:
        """The most another call of the flight can cost, if its payer has that to spare: nobody stands in its line, and
        it can be written down."""
        payer = flight.payer
        with suppress(StoreError):
            return None if payer.parked else payer.reserve(self.upper_bound(flight))
        return None

    def affords_instead(self, call: Call) -> bool:
        """Whether another call of its flight can be paid for once it is broken off: that costs a call, and its tokens
        where those are what is paid for."""
        payer = call.flight.payer
        if self._billing == "tokens" or payer.exhausted is not None or payer.purse is not call.funds.account.purse:
            return False
        more = self.upper_bound(call.flight).plus(ONE_CALL).minus(call.funds.at_most)
        return payer.purse.short_of(more) is None

    def release(self, flight: Flight, now: float) -> None:
        """The call will not be made, or not by whoever had set something aside."""
        funds, flight.funds = flight.funds, None
        if funds is not None:
            self._settle(funds, NOTHING, now)

    def answered(self, call: Call, usage: Usage, now: float, *, first: bool) -> Account:
        """Book an answer, and what its request has waited if it is the first; returns who paid."""
        flight, prices, account = call.flight, self._prices, call.funds.account
        self._estimator.observe(flight.size, usage)
        dollars = prices.dollars(usage) if prices is not None else 0.0
        prompt, completion, cached = usage
        tally = account.tally(self._lane)
        tally.calls += 1
        tally.prompt_tokens += prompt
        tally.completion_tokens += completion
        tally.cached_tokens += cached
        tally.dollars += dollars
        tally.unpriced += prices is None
        tally.server_seconds += now - call.sent
        if first:
            tally.queue_seconds += flight.queue_seconds
            tally.limiter_seconds += flight.limiter_seconds
            tally.retry_seconds += flight.retry_seconds
        self._close(call, Cost(1, prompt + completion, dollars), now)
        return account

    def failed(self, call: Call, error: BaseException, now: float) -> None:
        """A call brought an error in place of an answer."""
        # of a mistake in the backend's code nobody knows whether it came before the answer or after it
        if not isinstance(error, BackendError) or retry.may_be_charged(error, billing=self._billing):
            self.at_most(call, now)
        else:
            self._close(call, NOTHING, now)

    def broken_off(self, call: Call, now: float) -> None:
        """The lane ended the call: where tokens cost money, it may be charged all the same; else it was just a call."""
        if self._billing == "tokens":
            self.at_most(call, now)
        else:
            self._unanswered(call, ONE_CALL, now, unsure=False)

    def at_most(self, call: Call, now: float) -> None:
        """The call may have been worked on and paid for: count it at the most it can have cost."""
        self._unanswered(call, call.funds.at_most, now, unsure=True)

    def hits(self, account: Account, completions: Sequence[Completion], keys: Sequence[str] = ()) -> None:
        """Answers out of the store, with the `keys` of what was not counted yet as asked: what they would have cost
        again is saved."""
        tally, prices = account.tally(self._lane), self._prices
        tally.hits += len(completions)
        if prices is None:
            tally.unpriced_saved += len(completions)
        else:
            tally.dollars_saved += sum(prices.dollars(completion.usage) for completion in completions)
        if account.remembers and not account.all_new(keys):
            self._repeated(
                tally, [each for each, key in zip(completions, keys, strict=False) if account.asked_before(key)]
            )

    def _repeated(self, tally: LaneUse, completions: Sequence[Completion]) -> None:
        tally.repeated += len(completions)
        if self._prices is None:
            tally.unpriced_repeated += len(completions)
        else:
            tally.dollars_repeated += sum(self._prices.dollars(completion.usage) for completion in completions)

    def _unanswered(self, call: Call, cost: Cost, now: float, *, unsure: bool) -> None:
        tally = call.funds.account.tally(self._lane)
        tally.calls += 1
        tally.withdrawn += not call.flight.waiters
        tally.dollars += cost.dollars
        tally.unpriced += self._prices is None
        self._close(call, cost, now, answered=not unsure)

    def _close(self, call: Call, actual: Cost, now: float, *, answered: bool = True) -> None:
        call.booked = True  # even if what that lets go on raises
        self._settle(call.funds, actual, now, answered=answered)

    def _settle(self, funds: Funds, actual: Cost, now: float, *, answered: bool = True) -> None:
        too_much = funds.account.settle(funds.at_most, actual, now, answered=answered)
        if too_much is not None:
            self._exhaust(funds.account, too_much, now)

    def _exhaust(self, account: Account, at_most: Cost, now: float) -> None:
        """A call of that cost does not fit although nothing is out, or never will: whatever the account was to pay for,
        on any lane, is paid by another one or fails. Where many programs ask only what does not fit: one may want far
        less than another."""
        purse = account.purse
        alone = self._many_programs and purse.has_room
        if account.exhausted is None:
            error = purse.exhaustion(at_most, account=account.name, alone=alone)
            if not alone:
                purse.exhausted = error
                self._emit(events.BudgetReached(lane=self._lane, at=now, account=account.name, reason=str(error)))
        for flight in self._flights:
            if flight.state in WAITING_STATES and flight.payer.purse is purse:
                flight.home.payer_exhausted(flight, now)
