"""A chat server in a process of its own that answers as a world does, among every fault that a server can have.

    python tests/faulty_server.py --port 8123 --log answered.txt --seed 7 --faults 0.3

Which request meets which fault follows from the seed and from how often its body came before; no body meets more than
two, so that a client with three attempts gets through. Each completion that is sent whole is a line of the log. It is
meant to be killed.
"""

import argparse
import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

from aiohttp import web
from world import World

from metaspo.backends import Message, Request

Body = dict[str, Any]
Fault = Callable[[web.Request, Body], Awaitable[web.StreamResponse]]
MOST = 2  # faults that one body meets
WORLD = World(3, malformed=0.1)


def refused(status: int, code: str, headers: dict[str, str]) -> Fault:
    """An error with a status."""

    async def fault(_: web.Request, __: Body) -> web.StreamResponse:
        error = {"code": code, "type": "", "message": "not now"}
        return web.json_response({"error": error}, status=status, headers=headers)

    return fault


async def reset(http: web.Request, _: Body) -> web.StreamResponse:
    """Hang up without a word."""
    assert http.transport is not None
    http.transport.abort()
    return web.Response()


async def cut_off(http: web.Request, body: Body) -> web.StreamResponse:
    """Half of the completion, and the connection is gone."""
    text = json.dumps(body).encode()
    response = web.StreamResponse(headers={"content-type": "application/json", "content-length": str(len(text))})
    await response.prepare(http)
    await response.write(text[: len(text) // 2])
    assert http.transport is not None
    http.transport.abort()
    return response


async def truncated(_: web.Request, body: Body) -> web.StreamResponse:
    """Half of the completion, as if it were all."""
    return web.Response(text=json.dumps(body)[:-20], content_type="application/json")


async def aborted(_: web.Request, body: Body) -> web.StreamResponse:
    """A completion that the server gave up in the middle of."""
    choice = {**body["choices"][0], "finish_reason": "abort", "message": {"role": "assistant", "content": "ye"}}
    return web.json_response({**body, "choices": [choice]})


async def empty(_: web.Request, body: Body) -> web.StreamResponse:
    """A completion without a choice."""
    return web.json_response({**body, "choices": []})


async def silent(_: web.Request, __: Body) -> web.StreamResponse:
    """No answer, until the client gives up."""
    await asyncio.sleep(60)
    return web.Response(status=500)


# Not "slow_down": what a client has to do after that takes a quarter of an hour, which only virtual time has.
FAULTS: tuple[Fault, ...] = (
    refused(429, "rate_limit_exceeded", {"retry-after": "0"}),
    refused(429, "rate_limit_exceeded", {"retry-after-ms": "20"}),
    refused(500, "", {}),
    refused(502, "", {}),
    refused(503, "", {"retry-after": "0"}),
    reset,
    cut_off,
    truncated,
    aborted,
    empty,
    silent,
)


class FaultyServer:
    """Draws a fault for a request, or answers it."""

    def __init__(self, *, seed: int, share: float, log: Path) -> None:
        self._seed, self._share = seed, share
        self._log = log.open("ab", buffering=0)
        self._came: Counter[str] = Counter()

    async def complete(self, http: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        text = await http.text()
        asked = json.loads(text)
        messages = tuple(Message(message["role"], message["content"]) for message in asked["messages"])
        body = completion(Request(model=asked["model"], messages=messages))
        name = hashlib.sha256(text.encode()).hexdigest()
        fault = self._fault(name)
        if fault is not None:
            return await fault(http, body)
        response = web.json_response(body)
        await response.prepare(http)
        self._log.write(f"{name}\n".encode())  # before it is sent: what is killed in between must not be missing here
        await response.write_eof()
        return response

    def _fault(self, name: str) -> Fault | None:
        before = self._came[name]
        self._came[name] += 1
        draw = Random(f"{self._seed} {name} {before}")
        return draw.choice(FAULTS) if before < MOST and draw.random() < self._share else None


def completion(request: Request) -> Body:
    """What the world answers, as a server says it."""
    message = {"role": "assistant", "content": WORLD.answer(request)}
    return {
        "model": request.model,
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 3},
    }


async def models(_: web.Request) -> web.Response:
    """GET /v1/models."""
    return web.json_response({"object": "list", "data": [{"id": name} for name in ("answerer", "writer")]})


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", type=float, default=0.3, help="share of requests that meet one")
    given = parser.parse_args()
    server = FaultyServer(seed=given.seed, share=given.faults, log=given.log)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.complete)
    app.router.add_get("/v1/models", models)
    web.run_app(app, host="127.0.0.1", port=given.port, access_log=None, print=None, reuse_address=True)


if __name__ == "__main__":
    main()
