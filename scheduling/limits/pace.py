"""The rate that a server lets through which refuses and says nothing of limits: learned from what it took and refused.

While nothing is refused there is no pace. A refusal holds the lane for a moment; then it goes on evenly spaced. Such a
server saves up some calls (its depth) and lets through so many a second beside, so what it took until it refused bounds
its rate from below, twice: since the refusal before, when it had nothing saved up, and since any call, less the depth.
By the better bound the lane goes on: a little below, above it after some seconds, and ever faster from there, as TCP's
CUBIC does (RFC 9438). Until there is one, the pace doubles every few calls.

What is refused by `Chance` changes nothing, and shows that the pace need not be so low: it doubles again. Where nothing
at all was taken, that says when and not how fast: the pace is halved, and is what it was once a call is answered.

Synchronous, told the time (seconds).
"""

from collections import deque
from math import inf

from metaspo.scheduling.limits.chance import Chance
from metaspo.scheduling.limits.window import Bucket

REMEMBERED = 1_024  # calls
FIRST_CALLS = 4  # that go before the pace doubles, or as many as the depth
BELOW = 0.1  # what the server takes: so far the pace goes back ...
REGAINED = 10.0  # ... for so many seconds
TOO_MUCH = 0.9  # of a pace that was refused is gone on with at most, unless more went through since the refusal before
SAVED_UP = 0.75  # of the depth may go at once
SHORTEST = 0.02  # seconds over which calls make a rate
LONG = 10.0  # seconds beside which it does not matter what was saved up
LASTING = 1.0  # seconds for which it went well tell a rate by themselves; a longer wait tells of no slower one
SLOWEST = 1 / 60  # calls a second ...
PROBED = 1 / 10  # ... and while nothing at all is taken
IDLE = 5.0  # seconds in which nothing is asked for: what is beyond them tells nothing of the server


class LearnedPace:
    """Of one lane whose limits are not known."""

    __slots__ = (
        "_below",
        "_bucket",
        "_chance",
        "_chances",
        "_depth",
        "_doubles_after",
        "_held_back",
        "_lasting",
        "_refused_at",
        "_refused_last",
        "_resumed_at",
        "_sent",
        "_steady",
        "_told_at",
        "_too_fast",
        "_vain",
        "_wanted_until",
    )

    def __init__(self) -> None:
        self._sent: deque[float] = deque(maxlen=REMEMBERED)  # when calls went that were not refused
        self._bucket: Bucket | None = None  # while nothing was
        self._depth = 0
        self._steady = 0.0  # calls a second that the server takes, as far as is known
        self._doubles_after = 0  # calls; 0 where `_steady` is no mere guess
        self._refused_at = -inf  # the last call that was refused went then, ...
        self._resumed_at = -inf  # ... and the lane on
        self._held_back = False
        self._told_at: float | None = None  # a call that was refused since then went
        self._wanted_until = inf  # a call was, at least
        self._chance = Chance()
        self._chances: deque[float] = deque(maxlen=60)  # calls refused by it went then, since the pace was lowered
        self._refused_last = -inf  # a call that was refused, by chance or not, went
        self._too_fast = inf  # calls a second of which more were refused than by chance
        self._below = False  # what was last refused was slower than what the server takes, as far as was known
        self._lasting = 0.0  # calls a second that were taken from one refusal to the next
        self._vain = 0  # times in a row that nothing at all was taken

    def __repr__(self) -> str:
        return f"<LearnedPace {self._bucket} steady={self._steady:.3g}/s depth={self._depth}>"

    def wait(self, now: float) -> float:
        """Seconds until a call may go; not to be asked while a refusal holds the lane."""
        if self._told_at is not None:
            self._go_on(self._told_at, now)
        elif now - self._wanted_until > IDLE:
            self._leave_out(now - self._wanted_until - IDLE)
        bucket = self._bucket
        if bucket is None:
            self._wanted_until = now
            return 0.0
        bucket.rate = self._rate(now)
        wait = bucket.wait(1, now)
        self._held_back = self._held_back or wait > 0
        self._wanted_until = now + wait
        return wait

    def take(self, now: float) -> None:
        """A call goes."""
        self._sent.append(now)
        self._chance.sent(slowly=self._is_slow(now))
        if self._bucket is not None:
            self._bucket.take(1, now)
            if self._doubles_after and self._held_back:
                self._held_back = False
                self._doubles_after -= 1
                if not self._doubles_after:
                    self._steady *= 2
                    self._doubles_after = max(FIRST_CALLS, self._depth)

    def refused(self, at: float) -> bool:
        """A call that went at a time was refused; false if that says nothing of the pace."""
        if at in self._sent:
            self._sent.remove(at)
        taken_before = next((when for when in reversed(self._sent) if when <= at), -inf)
        apart, self._refused_last = taken_before >= self._refused_last, max(at, self._refused_last)
        if at < self._resumed_at:
            return True  # it went before the last refusal was heard, and tells nothing new
        if self._chance.explains(slowly=self._is_slow(at), apart=apart):
            self._by_chance()
            if not self._chances or at - self._chances[-1] >= LASTING:
                self._chances.append(at)
            return False
        self._told_at = max(at, self._told_at or at)
        return True

    def answered(self, at: float) -> None:
        """A call that went at a time was answered."""
        if self._vain and at >= self._resumed_at:
            self._vain = 0
            self._resumed_at = at

    def _go_on(self, at: float, now: float) -> None:
        """All refusals of calls until `at` have been heard."""
        taken = [when for when in self._sent if self._resumed_at <= when <= at]
        if self._chance.share:
            self._too_fast = self._rate(at)
        self._chance.lowered()
        if self._refused_at > -inf:
            self._doubles_after = 0
            if taken:
                self._lasting = self._let_through(taken, at)
                again, self._below = self._below, self._rate(at) < self._steady
                steady = self._lasting
                if not (again and self._below):  # else what was taken at once tells nothing
                    steady = max(steady, min(self._least_of(taken, at), TOO_MUCH * self._rate(at)))
                self._steady = max(steady, SLOWEST)
                if steady == self._lasting and len(taken) < FIRST_CALLS:
                    self._doubles_after = FIRST_CALLS
            else:
                self._vain += 1
        elif taken and at - taken[0] >= LASTING:
            self._steady = len(taken) / (at - taken[0])
        else:
            self._depth = len(taken)
            self._steady = max(len(taken), 1) / min(max(now - at, SHORTEST), LASTING)
            self._doubles_after = max(FIRST_CALLS, self._depth)
        self._refused_at, self._resumed_at, self._told_at = at, now, None
        self._chances.clear()
        self._bucket = Bucket(rate=self._rate(now), burst=1.0 + SAVED_UP * max(0, self._depth - 1), now=now)
        self._bucket.lower_to(max(float(self._vain < FIRST_CALLS), SAVED_UP * self._rate(now) * (now - at)), now)

    def _by_chance(self) -> None:
        """Go faster, but to where more was refused not at once."""
        rate = self._rate(self._wanted_until)
        if rate > self._too_fast:
            self._too_fast = inf
        if self._too_fast == inf and not self._doubles_after:
            self._steady, self._doubles_after = rate, FIRST_CALLS

    def _is_slow(self, at: float) -> bool:
        """Whether the server let more through, from a refusal to the next, than the pace was then."""
        return self._bucket is not None and at >= self._resumed_at and self._rate(at) <= self._lasting

    def _leave_out(self, seconds: float) -> None:
        """Nobody asked for so long: as if all before had been so much later."""
        self._refused_at += seconds
        self._resumed_at += seconds
        for times in (self._sent, self._chances):
            moved = [when + seconds for when in times]
            times.clear()
            times.extend(moved)

    def _let_through(self, taken: list[float], at: float) -> float:
        """Calls a second that were taken since the refusal before, or since one by chance if those were more: were it
        a limit that refused, it would let through as many from any refusal to the next."""
        since = [(sum(when > then for when in taken) - 1) / (at - then) for then in self._chances if at - then > LONG]
        return max([len(taken) / max(at - self._refused_at, SHORTEST), *since])

    def _least_of(self, taken: list[float], at: float) -> float:
        """A server of that depth that took these until then, and refused, takes so many a second at least."""
        rates = [
            (count - self._depth) / (at - when)
            for count, when in enumerate(reversed(taken), 1)
            if at - when >= SHORTEST
        ]
        return max(rates, default=0.0)

    def _rate(self, now: float) -> float:
        if self._doubles_after:
            return self._steady
        rate = self._steady * (1 + BELOW * ((now - self._resumed_at) / REGAINED - 1) ** 3)
        return max(rate * 0.5**self._vain, min(rate, PROBED), SLOWEST)
