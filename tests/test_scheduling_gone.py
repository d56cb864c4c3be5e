"""Calls that are out to a server which is gone do not wait for their time limit: they go elsewhere."""

import asyncio
from typing import Literal

import pytest
from chat_server import ChatServer
from scheduling_world import Server, ask, now

from metaspo.backends import Message, OpenAICompatible, Request, TransientError, Unreachable
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.cache import MemoryStore
from metaspo.scheduling import Account, Gateway, Lane, LaneSettings

TIME_LIMIT = 600.0


class Hanging(Server):
    """Takes its first call and never answers it; every other call is refused, as by a server whose process has died."""

    async def complete(self, request: Request, *, time_limit: float) -> object:  # type: ignore[override]
        if self.calls:
            raise Unreachable("connection refused", refused=True)
        self.latency = 10 * TIME_LIMIT
        return await super().complete(request, time_limit=time_limit)


def seconds_for_four_calls(first: Server, account: Account, billing: Literal["time", "tokens"] = "time") -> float:
    """Virtual seconds for four calls to that server and one that works: too few to know how long calls take."""

    async def main() -> float:
        settings = LaneSettings(concurrency=8, time_limit=TIME_LIMIT, billing=billing)
        lane = Lane("lane", [first, Server("other")], settings)
        async with Gateway([lane], store=MemoryStore()) as gateway:
            # Different prefixes, so that both servers get some of them.
            requests = [ask(number, system=f"prefix {number}") for number in range(4)]
            answers = await gateway.complete_many(requests, lane="lane", account=account)
            assert len(answers) == 4
            return now()

    return run_virtual(main())


def refuse() -> None:
    """Nobody listens."""
    raise Unreachable("connection refused", refused=True)


def stall() -> None:
    """Somebody may be there."""
    raise TransientError("no answer to a probe")


def test_calls_to_an_endpoint_that_refuses_a_probe_go_elsewhere() -> None:
    """They are broken off as soon as the probe is refused, and cost nothing on a lane of one's own."""
    gone, account = Hanging("gone"), Account()
    gone.probe_plan = refuse
    assert seconds_for_four_calls(gone, account) < 10
    assert gone.cancelled == 1
    assert account.statistics().total.calls == 4


def test_calls_to_an_endpoint_that_only_stalls_are_left_alone() -> None:
    """A probe that fails otherwise may mean that the server is busy, perhaps with these calls."""
    busy = Hanging("busy")
    busy.probe_plan = stall
    assert seconds_for_four_calls(busy, Account()) >= TIME_LIMIT


def test_calls_that_cost_money_are_left_to_finish() -> None:
    """Whoever closes its door may still answer whom it let in, and is paid for that once."""
    gone = Hanging("gone")
    gone.probe_plan = refuse
    assert seconds_for_four_calls(gone, Account(), "tokens") >= TIME_LIMIT


async def test_a_server_that_dies_with_a_call_open_costs_no_time_limit() -> None:
    """Over real sockets: the connection stays open in silence, nobody listens any more, another server answers."""
    taken = asyncio.Event()
    hanging: list[asyncio.StreamWriter] = []

    async def take(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hanging.append(writer)
        taken.set()
        listening.close()  # whoever comes now is refused; the open connection stays

    listening = await asyncio.start_server(take, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    with ChatServer(lambda _request: "yes") as server:
        lane = Lane(
            "lane",
            [OpenAICompatible(f"http://127.0.0.1:{port}"), OpenAICompatible(server.url)],
            LaneSettings(concurrency=8, time_limit=TIME_LIMIT),
        )
        # So many prefixes that some of the later ones belong to the first server, whatever its port is.
        requests = [
            Request(model="m", messages=(Message("system", str(number)), Message("user", "?"))) for number in range(60)
        ]
        async with asyncio.timeout(20), Gateway([lane], store=MemoryStore()) as gateway:
            first = asyncio.ensure_future(gateway.complete_many(requests[:4], lane="lane"))
            await taken.wait()
            answers = [*await gateway.complete_many(requests[4:], lane="lane"), *await first]
    assert len(answers) == len(requests)
    for writer in hanging:
        writer.close()


@pytest.mark.parametrize("refused", [True, False])
def test_unreachable_says_whether_the_connection_was_refused(refused: bool) -> None:
    """The one sign that nobody is there."""
    assert Unreachable("no", refused=refused).refused is refused
