"""The simulated OpenAI API grants what its limits allow, and refuses the rest in the documented ways."""

import asyncio
import math
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaspo.backends import CreditExhausted, Message, RateLimited, Request, Sampling, SlowDown
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.bench import OpenAIModel, SimulatedOpenAI

LIMIT = 600.0


def ask(number: int, *, chars: int = 40, max_tokens: int = 10) -> Request:
    text = f"{number} " + "x" * chars
    return Request(model="m", messages=(Message("user", text),), sampling=Sampling(max_tokens=max_tokens))


def answer(_: Request) -> str:
    return "yes"


async def hammer(server: SimulatedOpenAI, calls: list[tuple[float, int]]) -> None:
    """Send calls of so many characters at these times, whatever comes back."""

    async def one(number: int, at: float, chars: int) -> None:
        await asyncio.sleep(at)
        with suppress(RateLimited):
            await server.complete(ask(number, chars=chars), time_limit=LIMIT)

    await asyncio.gather(*(one(number, at, chars) for number, (at, chars) in enumerate(calls)))


@settings(max_examples=30, deadline=None)
@given(
    calls=st.lists(st.tuples(st.floats(0, 30), st.integers(0, 400)), min_size=1, max_size=150),
    requests=st.integers(30, 600),
    tokens=st.integers(600, 6000),
    burst=st.floats(0.5, 10),
)
def test_no_stretch_of_time_is_granted_more_than_its_limit_and_one_burst(
    calls: list[tuple[float, int]], requests: int, tokens: int, burst: float
) -> None:
    model = OpenAIModel(requests_per_minute=requests, tokens_per_minute=tokens, burst_seconds=burst)
    server = SimulatedOpenAI(answer, model)
    run_virtual(hammer(server, calls))
    granted = server.granted
    assert len(granted) + server.refusals.total() == len(calls)
    for first in range(len(granted)):
        for last in range(first, len(granted)):
            seconds = granted[last][0] - granted[first][0]
            taken = granted[first : last + 1]
            assert len(taken) <= requests / 60 * (seconds + burst) + 1 + 1e-6
            before_last = sum(amount for _, amount in taken[:-1])
            assert before_last <= tokens / 60 * (seconds + burst) + max(amount for _, amount in taken) + 1e-6


@pytest.mark.virtual
async def test_a_call_sent_again_after_the_named_wait_is_granted() -> None:
    server = SimulatedOpenAI(answer, OpenAIModel(requests_per_minute=60))
    await server.complete(ask(0), time_limit=LIMIT)
    with pytest.raises(RateLimited) as refused:
        await server.complete(ask(1), time_limit=LIMIT)
    assert refused.value.retry_after is not None
    await asyncio.sleep(refused.value.retry_after)
    await server.complete(ask(1), time_limit=LIMIT)


def test_max_tokens_count_unless_the_model_says_otherwise() -> None:
    request = ask(0, chars=398, max_tokens=100)
    assert OpenAIModel().tokens(request) == 200
    assert OpenAIModel(counts_max_tokens=False).tokens(request) == 100


@pytest.mark.virtual
async def test_headers_tell_what_is_left() -> None:
    model = OpenAIModel(requests_per_minute=600, tokens_per_minute=60_000)
    server = SimulatedOpenAI(answer, model)
    hints = (await server.complete(ask(0), time_limit=LIMIT)).hints
    assert hints is not None
    assert (hints.requests_limit, hints.tokens_limit) == (600, 60_000)
    assert hints.requests_remaining == 10 - 1
    assert hints.tokens_remaining == 1000 - model.tokens(ask(0))
    silent = SimulatedOpenAI(answer, OpenAIModel(requests_per_minute=600, shows_headers=False))
    assert (await silent.complete(ask(0), time_limit=LIMIT)).hints is None


@pytest.mark.virtual
async def test_exhausted_credit_and_too_fast_growth_are_refused_by_their_own_errors() -> None:
    poor = SimulatedOpenAI(answer, OpenAIModel(answers_before_credit_ends=2))
    for number in range(2):
        await poor.complete(ask(number), time_limit=LIMIT)
    with pytest.raises(CreditExhausted):
        await poor.complete(ask(3), time_limit=LIMIT)
    touchy = SimulatedOpenAI(answer, OpenAIModel(slow_down_above=5))
    calls = [touchy.complete(ask(number), time_limit=LIMIT) for number in range(8)]
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(one, SlowDown) for one in done) == 3


@given(draw=st.integers(0, 1000), tokens=st.integers(0, 500))
def test_latency_stays_within_its_spread(draw: int, tokens: int) -> None:
    model = OpenAIModel()
    request = Request(model="m", messages=(Message("user", "?"),), draw=draw)
    mean = model.first_seconds + model.token_seconds * tokens
    assert mean / model.spread <= model.latency(request, tokens) <= mean * model.spread
    assert math.isclose(model.latency(request, tokens), model.latency(request, tokens))
