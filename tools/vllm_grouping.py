"""The workload that shows what order does for a server's prefix cache."""

import asyncio
from itertools import product

from metaspo.backends import Message, OpenAICompatible, Request, Sampling
from metaspo.cache import MemoryStore
from metaspo.scheduling import Gateway, Lane, LaneSettings

PREFIXES = 20
QUESTIONS = 20  # for each prefix
IN_FLIGHT = 8
MIN_HIT_RATE = 0.85
RULES = 40  # sentences of a system prompt: with them, a request is some 600 tokens long


def run_grouped(url: str, *, by_prefix: bool) -> float:
    """Ask everything at once, one question of each prefix after the other; returns the seconds until the last answer.

    `by_prefix` gives the requests of each prefix a priority of their own, as metaspo does for each prompt pair.
    """
    return asyncio.run(_ask_all(url, by_prefix=by_prefix))


async def _ask_all(url: str, *, by_prefix: bool) -> float:
    lane = Lane("base", [OpenAICompatible(url)], LaneSettings(concurrency=IN_FLIGHT))
    clock = asyncio.get_running_loop().time
    began = clock()
    async with Gateway([lane], store=MemoryStore()) as gateway, asyncio.TaskGroup() as group:
        for question, prefix in product(range(QUESTIONS), range(PREFIXES)):
            priority = (prefix,) if by_prefix else ()
            group.create_task(gateway.complete(_request(prefix, question), lane="base", priority=priority))
    return clock() - began


def _request(prefix: int, question: int) -> Request:
    rules = " ".join(f"In house {10 + prefix} rule {rule} comes before any other rule." for rule in range(RULES))
    messages = (Message("system", rules), Message("user", f"Which rule comes after rule {question}?"))
    return Request(model="smollm2", messages=messages, sampling=Sampling(max_tokens=8))
