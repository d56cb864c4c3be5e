"""How a provider counts the tokens of a call: those used, or those a call declares when it is sent.

OpenAI counts an estimate of the prompt and all of `max_tokens`, whatever the answer takes; others count what was used.
Analyses and rewrites use different shares of what they declare, so that no factor makes one of the other. What headers
say is left tells: between two of them each way to count foretells another difference.

Synchronous, told the time (seconds).
"""

from collections.abc import Sequence
from math import inf, sqrt
from typing import NamedTuple

from metaspo.backends import LimitHints

MINUTE = 60.0
USED, DECLARED, LARGER = range(3)
REMEMBERED = 0.8  # of what was seen before, at each new header: about five count
BETTER = 0.25  # of the squared error of what is believed: another way has to foretell so much better
AGREE = 0.01  # of what the provider saves up: so near each other are two headers that tell it
UNSEEN = 1.5  # differences between headers, until which nothing is known of how well they are foretold
VAGUE = 8  # headers that do not say what is saved up

Declared = Sequence[int]  # what a call counts as in each other way than by what it uses; none if it declares nothing
Sums = tuple[int, int, int]


class Told(NamedTuple):
    """What a header said: so much was left at that time, when calls that count for so much had gone, each way."""

    at: float
    remaining: int
    sums: Sums


class Counting:
    """Of one lane.

    Attributes:
        way: how the provider counts, as far as is known.
        depth: what it lets us save up, where headers say when that is full; None where they do not.
        met: whether the first answer was here.
    """

    __slots__ = (
        "_before",
        "_errors",
        "_full",
        "_seen",
        "_settled",
        "_sums",
        "_unsure",
        "_vague",
        "depth",
        "met",
        "way",
    )

    def __init__(self, *, settled: bool = False) -> None:
        """`settled`: what is used counts, and nothing is learned."""
        self.way = USED
        self.depth: float | None = None
        self._settled = self.met = settled
        self._sums: Sums = (0, 0, 0)
        self._unsure = (-inf, -inf)
        self._before: Told | None = None
        self._full: tuple[float, float] | None = None  # a time, and what would be full then
        self._errors = [0.0, 0.0, 0.0]  # squared, each way
        self._seen = 0.0
        self._vague = 0

    def __repr__(self) -> str:
        return f"<Counting {('used', 'declared', 'larger')[self.way]} depth={self.depth} error={self.error()}>"

    def of(self, used: int, declared: Declared) -> int:
        """What a call of so many tokens counts as."""
        return declared[self.way - 1] if self.way and declared else used

    def sent(self, used: int, declared: Declared) -> Sums:
        """A call goes; returns what all that went count for, each way."""
        if not self._settled:
            first, second, third = _each(used, declared)
            sums = self._sums
            self._sums = sums[0] + first, sums[1] + second, sums[2] + third
        return self._sums

    def meet(self, hints: LimitHints | None) -> None:
        """The first answer is here. Where its headers will tell how calls count, all that is declared does until then:
        it is what the lane reserved so far."""
        if not self.met:
            self.met = True
            if hints is not None and hints.tokens_remaining is not None and hints.tokens_reset is not None:
                self.way = DECLARED

    def hear(
        self, hints: LimitHints, *, limit: int, at: float, sums: Sums, used: int, declared: Declared, charge: float
    ) -> bool:
        """Headers of a call of so many tokens, which went when all had been `sums`; what is believed counts `charge`
        times. True if the provider is found to count another way."""
        remaining = hints.tokens_remaining
        if self._settled or remaining is None:
            return False
        rate = (hints.tokens_limit or limit) / MINUTE
        self._find_depth(at, remaining, hints.tokens_reset, rate)
        before, told = self._before, Told(at, remaining, sums)
        if (before is not None and at <= before.at) or self._unsure[0] < at <= self._unsure[1]:
            return False  # answers overtake each other
        self._before = told
        if self.depth is None:
            return self._doubt()
        self._vague = 0
        if before is None:
            return False
        amounts = _less(sums, before.sums)
        level = before.remaining + rate * (at - before.at)
        if level > self.depth:
            if amounts != _each(used, declared):
                return False  # some of the refill may have been lost
            level = self.depth
        counted = level - remaining
        for way, amount in enumerate(amounts):
            error = counted - amount * (charge if way == self.way else 1.0)
            self._errors[way] = REMEMBERED * self._errors[way] + error * error
        self._seen = REMEMBERED * self._seen + 1
        return self._decide()

    def error(self) -> float | None:
        """By how many tokens what headers say differs from what is expected, usually; None while that is not known."""
        return sqrt(self._errors[self.way] / self._seen) if self._seen >= UNSEEN else None

    def forget(self) -> None:
        """The limit is another one."""
        self.depth = self._before = self._full = None
        self._errors = [0.0, 0.0, 0.0]
        self._seen, self._vague = 0.0, 0

    def not_counted(self, used: int, declared: Declared, *, at: float, now: float) -> None:
        """A call that went then was refused, or never arrived: those that went since are ones of which no sum is
        right."""
        amounts = _each(used, declared)
        self._sums = _less(self._sums, amounts)
        since, until = self._unsure
        self._unsure = min(at, since) if at <= until else at, now
        before = self._before
        if before is not None and before.at > at:
            self._before = before._replace(sums=_less(before.sums, amounts))

    def _decide(self) -> bool:
        best = min(range(len(self._errors)), key=self._errors.__getitem__)
        if self._seen < UNSEEN or self._errors[best] >= BETTER * self._errors[self.way]:
            return False
        self.way = best
        return True

    def _doubt(self) -> bool:
        """Headers do not tell what they seemed to: then what is used counts, as where nobody tells anything."""
        self._vague += 1
        if self._vague < VAGUE or self.way == USED:
            return False
        self.way = USED
        return True

    def _find_depth(self, at: float, remaining: int, reset: float | None, rate: float) -> None:
        """What is left and what comes back until all is full: the same at any two times, if it comes back evenly."""
        if reset is None:
            return
        full, since = remaining + reset * rate, self._full
        if since is None or abs(full - since[1]) > AGREE * full:
            self.depth, self._full = None, (at, full)
        elif abs(at - since[0]) * rate > 2 * AGREE * full:  # which would show if it did not
            self.depth = full


def _each(used: int, declared: Declared) -> Sums:
    return (used, declared[0], declared[-1]) if declared else (used, used, used)


def _less(sums: Sums, others: Sums) -> Sums:
    return sums[0] - others[0], sums[1] - others[1], sums[2] - others[2]
