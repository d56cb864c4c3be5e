"""One thing a provider counts, requests or tokens: what is left of it, and how the provider counts."""

from math import ceil
from typing import NamedTuple

from metaspo.scheduling.window import Bucket, Window

MINUTE = 60.0
DAY = 86_400.0
HEADROOM = 0.01  # of a minute's limit stays unused by the pace, and is what may go in one burst
LEARN_FROM = 0.02  # of a limit must be used between two headers to tell how the provider counts
LEARN_BELOW = 0.95  # of the most that was ever left: above it, nothing presses
LEARN_DOWN = 0.98  # we may be counting too much: a little less each time nearly all is left
MOST_CHARGE = 32.0


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


def _pace(per_minute: int) -> float:
    """Per second, a little below the limit."""
    return per_minute * (1 - HEADROOM) / MINUTE
