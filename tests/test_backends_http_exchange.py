"""One request and its response over HTTP: how many are open at a time, and what is left of a closed exchange."""

import asyncio

import anyio
import pytest
from misbehaving_server import Answer, response, serving

from metaspo.backends.http.endpoint import HttpEndpoint
from metaspo.backends.http.errors import Call
from metaspo.backends.http.exchange import HttpExchange, Response


async def send(exchange: HttpExchange, url: str) -> Response:
    return await exchange.send(url, b"{}", call=Call("here", "m", url), time_limit=3600.0, max_bytes=100)


async def test_one_that_hangs_keeps_no_other_waiting() -> None:
    """There is no limit on connections: how many calls are in flight is said by the lanes alone."""
    async with serving(Answer(hang=True)) as (url, seen), anyio.create_task_group() as group:
        exchange = HttpExchange(HttpEndpoint(url=url))
        for _ in range(3):
            group.start_soon(send, exchange, url)
        with anyio.fail_after(5):
            while len(seen.bodies) < 3:
                await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await exchange.aclose()


async def test_no_timer_is_left_of_an_exchange_that_was_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one of a request that was allowed an hour would hold everything that it was made of for as long."""
    loop, timers = asyncio.get_running_loop(), list[asyncio.TimerHandle]()
    call_at = loop.call_at

    def noting(*arguments: object) -> asyncio.TimerHandle:
        timers.append(call_at(*arguments))  # type: ignore[arg-type]
        return timers[-1]

    async with serving(response(200, {"a": 1})) as (url, _):
        exchange = HttpExchange(HttpEndpoint(url=url))
        monkeypatch.setattr(loop, "call_at", noting)
        assert (await send(exchange, url)).body == b'{"a": 1}'
        far = [timer for timer in timers if timer.when() > loop.time() + 1800.0]
        assert [timer.cancelled() for timer in far] == [False]
        await exchange.aclose()
        await exchange.aclose()
        assert far[0].cancelled()
