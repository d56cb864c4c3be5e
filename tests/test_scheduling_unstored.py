"""Answers on their way to the store are bounded, so that a killed process loses few of them."""

import asyncio
from collections.abc import Mapping

import anyio
import pytest
from scheduling_world import Server, ask

from metaspo.cache import Entry, MemoryStore, StoreError
from metaspo.scheduling import Gateway, Lane, LaneSettings


class SlowStore(MemoryStore):
    """Keeps nothing until it is let go, and then fails if told to."""

    def __init__(self, *, failing: bool = False) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.failing = failing

    async def put_many(self, entries: Mapping[str, Entry]) -> dict[str, Entry | StoreError]:
        """Keep entries once it may."""
        await self.go.wait()
        if self.failing:
            return dict.fromkeys(entries, StoreError("It is full."))
        return await super().put_many(entries)


def lane_over(server: Server, *, slots: int = 3) -> Lane:
    """A lane with so many slots."""
    return Lane("lane", [server], LaneSettings(concurrency=slots))


@pytest.mark.virtual
@pytest.mark.parametrize(("slots", "requests", "asked"), [(3, 9, 9), (3, 100, 11), (1, 100, 9), (20, 100, 40)])
async def test_while_the_store_is_stuck_a_lane_asks_for_little_more(slots: int, requests: int, asked: int) -> None:
    """It stops at its slots and as many again, or eight, and goes on as soon as the store does."""
    server, store = Server(), SlowStore()
    async with (
        Gateway([lane_over(server, slots=slots)], store=store) as gateway,
        anyio.create_task_group() as group,
    ):
        batch = [ask(number) for number in range(requests)]
        group.start_soon(lambda: gateway.complete_many(batch, lane="lane"))
        await anyio.sleep(1_000)
        assert len(server.calls) == asked
        store.go.set()
    assert len(server.calls) == requests


@pytest.mark.virtual
async def test_a_store_that_fails_does_not_leave_the_lane_waiting() -> None:
    """Answers that could not be kept no longer count as on their way."""
    server, store = Server(), SlowStore(failing=True)
    async with Gateway([lane_over(server)], store=store) as gateway:
        lost = [asyncio.create_task(gateway.complete(ask(number), lane="lane")) for number in range(11)]
        await anyio.sleep(1_000)
        store.go.set()
        ends = await asyncio.gather(*lost, return_exceptions=True)
        assert [type(end) for end in ends] == [StoreError] * len(lost)
        store.failing = False
        assert (await gateway.complete(ask(100), lane="lane")).text == "question 100"
