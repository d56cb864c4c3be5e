"""Rate limits as a provider enforces them: requests and tokens, per minute and per day, reserved together.

A minute limit is kept twice. A bucket that refills continuously paces the calls, because providers enforce 60,000 a
minute as 1,000 a second; and a window makes sure that no 60 seconds ever hold more than the limit. A day limit has the
window only. Answers' headers are feedback: they may set limits that were not known, and they lower the bucket when the
provider has counted more than we have.

Everything here is synchronous and takes the time as an argument (seconds).
"""

from dataclasses import dataclass
from math import log

from metaspo.backends import LimitHints
from metaspo.scheduling.limits.allowance import Allowance
from metaspo.scheduling.limits.counting import Counting, Declared, Sums
from metaspo.scheduling.limits.pace import LearnedPace
from metaspo.scheduling.limits.quota import DAY, MINUTE, Quota, Taken
from metaspo.scheduling.limits.squeeze import Sent, Squeeze
from metaspo.scheduling.limits.window import Bucket

RAMP_CUT = 0.7  # of the rate at which the provider said `slow_down`
RAMP_GROWTH = 1.5  # per RAMP_PERIOD, as the provider's rule has it
RAMP_PERIOD = 900.0
RAMP_OVER = 4.0  # times the rate that was too much: the ramp is over
RAMP_LASTS = RAMP_PERIOD * log(RAMP_OVER / RAMP_CUT, RAMP_GROWTH)
RAMP_COOL_DOWN = 15.0  # one storm of refusals cuts once


@dataclass(slots=True)
class Reservation:
    """What one call has reserved: to be settled once, when it is known what it used.

    Attributes:
        used, declared: what it was expected to use, and what it counts as in other ways.
        sums: what all counted for when it went, each way.
        sent: it, beside all that went before it.
    """

    at: float
    requests: Taken
    tokens: Taken
    declared: Declared
    sums: Sums
    used: int
    sent: Sent


class RateLimits:
    """All rate limits of one lane.

    Attributes:
        counting: how the provider counts the tokens of a call.
        shared: what it may send of limits that it shares with other processes; None where it shares none.
    """

    __slots__ = (
        "_held_until",
        "_pace",
        "_ramp",
        "_ramp_base",
        "_ramp_since",
        "_squeeze",
        "counting",
        "requests",
        "shared",
        "tokens",
    )

    def __init__(
        self,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        requests_per_day: int | None = None,
        tokens_per_day: int | None = None,
        shared: Allowance | None = None,
        now: float = 0.0,
    ) -> None:
        self.requests = Quota(per_minute=requests_per_minute, per_day=requests_per_day, now=now, charge_varies=False)
        self.tokens = Quota(per_minute=tokens_per_minute, per_day=tokens_per_day, now=now)
        self._held_until = 0.0
        self._ramp: Bucket | None = None
        self._ramp_base = 0.0
        self._ramp_since = 0.0
        self._squeeze = Squeeze()
        self._pace = None if self.known() else LearnedPace()
        self.shared = shared
        self.counting = Counting(settled=shared is not None)  # of what others send one count is known
        self._share_pace()

    def __repr__(self) -> str:
        return (
            f"<RateLimits requests_per_minute={self.requests.per_minute} tokens_per_minute={self.tokens.per_minute}"
            f" held_until={self._held_until:g} ramp={self._ramp}>"
        )

    @property
    def reads_declared(self) -> bool:
        """Whether it matters what calls declare."""
        return self.tokens.per_minute is not None or not self.counting.met

    def wait(self, tokens: int, now: float, declared: Declared = ()) -> float:
        """Seconds until a call may go that is expected to use so many tokens, and declares others; 0.0 if it may now.
        Ask for the first in the queue only."""
        if self.counting.way:
            tokens = self.counting.of(tokens, declared)
        if self._squeeze.relax(now):
            self._change_pace(now)
        wait = self.requests.wait(1, now)
        for_tokens, held = self.tokens.wait(tokens, now), self._held_until - now
        if for_tokens > wait:
            wait = for_tokens
        if held > wait:
            wait = held
        if self._ramp is not None:
            wait = max(wait, self._ramp_wait(now))
        if self._pace is not None and held <= 0:
            wait = max(wait, self._pace.wait(now))
        if wait <= 0 and self.shared is not None and self.known():
            return self.shared.wait(self.tokens.counted(tokens), tokens, now)
        return wait

    def reserve(self, tokens: int, now: float, declared: Declared = ()) -> Reservation:
        """Count a call that goes now."""
        used, sums = tokens, self.counting.sent(tokens, declared)
        tokens = self.counting.of(tokens, declared)
        if self._ramp is not None:
            self._ramp.take(1, now)
        if self._pace is not None:
            self._pace.take(now)
        by_requests = by_tokens = None
        if self.shared is not None and self.known():
            by_requests, by_tokens = self.shared.take(self.tokens.counted(tokens))
        requests = self.requests.take(1, now, by_all=by_requests)
        of_tokens = self.tokens.take(tokens, now, by_all=by_tokens)
        seconds = max(self.requests.seconds(requests), self.tokens.seconds(of_tokens))
        return Reservation(now, requests, of_tokens, declared, sums, used, self._squeeze.sent(now, seconds))

    def settle(self, reservation: Reservation, *, tokens: int, now: float) -> None:
        """Replace the reserved tokens by those used, where that is what counts."""
        tokens = self.counting.of(tokens, reservation.declared)
        self._correct_shared(tokens=self.tokens.correct(reservation.tokens, tokens, now))
        if self._pace is not None:
            self._pace.answered(reservation.at)

    def give_back(self, reservation: Reservation, now: float) -> None:
        """The call never reached the provider: nothing was used. (Refused calls do count.)"""
        requests = self.requests.give_back(reservation.requests, now)
        self._correct_shared(requests=requests, tokens=self.tokens.give_back(reservation.tokens, now))
        self._not_counted(reservation, now)

    def hear(self, hints: LimitHints, reservation: Reservation, now: float, *, refused: bool = False) -> bool:
        """Take in what an answer's headers told; true if a limit changed."""
        at = reservation.at
        changed, shared = False, self.shared is not None
        counted_before = self._counted(reservation)
        if hints.requests_limit is not None and not counts_days(hints):
            changed |= self.requests.learn(hints.requests_limit, now)
            if hints.requests_remaining is not None:
                then, charged = reservation.requests.taken, 0 if refused else 1
                self.requests.feed_back(
                    hints.requests_remaining, taken_then=then, at=at, now=now, charged=charged, shared=shared
                )
        if hints.tokens_limit is not None and self.tokens.learn(hints.tokens_limit, now):
            changed = True
            self.counting.forget()
        if not refused:
            self._learn_counting(hints, reservation, now)
        if hints.tokens_remaining is not None:
            then, charged = reservation.tokens.taken, 0 if refused else reservation.tokens.charged
            self.tokens.feed_back(
                hints.tokens_remaining, taken_then=then, at=at, now=now, charged=charged, shared=shared
            )
        if changed:
            self._pace = None
            self._squeeze.known(now)
            self._share_pace()
        if self._squeeze.divisor > 1 and (counted := self._counted(reservation)) > counted_before:
            self._squeeze.counted(counted / counted_before)
            self._change_pace(now)
        return changed

    def refuse(self, reservation: Reservation, now: float) -> None:
        """The provider refused the call: it counts as a request, and used no tokens."""
        self._correct_shared(tokens=self.tokens.give_back(reservation.tokens, now))
        self._not_counted(reservation, now)

    def hold(self, seconds: float, now: float) -> None:
        """Send nothing for so long: the provider refused a call."""
        self._held_until = max(self._held_until, now + seconds)
        self.requests.drain(now, until=self._held_until)
        self.tokens.drain(now, until=self._held_until)
        if self.shared is not None and self.known():
            self.shared.hold(seconds)

    def refused(self, reservation: Reservation, now: float) -> bool:
        """The provider refused a call that we thought was due: it counts otherwise, others share the limit, or nobody
        has said what that is; or it did so by chance: false if that says nothing of limits."""
        if self._pace is not None:
            return self._pace.refused(reservation.at)
        told = self._squeeze.refused(reservation.sent, now)
        self._change_pace(now)
        return told

    def slow_down(self, now: float) -> None:
        """The provider says the traffic grew too fast: go on at a lower rate that grows by half in 15 minutes."""
        if self._ramp is not None and now - self._ramp_since < RAMP_COOL_DOWN:
            return
        seen = max(self.requests.used_in_minute(now), 1) / MINUTE
        self._ramp_base = seen * RAMP_CUT
        self._ramp_since = now
        self._ramp = Bucket(rate=self._ramp_base, burst=1.0, now=now)

    def known(self) -> bool:
        """Whether any limit per minute is known."""
        return self.requests.per_minute is not None or self.tokens.per_minute is not None

    def learn_pace(self) -> bool:
        """Whether refusals are all that tells how fast calls may go."""
        return self._pace is not None

    def held_for(self, now: float) -> float:
        """Seconds that the provider's refusal still holds everything back."""
        return max(0.0, self._held_until - now)

    def _learn_counting(self, hints: LimitHints, reservation: Reservation, now: float) -> None:
        """What headers tell of how calls count: by what they use or by what they declare."""
        counting, tokens = self.counting, self.tokens
        if tokens.per_minute is None:
            return
        changed = counting.hear(
            hints,
            limit=tokens.per_minute,
            at=reservation.at,
            sums=reservation.sums,
            used=reservation.used,
            declared=reservation.declared,
            charge=tokens.charge,
        )
        if changed:
            tokens.count_otherwise(now)
        tokens.depth, tokens.error = counting.depth, counting.error()

    def _counted(self, reservation: Reservation) -> float:
        return self.counting.of(reservation.used, reservation.declared) * self.tokens.charge

    def _not_counted(self, reservation: Reservation, now: float) -> None:
        self.counting.not_counted(reservation.used, reservation.declared, at=reservation.at, now=now)

    def _change_pace(self, now: float) -> None:
        self.requests.squeeze(self._squeeze.divisor, now)
        self.tokens.squeeze(self._squeeze.divisor, now)
        self._share_pace()

    def _share_pace(self) -> None:
        if self.shared is not None:
            self.shared.rates = self.requests.rate(self._squeeze.divisor), self.tokens.rate(self._squeeze.divisor)

    def _correct_shared(self, *, requests: int = 0, tokens: int = 0) -> None:
        if self.shared is not None and self.known():
            self.shared.correct(requests=requests, tokens=tokens)

    def _ramp_wait(self, now: float) -> float:
        assert self._ramp is not None
        since = now - self._ramp_since
        if since >= RAMP_LASTS:
            return 0.0
        wait = self._ramp.wait(1, now)
        self._ramp.rate = self._ramp_base * RAMP_GROWTH ** (since / RAMP_PERIOD)
        return wait


def counts_days(hints: LimitHints) -> bool:
    """Whether the request headers speak of a day, as they do for some models: told by how slowly they refill."""
    if hints.requests_limit is None or hints.requests_remaining is None or hints.requests_reset is None:
        return False
    used = hints.requests_limit - hints.requests_remaining
    return used > 0 and DAY / 2 < hints.requests_reset * hints.requests_limit / used < DAY * 2
