"""No more clients at a time than there are files for: the others wait, and all of them are answered."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from metaspo.engine.listening import Door

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

    async with _opened(answer, room=room) as (runner, host, port):
        sessions = [aiohttp.ClientSession() for _ in range(clients)]
        try:
            answers = await asyncio.gather(*(_ask(session, f"http://{host}:{port}/") for session in sessions))
        finally:
            await asyncio.gather(*(session.close() for session in sessions))
    assert answers == [ANSWER] * clients
    assert len(asked) == clients
    assert max(asked) == (clients if room is None else room)


@pytest.mark.parametrize("fault", [OSError("gone"), RuntimeError("a bug")])
async def test_a_client_that_fails_at_the_door_does_not_close_it_to_the_next(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    monkeypatch.setattr("metaspo.engine.listening.NO_ROOM", 0.0)
    faults, make = [fault], web.Server.__call__

    def fail_once(server: web.Server) -> RequestHandler:
        if faults:
            raise faults.pop()
        return make(server)

    monkeypatch.setattr(web.Server, "__call__", fail_once)
    async with _opened() as (_, host, port):
        reader, writer = await asyncio.open_connection(host, port)
        assert await reader.read() == b""  # it is closed, and not left hanging
        writer.close()
        async with aiohttp.ClientSession() as session:
            assert await _ask(session, f"http://{host}:{port}/") == ANSWER


async def test_a_free_port_is_one_port_though_a_host_has_two_families(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, ports = asyncio.get_running_loop(), set()
    accept = loop.sock_accept

    async def noted(listener: socket.socket) -> tuple[socket.socket, object]:
        ports.add(listener.getsockname()[1])
        return await accept(listener)

    monkeypatch.setattr(loop, "sock_accept", noted)
    monkeypatch.setattr(loop, "getaddrinfo", _two_addresses)  # also where a machine has no IPv6
    async with _opened(host="localhost") as (_, host, port), aiohttp.ClientSession() as session:
        assert await _ask(session, f"http://{host}:{port}/") == ANSWER
    assert ports == {port}


async def _two_addresses(*_: object, **__: object) -> list[tuple[object, ...]]:
    return [
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 0))
        for address in ("127.0.0.1", "127.0.0.2")
    ]


async def _answer(_: web.Request) -> web.Response:
    return web.Response(text=ANSWER)


@asynccontextmanager
async def _opened(
    answer: Callable[[web.Request], Awaitable[web.Response]] = _answer,
    *,
    host: str = "127.0.0.1",
    room: int | None = None,
) -> AsyncIterator[tuple[web.AppRunner, str, int]]:
    app = web.Application()
    app.router.add_get("/", answer)
    door = Door(app, room=room)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        async with door.opened(runner, host=host, port=0) as (name, port):
            yield runner, name, port
    finally:
        await runner.cleanup()


async def _ask(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as reply:
        return await reply.text()
