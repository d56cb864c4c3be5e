"""The calls of one lane that are out: the slots they take, and which of them are not waited for any longer.

Synchronous, told the time. A slot is taken from when a call goes (or its claim is asked for) until it has ended, broken
off or not, and by a request that a full server refused, until it goes again.
"""

from collections import deque
from collections.abc import Iterator
from itertools import count
from math import inf

from metaspo.backends import BackendError, ConnectionLost, TimedOut
from metaspo.scheduling.budget.account import Funds
from metaspo.scheduling.errors import RunStopped
from metaspo.scheduling.lanes.endpoints import Endpoint
from metaspo.scheduling.lanes.flight import Call, Flight
from metaspo.scheduling.lanes.lateness import FEW, FEW_OF, Lateness, remedy
from metaspo.scheduling.limits.limits import Reservation
from metaspo.scheduling.queue import Priority
from metaspo.scheduling.settings import LaneSettings

LOOK_AGAIN, LOOK_AT_FEW = 0.5, 0.1  # seconds between looks at calls that may be late, at least: at many, at few
MANY = 256
MAX_OUT = 3  # calls of one request at once
OVERDUE = 5.0  # seconds that a backend gets beyond its time limit before its call is broken off
UNSTORED = 8  # answers that may be on their way to the store beside a full lane; in wider lanes, one for each slot


class Hung(TimedOut):
    """No answer for far longer than others take."""


class CallsOut:
    """The calls of one lane that are out.

    Attributes:
        in_flight: how many, broken off or not.
        claiming: flights whose claim is being asked for.
        held: those that keep their slot while they back off.
        unstored: answers on their way to the store.
        cost_time: whether they cost their server's time, so that one that is broken off saves something.
        overdue_at: when to look for calls that are late; no call is before.
        late: those that hang and are best asked once more beside, as it was when they were looked for.
    """

    __slots__ = (
        "_at_fill", "_calls", "_filled_at", "_lane", "_lateness", "_numbers", "_priorities", "_settings", "_taken",
        "claiming", "cost_time", "held", "in_flight", "late", "overdue_at", "unstored",
    )  # fmt: skip

    def __init__(self, lane: str, settings: LaneSettings) -> None:
        self._lane = lane
        self._settings = settings
        self.cost_time = settings.billing == "time"
        self._lateness = Lateness(settings.billing)
        self._calls: dict[Call, Priority] = {}  # not broken off, in the order in which they were sent
        self._priorities: dict[Priority, int] = {}  # how many of these have each
        self._numbers = count()
        self.in_flight = self.claiming = self.unstored = 0
        self._at_fill, self._filled_at, self._taken = 0, 0.0, 0.0
        self.held: set[Flight] = set()
        self.overdue_at = inf
        self.late: deque[Call] = deque()

    def __bool__(self) -> bool:
        """Whether one is out that may still be answered."""
        return bool(self._calls)

    def __iter__(self) -> Iterator[Call]:
        """Those that are out and not broken off."""
        return iter(tuple(self._calls))

    def __repr__(self) -> str:
        return f"<CallsOut in_flight={self.in_flight} unstored={self.unstored} answered={self.answered}>"

    @property
    def answered(self) -> int:
        """Calls that were answered, so far."""
        return self._lateness.answered

    def has_slot(self, limit: int) -> bool:
        """Whether one of so many slots is free, and few enough answers would be lost if the process were killed: those
        in flight and those that the store has not kept yet."""
        taken = self.in_flight + self.claiming
        return taken + len(self.held) < limit and taken + self.unstored < limit + max(limit, UNSTORED)

    def has_more_urgent(self, than: Priority) -> bool:
        """Whether one that is out, and not broken off, went with a more urgent priority."""
        return any(priority < than for priority in self._priorities)

    def free(self, limit: int) -> int:
        """How many of so many slots are free."""
        return max(0, limit - self.in_flight - self.claiming - len(self.held))

    def filled(self, now: float) -> None:
        """Note that all has gone that may go: until the next time as many slots count as taken as are now."""
        self._taken, self._at_fill, self._filled_at = self.taken(now), self.in_flight, now

    def taken(self, now: float) -> float:
        """Seconds of all slots in which they were, so far. One counts until the slots are filled again: answers that
        come together count as one moment."""
        return self._taken + self._at_fill * (now - self._filled_at)

    def start(self, flight: Flight, endpoint: Endpoint, funds: Funds, reservation: Reservation, now: float) -> Call:
        """Take a slot for a flight's call, on its way from here on."""
        call = Call(flight, endpoint, funds, reservation, now, next(self._numbers))
        priority = self._calls[call] = flight.priority
        self._priorities[priority] = self._priorities.get(priority, 0) + 1
        flight.out.append(call)
        flight.endpoint, flight.sent = endpoint, now
        flight.calls += 1
        endpoint.in_flight += 1
        self.in_flight += 1
        if self.overdue_at == inf:
            self.overdue_at = now + LOOK_AGAIN
        return call

    def may_hedge(self, late: Call) -> bool:
        """Whether a call that hung still does, and others that were asked again since leave it a share."""
        return late in late.flight.out and bool(late.flight.waiters) and self._lateness.has_share()

    def start_hedge(self, late: Call, endpoint: Endpoint, funds: Funds, reservation: Reservation, now: float) -> Call:
        """One more goes, for the request of a call that hangs; where too many of it are out, in place of the first."""
        self._lateness.note_asked_again()
        if len(late.flight.out) >= MAX_OUT:
            self.abort(late.flight.out[0], self.hung(late.flight.out[0], now))
        return self.start(late.flight, endpoint, funds, reservation, now)

    def break_off(self, call: Call, now: float) -> None:
        """A call that hangs is not waited for: its request is asked again in its stead."""
        self._lateness.note_asked_again()
        self.abort(call, self.hung(call, now))

    def hung(self, call: Call, now: float) -> Hung:
        """What is said of a call that hangs."""
        return Hung(f"{self._lane} gave no answer for {now - call.sent:.3g} seconds.")

    def ended(self, call: Call) -> None:
        """Free the slot of a call that has ended, in whatever way."""
        self._forget(call)
        self.in_flight -= 1
        call.endpoint.in_flight -= 1

    def answered_by(self, call: Call, now: float, *, first: bool) -> None:
        """Free the slot of a call that brought an answer, which is to be stored if it is its request's first."""
        self.ended(call)
        self.unstored += first
        self._lateness.note_answer(call.number, now - call.sent, call.flight.size.longest)

    def abort(self, call: Call, reason: BackendError | RunStopped) -> None:
        """Break a call off, unless its answer is here already: whoever asks again shall find it."""
        if call.cancel():
            call.abort_reason = reason
            self._forget(call)

    def abort_all(self, flight: Flight, reason: BackendError | RunStopped) -> None:
        """Break off whatever of a flight is out."""
        for call in tuple(flight.out):
            self.abort(call, reason)

    def _forget(self, call: Call) -> None:
        if (priority := self._calls.pop(call, None)) is None:
            return
        call.flight.out.remove(call)
        self._priorities[priority] -= 1
        if not self._priorities[priority]:
            del self._priorities[priority]

    def lose(self, endpoint: Endpoint) -> None:
        """Nobody listens at an endpoint any more: what is still out there goes elsewhere, without waiting for ever."""
        words = f"{endpoint.name} refuses connections while a call is under way."
        for call in self:
            if call.endpoint is endpoint:
                self.abort(call, ConnectionLost(words, before_answer=True))

    def look_for_late(self, now: float, *, queued: bool, slots: int, idle: bool = False) -> None:
        """A backend that does not keep its time limit is not waited for, and something is done about what hangs. `idle`
        is whether an endpoint is, so that what is asked again takes nobody's place."""
        limit = self._settings.time_limit + OVERDUE
        room, soonest = self.has_slot(slots), min(limit, self._lateness.soonest())
        few = self._few(max(FEW, slots // FEW_OF))
        if queued and not room and few and self._newest_is_late(now):
            queued = False  # nothing of that goes before one of these has ended
        last = not queued and (idle or few)
        self.late.clear()
        watched, following = 0, inf
        for call in self:
            if now < call.sent + soonest:  # and so are all that were sent later
                following = call.sent + soonest
                break
            watched += 1
            if now >= call.sent + limit:
                words = f"{self._lane} gave no answer within {self._settings.time_limit:g} seconds."
                self.abort(call, TimedOut(words))
            elif call is call.flight.out[-1] and self._hangs(call, now, last=last):
                self._remedy(call, now, last=last, queued=queued, room=room)
        if not self._calls:
            self.overdue_at = inf
        elif watched:
            self.overdue_at = now + (LOOK_AT_FEW if watched <= MANY else LOOK_AGAIN)
        else:
            self.overdue_at = min(max(following, now + LOOK_AT_FEW), now + LOOK_AGAIN)

    def out_since(self, then: float | None) -> bool:
        """Whether one that was sent by that time is."""
        return then is not None and any(call.sent <= then for call in self._calls)

    def _few(self, limit: int) -> bool:
        """Whether at most so many requests are out."""
        return self.in_flight <= MAX_OUT * limit and len({call.flight for call in self._calls}) <= limit

    def _newest_is_late(self, now: float) -> bool:
        """Whether all that are out are."""
        return bool(self._calls) and self._is_late(next(reversed(self._calls)), now, last=False)

    def _is_late(self, call: Call, now: float, *, last: bool) -> bool:
        size, hung = call.flight.size.longest, call.flight.hung
        return now >= call.sent + self._lateness.limit(size, broken_off=hung, last=last)

    def _hangs(self, call: Call, now: float, *, last: bool) -> bool:
        asked_again = call.flight.hung + len(call.flight.out) - 1
        return self._is_late(call, now, last=last) and self._lateness.may_ask_again(
            call.number, last=last, asked_again=asked_again
        )

    def _remedy(self, call: Call, now: float, *, last: bool, queued: bool, room: bool) -> None:
        billing, wanted = self._settings.billing, bool(call.flight.waiters)
        match remedy(billing, last=last, queued=queued, room=room, wanted=wanted):
            case "break off" if self.cost_time or _affords_more(call):
                self.break_off(call, now)
            case "hedge":
                self.late.append(call)


def _affords_more(call: Call) -> bool:
    """Whether its request can be paid for once more, after the call was."""
    funds = call.funds
    return funds.account.purse.short_of(funds.at_most) is None
