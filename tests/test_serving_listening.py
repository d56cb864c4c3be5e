"""No more clients at a time than there are files for: the others wait, and all of them are answered."""

import asyncio

import aiohttp
import pytest
from aiohttp import web

from metaspo.serving.listening import Door

ANSWER = "yes"


@pytest.mark.parametrize(("room", "clients"), [(1, 5), (3, 12), (None, 12)])
async def test_who_finds_no_room_waits_before_the_door(room: int | None, clients: int) -> None:
    """With connections of their own, which they would keep: whoever was answered leaves, and does not hold the room."""
    asked: list[int] = []
    gathered = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        asked.append(len(runner.server.connections) if runner.server else 0)
        if len(asked) >= (room or clients):
            gathered.set()
        await gathered.wait()  # until as many as there is room for are in, at once
        return web.Response(text=ANSWER)

    app = web.Application()
    app.router.add_get("/", answer)
    door = Door(app, room=room)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        async with door.opened(runner, host="127.0.0.1", port=0) as (host, port):
            sessions = [aiohttp.ClientSession() for _ in range(clients)]
            try:
                answers = await asyncio.gather(*(_ask(session, f"http://{host}:{port}/") for session in sessions))
            finally:
                await asyncio.gather(*(session.close() for session in sessions))
    finally:
        await runner.cleanup()
    assert answers == [ANSWER] * clients
    assert len(asked) == clients
    assert max(asked) == (clients if room is None else room)


async def _ask(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as reply:
        return await reply.text()
