"""By how much the pace of limits that are known is lowered: a provider may count otherwise, or others share the limit.

A refusal of a call that was due lowers it by as much as we went over: little where it went well for long before. It
comes back while nothing is refused. A server may also refuse a share of all calls whatever the pace (`Chance`): that
holds nobody up, and gives some of the pace back.

The two are told apart by what goes from one refusal to the next. A limit lets through as much as it gives in that time,
each time; so what is refused when far less has gone than at other times, soon after a wait or at a lower pace, goes
slowly.

Synchronous, told the time (seconds).
"""

from collections import deque
from math import inf, sqrt
from typing import NamedTuple

from metaspo.scheduling.limits.chance import Chance
from metaspo.scheduling.limits.quota import MINUTE
from metaspo.scheduling.limits.window import SLACK

OVERDRAWN = 0.4  # seconds of the limit that we went over before a refusal; over the time that took: our excess
MIN_SQUEEZE, MAX_SQUEEZE = 0.01, 0.1  # the pace goes down by that excess, within these bounds ...
MAX_SQUEEZED = 16.0  # ... to this part of the limit at least
RELAX = 0.99  # the divisor shrinks by this much a minute without refusals ...
BY_CHANCE = 0.9  # ... and by this much where one is refused by chance
ENOUGH = 3  # slow calls are refused before any is by chance
TIMES = 8  # from one refusal to the next, of which the one counts in which the most was let through a second
UNEVEN = 0.5  # times the root of the calls that is, ...
LEAST = 0.1  # ... or so much of it, are missing where one goes slowly: they are not alike, nor equally soon there


class Sent(NamedTuple):
    """A call that went, for so many seconds of the limit, when calls for so many had gone before."""

    at: float
    seconds: float
    before: float
    slowly: bool


class Squeeze:
    """Of one lane.

    Attributes:
        divisor: of the pace.
    """

    __slots__ = ("_all", "_chance", "_known_since", "_last", "_rates", "_shown", "_squeezed_at", "divisor")

    def __init__(self) -> None:
        self.divisor = 1.0
        self._squeezed_at = -inf
        self._known_since = -inf  # when headers last told other limits
        self._chance = Chance(limited=True)
        self._shown = 0  # slow calls that were refused
        self._all = 0.0  # seconds of the limit, of all calls that went
        self._last: Sent | None = None  # of the calls refused, the one that went last
        self._rates: deque[float] = deque(maxlen=TIMES)  # that were let through, at least, from a refusal to the next

    def __repr__(self) -> str:
        return f"<Squeeze {self.divisor:.3g} {self._chance.share:.1%} by chance>"

    def sent(self, at: float, seconds: float) -> Sent:
        """A call goes that takes so many seconds of the limit."""
        call = Sent(at, seconds, self._all, self._is_slow(at, seconds))
        self._all += seconds
        self._chance.sent(slowly=call.slowly)
        return call

    def refused(self, call: Sent, now: float) -> bool:
        """A call that was due was refused; false if that says nothing of limits."""
        apart = self._note(call)
        if call.at <= max(self._squeezed_at, self._known_since):
            return True  # sent before the last refusal was heard, or the limits were: it tells nothing new
        self._shown += call.slowly and apart
        if self._chance.explains(slowly=call.slowly, apart=apart) and self._shown >= ENOUGH:
            self._shrink(BY_CHANCE)
            return False
        lasted = max(call.at - self._squeezed_at, SLACK)
        step = min(max(OVERDRAWN / lasted, MIN_SQUEEZE), MAX_SQUEEZE)
        self.divisor = min(self.divisor * (1 + step), MAX_SQUEEZED)
        self._squeezed_at = now
        self._chance.lowered()
        return True

    def relax(self, now: float) -> bool:
        """Come back, if nothing was refused for a minute; true if that changed anything."""
        if self.divisor == 1 or now - self._squeezed_at <= MINUTE:
            return False
        self._shrink(RELAX ** ((now - self._squeezed_at) / MINUTE))
        self._squeezed_at = now
        return True

    def counted(self, more: float) -> None:
        """Calls count for so many times what was known: they go more slowly for that."""
        if more > 1:
            self._shrink(1 / more)

    def known(self, now: float) -> None:
        """Other limits are, from here on."""
        self._known_since = now

    def _note(self, call: Sent) -> bool:
        """Whether calls were taken between the refusal before and this one. One of a call that went earlier was
        overtaken by that: what was let through until then had counted it."""
        last = self._last
        if last is not None and call.at <= last.at:
            if call.at == last.at:
                self._last = last._replace(seconds=last.seconds + call.seconds)
            elif self._rates:
                self._rates.pop()
            return call.at < last.at
        self._last = call
        taken = call.before - last.before - last.seconds if last is not None else inf
        if last is not None and (apart := taken > call.seconds / 2):
            self._rates.append((taken - call.seconds) / (call.at - last.at))
        return last is None or apart

    def _is_slow(self, at: float, seconds: float) -> bool:
        last = self._last
        if last is None or not self._rates or at <= max(last.at, self._squeezed_at):
            return False
        let_through = max(0.0, max(self._rates)) * (at - last.at)
        return self._all - last.before - last.seconds + seconds <= let_through - max(
            UNEVEN * sqrt(let_through * seconds), LEAST * let_through
        )

    def _shrink(self, factor: float) -> None:
        self.divisor = max(1.0, self.divisor * factor)
