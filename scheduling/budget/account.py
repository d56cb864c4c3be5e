"""Whose requests these are, over all lanes of a gateway: a purse, which others may share, and counts of their own."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from metaspo.scheduling.budget.budget import NOTHING, UNLIMITED, Budget, Cost, Funded, Purse, Total
from metaspo.scheduling.errors import BudgetExhausted
from metaspo.scheduling.queue import PriorityQueue
from metaspo.scheduling.statistics import AccountStatistics, LaneUse, add_up


class Funds(NamedTuple):
    """The most that a call can cost, set aside by an account."""

    account: "Account"
    at_most: Cost


class Account:
    """Whose requests these are: what they may spend, and what became of them.

    Many runs share one gateway with an account each, and one purse where a budget is over all of them. An account whose
    budget is exhausted gets cached answers only.

    Attributes:
        out: reservations not settled yet; on_settled: is called when none is left; overdue: whether that was waited for
            as long as anybody waits at an end.
        on_change: is called whenever something was set aside or settled.
    """

    __slots__ = (
        "_asked",
        "_listener",
        "_reserved",
        "_spent",
        "_tallies",
        "name",
        "on_change",
        "on_settled",
        "out",
        "overdue",
        "purse",
    )

    def __init__(
        self,
        name: str = "",
        budget: Budget = UNLIMITED,
        *,
        spent: Cost = NOTHING,
        announce: Callable[["Account"], None] | None = None,
        purse: Purse | None = None,
        remembers: bool = False,
    ) -> None:
        """
        Args:
            remembers: whether to tell requests that it asked before from others, at some 80 bytes a request.
            spent: what earlier sessions of the same run took out of its budget already.
            purse: that it shares with others, in place of a budget of its own.
            announce: is called whenever `announced` has grown, before the call that it grew for can go; where it raises
                a `StoreError` that call does not go, and fails.
        """
        self.name = name
        self.purse = purse or Purse(budget, spent=spent)
        self.out = 0
        self.on_settled: Callable[[], None] | None = None
        self.overdue = False
        self.on_change: Callable[[], None] | None = None
        self._spent, self._reserved = Total(), Total()
        self._listener = partial(announce, self) if announce else None
        if self._listener is not None:
            self.purse.listeners.append(self._listener)
        self._tallies: dict[str, LaneUse] = {}
        self._asked: set[int] | None = set() if remembers else None  # hashes of keys

    def __repr__(self) -> str:
        return f"<Account {self.name!r} {self.purse} parked={len(self.parked)}>"

    @property
    def exhausted(self) -> BudgetExhausted | None:
        """Why nothing more can be spent; None while something can."""
        return self.purse.exhausted

    @property
    def parked(self) -> PriorityQueue[Funded]:
        """The line of those who wait for its purse to have room."""
        return self.purse.parked

    @property
    def remembers(self) -> bool:
        """Whether it knows what it asked before."""
        return self._asked is not None

    def asked_before(self, key: str) -> bool:
        """Whether it remembers this request; from now on it does."""
        if self._asked is None:
            return False
        before = len(self._asked)
        self._asked.add(hash(key))
        return len(self._asked) == before

    def all_new(self, keys: Sequence[str]) -> bool:
        """Whether these are different and it remembers none of them; if so, from now on it does."""
        hashes = {*map(hash, keys)}
        if self._asked is None or len(hashes) < len(keys) or not self._asked.isdisjoint(hashes):
            return False
        self._asked |= hashes
        return True

    def silence(self) -> None:
        """Announce nothing from now on."""
        if self._listener in self.purse.listeners:
            self.purse.listeners.remove(self._listener)

    def reserve(self, at_most: Cost) -> Funds | None:
        """Set the most a call can cost aside; None, and nothing done, if that might overshoot a cap."""
        if self.purse.exhausted is not None:
            return None
        self._reserved.add(at_most)  # before it is announced how much of it is taken
        fits = False
        try:
            fits = self.purse.reserve(at_most)
        finally:
            if not fits:
                self._reserved.subtract(at_most)
        if not fits:
            return None
        self.out += 1
        if self.on_change is not None:
            self.on_change()
        return Funds(self, at_most)

    def settle(self, at_most: Cost, actual: Cost, now: float, *, answered: bool = True) -> Cost | None:
        """Close a reservation at what it came to, and let go on what waited for what that gives back.

        Returns what the first in line might cost, if no call is out any more and it still does not fit.
        """
        purse = self.purse
        purse.settle(at_most, actual, answered=answered)
        self.out -= 1
        self._spent.add(actual)
        if self.out:
            self._reserved.subtract(at_most)
        else:
            self._reserved = Total()  # sums of floats do not come out even
            if self.on_settled is not None:
                self.on_settled()
        if self.on_change is not None:
            self.on_change()
        while purse.parked and (waiting := purse.parked.first()) is not None:
            if not waiting.fund(now):
                needs = waiting.upper_bound()
                return None if purse.may_pay_later(needs) else needs
        return None

    def taken(self) -> Cost:
        """What this session has taken out of the budget: calls still under way count at the most they can cost."""
        return self._spent.cost().plus(self._reserved.cost())

    def announced(self) -> Cost:
        """The most that this session can have taken out of the budget if it is killed now."""
        purse, taken = self.purse, self.taken()
        announced = taken.plus(purse.announced.minus(purse.spent.plus(purse.reserved)))
        return Cost(
            calls=max(taken.calls, announced.calls),
            tokens=max(taken.tokens, announced.tokens),
            dollars=max(taken.dollars, announced.dollars),
        )

    def tally(self, lane: str) -> LaneUse:
        """The running counts on one lane."""
        tally = self._tallies.get(lane)
        if tally is None:
            tally = self._tallies[lane] = LaneUse()
        return tally

    @property
    def share_found(self) -> float:
        """The share of its requests so far that were answered out of the store; 0 before the first."""
        tallies = self._tallies.values()
        hits = sum(tally.hits for tally in tallies)
        return hits / (hits + sum(tally.calls + tally.joined for tally in tallies)) if hits else 0.0

    def counts(self) -> tuple[int, int, int, float, int]:
        """Calls, tokens of prompts and of answers, dollars, and calls at an unknown price, so far."""
        calls = prompt = completion = unpriced = 0
        dollars = 0.0
        for tally in self._tallies.values():
            calls += tally.calls
            prompt += tally.prompt_tokens
            completion += tally.completion_tokens
            dollars += tally.dollars
            unpriced += tally.unpriced
        return calls, prompt, completion, dollars, unpriced

    def statistics(self) -> AccountStatistics:
        """What was done so far."""
        lanes = {name: replace(tally) for name, tally in self._tallies.items()}
        return AccountStatistics(name=self.name, lanes=lanes, total=add_up(lanes))
