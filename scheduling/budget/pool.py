"""What a purse has set aside under a cap that it shares with other processes, a part of the cap at a time.

Synchronous, told the time (seconds). Whoever drives it (`Sharer`) brings what it asks for. What is set aside is taken
from the cap at once, and what was not spent is given back when nothing is out; so a process that is killed takes with
it what it had set aside, and no cap is ever passed.
"""

import uuid
from collections.abc import Callable
from math import inf

from metaspo.cache.sharing import Amounts, CapAsk, Set
from metaspo.scheduling.errors import ASK_FOR_LESS, KEPT, BudgetExhausted

PARTS = 200  # of a cap: so much is set aside beside what is needed
RETRY = 0.5  # seconds until a cap that others may give something back to is tried again
SLACK = 1e-9  # sums of floats do not come out even
NONE = Amounts()


class Pool:
    """Of one purse.

    Attributes:
        group: by which the processes know each other.
        due: when to ask again, or to say that we are still there; infinite if there is no need to.
    """

    __slots__ = (
        "_aside",
        "_caps",
        "_holder",
        "_needed",
        "_reach",
        "_refused",
        "_short",
        "_taken_by_all",
        "_wake",
        "due",
        "group",
    )

    def __init__(self, group: str, caps: Amounts) -> None:
        """`caps` are infinite for none."""
        self.group = group
        self.due = inf
        self._caps = caps
        self._holder = uuid.uuid4().hex
        self._aside = NONE
        self._needed = NONE  # of all that was taken and is to be taken
        self._reach = Amounts(inf, inf, inf)  # the most that may ever be set aside, all in all
        self._refused = False  # when it was asked for last
        self._short = False  # of what somebody waits for, who may stand in no line yet
        self._taken_by_all = NONE
        self._wake: Callable[[], None] = _nothing

    def __repr__(self) -> str:
        return f"<Pool {self.group!r} aside={tuple(self._aside)} needed={tuple(self._needed)} of {tuple(self._reach)}>"

    @property
    def coming(self) -> bool:
        """Whether what was not covered is asked for, or is to be, and was not refused."""
        return self._short and not self._refused

    def driven_by(self, wake: Callable[[], None]) -> None:
        """Who is to be woken when something is wanted."""
        self._wake = wake

    def may_cover(self, needed: Amounts) -> bool:
        """Whether so much, all in all, is set aside or may yet be."""
        return all(need <= most + SLACK for need, most in zip(needed, self._reach, strict=True))

    def covers(self, needed: Amounts) -> bool:
        """Whether so much is set aside, all in all; if not, or if little more is, more is wanted, if it may be had."""
        covered = all(
            need <= aside + SLACK or cap == inf
            for need, aside, cap in zip(needed, self._aside, self._caps, strict=True)
        )
        wanted = not covered or any(
            aside - need < cap / PARTS / 2 and aside < most - SLACK
            for need, aside, cap, most in zip(needed, self._aside, self._caps, self._reach, strict=True)
            if cap != inf
        )
        if wanted and self.may_cover(needed):
            self._needed = needed
            self._short = self._short or not covered
            self._wake()
        return covered

    def ask(
        self, taken: Amounts, *, out: bool, waiting: bool, now: float, lease: float, last: bool = False
    ) -> CapAsk | None:
        """What to ask for, if anything, `taken` being taken, calls that are `out` at the most that they can cost.

        Cases: nothing is out, and nothing wanted, for some time or for good (`last`), or what is left is too little for
        who waits and others want it: it is given back, so that no two wait for each other; more is wanted, unless that
        was refused a moment ago; it is time to say that we are still there.
        """
        waiting = (waiting or self._short) and not last
        if last or (not out and (self._refused or (not waiting and now >= self.due))):
            back = Amounts(*(min(0.0, spent - aside) for spent, aside in zip(taken, self._aside, strict=True)))
            if any(back) or not waiting:
                self.due = self.due if waiting else inf
                self._aside = _sum(self._aside, back)  # at once: by the time that we are told, another may have it
                return CapAsk(self.group, self._holder, self._caps, back, back, False)
        wanted = self._needed is not NONE
        if now < self.due and (self._refused or not wanted):
            return None
        least, most = self._wanted() if wanted else (NONE, NONE)
        self.due, self._needed = now + lease / 3, NONE
        left = any(aside - spent > SLACK for aside, spent in zip(self._aside, taken, strict=True))
        return CapAsk(self.group, self._holder, self._caps, least, most, out or left)

    def _wanted(self) -> tuple[Amounts, Amounts]:
        """What is needed beyond what is set aside, and with it as much more as is asked for ahead."""
        ahead = [0.0 if cap == inf else cap / PARTS for cap in self._caps]
        short = [
            0.0 if cap == inf else need - aside
            for need, aside, cap in zip(self._needed, self._aside, self._caps, strict=True)
        ]
        least = Amounts(*(max(0.0, each) for each in short))
        most = Amounts(
            *(max(0.0, each) + more if each > -more / 2 else 0.0 for each, more in zip(short, ahead, strict=True))
        )
        return least, most

    def told(self, asked: CapAsk, got: Set, now: float, *, out: bool) -> None:
        """What was set aside, or given back."""
        self._taken_by_all = got.taken
        self._refused = got.aside is None or (self._refused and min(asked.least) < 0)
        self._short = got.aside is None or (self._short and min(asked.least) < 0)
        if got.aside is not None:
            self._aside = _sum(self._aside, Amounts(*(max(0.0, more) for more in got.aside)))
        elif got.others_hold or out:
            self.due = now + RETRY
        else:
            left = (cap - taken for cap, taken in zip(self._caps, got.taken, strict=True))
            self._reach = Amounts(*(aside + more for aside, more in zip(self._aside, left, strict=True)))
            self._refused = self._short = False

    def lost(self) -> None:
        """What was asked for, or was to be, is not on its way any more: who needs it asks for it anew."""
        self._short = False

    def exhaustion(self, at_most: Amounts, *, alone: bool = False) -> BudgetExhausted:
        """The error for a call that may take so much, which is not to be had any more; `alone`: less may be."""
        names = Amounts._fields
        short = (
            name
            for name, cap, taken, needs in zip(names, self._caps, self._taken_by_all, at_most, strict=True)
            if taken + needs > cap + SLACK
        )
        cap = next(short, "calls")
        limit, taken, needs = (getattr(amounts, cap) for amounts in (self._caps, self._taken_by_all, at_most))
        facts = (
            f"The budget of the group {self.group} is used up: {taken:,.6g} of {limit:,.6g} {cap} are spent or set"
            f" aside by all processes and the next call may take {needs:,.6g}"
        )
        if alone:
            left = f"{max(0.0, limit - taken):,.6g} of the {limit:,.6g} {cap} of the group {self.group} are left"
            facts = f"This request may take up to {needs:,.6g} {cap}, and {left}"
        return BudgetExhausted(facts, cap=cap, limit=limit, spent=taken, advice=ASK_FOR_LESS if alone else KEPT)


def _sum(amounts: Amounts, more: Amounts) -> Amounts:
    return Amounts(*(each + further for each, further in zip(amounts, more, strict=True)))


def _nothing() -> None:
    """Nobody drives it yet."""
