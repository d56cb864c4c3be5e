"""Rate limits as a provider enforces them: requests and tokens, per minute and per day, reserved together.

A minute limit is kept twice. A bucket that refills continuously paces the calls, because providers enforce 60,000 a
minute as 1,000 a second; and a window makes sure that no 60 seconds ever hold more than the limit. A day limit has the
window only. Answers' headers are feedback: they may set limits that were not known, and they lower the bucket when the
provider has counted more than we have.

Everything here is synchronous and takes the time as an argument (seconds).
"""

from dataclasses import dataclass

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


class Quota:
    """Requests, or tokens, under a minute limit and a day limit, either of which may be None.

    Attributes:
        per_minute: the limit in force: the smaller of the one set and the one learned from headers.
        taken: everything ever reserved; tells how much of it a header cannot have seen.
    """

    __slots__ = ("_bucket", "_day", "_minute", "_set", "per_day", "per_minute", "taken")

    def __init__(self, *, per_minute: int | None, per_day: int | None, now: float) -> None:
        self.per_minute: int | None = None
        self.per_day = per_day
        self.taken = 0
        self._set = per_minute
        self._bucket: Bucket | None = None
        self._minute = Window(period=MINUTE)
        self._day = Window(period=DAY) if per_day is not None else None
        if per_minute is not None:
            self._limit_to(per_minute, now)

    def wait(self, amount: int, now: float) -> float:
        """Seconds until `amount` may be reserved."""
        wait = 0.0
        if self._bucket is not None and self.per_minute is not None:
            amount_paced = min(amount, self.per_minute)
            wait = max(self._bucket.wait(amount_paced, now), self._minute.wait(amount, self.per_minute, now))
        if self._day is not None and self.per_day is not None:
            wait = max(wait, self._day.wait(amount, self.per_day, now))
        return wait

    def take(self, amount: int, now: float) -> tuple[int, int]:
        """Reserve; returns the slots it was counted in."""
        self.taken += amount
        if self._bucket is not None:
            self._bucket.take(amount, now)
        return self._minute.take(amount, now), self._day.take(amount, now) if self._day is not None else 0

    def correct(self, slots: tuple[int, int], change: int, now: float) -> None:
        """Change what was reserved to what was used."""
        if self._bucket is not None:
            self._bucket.take(change, now)
        self._minute.correct(slots[0], change, now)
        if self._day is not None:
            self._day.correct(slots[1], change, now)

    def used_in_minute(self, now: float) -> int:
        """What was reserved in the last 60 seconds."""
        self._minute.take(0, now)
        return self._minute.used

    def learn(self, limit: int, now: float) -> bool:
        """Take over a minute limit that a header told; true if that changed the one in force."""
        limit = max(1, limit if self._set is None else min(limit, self._set))
        if limit == self.per_minute:
            return False
        self._limit_to(limit, now)
        return True

    def feed_back(self, remaining: int, *, taken_then: int, age: float, now: float) -> None:
        """Lower the bucket to what the provider has left for us.

        `remaining` was true `age` seconds ago, when `taken` was `taken_then`; both have moved on since.
        """
        if self._bucket is None or self.per_minute is None:
            return
        left = remaining + self.per_minute / MINUTE * age - (self.taken - taken_then)
        self._bucket.lower_to(min(left, self.per_minute), now)

    def drain(self, now: float) -> None:
        """The provider says there is nothing left."""
        if self._bucket is not None:
            self._bucket.lower_to(0.0, now)

    def _limit_to(self, limit: int, now: float) -> None:
        rate = limit * (1 - HEADROOM) / MINUTE
        burst = max(1.0, limit * HEADROOM)
        if self._bucket is None:
            self._bucket = Bucket(rate=rate, burst=burst, now=now)
        else:
            self._bucket.wait(0, now)
            self._bucket.rate = rate
            self._bucket.burst = burst
        self.per_minute = limit


@dataclass(slots=True)
class Reservation:
    """What one call has reserved: to be settled once, when it is known what it used."""

    tokens: int
    at: float
    request_slots: tuple[int, int]
    token_slots: tuple[int, int]
    requests_taken: int
    tokens_taken: int


class RateLimits:
    """All rate limits of one lane."""

    __slots__ = ("_held_until", "_ramp", "_ramp_base", "_ramp_since", "requests", "tokens")

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

    def __repr__(self) -> str:
        return (
            f"<RateLimits requests_per_minute={self.requests.per_minute} tokens_per_minute={self.tokens.per_minute}"
            f" held_until={self._held_until:g} ramp={self._ramp}>"
        )

    def wait(self, tokens: int, now: float) -> float:
        """Seconds until a call of so many tokens may go; 0.0 if it may now. Ask for the first in the queue only."""
        wait = max(self.requests.wait(1, now), self.tokens.wait(tokens, now), self._held_until - now, 0.0)
        if self._ramp is not None:
            wait = max(wait, self._ramp_wait(now))
        return wait

    def reserve(self, tokens: int, now: float) -> Reservation:
        """Count a call that goes now."""
        request_slots = self.requests.take(1, now)
        token_slots = self.tokens.take(tokens, now)
        if self._ramp is not None:
            self._ramp.take(1, now)
        return Reservation(tokens, now, request_slots, token_slots, self.requests.taken, self.tokens.taken)

    def settle(self, reservation: Reservation, *, tokens: int, now: float) -> None:
        """Replace the reserved tokens by those used."""
        self.tokens.correct(reservation.token_slots, tokens - reservation.tokens, now)

    def give_back(self, reservation: Reservation, now: float) -> None:
        """The call never reached the provider: nothing was used. (Refused calls do count.)"""
        self.requests.correct(reservation.request_slots, -1, now)
        self.tokens.correct(reservation.token_slots, -reservation.tokens, now)

    def hear(self, hints: LimitHints, reservation: Reservation, now: float) -> bool:
        """Take in what an answer's headers told; true if a limit changed."""
        age = now - reservation.at
        changed = False
        if hints.requests_limit is not None and not counts_days(hints):
            changed |= self.requests.learn(hints.requests_limit, now)
            if hints.requests_remaining is not None:
                then = reservation.requests_taken
                self.requests.feed_back(hints.requests_remaining, taken_then=then, age=age, now=now)
        if hints.tokens_limit is not None:
            changed |= self.tokens.learn(hints.tokens_limit, now)
        if hints.tokens_remaining is not None:
            self.tokens.feed_back(hints.tokens_remaining, taken_then=reservation.tokens_taken, age=age, now=now)
        return changed

    def hold(self, seconds: float, now: float) -> None:
        """Send nothing for so long: the provider refused a call."""
        self._held_until = max(self._held_until, now + seconds)
        self.requests.drain(now)
        self.tokens.drain(now)

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

    def _ramp_wait(self, now: float) -> float:
        assert self._ramp is not None
        growth = RAMP_GROWTH ** ((now - self._ramp_since) / RAMP_PERIOD)
        if growth * RAMP_CUT >= RAMP_OVER:
            self._ramp = None
            return 0.0
        wait = self._ramp.wait(1, now)
        self._ramp.rate = self._ramp_base * growth
        return wait


def counts_days(hints: LimitHints) -> bool:
    """Whether the request headers speak of a day, as they do for some models: told by how slowly they refill."""
    if hints.requests_limit is None or hints.requests_remaining is None or hints.requests_reset is None:
        return False
    used = hints.requests_limit - hints.requests_remaining
    return used > 0 and DAY / 2 < hints.requests_reset * hints.requests_limit / used < DAY * 2
