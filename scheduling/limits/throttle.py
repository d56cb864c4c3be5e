"""How fast a lane goes: its rate limits and its number of calls in flight, and what both learn from each call."""

from collections.abc import Callable

from metaspo.backends import RateLimited, Reply, SlowDown, TransientError, Unreachable
from metaspo.scheduling import events
from metaspo.scheduling.limits.allowance import Allowance
from metaspo.scheduling.limits.concurrency import ConcurrencyControl, make_control
from metaspo.scheduling.limits.limits import RateLimits, Reservation
from metaspo.scheduling.retry import ASKED_JITTER, FIRST_WAIT, Decision
from metaspo.scheduling.settings import LaneSettings

SCOUTS = 8  # calls out at once where tokens cost money and nobody has told the limits yet


class Throttle:
    """The limits of one lane; synchronous, told the time."""

    __slots__ = ("_emit", "_lane", "_scouting", "control", "limits")

    def __init__(
        self,
        settings: LaneSettings,
        *,
        endpoints: int,
        lane: str = "",
        emit: Callable[[events.Event], None] = lambda event: None,
    ) -> None:
        self._lane = lane
        self._emit = emit
        metered = settings.requests_per_minute is not None or settings.tokens_per_minute is not None
        self.control: ConcurrencyControl = make_control(
            settings.concurrency,
            upper_bound=settings.max_concurrency * endpoints,
            endpoints=endpoints,
            metered=metered,
        )
        self.limits = RateLimits(
            requests_per_minute=settings.requests_per_minute,
            tokens_per_minute=settings.tokens_per_minute,
            requests_per_day=settings.requests_per_day,
            tokens_per_day=settings.tokens_per_day,
            shared=Allowance(settings.limit_group) if settings.limit_group else None,
        )
        self._scouting = settings.billing == "tokens" and not metered  # until somebody has answered

    def __repr__(self) -> str:
        return f"<Throttle {self.control} {self.limits}>"

    @property
    def concurrency(self) -> int:
        """Calls that may be in flight now: few where tokens cost money and nobody has told the limits yet."""
        limit = self.control.limit
        return min(limit, SCOUTS) if self._scouting else limit

    def answered(self, reservation: Reservation, reply: Reply, now: float, *, taken: float) -> None:
        """A call was answered. `taken`: slot-seconds so far in which a call was out."""
        self._scouting = False
        usage = reply.completion.usage
        self.limits.counting.meet(reply.hints)
        self.limits.settle(reservation, tokens=usage.prompt_tokens + usage.completion_tokens, now=now)
        learned = reply.hints is not None and self.limits.hear(reply.hints, reservation, now)
        before = self.control.limit
        self.control.on_success(now, taken=taken)
        self._tell(learned, before, now)

    def failed(self, reservation: Reservation, error: TransientError, decision: Decision, now: float) -> float:
        """A call failed in a way that may pass; returns for how many seconds that holds the whole lane: where a pace is
        learned from it, for a moment or as long as the server asks; not at all where it is refused by chance."""
        limits, before = self.limits, self.control.limit
        if isinstance(error, Unreachable):
            limits.give_back(reservation, now)
        elif decision.hold:
            limits.refuse(reservation, now)
        learned = error.hints is not None and limits.hear(error.hints, reservation, now, refused=decision.hold)
        held = self._slowed(reservation, error, decision, now)
        self._tell(learned, before, now)
        return held

    def _slowed(self, reservation: Reservation, error: TransientError, decision: Decision, now: float) -> float:
        """Go slower where the failure says so; returns for how many seconds the lane is held."""
        if decision.hold and decision.elsewhere:
            return 0.0
        if isinstance(error, SlowDown):
            self.limits.slow_down(now)
        elif decision.hold and not self.limits.refused(reservation, now):
            self.control.on_chance()
            return 0.0
        held = self._hold(error, decision.wait, now) if decision.hold else 0.0
        if isinstance(error, RateLimited) and self.limits.known():
            pass  # what was too much is the rate, and that is lower now
        elif decision.concurrency == "cut":
            self.control.on_refusal(now, retry_after=error.retry_after or 0.0)
        elif decision.concurrency == "hold":
            self.control.on_fault(now)
        return held

    def _hold(self, error: TransientError, wait: float, now: float) -> float:
        """Hold the lane for `wait` seconds, or for a moment where a pace is learned; returns for how many."""
        if self.limits.learn_pace() and not isinstance(error, SlowDown):
            wait = min(wait, max(FIRST_WAIT, (error.retry_after or 0.0) * (1 + ASKED_JITTER)))
        self.limits.hold(wait, now)
        self._emit(events.HeldBack(lane=self._lane, at=now, wait=wait, reason=str(error)))
        return wait

    def heard_load(self, now: float, *, running: float, waiting: float, preempted: float) -> None:
        """The servers' gauges, as `ConcurrencyControl.on_load` has them."""
        before = self.control.limit
        self.control.on_load(now, running=running, waiting=waiting, preempted=preempted)
        self._tell(False, before, now)

    def _tell(self, learned: bool, before: int, now: float) -> None:
        control, limits = self.control, self.limits
        if learned:
            requests, tokens = limits.requests.per_minute, limits.tokens.per_minute
            self._emit(
                events.LimitsLearned(lane=self._lane, at=now, requests_per_minute=requests, tokens_per_minute=tokens)
            )
        if control.limit != before:
            self._emit(events.ConcurrencyChanged(lane=self._lane, at=now, before=before, after=control.limit))
