"""Closing goes on to its end, so that no paid answer is lost to an impatient Ctrl-C."""

import asyncio

import pytest
from scheduling_world import Server, ask

from metaspo.backends.virtual_time import run_virtual
from metaspo.cache import Entry, MemoryStore
from metaspo.scheduling import Gateway, Lane, LaneSettings
from metaspo.scheduling.closing import to_the_end


class SlowStore(MemoryStore):
    """Takes a second to keep an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[str] = []

    async def put(self, key: str, entry: Entry) -> Entry:
        await asyncio.sleep(1)
        self.kept.append(entry.completion.text)
        return await super().put(key, entry)


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
