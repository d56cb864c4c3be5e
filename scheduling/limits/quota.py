"""One thing a provider counts, requests or tokens: what is left of it, and how the provider counts."""

from dataclasses import dataclass
from math import ceil, inf

from metaspo.scheduling.limits.allowance import BATCH, Rate
from metaspo.scheduling.limits.window import Bucket, Window

MINUTE = 60.0
DAY = 86_400.0
HEADROOM = 0.01  # of a minute's limit stays unused by the pace, and is what may go in one burst
LEARN_FROM = 0.02  # of a limit must be used between two headers to tell how the provider counts
LEARN_BELOW = 0.9  # of the most that was ever left before a call: above it, nothing presses
LEARN_DOWN = 0.98  # we may be counting too much: a little less each time nearly all is left
LEARN_BY = 0.5  # of what was found to be different
SPARE = 2 / 3  # of what the provider lets us save up stays there: calls under way may count for more than we think
ERRORS = 10.0  # times the usual error of what a header is expected to say: no more has to stay, once that is known ...
UNEVEN = 0.1  # ... and seconds of the limit, for calls do not all take equally long to get there
MIN_CHARGE = 0.25
IDLE_CHARGE = 0.9  # and no less where nothing presses, which may be so because we ask for little
MAX_CHARGE = 32.0


@dataclass(slots=True)
class Taken:
    """One reservation in a quota: the amount, what it is charged as, where it was counted, `Quota.taken` then, and
    since when it is counted as it was.

    The charge changes when it is known what was used.
    """

    amount: int
    charged: int
    minute_slot: int
    day_slot: int
    taken: int
    counts_since: float


@dataclass(slots=True)
class Heard:
    """What a header told: so much remained at that time, when so much had been taken."""

    at: float
    remaining: int
    taken: int


class Quota:
    """Requests, or tokens, under a minute limit and a day limit, either of which may be None.

    Of tokens the provider may count others than we do (`charge_varies`); a request is a request.

    Attributes:
        per_minute: the limit in force: the smaller of the one set and the one learned from headers.
        taken: everything ever reserved, but for what never counted; tells how much of it a header cannot have seen.
        depth: what the provider lets us save up, where it tells that.
        error: by how many tokens what headers say differs from what is expected, usually; None where that is not known.
        charge: how many the provider counts for one of ours. OpenAI counts a guess from the prompt's length and all of
            `max_tokens`, whatever the answer takes; the headers show it.
    """

    __slots__ = (
        "_bucket",
        "_charge_varies",
        "_counted",
        "_counts_since",
        "_day",
        "_fullest",
        "_fullest_amount",
        "_heard",
        "_minute",
        "_reserved",
        "_set",
        "_spare",
        "_told",
        "_unpressed",
        "charge",
        "depth",
        "error",
        "per_day",
        "per_minute",
        "taken",
    )

    def __init__(self, *, per_minute: int | None, per_day: int | None, now: float, charge_varies: bool = True) -> None:
        self.per_minute: int | None = None
        self.per_day = per_day
        self.taken = 0
        self.charge = 1.0
        self.depth: float | None = None
        self.error: float | None = None
        self._spare = 0.0
        self._charge_varies = charge_varies
        self._set = per_minute
        self._heard: Heard | None
        self._told: Heard | None  # by the call that went last of those that were answered
        self._fullest: int  # the most that remained after a call, by the headers: what we may save up ...
        self._fullest_amount: float  # ... beside that call
        self._counts_since = -inf
        self._bucket: Bucket | None = None  # None without a minute limit
        self._minute = Window(period=MINUTE)
        self._day = Window(period=DAY) if per_day is not None else None
        if per_minute is not None:
            self._limit_to(per_minute, now)

    def wait(self, amount: int, now: float) -> float:
        """Seconds until `amount` may be reserved."""
        bucket, limit = self._bucket, self.per_minute
        if bucket is None and self._day is None:
            return 0.0  # not limited at all
        wait = 0.0
        charged = amount if self.charge == 1.0 else ceil(amount * self.charge)
        if bucket is not None and limit is not None:
            at_once = charged if charged < limit else limit
            wait = bucket.wait(at_once + self._spare_beside(at_once), now)
            until_forgotten = self._minute.wait(charged, limit, now)
            if until_forgotten > wait:
                wait = until_forgotten
        if self._day is not None and self.per_day is not None:
            wait = max(wait, self._day.wait(charged, self.per_day, now))
        return wait

    def counted(self, amount: int) -> int:
        """What the provider will count for so many, about; no more than the limit, which is all that it can grant."""
        charged = amount if self.charge == 1.0 else ceil(amount * self.charge)
        return charged if self.per_minute is None or charged < self.per_minute else self.per_minute

    def seconds(self, taken: Taken) -> float:
        """How long it takes until so much comes back; 0 without a minute limit."""
        return taken.charged * MINUTE / self.per_minute if self.per_minute is not None else 0.0

    def rate(self, divisor: float) -> Rate:
        """How fast it may be used, the pace being divided."""
        limit = self.per_minute
        pace = _pace(limit) / divisor if limit is not None else 0.0
        return Rate(pace, max(1.0, pace * BATCH))

    def take(self, amount: int, now: float, *, by_all: int | None = None) -> Taken:
        """Reserve; returns what to correct when it is known what was used. `by_all`: what all who share the limit have
        taken then."""
        charged = amount if self.charge == 1.0 else ceil(amount * self.charge)
        self.taken = self.taken + amount if by_all is None else by_all
        if self._bucket is not None:
            self._bucket.take(charged, now)
        day = self._day.take(charged, now) if self._day is not None else 0
        return Taken(amount, charged, self._minute.take(charged, now), day, self.taken, self._counts_since)

    def correct(self, taken: Taken, used: int, now: float) -> int:
        """Change what was reserved to what was used; returns by how much, as the provider counts."""
        change = (used if self.charge == 1.0 else ceil(used * self.charge)) - taken.charged
        if self._bucket is not None and change and (change > 0 or taken.counts_since == self._counts_since):
            self._bucket.take(change, now)  # else it comes too late: the provider may have been full since
            told, limit = self._told, self.per_minute
            if change < 0 and told is not None and limit is not None and taken.taken <= told.taken:
                self._bucket.lower_to(self._left(told, limit, now), now)  # which knows what that call took
        self._minute.correct(taken.minute_slot, change, now)
        if self._day is not None:
            self._day.correct(taken.day_slot, change, now)
        taken.charged += change
        return change

    def give_back(self, taken: Taken, now: float) -> int:
        """Nothing was used, nor did the provider count anything; returns the change as `correct` does."""
        self.taken -= taken.amount
        return self.correct(taken, 0, now)

    def used_in_minute(self, now: float) -> int:
        """What was reserved in the last 60 seconds, as the provider counts it."""
        self._minute.take(0, now)
        return self._minute.used

    def learn(self, limit: int, now: float) -> bool:
        """Take over a minute limit that a header told; true if that changed the one in force."""
        if limit == self.per_minute:
            return False  # as nearly always
        limit = max(1, limit if self._set is None else min(limit, self._set))
        if limit == self.per_minute:
            return False
        self._limit_to(limit, now)
        return True

    def feed_back(
        self, remaining: int, *, taken_then: int, at: float, now: float, charged: int = 0, shared: bool = False
    ) -> None:
        """Lower the bucket to what the provider has left for us, and learn how it counts.

        `remaining` was true at the time `at`, when `taken` was `taken_then`; both have moved on since. The call
        that told it had been charged as so many; 0 if nothing is to be learned from it (it was refused: what else was
        refused meanwhile is not known yet). Where the limit is `shared`, what others have taken since is not known
        here, and only how the provider counts is learned.
        """
        bucket, limit = self._bucket, self.per_minute
        if bucket is None or limit is None:
            return
        if charged and remaining >= self._fullest:
            self._fullest, self._fullest_amount = remaining, charged / self.charge
        told = Heard(at, remaining, taken_then)
        if self._charge_varies:
            self._learn_charge(told if charged else None, charged, limit)
        if shared:
            return
        if self._told is None or at >= self._told.at:
            self._told = told
        most = _burst(limit)
        spare = min(self._fullest * SPARE, most)
        bucket.burst = min(most, max(self._fullest, 1.0)) + spare
        bucket.take(self._spare - spare, now)
        self._spare = spare
        bucket.lower_to(self._left(told, limit, now), now)

    def count_otherwise(self, now: float) -> None:
        """What is reserved from now on is counted in another way."""
        self.charge = 1.0
        self._counts_since = now
        self._heard = None
        self._forget_counts()

    def squeeze(self, divisor: float, now: float) -> None:
        """Divide the pace."""
        if self._bucket is not None and self.per_minute is not None:
            self._bucket.change_rate(_pace(self.per_minute) / divisor, now)

    def drain(self, now: float, *, until: float) -> None:
        """The provider says there is nothing left. Nothing is saved up until then either, for what goes at once after
        the wait might be refused as this was."""
        if self._bucket is not None:
            self._bucket.lower_to(self._bucket.rate * (now - until) + self._spare_beside(0), now)

    def _learn_charge(self, told: Heard | None, charged: int, limit: int) -> None:
        """Compare what the provider counted between two headers with what we reserved; None if that is not known."""
        before = self._heard
        if told is not None and (told.at < self._counts_since or (before is not None and told.at <= before.at)):
            return  # answers overtake each other
        self._heard = told
        if before is None or told is None:
            return
        depth = self.depth or self._fullest + self._fullest_amount * self.charge
        refilled = limit / MINUTE * (told.at - before.at)
        reserved = told.taken - before.taken
        if told.remaining + charged > LEARN_BELOW * depth:
            self._unpressed += reserved
            if self._unpressed >= LEARN_FROM * limit:
                least = IDLE_CHARGE if self.depth is None else 1.0
                self.charge = min(self.charge, max(least, self.charge * LEARN_DOWN))
                self._forget_counts()
            return
        if before.remaining + refilled > depth:
            return  # some of the refill may have been lost
        self._counted += before.remaining + refilled - told.remaining
        self._reserved += reserved
        if self._reserved >= LEARN_FROM * limit:
            charge = min(max(self._counted / self._reserved, MIN_CHARGE), MAX_CHARGE)
            self.charge += LEARN_BY * (charge - self.charge)
            self._forget_counts()

    def _left(self, told: Heard, limit: int, now: float) -> float:
        """What a header leaves for us: with what came back since, without what was taken since."""
        return told.remaining + limit / MINUTE * (now - told.at) - (self.taken - told.taken) * self.charge

    def _spare_beside(self, amount: int) -> float:
        """What has to stay there beside such a call."""
        spare = self._spare
        if self.error is not None and self.per_minute is not None:
            spare = min(spare, ERRORS * self.error + UNEVEN * self.per_minute / MINUTE)
        return spare if self.depth is None else min(spare, max(self.depth - amount, 0.0))

    def _forget_headers(self) -> None:
        self._heard = self._told = None
        self._fullest = 0
        self._fullest_amount = 0.0
        self._forget_counts()

    def _forget_counts(self) -> None:
        self._counted = 0.0  # by the provider, since the charge was set last; beside what we reserved meanwhile
        self._reserved = 0
        self._unpressed = 0  # what was reserved while the provider had nearly all left

    def _limit_to(self, limit: int, now: float) -> None:
        burst = _burst(limit)
        if self._bucket is None:
            self._bucket = Bucket(rate=_pace(limit), burst=burst, now=now)
        else:
            self._bucket.change_rate(_pace(limit), now)
            self._bucket.burst = burst
        self.per_minute = limit
        self._forget_headers()


def _burst(per_minute: int) -> float:
    """What may go at once; less where the provider never has that much left (or one call, if that is more)."""
    return max(1.0, per_minute * HEADROOM)


def _pace(per_minute: int) -> float:
    """Per second, a little below the limit."""
    return per_minute * (1 - HEADROOM) / MINUTE
