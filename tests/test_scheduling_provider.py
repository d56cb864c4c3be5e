"""A lane against a provider that enforces limits its own way: the limit is used, and hardly a call is refused."""

import random
from dataclasses import replace

import pytest
from scheduling_world import Server, ask, now
from sizes import rest_is_slow

from metaspo.backends import Completion, LimitHints, Message, RateLimited, Reply, Request, Sampling, Usage
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.cache import MemoryStore
from metaspo.scheduling import Gateway, Lane, LaneSettings
from metaspo.scheduling.limits.throttle import SCOUTS

RPM, TPM = 500, 200_000
CALLS = 1_000


class Provider(Server):
    """Continuously refilling limits, as OpenAI's behave; refused calls cost nothing more than themselves.

    Attributes:
        declared: whether it counts the prompt's characters / 4 and all of `max_tokens` instead of the tokens used;
            larger: or the larger of the two.
        resets: whether headers say when all is full again.
        depth: seconds of quota it lets somebody save up.
    """

    def __init__(
        self, *, declared: bool, depth: float, headers: bool, tpm: int = TPM, larger: bool = False, resets: bool = False
    ) -> None:
        super().__init__("provider", latency=2.0)
        self.declared = declared
        self.depth = depth
        self.headers = headers
        self.larger = larger
        self.resets = resets
        self.tpm = tpm
        self.refused_at: list[float] = []
        self.charged: list[tuple[float, int]] = []
        self._requests = RPM / 60 * depth
        self._tokens = tpm / 60 * depth
        self._at = 0.0
        self._rng = random.Random(7)

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        chars = sum(len(message.content) for message in request.messages)
        usage = Usage(chars // 5 + 8, self._rng.randint(20, 120))
        cost = usage.prompt_tokens + usage.completion_tokens
        if self.declared:
            declared = chars // 4, request.sampling.max_tokens or 0
            cost = max(declared) if self.larger else sum(declared)
        self._admit(cost)
        hints = self._hints()
        await self.work(request)
        self.finished_at.append(now())
        completion = Completion(text="x", finish_reason="stop", usage=usage, latency=self.latency)
        return Reply(completion, hints)

    def _admit(self, cost: int) -> None:
        passed, self._at = now() - self._at, now()
        self._requests = min(RPM / 60 * self.depth, self._requests + RPM / 60 * passed)
        self._tokens = min(self.tpm / 60 * self.depth, self._tokens + self.tpm / 60 * passed)
        missing = max((1 - self._requests) / RPM, (cost - self._tokens) / self.tpm) * 60
        if missing > 1e-9:
            self.refused_at.append(now())
            raise RateLimited("429", retry_after=missing, hints=self._hints())
        self._requests -= 1
        self._tokens -= cost
        self.charged.append((now(), cost))

    def _hints(self) -> LimitHints | None:
        if not self.headers:
            return None
        return LimitHints(
            requests_limit=RPM,
            requests_remaining=int(self._requests),
            tokens_limit=self.tpm,
            tokens_remaining=int(self._tokens),
            tokens_reset=(self.depth - self._tokens / self.tpm * 60) if self.resets else None,
        )

    def use(self, start: float) -> float:
        """The share of the token limit that was charged from `start` until work ran out."""
        end = self.charged[-1][0]
        return sum(cost for at, cost in self.charged if start <= at < end) / (end - start) * 60 / self.tpm


class Shrinking(Provider):
    """Halves its limit after a minute."""

    async def work(self, request: Request) -> None:
        if now() > 60:
            self.tpm = TPM // 2
        await super().work(request)


def run_against(
    provider: Provider,
    settings: LaneSettings,
    *,
    max_tokens: int = 512,
    length: tuple[int, int] = (200, 2_500),
    more: int = 0,
) -> None:
    """Send calls of different lengths (in words), all at once; every second one declares so much `more`."""
    rng = random.Random(3)
    requests = [
        Request(
            model="m",
            messages=(Message("user", f"{number} " + "w " * rng.randint(*length)),),
            sampling=Sampling(max_tokens=max_tokens + more * (number % 2)),
        )
        for number in range(CALLS)
    ]

    async def main() -> None:
        async with Gateway([Lane("lane", [provider], settings)], store=MemoryStore()) as gateway:
            await gateway.complete_many(requests, lane="lane")

    run_virtual(main())


SET = LaneSettings(requests_per_minute=RPM, tokens_per_minute=TPM, billing="tokens")
UNSET = LaneSettings(billing="tokens")


@pytest.mark.parametrize("depth", [60, 2])
@pytest.mark.parametrize("headers", rest_is_slow([True, False]))
def test_a_provider_that_counts_what_is_used(depth: float, headers: bool) -> None:
    """97% of the limit is used, not one call is refused, with headers or without."""
    provider = Provider(declared=False, depth=depth, headers=headers)
    run_against(provider, SET)
    assert provider.use(30.0) >= 0.97
    assert not provider.refused_at


def test_a_provider_that_counts_what_is_declared_and_says_so() -> None:
    """The headers teach how it counts before the first refusal."""
    provider = Provider(declared=True, depth=60, headers=True)
    run_against(provider, SET)
    assert provider.use(120.0) >= 0.97
    assert not provider.refused_at


@pytest.mark.parametrize("depth", [60, 2])
def test_a_provider_that_counts_what_is_declared_and_says_nothing(depth: float) -> None:
    """Only refusals can teach how it counts: a handful is enough."""
    provider = Provider(declared=True, depth=depth, headers=False)
    run_against(provider, SET)
    assert len(provider.refused_at) <= 15
    assert provider.use(60.0) >= 0.85


@pytest.mark.parametrize(("declared", "larger"), rest_is_slow([(True, True), (True, False), (False, False)]))
@pytest.mark.parametrize(("depth", "settings"), rest_is_slow([(60, UNSET), (2, SET), (60, SET), (2, UNSET)], but=2))
def test_calls_that_use_different_shares_of_what_they_declare(
    declared: bool, larger: bool, depth: float, settings: LaneSettings
) -> None:
    """However a provider counts, where headers say when all is full again the limit is used, and nothing is refused
    once they have told it."""
    provider = Provider(declared=declared, larger=larger, depth=depth, headers=True, resets=True)
    run_against(provider, settings, more=1_500)
    assert provider.use(30.0) >= 0.97
    assert not [at for at in provider.refused_at if settings is SET or at > 0]


def test_calls_of_half_a_bucket_are_understood() -> None:
    """Counted at three times what they use and with little saved up: the headers teach it within the first minute."""
    provider = Provider(declared=True, depth=1, headers=True)
    run_against(provider, UNSET, max_tokens=1_024, length=(1_000, 1_100))
    assert provider.use(60.0) >= 0.97
    assert len([at for at in provider.refused_at if at > 60]) <= 1


@pytest.mark.parametrize("words", [(1_000, 1_100), (600, 1_100)])
def test_where_two_calls_fit_nothing_is_refused(words: tuple[int, int]) -> None:
    """Half a second of the limit is saved up, two calls' worth: enough to use 97% of it without a refusal."""
    provider = Provider(declared=True, depth=0.5, headers=True)
    run_against(provider, SET, max_tokens=128, length=words)
    assert provider.use(60.0) >= 0.97
    assert not [at for at in provider.refused_at if at > 60]


def test_nobody_knows_the_limits_so_only_a_few_calls_go_ahead() -> None:
    """A whole queue sent at once to a provider that nobody knows would be refused, and counted."""
    provider = Provider(declared=False, depth=1, headers=True)
    run_against(provider, replace(UNSET, concurrency=512))
    assert len(provider.refused_at) <= SCOUTS


def test_limits_nobody_set_are_learned_from_the_headers() -> None:
    """Without any setting the first answers tell."""
    provider = Provider(declared=False, depth=60, headers=True)
    run_against(provider, UNSET)
    assert provider.use(60.0) >= 0.97
    assert len(provider.refused_at) <= 1


def test_a_limit_that_shrinks_while_running_is_followed() -> None:
    """Half the limit from one minute to the next: the headers tell, and it is kept."""
    provider = Shrinking(declared=False, depth=60, headers=True)
    run_against(provider, SET)
    assert provider.use(120.0) == pytest.approx(1.0, abs=0.03)
    assert len(provider.refused_at) <= 2


class Strict(Server):
    """Lets through 40 requests a second and hardly any at once, and says nothing but 429."""

    RATE, SAVED_UP = 40.0, 4.0

    def __init__(self) -> None:
        super().__init__("strict", latency=0.02)
        self.refused = 0
        self._left, self._at = self.SAVED_UP, 0.0

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        passed, self._at = now() - self._at, now()
        self._left = min(self.SAVED_UP, self._left + passed * self.RATE)
        if self._left < 1:
            self.refused += 1
            raise RateLimited("429")
        self._left -= 1
        return await super().complete(request, time_limit=time_limit)


def test_after_a_refusal_nothing_goes_that_was_saved_up_while_it_was_waited_for() -> None:
    """Else a provider that lets save up little refuses that again, and each wait is twice as long as the one before."""

    async def main() -> tuple[float, int]:
        server = Strict()
        settings = LaneSettings(concurrency=64, requests_per_minute=round(60 * server.RATE))
        async with Gateway([Lane("lane", [server], settings)], store=MemoryStore()) as gateway:
            await gateway.complete_many([ask(number) for number in range(600)], lane="lane")
            return now(), server.refused

    seconds, refused = run_virtual(main())
    assert seconds < 1.2 * 600 / Strict.RATE
    assert refused < 30
