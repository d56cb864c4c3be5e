"""One of the processes of `bench machines`: asks questions of its own under a shared limit until the cap is reached.

Arguments: URL of the shared store, URL of the model's server, requests a minute, cap on calls, group, its number.
"""

import asyncio
import sys
from contextlib import suppress
from itertools import count

from metaspo.backends import Message, OpenAICompatible, Request, Sampling
from metaspo.bench.in_flight import run_all
from metaspo.cache import open_store
from metaspo.scheduling import Account, Budget, BudgetExhausted, Gateway, Lane, LaneSettings

AT_ONCE = 40


async def ask(store_url: str, url: str, per_minute: int, cap: int, group: str, number: str) -> None:
    """Return when the cap is reached."""
    settings = LaneSettings(concurrency=64, requests_per_minute=per_minute, limit_group=group, billing="tokens")
    lane = Lane("model", [OpenAICompatible(url)], settings)
    account = Account(number, Budget(calls=cap, group=group))
    async with open_store(store_url) as store, Gateway([lane], store=store) as gateway:

        async def ask_one(question: int) -> None:
            text = f"Process {number} of {group}, question {question}"
            request = Request(model="m", messages=(Message("user", text),), sampling=Sampling(max_tokens=8))
            await gateway.complete(request, lane="model", account=account)

        with suppress(BudgetExhausted):
            await run_all(ask_one, count(), at_once=AT_ONCE)


def main() -> None:
    """Ask as the arguments say."""
    store_url, url, per_minute, cap, group, number = sys.argv[1:]
    asyncio.run(ask(store_url, url, int(per_minute), int(cap), group, number))
