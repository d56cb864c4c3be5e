"""The calls of one lane that are out: the slots they take, and which of them are not waited for any longer.

Synchronous, told the time. A slot is taken from when a call goes (or its claim is asked for) until it has ended, broken
off or not, and by a request that a full server refused, until it goes again.
"""

from collections.abc import Iterator
from math import inf

from metaspo.backends import BackendError, ConnectionLost, TimedOut
from metaspo.scheduling.account import Funds
from metaspo.scheduling.endpoints import Endpoint
from metaspo.scheduling.errors import RunStopped
from metaspo.scheduling.flight import Call, Flight
from metaspo.scheduling.lateness import FEW, FEW_OF, Lateness
from metaspo.scheduling.limits import Reservation
from metaspo.scheduling.settings import LaneSettings

LOOK_AGAIN, LOOK_AT_LAST = 0.5, 0.1  # seconds between looks at calls that are out, at least: at many, at few
OVERDUE = 5.0  # seconds that a backend gets beyond its time limit before its call is broken off
UNSTORED = 8  # answers that may be on their way to the store beside a full lane; in wider lanes, one for each slot


class Hung(TimedOut):
    """No answer for far longer than others take."""


class CallsOut:
    """Of one lane.

    Attributes:
        in_flight: all that are out; at_fill: those that were as the slots were filled last, for answers that come
            together count as one moment.
        claiming: flights whose claim is being asked for.
        held: those that keep their slot while they back off.
        unstored: answers on their way to the store.
        overdue_at: when to look for calls that are late; no call is before.
    """

    __slots__ = (
        "_calls", "_lane", "_lateness", "_sent", "_settings", "at_fill", "claiming", "held", "in_flight", "overdue_at",
        "unstored",
    )  # fmt: skip

    def __init__(self, lane: str, settings: LaneSettings) -> None:
        self._lane = lane
        self._settings = settings
        self._lateness = Lateness(settings.billing)
        self._calls: dict[Flight, Call] = {}  # not broken off, in the order in which they were sent
        self._sent = 0
        self.in_flight = self.at_fill = self.claiming = self.unstored = 0
        self.held: set[Flight] = set()
        self.overdue_at = inf

    def __bool__(self) -> bool:
        """Whether one is out that may still be answered."""
        return bool(self._calls)

    def __iter__(self) -> Iterator[Call]:
        """Those that are out and not broken off."""
        return iter(tuple(self._calls.values()))

    def __repr__(self) -> str:
        return f"<CallsOut in_flight={self.in_flight} unstored={self.unstored} answered={self.answered}>"

    @property
    def answered(self) -> int:
        """How many were, so far."""
        return self._lateness.answered

    def of(self, flight: Flight) -> Call | None:
        """A flight's call; None if none is out, or it is broken off."""
        return self._calls.get(flight)

    def has_slot(self, limit: int) -> bool:
        """Whether one of so many slots is free, and few enough answers would be lost if the process were killed: those
        in flight and those that the store has not kept yet."""
        taken = self.in_flight + self.claiming
        return taken + len(self.held) < limit and taken + self.unstored < limit + max(limit, UNSTORED)

    def free(self, limit: int) -> int:
        """How many of so many slots are free."""
        return max(0, limit - self.in_flight - self.claiming - len(self.held))

    def start(self, flight: Flight, endpoint: Endpoint, funds: Funds, reservation: Reservation, now: float) -> Call:
        """A call goes."""
        self._sent += 1
        call = self._calls[flight] = Call(flight, endpoint, funds, reservation, now, self._sent)
        flight.endpoint, flight.sent = endpoint, now
        flight.calls += 1
        endpoint.in_flight += 1
        self.in_flight += 1
        if self.overdue_at == inf:
            self.overdue_at = now + LOOK_AGAIN
        return call

    def ended(self, call: Call) -> None:
        """It is over, in whatever way."""
        self._calls.pop(call.flight, None)
        self.in_flight -= 1
        call.endpoint.in_flight -= 1

    def answered_by(self, call: Call, now: float) -> None:
        """It is over and brought an answer, which is to be stored."""
        self.ended(call)
        self.unstored += 1
        self._lateness.note_answer(call.number, now - call.sent, call.funds.at_most.tokens)

    def abort(self, call: Call, reason: BackendError | RunStopped) -> bool:
        """Break a call off, unless its answer is here already (then false): whoever asks again shall find it."""
        if not call.cancel():
            return False
        call.abort_reason = reason
        del self._calls[call.flight]
        return True

    def lose(self, endpoint: Endpoint) -> None:
        """Nobody listens at an endpoint any more: what is still out there goes elsewhere, without waiting for ever."""
        words = f"{endpoint.backend.name} refuses connections while a call is under way."
        for call in self:
            if call.endpoint is endpoint:
                self.abort(call, ConnectionLost(words, before_answer=True))

    def break_off_overdue(self, now: float, *, queued: bool, slots: int) -> None:
        """A backend that does not keep its time limit is not waited for, and neither is a call that hangs; where tokens
        cost money, one that hangs is waited for while others are queued."""
        settings, limit = self._settings, self._settings.time_limit
        may_ask_again = settings.billing == "time" or not queued
        last = not queued and self.in_flight <= max(FEW, slots // FEW_OF)
        self.overdue_at = inf
        for call in self:
            due = call.sent + limit + OVERDUE
            if now >= due:
                self.abort(call, TimedOut(f"{self._lane} gave no answer within {limit:g} seconds."))
            elif now >= self._late_at(call, last=last) and may_ask_again and self._may_ask_again(call, last=last):
                self.abort(call, Hung(f"{self._lane} gave no answer for {now - call.sent:.3g} seconds."))
            else:
                late_at = self._late_at(call, last=True)  # it may be by then
                again = late_at if now < late_at < inf else now + LOOK_AGAIN
                self.overdue_at = min(self.overdue_at, due, again)
        self.overdue_at = max(self.overdue_at, now + (LOOK_AT_LAST if last else LOOK_AGAIN))

    def note_asked_again(self) -> None:
        """One that hung is."""
        self._lateness.note_asked_again()

    def _late_at(self, call: Call, *, last: bool) -> float:
        tokens, asked_again = call.funds.at_most.tokens, call.flight.hung
        return call.sent + self._lateness.limit(tokens, asked_again=asked_again, last=last)

    def _may_ask_again(self, call: Call, *, last: bool) -> bool:
        return self._lateness.may_ask_again(call.number, last=last, asked_again=call.flight.hung)
