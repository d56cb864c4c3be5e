"""Limits that a provider counts in exact windows, where a higher one was set: the pace is found, and kept below it."""

import asyncio
from random import Random

import pytest

from metaspo.backends import Completion, Message, RateLimited, Reply, Request, ServerInfo, Usage
from metaspo.cache import MemoryStore
from metaspo.scheduling import Gateway, Lane, LaneSettings

SETTLED, END = 180.0, 300.0  # seconds


class Windows:
    """Takes so many calls in each window of so many seconds, and no more; says nothing of when to come back."""

    name = "windows"

    def __init__(self, calls: int, *, seconds: float) -> None:
        self._calls, self._seconds = calls, seconds
        self._window = -1
        self._taken = 0
        self._rng = Random(1)
        self.taken: list[float] = []
        self.refused: list[float] = []

    async def complete(self, request: Request, *, time_limit: float) -> Reply:
        await asyncio.sleep(self._rng.uniform(0.02, 0.06))
        now = asyncio.get_running_loop().time()
        if now // self._seconds != self._window:
            self._window, self._taken = int(now // self._seconds), 0
        if self._taken >= self._calls:
            self.refused.append(now)
            raise RateLimited("Too many requests.")
        self._taken += 1
        self.taken.append(now)
        await asyncio.sleep(self._rng.uniform(0.3, 0.9))
        return Reply(Completion("yes", "stop", Usage(10, 1), 0.5), None)

    async def probe(self) -> ServerInfo:
        return ServerInfo(models=())

    async def load(self) -> dict[str, float]:
        return {}

    async def aclose(self) -> None:
        pass


@pytest.mark.virtual
@pytest.mark.parametrize(("per_minute", "seconds"), [(600, 10.0), (3000, 1.0)])
async def test_a_limit_set_too_high_costs_few_refusals_once_its_windows_are_known(
    per_minute: int, seconds: float
) -> None:
    """They come in bursts, which are not taken for those of a server that refuses at random."""
    true = 0.6 * per_minute
    server = Windows(int(true * seconds / 60), seconds=seconds)
    requests = [
        Request(model="m", messages=(Message("user", f"Is it {number}?"),)) for number in range(int(true * END / 60))
    ]
    lane = Lane("base", [server], LaneSettings(concurrency=64, requests_per_minute=per_minute))
    async with MemoryStore() as store, Gateway([lane], store=store) as gateway:
        asked = asyncio.create_task(gateway.complete_many(requests, lane="base"))
        await asyncio.sleep(END)
        asked.cancel()
        await asyncio.wait([asked])
    minutes = (END - SETTLED) / 60
    assert sum(at >= SETTLED for at in server.refused) <= 20 * minutes
    assert sum(at >= SETTLED for at in server.taken) >= 0.9 * true * minutes
