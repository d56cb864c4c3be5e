"""A model of OpenAI's API as its rate limits are told: requests and tokens, enforced second by second.

A call counts as one request and as an estimate of its tokens made before it runs (a quarter of its characters and, as
documented, all of `max_tokens`); nothing of it comes back later. Both buckets refill continuously and hold no more than
`burst_seconds` of the limit, or one call where that is more. A refused call counts as a request, too. Sources: OpenAI's
rate limit guide and help articles 6891753 and 5955604.
"""

import asyncio
import math
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from metaspo.backends import (
    BackendError,
    CreditExhausted,
    LimitHints,
    RateLimited,
    Reply,
    Request,
    SlowDown,
)
from metaspo.backends.chat.usage import estimate_usage
from metaspo.backends.simulated import InProcess
from metaspo.bench.workload import CHARS_PER_TOKEN, fraction

MINUTE = 60.0
DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIModel:
    """A model's limits at one usage tier, and how fast it answers (assumed).

    Attributes:
        requests_per_minute, tokens_per_minute, requests_per_day: None where there is no limit.
        burst_seconds: of a minute's limit that may be used at once.
        counts_max_tokens: the estimate of a call's tokens includes all of `max_tokens`, else nothing of the answer.
        slow_down_above: calls granted in the last second above which another is refused with `slow_down`; None for
            no such rule.
        answers_before_credit_ends: then every call is refused for good; None for credit without end.
        first_seconds: to the first token; token_seconds: for each token of the answer.
        spread: the latency of a call lies within this factor of that, by the text of the request.
        shows_headers: answers say how much of the limits is left.
        refused_at_random: the share of calls that is refused whatever the rate, without a word on when to come back.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    requests_per_day: int | None = None
    burst_seconds: float = 1.0
    counts_max_tokens: bool = True
    slow_down_above: int | None = None
    answers_before_credit_ends: int | None = None
    first_seconds: float = 0.4
    token_seconds: float = 0.012
    spread: float = 1.5
    shows_headers: bool = True
    refused_at_random: float = 0.0

    def latency(self, request: Request, answer_tokens: int) -> float:
        """Seconds that a call takes."""
        mean = self.first_seconds + self.token_seconds * answer_tokens
        draw = fraction("latency", request.messages[-1].content, str(request.draw))
        return mean * math.exp((2 * draw - 1) * math.log(self.spread))

    def tokens(self, request: Request) -> int:
        """What a call counts as."""
        chars = sum(len(message.content) for message in request.messages)
        return math.ceil(chars / CHARS_PER_TOKEN) + self.counts_max_tokens * (request.sampling.max_tokens or 0)


# Requests and tokens per minute, requests per day, by usage tier.
GPT_4O_MINI = {
    1: OpenAIModel(requests_per_minute=500, tokens_per_minute=200_000, requests_per_day=10_000),
    3: OpenAIModel(requests_per_minute=5_000, tokens_per_minute=4_000_000),
    5: OpenAIModel(requests_per_minute=30_000, tokens_per_minute=150_000_000),
}


class Meter:
    """One limit: a bucket that refills continuously.

    Attributes:
        granted: everything ever taken.
    """

    __slots__ = ("_capacity", "_level", "_rate", "_updated", "granted", "limit")

    def __init__(self, limit: int, *, period: float, burst: float, now: float) -> None:
        """`limit` per `period` seconds; `burst` seconds of it may be taken at once."""
        self.limit = limit
        self.granted = 0
        self._rate = limit / period
        self._capacity = max(1.0, self._rate * burst)
        self._level = self._capacity
        self._updated = now

    def wait(self, amount: int, now: float) -> float:
        """Seconds until `amount` could be taken; 0.0 if it can be now. More than fits waits for a full bucket."""
        self._refill(now)
        missing = min(amount, self._capacity) - self._level
        return max(0.0, missing / self._rate) if missing > 1e-6 else 0.0

    def take(self, amount: int, now: float) -> None:
        """Take it; a call larger than the bucket leaves it in debt."""
        self._refill(now)
        self._level -= amount
        self.granted += amount

    def count_refusal(self, now: float) -> None:
        """A refused call counts, as far as there is something left."""
        self._refill(now)
        self._level = max(min(self._level, 0.0), self._level - 1)

    def remaining(self, now: float) -> int:
        """What could be taken now."""
        self._refill(now)
        return max(0, int(self._level + 1e-6))

    def reset(self, now: float) -> float:
        """Seconds until the bucket is full."""
        self._refill(now)
        return (self._capacity - self._level) / self._rate

    def _refill(self, now: float) -> None:
        self._level = min(self._capacity, self._level + self._rate * (now - self._updated))
        self._updated = now


class SimulatedOpenAI(InProcess):
    """The API as a backend. Time is the event loop's.

    Attributes:
        refusals: how many, by kind.
        granted: (time, counted tokens) of every call that was let through, in order.
    """

    def __init__(self, answer: Callable[[Request], str], model: OpenAIModel, *, name: str = "simulated-openai") -> None:
        super().__init__(name)
        self.model = model
        self.refusals: Counter[str] = Counter()
        self.granted: list[tuple[float, int]] = []
        self._answer = answer
        self._answered = 0
        self._meters: dict[str, Meter] = {}

    def __repr__(self) -> str:
        return f"<SimulatedOpenAI {self._name} granted={len(self.granted)} refused={self.refusals.total()}>"

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        """The answer after its latency. Raises `RateLimited`, `CreditExhausted` and `TimedOut`."""
        loop = asyncio.get_running_loop()
        tokens = self.model.tokens(request)
        refusal = self._refuse_at_random(request) or self._refuse(tokens, loop.time())
        if refusal is not None:
            await anyio.sleep(min(self.model.first_seconds, time_limit))
            raise refusal
        self.granted.append((loop.time(), tokens))
        hints = self._hints(loop.time())
        text = self._answer(request)
        usage = estimate_usage(request, text)
        latency = self.model.latency(request, usage.completion_tokens)
        await self._wait(latency, time_limit=time_limit)
        self._answered += 1
        return self._reply(request, text, latency=latency, usage=usage)._replace(hints=hints)

    def change(self, model: OpenAIModel) -> None:
        """Go on with other limits, from the next call on; they begin unused."""
        self.model = model
        self._meters = {}

    def _refuse_at_random(self, request: Request) -> RateLimited | None:
        number = self.refusals.total() + len(self.granted)
        if fraction("refused", request.messages[-1].content, str(number)) >= self.model.refused_at_random:
            return None
        self.refusals["at random"] += 1
        return RateLimited(f"{self._name}: too many requests.")

    def _refuse(self, tokens: int, now: float) -> BackendError | None:
        """Count the call, or say why not."""
        model = self.model
        if model.answers_before_credit_ends is not None and self._answered >= model.answers_before_credit_ends:
            self.refusals["credit"] += 1
            return CreditExhausted(f"{self._name}: the account's credit is used up; add to it.")
        meters = self._meters or self._open(now)
        amounts = {name: tokens if name == "tokens" else 1 for name in meters}
        for name, meter in meters.items():
            if meter.wait(amounts[name], now) > 0:
                return self._rate_limited(name, amounts[name], now)
        of_last_second = len(self.granted) - bisect_right(self.granted, (now - 1, sys.maxsize))
        if model.slow_down_above is not None and of_last_second >= model.slow_down_above:
            self.refusals["slow_down"] += 1
            return SlowDown(f"{self._name}: the rate of requests grew too fast.", hints=self._hints(now))
        for name, meter in meters.items():
            meter.take(amounts[name], now)
        return None

    def _rate_limited(self, name: str, amount: int, now: float) -> RateLimited:
        """Count the refusal, and say when the call would be let through if nobody else called."""
        self.refusals[name] += 1
        for counted in ("requests", "day"):
            if counted in self._meters:
                self._meters[counted].count_refusal(now)
        wait = self._meters[name].wait(amount, now)
        return RateLimited(f"{self._name}: rate limit reached for {name}.", retry_after=wait, hints=self._hints(now))

    def _open(self, now: float) -> dict[str, Meter]:
        model = self.model
        burst = model.burst_seconds
        if model.requests_per_minute is not None:
            self._meters["requests"] = Meter(model.requests_per_minute, period=MINUTE, burst=burst, now=now)
        if model.tokens_per_minute is not None:
            self._meters["tokens"] = Meter(model.tokens_per_minute, period=MINUTE, burst=burst, now=now)
        if model.requests_per_day is not None:
            self._meters["day"] = Meter(model.requests_per_day, period=DAY, burst=DAY, now=now)
        return self._meters

    def _hints(self, now: float) -> LimitHints | None:
        if not self.model.shows_headers:
            return None
        requests, tokens = self._meters.get("requests"), self._meters.get("tokens")
        return LimitHints(
            requests_limit=requests.limit if requests else None,
            requests_remaining=requests.remaining(now) if requests else None,
            requests_reset=requests.reset(now) if requests else None,
            tokens_limit=tokens.limit if tokens else None,
            tokens_remaining=tokens.remaining(now) if tokens else None,
            tokens_reset=tokens.reset(now) if tokens else None,
        )
