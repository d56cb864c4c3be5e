"""Who pays for a call, and what happens when nobody can."""

from collections.abc import Callable

from metaspo.backends import Usage
from metaspo.scheduling.account import Account
from metaspo.scheduling.budget import NOTHING, Cost
from metaspo.scheduling.estimate import TokenEstimator
from metaspo.scheduling.flight import Flight, State
from metaspo.scheduling.settings import LaneSettings


class Funding:
    """Reserves and settles one lane's calls in their accounts' purses.

    `on_exhausted` is told of an account whose cap is reached, with what the next call might have cost.
    """

    def __init__(
        self,
        lane: str,
        settings: LaneSettings,
        estimator: TokenEstimator,
        *,
        on_exhausted: Callable[[Account, Cost], None],
    ) -> None:
        self._lane = lane
        self._prices = settings.prices
        self._estimator = estimator
        self._on_exhausted = on_exhausted

    def reserve(self, flight: Flight) -> bool:
        """Set the most the call can cost aside.

        False if the account cannot: then the flight is parked until a call of that account gives something back, or,
        if none is out, the account is exhausted.
        """
        account = flight.account
        if flight.cost is not None or account is None:
            return True
        most = self.most(flight)
        if account.exhausted is None and account.purse.reserve(most):
            flight.cost, flight.payer = most, account
            return True
        if account.exhausted is None and account.purse.out:
            flight.state = State.PARKED
            flight.parked_ticket = account.parked.push(flight, priority=flight.priority)
            flight.parked_with = account
        else:
            self._on_exhausted(account, most)
        return False

    def most(self, flight: Flight) -> Cost:
        """The most that the flight's call can cost."""
        prompt, completion = self._estimator.most(flight.size)
        prices = self._prices
        return Cost(1, prompt + completion, prices.most(prompt, completion) if prices is not None else 0.0)

    def book_answer(self, flight: Flight, usage: Usage) -> Account:
        """The call was answered: settle it at what it cost. Returns the account that paid."""
        payer = flight.payer
        assert payer is not None
        dollars = self._prices.dollars(usage) if self._prices is not None else 0.0
        tally = payer.tally(self._lane)
        tally.calls += 1
        tally.prompt_tokens += usage.prompt_tokens
        tally.completion_tokens += usage.completion_tokens
        tally.cached_tokens += usage.cached_tokens
        tally.dollars += dollars
        tally.queue_seconds += flight.queue_seconds
        tally.limiter_seconds += flight.limiter_seconds
        tally.server_seconds += flight.landed_at - flight.sent
        tally.retry_seconds += flight.retry_seconds
        self._settle(flight, Cost(1, usage.prompt_tokens + usage.completion_tokens, dollars))
        return payer

    def book_at_most(self, flight: Flight) -> None:
        """The call may have been worked on and paid for: count it at the most it can have cost."""
        if flight.cost is not None and flight.payer is not None:
            tally = flight.payer.tally(self._lane)
            tally.calls += 1
            tally.withdrawn += not flight.waiters
            tally.dollars += flight.cost.dollars
            self._settle(flight, flight.cost)

    def release(self, flight: Flight) -> None:
        """The call cost nothing, or will not be made."""
        self._settle(flight, NOTHING)

    def _settle(self, flight: Flight, actual: Cost) -> None:
        """Close a reservation, and let go on what waited for what it gives back."""
        cost, payer = flight.cost, flight.payer
        if cost is None or payer is None:
            return
        flight.cost = flight.payer = None
        payer.purse.settle(cost, actual)
        while (waiting := payer.parked.first()) is not None:
            most = waiting.lane.most(waiting)
            if not payer.purse.reserve(most):
                if not payer.purse.out:
                    self._on_exhausted(payer, most)
                return
            unpark(waiting)
            waiting.cost, waiting.payer = most, payer
            waiting.lane.requeue(waiting)


def unpark(flight: Flight) -> None:
    """The flight no longer waits for anybody's purse."""
    if flight.parked_with is not None and flight.parked_ticket is not None:
        flight.parked_with.parked.remove(flight.parked_ticket)
    flight.parked_with = flight.parked_ticket = None
