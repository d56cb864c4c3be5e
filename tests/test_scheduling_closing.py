"""Closing goes on to its end, so that no paid answer is lost to an impatient Ctrl-C."""

import asyncio
from collections.abc import Mapping

import anyio
import pytest
from scheduling_world import Server, ask, now

from metaspo.backends import Request, ServerInfo, Unreachable
from metaspo.backends.loops.closing import to_the_end
from metaspo.backends.loops.virtual_time import run_virtual
from metaspo.cache import Entry, MemoryStore, StoreError
from metaspo.scheduling import Gateway, Lane, LaneSettings, RunStopped


class SlowStore(MemoryStore):
    """Takes a second to keep an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[str] = []

    async def put_many(self, entries: Mapping[str, Entry]) -> dict[str, Entry | StoreError]:
        await asyncio.sleep(1)
        self.kept += [entry.completion.text for entry in entries.values()]
        return await super().put_many(entries)


def test_work_goes_on_however_often_its_awaiter_is_cancelled() -> None:
    done: list[str] = []

    async def work() -> None:
        await asyncio.sleep(1)
        done.append("work")

    async def main() -> None:
        task = asyncio.create_task(to_the_end(work()))
        for _ in range(3):
            await asyncio.sleep(0.1)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(main())
    assert done == ["work"]


def test_a_scope_that_is_cancelled_waits_for_the_work_and_takes_no_turns_of_the_loop_meanwhile() -> None:
    """It would be told at every turn, so that no virtual time ever passed."""
    done: list[float] = []

    async def work() -> None:
        await asyncio.sleep(1)
        done.append(now())

    async def main() -> bool:
        with anyio.move_on_after(0.25) as scope:
            await to_the_end(work())
        return scope.cancel_called

    assert run_virtual(main()) is True
    assert done == [1.0]


def test_what_the_work_raises_is_raised() -> None:
    async def work() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        run_virtual(to_the_end(work()))


def test_a_cancellation_while_a_gateway_closes_loses_no_answer() -> None:
    store = SlowStore()

    async def process() -> None:
        async with Gateway([Lane("base", [Server(latency=0.5)], LaneSettings(concurrency=2))], store=store) as gateway:
            tasks = [asyncio.create_task(gateway.complete(ask(number), lane="base")) for number in range(2)]
            await asyncio.sleep(0.6)  # answered, and on their way to the store
            for task in tasks:
                task.cancel()

    async def main() -> None:
        task = asyncio.create_task(process())
        await asyncio.sleep(0.8)  # the gateway closes
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtual(main())
    assert sorted(store.kept) == ["question 0", "question 1"]


class Stuck(Server):
    """Cannot be closed."""

    async def aclose(self) -> None:
        raise OSError("it is stuck")


def test_a_backend_that_does_not_close_costs_no_answer() -> None:
    """Its error is raised when what is on its way to the store is there, and all other backends are closed."""
    store, beside, other = SlowStore(), Server(latency=0.5), Server()

    async def main() -> None:
        gateway = Gateway([Lane("base", [Stuck(latency=0.5), beside]), Lane("other", [other])], store=store)
        await gateway.__aenter__()
        task = asyncio.create_task(gateway.complete(ask(1), lane="base"))
        await asyncio.sleep(0.6)
        with pytest.raises(OSError, match="stuck"):
            await gateway.aclose()
        assert task.done()
        assert beside.closed
        assert other.closed

    run_virtual(main())
    assert store.kept == ["question 1"]


class Forgetful(MemoryStore):
    """Does not say what became of an entry."""

    async def put_many(self, entries: Mapping[str, Entry]) -> dict[str, Entry | StoreError]:
        return {}


@pytest.mark.virtual
async def test_nobody_waits_for_ever_for_a_store_that_says_nothing() -> None:
    async with Gateway([Lane("base", [Server()])], store=Forgetful()) as gateway, asyncio.timeout(100):
        with pytest.raises(StoreError, match="did not say"):
            await gateway.complete(ask(1), lane="base")


class Tidy(Server):
    """Takes a second to end what is broken off; what is asked goes on for ever, and so does a probe after a refusal."""

    def __init__(self) -> None:
        super().__init__()
        self.out = self.out_at_close = 0

    async def work(self, request: Request) -> None:
        await self._for_ever()

    async def probe(self) -> ServerInfo:
        await self._for_ever()
        raise AssertionError

    async def aclose(self) -> None:
        self.closed, self.out_at_close = True, self.out

    async def _for_ever(self) -> None:
        self.out += 1
        try:
            await asyncio.sleep(1e6)
        finally:
            await asyncio.sleep(1)
            self.out -= 1


def refuse(_request: Request) -> None:
    raise Unreachable("away")


@pytest.mark.virtual
@pytest.mark.parametrize("looks", [False, True])
async def test_a_backend_is_closed_when_nothing_asks_it_any_more(looks: bool) -> None:
    """Neither a call, for which closing waits half a minute, nor a look at it, which is broken off at once."""
    server = Tidy()
    if looks:
        server.plan = refuse
    async with Gateway([Lane("base", [server], LaneSettings(billing="tokens"))], store=MemoryStore()) as gateway:
        asking = asyncio.create_task(gateway.complete(ask(1), lane="base"))
        await asyncio.sleep(5)
        assert server.out == 1
        began = now()
    assert now() - began == pytest.approx(1 if looks else 31, abs=0.1)
    assert (server.closed, server.out_at_close) == (True, 0)
    with pytest.raises(RunStopped, match="closed"):
        await asking
