"""What one lane may send of rates that it shares with other processes: taken ahead, a small batch at a time.

Synchronous, told the time (seconds). Whoever drives it (`Sharer`) brings what it asks for, and says from when on that
may be used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

BATCH = 0.1  # seconds of a rate that are taken at once
KEPT = 1.0  # seconds for which what was taken may be used: later it would come on top of what others have taken since
UNKNOWN = 1.0  # seconds until another look while nobody has said when what was asked for may be used


class Rate(NamedTuple):
    """Of requests, or of tokens as the provider counts them.

    Attributes:
        per_second: 0 where there is no limit.
        burst: what may be saved up.
    """

    per_second: float
    burst: float


class Wanted(NamedTuple):
    """What is asked for.

    Attributes:
        requests, tokens: for calls that are to go; own_tokens: the same in the lane's own count.
        more_requests, more_tokens: that calls took beyond what was taken for them; negative where they took less.
        unsent_requests, unsent_tokens: for calls that did not go after all, in the lane's own count.
        hold: seconds for which nobody is to take anything.
    """

    requests: int = 0
    tokens: float = 0.0
    own_tokens: int = 0
    more_requests: int = 0
    more_tokens: float = 0.0
    unsent_requests: int = 0
    unsent_tokens: int = 0
    hold: float = 0.0


@dataclass(slots=True)
class Batch:
    """What was taken and not used yet, from when on it may be, and where it ends in all that was ever sent.

    Attributes:
        own_tokens: of each call, in the lane's own count.
    """

    requests: int
    tokens: float
    own_tokens: int
    since: float
    requests_sent: int
    tokens_sent: int


class Allowance:
    """Of one lane.

    Attributes:
        group: by which the processes know each other.
        demand: calls that could go now, if the rates let them.
    """

    __slots__ = ("_asked", "_batch", "_next", "_wake", "_wanted", "demand", "group", "rates")

    def __init__(self, group: str) -> None:
        self.group = group
        self.demand = 1
        self.rates = (Rate(0, 0), Rate(0, 0))
        self._wake: Callable[[], None] = _nothing
        self._batch: Batch | None = None
        self._next: Batch | None = None
        self._asked: Wanted | None = None  # and not answered yet
        self._wanted = Wanted()

    def __repr__(self) -> str:
        return f"<Allowance {self.group!r} batch={self._batch} next={self._next} asked={self._asked}>"

    def driven_by(self, wake: Callable[[], None]) -> None:
        """Who is to be woken when something is wanted."""
        self._wake = wake

    def wait(self, tokens: float, own_tokens: int, now: float) -> float:
        """Seconds until a call of so many tokens (in the provider's count, and in the lane's own) may go."""
        self._turn_over(now)
        batch = self._batch
        overdraft = (
            self.rates[1].per_second * BATCH / 2
        )  # calls differ; what is taken too much is told with the next ask
        left = batch.requests if batch is not None and batch.tokens + overdraft >= tokens else 0
        if self._next is None and self._asked is None and self.demand > left:
            self._ask(tokens, own_tokens)
        if left:
            return 0.0
        return max(self._next.since - now, 0.0) if self._next is not None else UNKNOWN

    def take(self, tokens: float) -> tuple[int, int]:
        """A call goes; returns how many requests and tokens all have sent then."""
        batch = self._batch
        assert batch is not None
        batch.requests -= 1
        batch.tokens -= tokens
        return batch.requests_sent - batch.requests, batch.tokens_sent - batch.requests * batch.own_tokens

    def correct(self, *, requests: int = 0, tokens: float = 0.0) -> None:
        """A call took so many more than were taken for it, or fewer."""
        wanted = self._wanted
        self._wanted = wanted._replace(
            more_requests=wanted.more_requests + requests, more_tokens=wanted.more_tokens + tokens
        )

    def hold(self, seconds: float) -> None:
        """Nobody is to take anything for so long: the provider refused a call."""
        self._wanted = self._wanted._replace(hold=max(self._wanted.hold, seconds))
        self._wake()

    def asked(self, now: float) -> Wanted | None:
        """What to ask for, if anything; until that is told by `granted`, nothing else is."""
        self._turn_over(now)
        if self._asked is not None or self._wanted == Wanted():
            return None
        wanted = self._asked = self._wanted
        self._wanted = Wanted()
        return wanted

    def granted(self, wait: float, *, requests_sent: int, tokens_sent: int, now: float) -> None:
        """What was asked for may be used in so many seconds."""
        wanted, self._asked = self._asked, None
        if wanted is not None and wanted.requests:
            own_tokens = wanted.own_tokens // wanted.requests
            self._next = Batch(wanted.requests, wanted.tokens, own_tokens, now + wait, requests_sent, tokens_sent)

    def lost(self) -> None:
        """Nobody knows whether what was asked for was taken."""
        self._asked = None

    def give_all_back(self) -> None:
        """Nothing will go any more."""
        self._wanted = self._wanted._replace(requests=0, tokens=0.0, own_tokens=0)
        for batch in (self._batch, self._next):
            if batch is not None:
                self._give_back(batch)
        self._batch = self._next = None

    def expires_at(self) -> float:
        """When something that was taken may be used no longer, and is to be given back."""
        batches = [batch for batch in (self._batch, self._next) if batch is not None]
        return min((batch.since + KEPT for batch in batches), default=inf)

    def _ask(self, tokens: float, own_tokens: int) -> None:
        requests, counted = self.rates
        most = [float(self.demand)]
        if requests.per_second:
            most.append(requests.per_second * BATCH)
        if counted.per_second and tokens:
            most.append(counted.per_second * BATCH / tokens)
        calls = max(1, int(min(most)))
        self._wanted = self._wanted._replace(requests=calls, tokens=calls * tokens, own_tokens=calls * own_tokens)
        self._wake()

    def _turn_over(self, now: float) -> None:
        """Give back what may be used no longer; what was taken ahead for now comes to what is left."""
        batch, ahead = self._batch, self._next
        if batch is not None and now >= batch.since + KEPT:
            self._give_back(batch)
            batch = self._batch = None
        if ahead is not None and ahead.since <= now:
            if batch is not None:
                ahead.requests += batch.requests
                ahead.tokens += max(batch.tokens, 0.0)
                self.correct(tokens=max(-batch.tokens, 0.0))
            self._batch, self._next = ahead, None
            self._turn_over(now)

    def _give_back(self, batch: Batch) -> None:
        self.correct(requests=-batch.requests, tokens=-batch.tokens)
        wanted = self._wanted
        self._wanted = wanted._replace(
            unsent_requests=wanted.unsent_requests + batch.requests,
            unsent_tokens=wanted.unsent_tokens + batch.requests * batch.own_tokens,
        )


def _nothing() -> None:
    """Nobody drives it yet."""
