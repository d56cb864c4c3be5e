"""A chat server that may be killed at any moment: what it was paid for is in a file before the answer goes out.

Arguments: port, file. Prints a line when it listens and serves until its standard input closes.
"""

import asyncio
import sys
from hashlib import blake2b
from typing import BinaryIO

from aiohttp import web

from metaspo.bench.measure import keep_to_core
from metaspo.bench.servers.completion import ANSWER

DIGEST = 8  # bytes of a body's digest
SECONDS = 0.02  # that an answer takes


def digest_of(body: bytes) -> bytes:
    """By which a body is counted."""
    return blake2b(body, digest_size=DIGEST).digest()


async def serve(port: int, paid: BinaryIO) -> None:
    """Serve on that port of the loopback."""

    async def chat(request: web.Request) -> web.Response:
        body = await request.read()
        await asyncio.sleep(SECONDS)
        paid.write(digest_of(body))
        return web.Response(body=ANSWER, content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    sys.stdout.write("\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


def main() -> None:
    """Serve as the arguments say (port, file)."""
    keep_to_core(0)  # the measured server has the other one
    port, file = sys.argv[1:]
    with open(file, "ab", buffering=0) as paid:
        asyncio.run(serve(int(port), paid))
