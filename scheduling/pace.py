"""How fast a lane goes: its rate limits and its number of calls in flight, and what both learn from each call."""

from collections.abc import Callable

from metaspo.backends import LimitHints, RateLimited, Reply, SlowDown, TransientError, Unreachable
from metaspo.scheduling import events
from metaspo.scheduling.concurrency import ConcurrencyControl, make_control
from metaspo.scheduling.estimate import TokenEstimator
from metaspo.scheduling.flight import Flight
from metaspo.scheduling.limits import RateLimits
from metaspo.scheduling.retry import Verdict
from metaspo.scheduling.settings import LaneSettings

SCOUTS = 8


class Pace:
    """The limits of one lane. Synchronous; takes the time as an argument and tells changes to `emit`."""

    def __init__(
        self,
        lane: str,
        settings: LaneSettings,
        estimator: TokenEstimator,
        *,
        endpoints: int = 1,
        emit: Callable[[events.Event], None],
    ) -> None:
        self.control: ConcurrencyControl = make_control(
            settings.concurrency,
            most=settings.max_concurrency * endpoints,
            endpoints=endpoints,
            metered=settings.requests_per_minute is not None or settings.tokens_per_minute is not None,
        )
        self.limits = RateLimits(
            requests_per_minute=settings.requests_per_minute,
            tokens_per_minute=settings.tokens_per_minute,
            requests_per_day=settings.requests_per_day,
            tokens_per_day=settings.tokens_per_day,
        )
        self._lane = lane
        self._estimator = estimator
        self._emit = emit
        known = settings.requests_per_minute is not None or settings.tokens_per_minute is not None
        self._scouting = settings.charges == "tokens" and not known  # until somebody has answered
        self._limited_since: float | None = None
        self._limited_seconds = 0.0

    def __repr__(self) -> str:
        return f"<Pace {self.control} {self.limits}>"

    @property
    def most_in_flight(self) -> int:
        """Calls that may be in flight now: few where tokens cost money and nobody has told the limits yet."""
        limit = self.control.limit
        return min(limit, SCOUTS) if self._scouting else limit

    def wait(self, flight: Flight, now: float) -> float:
        """Seconds until the rate limits let a call go; 0.0 if they do now, and then it is launched before any other."""
        flight.expected_tokens = self._estimator.expected(flight.size)
        return self.limits.wait(flight.expected_tokens, now)

    def launch(self, flight: Flight, now: float) -> None:
        """A call goes now: reserve it, and book for how long the rate limit held it back."""
        limited = self.limited_seconds(now) - flight.limiter_then
        flight.limiter_seconds += limited
        flight.queue_seconds += now - flight.entered - limited
        flight.reservation = self.limits.reserve(flight.expected_tokens, now)

    def answered(self, flight: Flight, reply: Reply, now: float, *, in_flight: int) -> None:
        """A call was answered while so many were out."""
        self._scouting = False
        usage = reply.completion.usage
        assert flight.reservation is not None
        self.limits.settle(flight.reservation, tokens=usage.prompt_tokens + usage.completion_tokens, now=now)
        if reply.hints is not None:
            self._hear(flight, reply.hints, now)
        self._estimator.observe(flight.size, usage)
        control = self.control
        before = control.limit
        control.on_success(now, in_flight=in_flight)
        if control.limit != before:
            self._tell_concurrency(before, now)

    def failed(self, flight: Flight, error: TransientError, verdict: Verdict, now: float) -> None:
        """A call failed in a way that may pass."""
        assert flight.reservation is not None
        if isinstance(error, Unreachable):
            self.limits.give_back(flight.reservation, now)
        elif verdict.hold:
            self.limits.refuse(flight.reservation, now)
        if error.hints is not None:
            self._hear(flight, error.hints, now, refused=verdict.hold)
        if isinstance(error, SlowDown):
            self.limits.slow_down(now)
        elif verdict.hold:
            self.limits.refused(flight.reservation, now)
        if verdict.hold:
            self.limits.hold(verdict.wait, now)
            self._emit(events.HeldBack(lane=self._lane, at=now, wait=verdict.wait, reason=str(error)))
        before = self.control.limit
        if isinstance(error, RateLimited) and self.limits.known():
            pass  # what was too much is the rate, and that is lower now
        elif verdict.concurrency == "cut":
            self.control.on_refusal(now, retry_after=error.retry_after or 0.0)
        elif verdict.concurrency == "hold":
            self.control.on_fault(now)
        if self.control.limit != before:
            self._tell_concurrency(before, now)

    def limited_seconds(self, now: float) -> float:
        """A clock that runs while the rate limit is what holds the first in the queue back."""
        since = self._limited_since
        return self._limited_seconds + (now - since if since is not None else 0.0)

    def note_limited(self, limited: bool, now: float) -> None:
        """Let that clock run, or stop it."""
        if limited and self._limited_since is None:
            self._limited_since = now
        elif not limited and self._limited_since is not None:
            self._limited_seconds += now - self._limited_since
            self._limited_since = None

    def _hear(self, flight: Flight, hints: LimitHints, now: float, *, refused: bool = False) -> None:
        assert flight.reservation is not None
        if self.limits.hear(hints, flight.reservation, now, refused=refused):
            event = events.LimitsLearned(
                lane=self._lane,
                at=now,
                requests_per_minute=self.limits.requests.per_minute,
                tokens_per_minute=self.limits.tokens.per_minute,
            )
            self._emit(event)

    def _tell_concurrency(self, before: int, now: float) -> None:
        self._emit(events.ConcurrencyChanged(lane=self._lane, at=now, before=before, after=self.control.limit))
