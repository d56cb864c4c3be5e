"""Hedged requests: one whose call hangs is asked once more beside that call; the first answer counts, and both are paid
for (Dean and Barroso, The Tail at Scale, 2013).

Synchronous, told the time. Nobody waits for a hedge: it goes only where there is room at once, in the limits, on an
endpoint and in the budget, and what its account has to pay for otherwise comes before.
"""

from metaspo.scheduling.lanes.books import Books
from metaspo.scheduling.lanes.calls_out import CallsOut
from metaspo.scheduling.lanes.endpoints import Endpoints
from metaspo.scheduling.lanes.flight import Call
from metaspo.scheduling.lanes.recovery import Recovery
from metaspo.scheduling.limits.limits import RateLimits


class Hedging:
    """The hedges of one lane."""

    __slots__ = ("_books", "_calls", "_endpoints", "_limits", "_recovery")

    def __init__(
        self, recovery: Recovery, *, endpoints: Endpoints, limits: RateLimits, calls: CallsOut, books: Books
    ) -> None:
        self._calls = calls
        self._books = books
        self._limits = limits
        self._endpoints = endpoints
        self._recovery = recovery

    def next_start(self, now: float) -> Call | None:
        """The next hedge, on its way from here on; None if there is none that may go now. There is
        a slot for one."""
        while self._calls.late:
            if (call := self._start(self._calls.late.popleft(), now)) is not None:
                return call
        return None

    def _start(self, late: Call, now: float) -> Call | None:
        """Cases: it has ended meanwhile, or nothing is sent any more; there is no room; its account cannot pay for two
        at once, so that it is asked again in its stead where it gives back what that costs."""
        flight, limits = late.flight, self._limits
        if not self._calls.may_hedge(late) or self._recovery.verdicts.of(flight.request.model) is not None:
            return None
        tokens, declared = self._books.expected_tokens(flight), flight.size.declared()
        endpoint = self._endpoints.pick(flight.request, avoid=flight.avoids())
        if endpoint is None or limits.wait(tokens, now, declared) > 0:
            return None
        funds = self._books.at_hand(flight)
        if funds is None:
            if flight.out == [late] and self._books.affords_instead(late):
                self._calls.break_off(late, now)
            return None
        hung = self._calls.hung(late, now)
        self._recovery.hangs(late, hung, now)
        self._recovery.again(flight, hung, 0.0, now)
        return self._calls.start_hedge(late, endpoint, funds, limits.reserve(tokens, now, declared), now)
