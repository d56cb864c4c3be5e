"""What a run may spend: caps on calls, tokens and dollars over all lanes together.

Every call reserves the most it can cost before it goes and is settled at what it did cost, so that parallel calls never
overshoot a cap. What is taken is announced before it is: whoever writes that down knows, also after the process was
killed, what it has taken at most. A call that does not fit waits while others are out that may give something back;
when none is, the cap is reached. The most is a certain bound (`TokenEstimator.upper_bound`), for English some four
times what the prompt takes, so near a cap fewer calls go at once, and the run stops when less is left than one more
call might take.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import NamedTuple, Protocol

from metaspo.cache.sharing import Amounts
from metaspo.scheduling.budget.pool import Pool
from metaspo.scheduling.errors import ASK_FOR_LESS, KEPT, BudgetExhausted
from metaspo.scheduling.queue import PriorityQueue
from metaspo.scheduling.settings import require_numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Caps; None for no cap. Cached answers cost nothing.

    Attributes:
        group: by which processes on one server's store know that the caps are over all of them; "" for this one's own.
    """

    calls: int | None = None
    tokens: int | None = None
    dollars: float | None = None
    group: str = ""

    def __post_init__(self) -> None:
        """Raises `ValueError` for what is no cap."""
        require_numbers(self, "calls", "tokens", "dollars", least=0)


class Cost(NamedTuple):
    """What a call costs, or may cost at most."""

    calls: int = 0
    tokens: int = 0
    dollars: float = 0.0

    def plus(self, other: "Cost") -> "Cost":
        """The sum of two costs."""
        return Cost(self.calls + other.calls, self.tokens + other.tokens, self.dollars + other.dollars)

    def minus(self, other: "Cost") -> "Cost":
        """The difference of two costs."""
        return Cost(self.calls - other.calls, self.tokens - other.tokens, self.dollars - other.dollars)


NOTHING = Cost()
LEAST = Cost(calls=1, tokens=1)  # what any call takes
AHEAD = 200  # parts of a cap: so much is announced at once, and lost to the cap if the process is killed
CALLS_AHEAD = 100  # the same in calls, where they are not capped
DOLLAR_SLACK = 1e-9  # sums of floats do not come out even


class Total:
    """A sum of costs that changes with every call, and so makes no new record for it."""

    __slots__ = ("calls", "dollars", "tokens")

    def __init__(self, cost: Cost = NOTHING) -> None:
        self.calls, self.tokens, self.dollars = cost

    def __repr__(self) -> str:
        return f"<Total {tuple(self.cost())}>"

    def cost(self) -> Cost:
        """The sum now."""
        return Cost(self.calls, self.tokens, self.dollars)

    def add(self, cost: Cost) -> None:
        """Add a cost."""
        calls, tokens, dollars = cost  # by names it takes twice as long, several times a call
        self.calls += calls
        self.tokens += tokens
        self.dollars += dollars

    def subtract(self, cost: Cost) -> None:
        """Subtract a cost."""
        calls, tokens, dollars = cost
        self.calls -= calls
        self.tokens -= tokens
        self.dollars -= dollars


class Funded(Protocol):
    """What waits for a purse to have room for it."""

    def upper_bound(self) -> Cost:
        """The most that its call can cost."""
        ...

    def fund(self, now: float) -> bool:
        """Leave the line and go on with so much set aside; false, and nothing done, if there is no room."""
        ...

    def ask_again(self, now: float) -> None:
        """Leave the line, and see anew whether there is room, or ever will be."""
        ...


class Purse:
    """The books of one budget, which several accounts may share.

    Attributes:
        earlier: what earlier sessions took out of it.
        announced: what has been announced, so far, of what is taken: never less than that.
        listeners: are called whenever `announced` has grown, before the call that it grew for can go.
        on_change: is called whenever something was set aside or settled.
        exhausted: why nothing more can be spent; None while something can.
        pool: what is set aside for it under caps that it shares with other processes; None where it shares none.
        parked: requests that wait for a call to give back what it had reserved.
    """

    __slots__ = (
        "_capped",
        "_reserved",
        "_spent",
        "_unanswered",
        "announced",
        "budget",
        "earlier",
        "exhausted",
        "listeners",
        "name",
        "on_change",
        "out",
        "parked",
        "pool",
    )

    def __init__(
        self,
        budget: Budget,
        *,
        spent: Cost = NOTHING,
        unanswered: Cost = NOTHING,
        name: str = "",
    ) -> None:
        """`spent` by earlier sessions; `unanswered`: what of that is the most that calls without an answer can cost;
        `name`: what people call what all accounts are for, where that is more than one."""
        self.budget = budget
        self.name = name
        self.earlier = self.announced = spent
        self.listeners: list[Callable[[], None]] = []
        self.on_change: Callable[[], None] | None = None
        self.exhausted: BudgetExhausted | None = None
        self.parked: PriorityQueue[Funded] = PriorityQueue()
        self.pool = Pool(budget.group, _amounts(budget)) if budget.group else None
        self._unanswered = Total(unanswered)
        self.out = 0  # reservations not settled yet
        self._capped = budget != UNLIMITED
        self._spent = Total(spent)
        self._reserved = Total()

    def __repr__(self) -> str:
        return f"<Purse spent={tuple(self.spent)} reserved={tuple(self.reserved)} out={self.out} of {self.budget}>"

    @property
    def spent(self) -> Cost:
        """What calls that are over have cost, with what earlier sessions took."""
        return self._spent.cost()

    @property
    def reserved(self) -> Cost:
        """What is set aside for calls that are out."""
        return self._reserved.cost()

    @property
    def unanswered(self) -> Cost:
        """What of `spent` nobody saw an answer for: it is the most that those calls can have cost."""
        return self._unanswered.cost()

    def may_pay_later(self, at_most: Cost, *, alone: bool = False) -> bool:
        """Whether there may yet be enough for such a call: a call that is out may give something back, or more may be
        had of caps that are shared with other processes. `alone`: what is more than that waits for no call either."""
        if self.exhausted is not None:
            return False
        if self.out and not alone:
            return True
        return (self.out > 0 or self.pool is not None) and not self.is_beyond(at_most)

    @property
    def filling(self) -> bool:
        """Whether more of such caps is on its way."""
        return self.pool is not None and self.pool.coming

    def reserve(self, at_most: Cost) -> bool:
        """Set the most a call can cost aside; false, and nothing done, if that might overshoot a cap. Raises what a
        listener raised, and nothing done either."""
        if self._capped and self.short_of(at_most) is not None:
            return False
        if self.pool is not None and not self.pool.covers(Amounts(*self.taken().plus(at_most))):
            return False
        self._reserved.add(at_most)
        self.out += 1
        if self.listeners and self._goes_beyond(self.announced):
            before, self.announced = self.announced, self._taken_soon()
            try:
                for announce in tuple(self.listeners):
                    announce()
            except BaseException:
                self.announced = before
                self._give_back(at_most)
                raise
        if self.on_change is not None:
            self.on_change()
        return True

    def settle(self, at_most: Cost, actual: Cost, *, answered: bool = True) -> None:
        """A call that had reserved `at_most` is over and cost `actual`, or without an answer nobody knows how much."""
        self._give_back(at_most)
        self._spent.add(actual)
        if not answered:
            self._unanswered.add(actual)
        if self.on_change is not None:
            self.on_change()

    def taken(self) -> Cost:
        """Out of it since the earlier sessions: calls that are out count at the most they can cost."""
        spent, reserved, earlier = self._spent, self._reserved, self.earlier
        return Cost(
            spent.calls + reserved.calls - earlier.calls,
            spent.tokens + reserved.tokens - earlier.tokens,
            spent.dollars + reserved.dollars - earlier.dollars,
        )

    def _give_back(self, at_most: Cost) -> None:
        self.out -= 1
        if self.out:
            self._reserved.subtract(at_most)
        else:
            self._reserved = Total()  # sums of floats do not come out even

    def _goes_beyond(self, announced: Cost) -> bool:
        spent, reserved, budget = self._spent, self._reserved, self.budget
        return (
            spent.calls + reserved.calls > announced.calls
            or (budget.tokens is not None and spent.tokens + reserved.tokens > announced.tokens)
            or (budget.dollars is not None and spent.dollars + reserved.dollars > announced.dollars)
        )

    def _taken_soon(self) -> Cost:
        """What is taken, and somewhat more, so that not every call is announced; no more than the caps."""
        budget, (calls, tokens, dollars) = self.budget, self.spent.plus(self.reserved)
        if budget.calls is None:
            calls += CALLS_AHEAD
        else:
            calls = min(calls + budget.calls // AHEAD, budget.calls)
        if budget.tokens is not None:
            tokens = min(tokens + budget.tokens // AHEAD, budget.tokens)
        if budget.dollars is not None:
            dollars = max(dollars, min(dollars + budget.dollars / AHEAD, budget.dollars))
        return Cost(calls, tokens, dollars)

    def short_of(self, at_most: Cost) -> str | None:
        """The cap that such a call might overshoot, or None."""
        budget = self.budget
        needed = self.spent.plus(self.reserved).plus(at_most)
        if budget.calls is not None and needed.calls > budget.calls:
            return "calls"
        if budget.tokens is not None and needed.tokens > budget.tokens:
            return "tokens"
        if budget.dollars is not None and needed.dollars > budget.dollars + DOLLAR_SLACK:
            return "dollars"
        return None

    @property
    def has_room(self) -> bool:
        """Whether some call, if not any, may fit."""
        return not self.is_beyond(LEAST)

    def is_beyond(self, at_most: Cost) -> bool:
        """Whether such a call can never be paid, whatever the calls that are out give back, or other processes."""
        if self.short_of(at_most.minus(self.reserved)) is not None:
            return True
        needed = self.spent.minus(self.earlier).plus(at_most)
        return self.pool is not None and not self.pool.may_cover(Amounts(*needed))

    def exhaustion(self, at_most: Cost, *, account: str, alone: bool = False) -> BudgetExhausted:
        """The error for a call that does not fit although nothing is out; `alone`: another may."""
        cap = self.short_of(at_most) or "calls"
        if self.pool is not None and self.short_of(at_most) is None:
            return self.pool.exhaustion(Amounts(*at_most), alone=alone)
        limit: float = getattr(self.budget, cap)
        spent: float = getattr(self.spent, cap)
        unanswered: float = getattr(self.unanswered, cap)
        need: float = getattr(at_most, cap)
        show, unit = (_dollars, "") if cap == "dollars" else (_count, f" {cap}")
        unsure = f" ({show(unanswered)} of them set aside for calls without an answer)" if unanswered else ""
        whose = f" of {self.name or account}" if self.name or account else ""
        facts = f"The budget{whose} is used up: {show(spent)} of {show(limit)} {cap} are spent{unsure}"
        facts, advice = f"{facts} and the next call may take {show(need)}", KEPT
        if alone:
            left = f"{show(limit - spent)} of the {show(limit)}{unit} of the budget{whose} are left{unsure}"
            facts = f"This request may take up to {show(need)}{unit}, and {left}"
            advice = ASK_FOR_LESS
        return BudgetExhausted(facts, cap=cap, limit=limit, spent=spent, advice=advice)


UNLIMITED = Budget()


def _amounts(budget: Budget) -> Amounts:
    return Amounts(*(inf if cap is None else cap for cap in (budget.calls, budget.tokens, budget.dollars)))


def _count(value: float) -> str:
    return f"{int(value):,}"


def _dollars(value: float) -> str:
    return f"${value:,.4f}"
