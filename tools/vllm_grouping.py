"""The workload that shows what order does for a server's prefix cache."""

import asyncio
import urllib.request
from itertools import product
from pathlib import Path

from vllm_server import Hits

from metaspo.backends import Message, Request, Sampling
from metaspo.backends.managed.vllm import VllmReplica, VllmSettings
from metaspo.cache import MemoryStore
from metaspo.scheduling import Gateway, Lane, LaneSettings

PREFIXES = 20
QUESTIONS = 20  # for each prefix
IN_FLIGHT = 8
MIN_HIT_RATE = 0.85
RULES = 40  # sentences of a system prompt: with them, a request is some 600 tokens long


def run_grouped(settings: VllmSettings, logs: Path, *, by_prefix: bool) -> tuple[float, Hits]:
    """Ask everything at once, one question of each prefix after the other; returns the seconds until the last answer,
    and what the server had of the prompts.

    `by_prefix` gives the requests of each prefix a priority of their own, as metaspo does for each prompt pair.
    """
    return asyncio.run(_ask_all(VllmReplica(settings, logs=logs), settings.model, by_prefix=by_prefix))


async def _ask_all(server: VllmReplica, model: str, *, by_prefix: bool) -> tuple[float, Hits]:
    lane = Lane("base", [server], LaneSettings(concurrency=IN_FLIGHT))
    clock = asyncio.get_running_loop().time
    async with Gateway([lane], store=MemoryStore()) as gateway:
        await server.start()
        began = clock()
        async with asyncio.TaskGroup() as group:
            for question, prefix in product(range(QUESTIONS), range(PREFIXES)):
                priority = (prefix,) if by_prefix else ()
                group.create_task(gateway.complete(_request(model, prefix, question), lane="base", priority=priority))
        seconds = clock() - began
        assert server.address is not None
        page = await asyncio.to_thread(_page, server.address.removesuffix("/v1") + "/metrics")
    return seconds, Hits.parse(page)


def _page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310 - our own server
        text: str = response.read().decode()
        return text


def _request(model: str, prefix: int, question: int) -> Request:
    rules = " ".join(f"In house {10 + prefix} rule {rule} comes before any other rule." for rule in range(RULES))
    messages = (Message("system", rules), Message("user", f"Which rule comes after rule {question}?"))
    return Request(model=model, messages=messages, sampling=Sampling(max_tokens=8))
