"""What a request brings: its body, whole and in time, and what it says of how it is to be answered."""

import asyncio
from math import inf, isfinite

import orjson
from aiohttp import web

from metaspo.engine.listening import IDLE
from metaspo.scheduling import CallFailed
from metaspo.serving.questions import KEEP_ALIVE
from metaspo.serving.replies import JSON

MAX_OF_BODY = 64 << 20  # bytes


async def body_of(http: web.Request) -> bytes:
    """The body. Raises `CallFailed`, and `HTTPRequestTimeout` for who holds a place with half of one.

    Another type is what a page elsewhere could send without being asked for leave.
    """
    if http.headers.get("Content-Type") != JSON and http.content_type != JSON:
        raise CallFailed("Send the body as `Content-Type: application/json`.", kind="request")
    if http.content.is_eof():  # as most are when their head is: nothing to time, and no more than aiohttp buffers
        return http.content.read_nowait()
    late = asyncio.get_running_loop().call_later(IDLE, http.content.set_exception, TimeoutError())
    try:
        return await http.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    finally:
        late.cancel()


def json_of(body: bytes) -> object:
    """What a body says. Raises `CallFailed`."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise CallFailed(f"The body is not JSON: {error}.", kind="request") from None


def keep_alive_of(http: web.Request) -> float | None:
    """Seconds between two signs of life that a client asks for; None if for none.

    Raises `CallFailed`; so it is read before any draw is given out.
    """
    said = http.headers.get(KEEP_ALIVE)
    if said is None:
        return None
    try:
        every = float(said)
    except ValueError:
        every = inf
    if not isfinite(every):
        raise CallFailed(f"{KEEP_ALIVE} must be a number of seconds.", kind="request")
    return max(1.0, every)
