"""The servers that `bench serve` measures, each a process of its own: bare aiohttp.web, and metaspo's.

Prints its port, and then its CPU seconds so far and its bytes of memory for each line on its standard input; ends with
that.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import process_time

import orjson
from aiohttp import web

from metaspo.backends.loops.event_loop import new_event_loop
from metaspo.backends.loops.garbage import leave_alone_what_stays
from metaspo.bench.measure import keep_to_core, memory
from metaspo.bench.servers.completion import ANSWER
from metaspo.serving import ServeConfig, open_server

MODEL = "bench"
SLOTS = 64  # calls to the model's server at once
BARE, OURS = "bare aiohttp.web", "metaspo serve"


@asynccontextmanager
async def bare(_upstream: str, _port: int, _folder: Path) -> AsyncIterator[int]:
    """Reads the body as JSON and answers the same to everybody."""

    async def chat(request: web.Request) -> web.Response:
        orjson.loads(await request.read())
        return web.Response(body=ANSWER, content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@asynccontextmanager
async def ours(upstream: str, port: int, folder: Path) -> AsyncIterator[int]:
    """The whole server, with its cache on disk."""
    model = {"model": MODEL, "endpoints": [upstream], "concurrency": SLOTS}
    config = ServeConfig.model_validate({"models": [model], "port": port, "cache": "cache"})
    async with open_server(config, environment={}, folder=folder) as (_, address):
        yield int(address.rpartition(":")[2].partition("/")[0])


async def serve(name: str, upstream: str, port: int, folder: Path) -> None:
    """Serve until standard input ends."""
    contender = bare if name == BARE else ours
    async with contender(upstream, port, folder) as port:
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            sys.stdout.write(f"{process_time()} {memory()}\n")
            sys.stdout.flush()


def main() -> None:
    """Serve what the arguments name (name, upstream, port or 0 for any, folder of the cache)."""
    keep_to_core(1)  # whoever asks has the other one
    leave_alone_what_stays()  # as the command does
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        name, upstream, port, folder = sys.argv[1:]
        runner.run(serve(name, upstream, int(port), Path(folder)))
