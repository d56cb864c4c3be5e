"""Rate limits as a provider enforces them: requests and tokens, per minute and per day, reserved together.

A minute limit is kept twice. A bucket that refills continuously paces the calls, because providers enforce 60,000 a
minute as 1,000 a second; and a window makes sure that no 60 seconds ever hold more than the limit. A day limit has the
window only. Answers' headers are feedback: they may set limits that were not known, and they lower the bucket when the
provider has counted more than we have.

Everything here is synchronous and takes the time as an argument (seconds).
"""

from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from metaspo.backends import LimitHints

MINUTE = 60.0
DAY = 86_400.0
HEADROOM = 0.01  # of a minute's limit stays unused by the pace, and is what may go in one burst
WINDOW_SLOTS = 240  # a window forgets in steps of period / 240
RAMP_CUT = 0.7  # of the rate at which the provider said `slow_down`
RAMP_GROWTH = 1.5  # per RAMP_PERIOD, as the provider's rule has it
RAMP_PERIOD = 900.0
RAMP_OVER = 4.0  # times the rate that was too much: the ramp is forgotten
RAMP_COOL_DOWN = 15.0  # one storm of refusals cuts once
SQUEEZE = 1.1  # the pace is divided by this when the provider refuses what we thought was due ...
MOST_SQUEEZE = 16.0
RELAX = 0.98  # ... and the divisor shrinks by this much a minute without refusals
LEARN_FROM = 0.02  # of a limit must be used between two headers to tell how the provider counts
LEARN_BELOW = 0.95  # of the most that was ever left: above it, nothing presses
LEARN_DOWN = 0.98  # we may be counting too much: a little less each time nearly all is left
MOST_CHARGE = 32.0
SLACK = 1e-6  # rounding of floats, in units of whatever is counted


class Bucket:
    """Refills continuously at `rate` per second; holds at most `burst`, or what the call that waits needs."""

    __slots__ = ("_cap", "_level", "_updated", "burst", "rate")

    def __init__(self, *, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._cap = burst
        self._level = burst
        self._updated = now

    def __repr__(self) -> str:
        return f"<Bucket rate={self.rate:g}/s level={self._level:g} of {self._cap:g}>"

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` may be taken; 0.0 if it may be now. The bucket saves up for the amount last asked."""
        self._cap = max(self.burst, amount)
        self._refill(now)
        missing = amount - self._level
        return 0.0 if missing <= SLACK else missing / self.rate

    def take(self, amount: float, now: float) -> None:
        """Take without asking; a negative amount gives back."""
        self._refill(now)
        self._level = min(self._level - amount, self._cap)

    def change_rate(self, rate: float, now: float) -> None:
        """Refill at another rate from now on."""
        self._refill(now)
        self.rate = rate

    def lower_to(self, level: float, now: float) -> None:
        """Hold no more than `level`, which may be negative."""
        self._refill(now)
        self._level = min(self._level, level)

    def _refill(self, now: float) -> None:
        self._level = min(self._cap, self._level + self.rate * (now - self._updated))
        self._updated = now


class Window:
    """Counts what was taken in the last `period` seconds, never less than the truth, in bounded memory.

    Time is cut into slots; what was taken in a slot is forgotten a whole period after that slot's end.
    """

    __slots__ = ("_counts", "_slot", "_width", "period", "used")

    def __init__(self, *, period: float) -> None:
        self.period = period
        self.used = 0
        self._width = period / WINDOW_SLOTS
        self._counts = [0] * (WINDOW_SLOTS + 1)
        self._slot = 0

    def __repr__(self) -> str:
        return f"<Window used={self.used} in {self.period:g} s>"

    def wait(self, amount: int, limit: int, now: float) -> float:
        """Seconds until `amount` more fits into the limit; an amount above the limit waits for an empty window."""
        self._advance(now)
        excess = self.used + min(amount, limit) - limit
        if excess <= 0:
            return 0.0
        size = len(self._counts)
        for age in range(size - 1, -1, -1):
            slot = self._slot - age
            excess -= self._counts[slot % size]
            if excess <= 0:
                return max((slot + 1) * self._width + self.period - now, SLACK)
        raise AssertionError("a window's slots do not add up to what it has used")

    def take(self, amount: int, now: float) -> int:
        """Count an amount; returns the slot it was counted in."""
        self._advance(now)
        self._counts[self._slot % len(self._counts)] += amount
        self.used += amount
        return self._slot

    def correct(self, slot: int, change: int, now: float) -> None:
        """Change what was counted in a slot, unless that is forgotten already."""
        self._advance(now)
        size = len(self._counts)
        if self._slot - slot < size:
            self._counts[slot % size] += change
            self.used += change

    def _advance(self, now: float) -> None:
        slot = int(now / self._width)
        size = len(self._counts)
        if slot - self._slot >= size:
            self._counts = [0] * size
            self.used = 0
        else:
            for passed in range(self._slot + 1, slot + 1):
                self.used -= self._counts[passed % size]
                self._counts[passed % size] = 0
        self._slot = max(slot, self._slot)


class Taken(NamedTuple):
    """One reservation in a quota: the amount, what it was charged as, where it was counted, and `Quota.taken` then."""

    amount: int
    charged: int
    minute_slot: int
    day_slot: int
    taken: int


class Heard(NamedTuple):
    """What a header told: so much remained at that time, when so much had been taken."""

    at: float
    remaining: int
    taken: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """What one call has reserved: to be settled once, when it is known what it used."""

    at: float
    requests: Taken
    tokens: Taken


class Quota:
    """Requests, or tokens, under a minute limit and a day limit, either of which may be None.

    Attributes:
        per_minute: the limit in force: the smaller of the one set and the one learned from headers.
        taken: everything ever reserved; tells how much of it a header cannot have seen.
        charge: how many the provider counts for one of ours. OpenAI counts a guess from the prompt's length and all of
            `max_tokens`, whatever the answer takes; the headers show it.
    """

    __slots__ = ("_bucket", "_day", "_fullest", "_heard", "_minute", "_set", "charge", "per_day", "per_minute", "taken")

    def __init__(self, *, per_minute: int | None, per_day: int | None, now: float) -> None:
        self.per_minute: int | None = None
        self.per_day = per_day
        self.taken = 0
        self.charge = 1.0
        self._set = per_minute
        self._heard: Heard | None = None
        self._fullest = 0  # the most that a header said remained: how much the provider lets us save up
        self._bucket: Bucket | None = None
        self._minute = Window(period=MINUTE)
        self._day = Window(period=DAY) if per_day is not None else None
        if per_minute is not None:
            self._limit_to(per_minute, now)

    def wait(self, amount: int, now: float) -> float:
        """Seconds until `amount` may be reserved."""
        wait = 0.0
        charged = ceil(amount * self.charge)
        if self._bucket is not None and self.per_minute is not None:
            paced = self._bucket.wait(min(charged, self.per_minute), now)
            wait = max(paced, self._minute.wait(charged, self.per_minute, now))
        if self._day is not None and self.per_day is not None:
            wait = max(wait, self._day.wait(charged, self.per_day, now))
        return wait

    def take(self, amount: int, now: float) -> Taken:
        """Reserve; returns what to correct when it is known what was used."""
        charged = ceil(amount * self.charge)
        self.taken += amount
        if self._bucket is not None:
            self._bucket.take(charged, now)
        day = self._day.take(charged, now) if self._day is not None else 0
        return Taken(amount, charged, self._minute.take(charged, now), day, self.taken)

    def correct(self, taken: Taken, used: int, now: float) -> None:
        """Change what was reserved to what was used."""
        change = ceil(used * self.charge) - taken.charged
        if self._bucket is not None:
            self._bucket.take(change, now)
        self._minute.correct(taken.minute_slot, change, now)
        if self._day is not None:
            self._day.correct(taken.day_slot, change, now)
        self.taken += used - taken.amount

    def used_in_minute(self, now: float) -> int:
        """What was reserved in the last 60 seconds, as the provider counts it."""
        self._minute.take(0, now)
        return self._minute.used

    def learn(self, limit: int, now: float) -> bool:
        """Take over a minute limit that a header told; true if that changed the one in force."""
        limit = max(1, limit if self._set is None else min(limit, self._set))
        if limit == self.per_minute:
            return False
        self._limit_to(limit, now)
        return True

    def feed_back(self, remaining: int, *, taken_then: int, at: float, now: float) -> None:
        """Lower the bucket to what the provider has left for us, and learn how it counts.

        `remaining` was true at the time `at`, when `taken` was `taken_then`; both have moved on since.
        """
        if self._bucket is None or self.per_minute is None:
            return
        self._learn_charge(Heard(at, remaining, taken_then), self.per_minute)
        refilled = self.per_minute / MINUTE * (now - at)
        left = remaining + refilled - (self.taken - taken_then) * self.charge
        self._bucket.lower_to(min(left, self.per_minute), now)

    def squeeze(self, divisor: float, now: float) -> None:
        """Divide the pace."""
        if self._bucket is not None and self.per_minute is not None:
            self._bucket.change_rate(_pace(self.per_minute) / divisor, now)

    def drain(self, now: float) -> None:
        """The provider says there is nothing left."""
        if self._bucket is not None:
            self._bucket.lower_to(0.0, now)

    def _learn_charge(self, heard: Heard, limit: int) -> None:
        """Compare what the provider counted between two headers with what we reserved."""
        self._fullest = max(self._fullest, heard.remaining)
        before = self._heard
        if before is None or heard.at < before.at:
            self._heard = heard
            return
        reserved = heard.taken - before.taken
        if reserved < LEARN_FROM * limit:
            return
        self._heard = heard
        refilled = limit / MINUTE * (heard.at - before.at)
        if heard.remaining > LEARN_BELOW * self._fullest:
            self.charge = max(1.0, self.charge * LEARN_DOWN)
        elif before.remaining + refilled <= self._fullest:  # else some of the refill may have been lost
            self.charge = min(max((before.remaining + refilled - heard.remaining) / reserved, 1.0), MOST_CHARGE)

    def _limit_to(self, limit: int, now: float) -> None:
        burst = max(1.0, limit * HEADROOM)
        if self._bucket is None:
            self._bucket = Bucket(rate=_pace(limit), burst=burst, now=now)
        else:
            self._bucket.change_rate(_pace(limit), now)
            self._bucket.burst = burst
        self.per_minute = limit
        self._heard = None
        self._fullest = 0


class RateLimits:
    """All rate limits of one lane."""

    __slots__ = ("_held_until", "_ramp", "_ramp_base", "_ramp_since", "_squeeze", "_squeezed_at", "requests", "tokens")

    def __init__(
        self,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        requests_per_day: int | None = None,
        tokens_per_day: int | None = None,
        now: float = 0.0,
    ) -> None:
        self.requests = Quota(per_minute=requests_per_minute, per_day=requests_per_day, now=now)
        self.tokens = Quota(per_minute=tokens_per_minute, per_day=tokens_per_day, now=now)
        self._held_until = 0.0
        self._ramp: Bucket | None = None
        self._ramp_base = 0.0
        self._ramp_since = 0.0
        self._squeeze = 1.0
        self._squeezed_at = 0.0

    def __repr__(self) -> str:
        return (
            f"<RateLimits requests_per_minute={self.requests.per_minute} tokens_per_minute={self.tokens.per_minute}"
            f" held_until={self._held_until:g} ramp={self._ramp}>"
        )

    def wait(self, tokens: int, now: float) -> float:
        """Seconds until a call of so many tokens may go; 0.0 if it may now. Ask for the first in the queue only."""
        if self._squeeze > 1 and now - self._squeezed_at > MINUTE:
            self._squeeze = max(1.0, self._squeeze * RELAX ** ((now - self._squeezed_at) / MINUTE))
            self._squeezed_at = now
            self._change_pace(now)
        wait = max(self.requests.wait(1, now), self.tokens.wait(tokens, now), self._held_until - now, 0.0)
        if self._ramp is not None:
            wait = max(wait, self._ramp_wait(now))
        return wait

    def reserve(self, tokens: int, now: float) -> Reservation:
        """Count a call that goes now."""
        if self._ramp is not None:
            self._ramp.take(1, now)
        return Reservation(now, self.requests.take(1, now), self.tokens.take(tokens, now))

    def settle(self, reservation: Reservation, *, tokens: int, now: float) -> None:
        """Replace the reserved tokens by those used."""
        self.tokens.correct(reservation.tokens, tokens, now)

    def give_back(self, reservation: Reservation, now: float) -> None:
        """The call never reached the provider: nothing was used. (Refused calls do count.)"""
        self.requests.correct(reservation.requests, 0, now)
        self.tokens.correct(reservation.tokens, 0, now)

    def hear(self, hints: LimitHints, reservation: Reservation, now: float) -> bool:
        """Take in what an answer's headers told; true if a limit changed."""
        at = reservation.at
        changed = False
        if hints.requests_limit is not None and not counts_days(hints):
            changed |= self.requests.learn(hints.requests_limit, now)
            if hints.requests_remaining is not None:
                then = reservation.requests.taken
                self.requests.feed_back(hints.requests_remaining, taken_then=then, at=at, now=now)
        if hints.tokens_limit is not None:
            changed |= self.tokens.learn(hints.tokens_limit, now)
        if hints.tokens_remaining is not None:
            self.tokens.feed_back(hints.tokens_remaining, taken_then=reservation.tokens.taken, at=at, now=now)
        return changed

    def hold(self, seconds: float, now: float) -> None:
        """Send nothing for so long: the provider refused a call."""
        self._held_until = max(self._held_until, now + seconds)
        self.requests.drain(now)
        self.tokens.drain(now)

    def refused(self, reservation: Reservation, now: float) -> None:
        """The provider refused a call that we thought was due: it counts otherwise, or others share the limit."""
        if reservation.at < self._squeezed_at:
            return  # sent before the last refusal was heard: it tells nothing new
        self._squeeze = min(self._squeeze * SQUEEZE, MOST_SQUEEZE)
        self._squeezed_at = now
        self._change_pace(now)

    def slow_down(self, now: float) -> None:
        """The provider says the traffic grew too fast: go on at a lower rate that grows by half in 15 minutes."""
        if self._ramp is not None and now - self._ramp_since < RAMP_COOL_DOWN:
            return
        seen = max(self.requests.used_in_minute(now), 1) / MINUTE
        self._ramp_base = seen * RAMP_CUT
        self._ramp_since = now
        self._ramp = Bucket(rate=self._ramp_base, burst=1.0, now=now)

    def held_for(self, now: float) -> float:
        """Seconds that the provider's refusal still holds everything back."""
        return max(0.0, self._held_until - now)

    def _change_pace(self, now: float) -> None:
        self.requests.squeeze(self._squeeze, now)
        self.tokens.squeeze(self._squeeze, now)

    def _ramp_wait(self, now: float) -> float:
        assert self._ramp is not None
        growth = RAMP_GROWTH ** ((now - self._ramp_since) / RAMP_PERIOD)
        if growth * RAMP_CUT >= RAMP_OVER:
            self._ramp = None
            return 0.0
        wait = self._ramp.wait(1, now)
        self._ramp.rate = self._ramp_base * growth
        return wait


def _pace(per_minute: int) -> float:
    """Per second, a little below the limit."""
    return per_minute * (1 - HEADROOM) / MINUTE


def counts_days(hints: LimitHints) -> bool:
    """Whether the request headers speak of a day, as they do for some models: told by how slowly they refill."""
    if hints.requests_limit is None or hints.requests_remaining is None or hints.requests_reset is None:
        return False
    used = hints.requests_limit - hints.requests_remaining
    return used > 0 and DAY / 2 < hints.requests_reset * hints.requests_limit / used < DAY * 2
