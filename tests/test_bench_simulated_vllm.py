"""The simulated vLLM keeps the rules of a server: places, KV cache, order, bounds."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaspo.backends import Message, Overloaded, Request, Sampling, TimedOut
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.bench import SimulatedVLLM, VLLMModel
from metaspo.bench.servers.kv_cache import KVCache, block_keys
from metaspo.bench.workload import filler

LIMIT = 10_000.0
SMALL = VLLMModel(max_num_seqs=4, kv_blocks=120, network_seconds=0.0)


def ask(number: int, *, group: int = 0, tokens: int = 100) -> Request:
    """A request that shares most of its prompt with its group."""
    system = Message("system", f"{group} {filler(tokens)}")
    return Request(model="m", messages=(system, Message("user", f"{number}?")), sampling=Sampling(max_tokens=64))


def answer(request: Request) -> str:
    """Ten tokens, or as many as the question says."""
    return "word" * (10 + int(request.messages[-1].content[:-1]) % 7)


def served(server: SimulatedVLLM, requests: list[Request], *, at_once: int) -> float:
    """Seconds that it takes to have all answered."""

    async def main() -> float:
        rest = iter(requests)

        async def worker() -> None:
            for request in rest:
                await server.complete(request, time_limit=LIMIT)

        await asyncio.gather(*(worker() for _ in range(at_once)))
        return asyncio.get_running_loop().time()

    return run_virtual(main())


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 60), groups=st.integers(1, 5), at_once=st.integers(1, 40), places=st.integers(1, 8))
def test_never_more_run_than_there_are_places_or_blocks(count: int, groups: int, at_once: int, places: int) -> None:
    server = SimulatedVLLM(answer, replace(SMALL, max_num_seqs=places))
    held: list[int] = []
    real = server._admit

    def watched() -> tuple[int, int]:
        found = real()
        held.append(server._cache.held)
        return found

    server._admit = watched  # type: ignore[method-assign]
    served(server, [ask(n, group=n % groups) for n in range(count)], at_once=at_once)
    found = server.statistics()
    assert found.answered == count
    assert found.most_running <= places
    assert max(held) <= SMALL.kv_blocks
    assert server._cache.held == 0


def test_grouped_order_finds_more_of_its_prompts_in_the_cache_than_round_robin() -> None:
    grouped = [ask(n, group=g) for g in range(24) for n in range(10)]
    round_robin = [ask(n, group=g) for n in range(10) for g in range(24)]
    rates = []
    for order in (grouped, round_robin):
        server = SimulatedVLLM(answer, SMALL)
        served(server, order, at_once=4)
        rates.append(server.statistics().hit_rate)
    assert rates[0] > 0.7
    assert rates[1] < 0.5 * rates[0]


def test_a_step_takes_what_the_parameters_say() -> None:
    model = VLLMModel(network_seconds=0.5)
    request = ask(0)
    prompt = sum(-(-len(message.content) // 4) for message in request.messages)
    tokens = 10
    seconds = served(SimulatedVLLM(answer, model), [request], at_once=1)
    each = model.step_seconds + model.sequence_seconds
    assert seconds == pytest.approx(2 * 0.5 + tokens * each + prompt * model.prompt_seconds)


def test_more_places_never_take_longer() -> None:
    requests = [ask(n, group=n // 10) for n in range(80)]
    times = [
        served(SimulatedVLLM(answer, VLLMModel(max_num_seqs=places)), requests, at_once=80) for places in (1, 4, 16, 64)
    ]
    assert times == sorted(times, reverse=True)


@pytest.mark.virtual
async def test_a_full_queue_refuses_and_a_cancelled_call_frees_its_place() -> None:
    server = SimulatedVLLM(answer, replace(SMALL, queue_bound=6))
    calls = [asyncio.create_task(server.complete(ask(n), time_limit=LIMIT)) for n in range(6)]
    await asyncio.sleep(0.05)
    with pytest.raises(Overloaded):
        await server.complete(ask(9), time_limit=LIMIT)
    calls[0].cancel()
    calls[5].cancel()
    await asyncio.sleep(0)
    assert await server.load() == {
        "running": 3.0,
        "waiting": 1.0,
        "preemptions": 0.0,
        "kv_cache": pytest.approx(server._cache.held / SMALL.kv_blocks),
    }
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(one, asyncio.CancelledError) for one in done) == 2
    assert server.statistics().answered == 4
    assert server._cache.held == 0


@pytest.mark.virtual
async def test_a_call_over_its_time_limit_is_a_timeout() -> None:
    server = SimulatedVLLM(answer, SMALL)
    with pytest.raises(TimedOut):
        await server.complete(ask(0), time_limit=0.02)
    assert asyncio.get_running_loop().time() == pytest.approx(0.02)


@given(texts=st.lists(st.text("ab", max_size=40), min_size=2, max_size=2))
def test_block_keys_are_equal_exactly_as_far_as_texts_begin_alike(texts: list[str]) -> None:
    one, other = (block_keys(text, block_chars=4) for text in texts)
    for number, (key, same) in enumerate(zip(one, other, strict=False), start=1):
        assert (key == same) == (texts[0][: 4 * number] == texts[1][: 4 * number])


@given(prompts=st.lists(st.text("ab", min_size=4, max_size=24), min_size=1, max_size=30), blocks=st.integers(7, 20))
def test_the_cache_never_holds_more_blocks_than_there_are(prompts: list[str], blocks: int) -> None:
    cache = KVCache(blocks)
    held: list[tuple[int, ...]] = []
    for prompt in prompts:
        keys = block_keys(prompt, block_chars=4)
        while cache.take(keys, nameless=1) is None:
            cache.give_back(held.pop(0), nameless=1)
        held.append(keys)
        assert cache.held + len(cache._unheld) <= blocks
        assert cache.held == len({key for one in held for key in one}) + len(held)
    for keys in held:
        cache.give_back(keys, nameless=1)
    assert cache.held == 0
