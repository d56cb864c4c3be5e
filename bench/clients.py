"""Ways to send the same chat requests, each as a program would use it; run in a process of its own by `overhead`."""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import aiohttp
import orjson

from metaspo.backends import Message, OpenAICompatible, Request, Sampling
from metaspo.backends.loops.event_loop import new_event_loop
from metaspo.backends.loops.garbage import leave_alone_what_stays
from metaspo.bench.in_flight import AT_ONCE, run_all
from metaspo.bench.measure import Timing, keep_to_core, timed_async
from metaspo.bench.workload import filler
from metaspo.cache import DiskStore
from metaspo.scheduling import Gateway, Lane, LaneSettings

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

WARM_UP = 256
MODEL = "bench"

Batch = Callable[[list[Request]], Awaitable[object]]


def make_requests(count: int, *, start: int = 0) -> list[Request]:
    """Requests of about 1.2 KB, no two alike."""
    system = Message("system", filler(150))
    return [
        Request(
            model=MODEL,
            messages=(system, Message("user", f"Statement {number}: {filler(120)}")),
            sampling=Sampling(max_tokens=64),
        )
        for number in range(start, start + count)
    ]


def chat_messages(request: Request) -> list[dict[str, str]]:
    """A request's messages as plain data."""
    return [{"role": message.role, "content": message.content} for message in request.messages]


@asynccontextmanager
async def bare(url: str) -> AsyncIterator[Batch]:
    """aiohttp and orjson, nothing else."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers={"Content-Type": "application/json"}) as session:

        async def ask(request: Request) -> str:
            body = {"model": MODEL, "messages": chat_messages(request), "max_tokens": 64, "temperature": 0.0}
            async with session.post(f"{url}/chat/completions", data=orjson.dumps(body)) as response:
                answer: str = orjson.loads(await response.read())["choices"][0]["message"]["content"]
                return answer

        yield partial(run_all, ask)


@asynccontextmanager
async def gateway(url: str) -> AsyncIterator[Batch]:
    """metaspo's whole gateway: key, cache miss, single flight, queue, limits, HTTP, store on disk."""
    with tempfile.TemporaryDirectory(prefix="metaspo-bench-") as folder:
        settings = LaneSettings(concurrency=AT_ONCE, requests_per_minute=10**9, tokens_per_minute=10**12)
        lane = Lane("base", [OpenAICompatible(url)], settings)
        async with DiskStore(Path(folder)) as store, Gateway([lane], store=store) as opened:
            yield partial(opened.complete_many, lane="base")


@asynccontextmanager
async def openai_sdk(url: str) -> AsyncIterator[Batch]:
    """The openai SDK with its retries off."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

        async def ask(request: Request) -> object:
            messages = cast("list[ChatCompletionMessageParam]", chat_messages(request))
            return await client.chat.completions.create(model=MODEL, messages=messages, max_tokens=64, temperature=0.0)

        yield partial(run_all, ask)


ON_UVLOOP = ", on uvloop"  # behind a client's name
CLIENTS = {"bare aiohttp + orjson": bare, "metaspo": gateway, "openai SDK": openai_sdk}


async def measure(name: str, url: str, calls: int) -> dict[str, float]:
    """Microseconds per call: fresh; and for metaspo also the same calls again, out of its cache."""
    async with CLIENTS[name](url) as batch:
        await batch(make_requests(WARM_UP))
        requests = make_requests(calls, start=WARM_UP)
        figures = _per_call("", await timed_async(partial(batch, requests)), calls)
        if name == "metaspo":
            figures |= _per_call("cached ", await timed_async(partial(batch, requests)), calls)
    return figures


def _per_call(kind: str, timing: Timing, calls: int) -> dict[str, float]:
    return {f"{kind}cpu": 1e6 * timing.cpu / calls, f"{kind}wall": 1e6 * timing.wall / calls}


def main() -> None:
    """Measure the client that the arguments name (name, URL, calls) and print what was found as JSON.

    On asyncio's own loop, or on uvloop's where the name ends so.
    """
    name, url, calls = sys.argv[1:]
    client = name.removesuffix(ON_UVLOOP)
    keep_to_core(1)  # the server has the other one
    leave_alone_what_stays()  # as a command does
    with asyncio.Runner(loop_factory=new_event_loop if client != name else asyncio.new_event_loop) as runner:
        figures = runner.run(measure(client, url, int(calls)))
    sys.stdout.buffer.write(orjson.dumps(figures))
