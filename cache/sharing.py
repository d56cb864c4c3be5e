"""What processes share by a server beside answers: the rates of providers' limits, and caps on what is spent."""

from typing import NamedTuple, Protocol


class Drawn(NamedTuple):
    """What one exchange takes out of a rate.

    Attributes:
        rate: a second; 0 where there is no limit.
        burst: what is saved up while nobody takes any.
        amount: taken; where it is negative, given back.
        sent: of it in the caller's own units, whose sum `Granted.sent` is.
    """

    rate: float = 0.0
    burst: float = 0.0
    amount: float = 0.0
    sent: int = 0


class RateAsk(NamedTuple):
    """What a process takes out of the rates of one limit, and for how many seconds nobody is to take any."""

    group: str
    requests: Drawn
    tokens: Drawn
    hold: float = 0.0


class Granted(NamedTuple):
    """When what was taken may be used, in seconds from now, and all that was ever sent."""

    wait: float
    requests_sent: int
    tokens_sent: int


class Amounts(NamedTuple):
    """Calls, tokens and dollars."""

    calls: float = 0.0
    tokens: float = 0.0
    dollars: float = 0.0


class CapAsk(NamedTuple):
    """What a purse sets aside under a cap.

    Attributes:
        holder: tells apart the purses of one process that are in one group; each asks one thing at a time.
        caps: infinite for none.
        least, most: nothing is set aside unless `least` fits, and no more than `most`; negative where it is given back.
        holds: whether the purse may give something back later, even if nothing is set aside now.
    """

    group: str
    holder: str
    caps: Amounts
    least: Amounts
    most: Amounts
    holds: bool


class Set(NamedTuple):
    """What was set aside (nothing where `least` did not fit), what all took so far, and whether another purse holds
    something that it may give back."""

    aside: Amounts | None
    taken: Amounts
    others_hold: bool


class Sharing(Protocol):
    """Rates and caps that processes share; times are the server's own."""

    async def take(self, ask: RateAsk) -> Granted:
        """Take out of rates, ahead of time if need be: first come, first served. Raises `StoreError`."""
        ...

    async def set_aside(self, ask: CapAsk) -> Set:
        """Set amounts aside, or give them back. What a process that is gone had set aside counts as taken; that it may
        give something back is forgotten after `lease`. Raises `StoreError`."""
        ...

    @property
    def lease(self) -> float:
        """Seconds."""
        ...
