"""What a user sets for one lane, and what can be no setting."""

from dataclasses import dataclass
from inspect import iscoroutinefunction
from numbers import Real
from typing import Literal

from metaspo.backends import Usage

MILLION = 1_000_000


Billing = Literal["time", "tokens"]


def require_numbers(settings: object, *names: str, least: float) -> None:
    """Raises `ValueError` where one of these settings is no number, or below `least`; None is for what is not set."""
    for name in names:
        value: object = getattr(settings, name)
        if value is not None and not (isinstance(value, Real) and float(value) >= least):
            raise ValueError(f"{type(settings).__name__}({name}={value!r}): give a number from {least} on")


def require_plain(name: str, told: object) -> None:
    """Raises `TypeError` where what is called when something happens would have to be awaited."""
    if iscoroutinefunction(told):
        raise TypeError(f"{name} is called and not awaited: make it a plain `def`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Dollars per million tokens; `cached` is the price of prompt tokens the provider had cached."""

    input: float
    cached: float
    output: float

    def __post_init__(self) -> None:
        """Raises `ValueError` for what is no price."""
        require_numbers(self, "input", "cached", "output", least=0)

    def dollars(self, usage: Usage) -> float:
        """What a call of this usage costs."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        prompt = (usage.prompt_tokens - cached) * self.input + cached * self.cached
        return (prompt + usage.completion_tokens * self.output) / MILLION

    def upper_bound(self, prompt_tokens: int, completion_tokens: int) -> float:
        """The most that so many tokens can cost, whatever the provider has cached."""
        return (prompt_tokens * max(self.input, self.cached) + completion_tokens * self.output) / MILLION


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSettings:
    """How hard a lane may be driven, and what it costs.

    Attributes:
        concurrency: calls in flight at once, all endpoints together; "auto" finds it by watching the throughput.
        max_concurrency: upper bound for "auto", for each endpoint.
        requests_per_minute, tokens_per_minute, requests_per_day, tokens_per_day: the provider's limits; None where
            there is none or it is to be learned from the answers' headers.
        limit_group: by which processes on one server's store know that they share the limits a minute; "" for limits of
            this process alone.
        time_limit: seconds per attempt; one that hangs while others are answered is asked again sooner.
        attempts: tries of one request that fail in a way that may be the request's own (half answers, timeouts, 5xx).
            Refusals for the rate and outages do not use them up.
        patience: seconds without any success, refused or unable to reach the server, after which the lane gives up.
        first_patience: the same for a lane whose server was never heard of: most likely its address is wrong.
        prices: None for a lane that costs nothing per token.
        billing: what a call costs the user: its server's time, so that an unwanted call is aborted; or its tokens,
            which are paid for anyway, so that it is left to finish into the cache.
    """

    concurrency: int | Literal["auto"] = "auto"
    max_concurrency: int = 256
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_day: int | None = None
    limit_group: str = ""
    time_limit: float = 600.0
    attempts: int = 8
    patience: float = 900.0
    first_patience: float = 15.0
    prices: Prices | None = None
    billing: Billing = "time"

    def __post_init__(self) -> None:
        """Raises `ValueError` for a number under which nothing could ever be asked."""
        counts = () if self.concurrency == "auto" else ("concurrency",)
        rates = ("requests_per_minute", "tokens_per_minute", "requests_per_day", "tokens_per_day")
        require_numbers(self, *counts, *rates, "max_concurrency", "attempts", least=1)
        require_numbers(self, "time_limit", "patience", "first_patience", least=0)
        if not self.time_limit:
            raise ValueError("LaneSettings(time_limit=0): give the seconds that a call may take")
