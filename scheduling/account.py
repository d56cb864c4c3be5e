"""One run's purse and its counts, over all lanes of a gateway."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

from metaspo.scheduling.budget import NOTHING, UNLIMITED, Budget, Cost, Purse
from metaspo.scheduling.errors import BudgetExhausted
from metaspo.scheduling.queue import PriorityQueue
from metaspo.scheduling.statistics import AccountStatistics, LaneTally, add_up


class Funds(NamedTuple):
    """The most that a call can cost, set aside by an account."""

    account: "Account"
    at_most: Cost


class Parked(Protocol):
    """What waits for an account to have room in its budget."""

    def upper_bound(self) -> Cost:
        """The most that its call can cost."""
        ...

    def fund(self, funds: Funds, now: float) -> None:
        """It has left the account's line, and may go on."""
        ...


class Account:
    """Whose requests these are: what they may spend, and what became of them.

    Many runs share one gateway with an account each. An account whose budget is exhausted gets cached answers only.

    Attributes:
        earlier: what earlier sessions of the same run took out of its budget.
        exhausted: why nothing more can be spent; None while something can.
        parked: requests that wait for a call to give back what it had reserved.
    """

    __slots__ = ("_tallies", "earlier", "exhausted", "name", "parked", "purse")

    def __init__(
        self,
        name: str = "",
        budget: Budget = UNLIMITED,
        *,
        spent: Cost = NOTHING,
        announce: Callable[["Account"], None] | None = None,
    ) -> None:
        """
        Args:
            spent: what earlier sessions of the same run took out of its budget already.
            announce: is called whenever `announced` has grown, before the call that it grew for can go.
        """
        self.name = name
        self.earlier = spent
        self.purse = Purse(budget, spent=spent, announce=partial(announce, self) if announce else None)
        self.exhausted: BudgetExhausted | None = None
        self.parked: PriorityQueue[Parked] = PriorityQueue()
        self._tallies: dict[str, LaneTally] = {}

    def __repr__(self) -> str:
        return f"<Account {self.name!r} {self.purse} parked={len(self.parked)}>"

    def reserve(self, at_most: Cost) -> Funds | None:
        """Set the most a call can cost aside; None, and nothing done, if that might overshoot a cap."""
        return Funds(self, at_most) if self.exhausted is None and self.purse.reserve(at_most) else None

    def settle(self, at_most: Cost, actual: Cost, now: float) -> Cost | None:
        """Close a reservation at what it came to, and let go on what waited for what that gives back.

        Returns what the first in line might cost, if no call is out any more and it still does not fit.
        """
        self.purse.settle(at_most, actual)
        while (waiting := self.parked.first()) is not None:
            needed = waiting.upper_bound()
            if not self.purse.reserve(needed):
                return None if self.purse.out else needed
            self.parked.pop()
            waiting.fund(Funds(self, needed), now)
        return None

    def taken(self) -> Cost:
        """What this session has taken out of the budget: calls still under way count at the most they can cost."""
        return self.purse.spent.plus(self.purse.reserved).minus(self.earlier)

    def announced(self) -> Cost:
        """The most that this session can have taken out of the budget if it is killed now."""
        taken, announced = self.taken(), self.purse.announced.minus(self.earlier)
        return Cost(
            calls=max(taken.calls, announced.calls),
            tokens=max(taken.tokens, announced.tokens),
            dollars=max(taken.dollars, announced.dollars),
        )

    def tally(self, lane: str) -> LaneTally:
        """The running counts on one lane."""
        tally = self._tallies.get(lane)
        if tally is None:
            tally = self._tallies[lane] = LaneTally()
        return tally

    def statistics(self) -> AccountStatistics:
        """What was done so far."""
        lanes = {name: tally.snapshot() for name, tally in self._tallies.items()}
        return AccountStatistics(name=self.name, lanes=lanes, total=add_up(lanes))
