"""Cold backends: started once, before the first call, at whatever length, on nobody's clock."""

import asyncio
from collections.abc import Callable

import pytest
from scheduling_world import Server, ask, now

from metaspo.backends import FatalError, Request, ServerInfo, Unreachable
from metaspo.cache import MemoryStore
from metaspo.scheduling import EndpointDown, Event, Gateway, Lane, LaneSettings, LaneStopped, Unavailable
from metaspo.scheduling.lanes.verdicts import FIRST_LASTS

HASTY = LaneSettings(concurrency=4, time_limit=60.0, patience=120.0)


class ColdServer(Server):
    """Takes `start_time` seconds to start, and then fails if `start_plan` raises.

    Attributes:
        starts: how often it was asked to start; started: whether it has.
    """

    def __init__(self, name: str = "cold", *, start_time: float) -> None:
        super().__init__(name)
        self.start_time = start_time
        self.start_plan: Callable[[], None] = lambda: None
        self.starts = 0
        self.started = False

    async def start(self) -> None:
        if self.started:
            return
        self.starts += 1
        await asyncio.sleep(self.start_time)
        self.start_plan()
        self.started = True


@pytest.mark.virtual
async def test_a_long_start_is_on_no_clock() -> None:
    """An hour of download with a time limit of a minute: one start, no failed call, no rest, no lost patience."""
    server, events = ColdServer(start_time=3_600.0), list[Event]()
    async with Gateway([Lane("lane", [server], HASTY)], store=MemoryStore(), on_event=events.append) as gateway:
        assert server.starts == 0, "nothing is started before there is something to ask"
        await gateway.complete_many([ask(number) for number in range(8)], lane="lane")
        assert now() == pytest.approx(3_602)
        await gateway.complete(ask(100), lane="lane")
    assert (server.starts, len(server.calls), server.cancelled) == (1, 9, 0)
    assert events == []


@pytest.mark.virtual
async def test_a_replica_that_starts_does_not_hold_up_the_others() -> None:
    """It joins in when it is ready."""
    cold, warm = ColdServer(start_time=10.0), Server("warm")
    async with Gateway([Lane("lane", [cold, warm], HASTY)], store=MemoryStore()) as gateway:
        await gateway.complete_many([ask(number) for number in range(200)], lane="lane")
    assert min(at for _, at in warm.calls) < 1
    assert min(at for _, at in cold.calls) >= 10
    assert cold.started


@pytest.mark.virtual
async def test_a_start_that_cannot_succeed_stops_the_lane() -> None:
    """With its own sentence, for all who wait."""

    def fail() -> None:
        raise FatalError("There is no such model.")

    server = ColdServer(start_time=5.0)
    server.start_plan = fail
    async with Gateway([Lane("lane", [server], HASTY)], store=MemoryStore()) as gateway:
        for _ in range(2):
            with pytest.raises(LaneStopped, match="There is no such model"):
                await gateway.complete_many([ask(number) for number in range(8)], lane="lane")
    assert (server.starts, server.calls) == (1, [])


@pytest.mark.virtual
@pytest.mark.parametrize("many_programs", [True, False])
async def test_what_could_not_start_is_started_once_somebody_has_mended_it(many_programs: bool) -> None:
    """After the seconds that a verdict lasts where many programs ask, or when the lane is reopened."""

    def fail() -> None:
        raise FatalError("There is no model file.")

    server = ColdServer(start_time=5.0)
    server.start_plan = fail
    lanes = [Lane("lane", [server], HASTY)]
    async with Gateway(lanes, store=MemoryStore(), many_programs=many_programs) as gateway:
        with pytest.raises(LaneStopped, match="There is no model file"):
            await gateway.complete(ask(0), lane="lane")
        server.start_plan = lambda: None
        if many_programs:
            await asyncio.sleep(FIRST_LASTS)
        else:
            gateway.reopen("lane")
        async with asyncio.timeout(60):
            await gateway.complete(ask(1), lane="lane")
    assert server.starts == 2


@pytest.mark.virtual
@pytest.mark.parametrize("comes_back", [True, False])
async def test_a_start_that_may_succeed_later_rests_the_endpoint(comes_back: bool) -> None:
    """It is started once more; if that does not help, patience runs out."""

    def fail() -> None:
        if not comes_back or server.starts == 1:
            raise Unreachable("nobody there")

    server, events = ColdServer(start_time=5.0), list[Event]()
    server.start_plan = fail
    async with Gateway([Lane("lane", [server], HASTY)], store=MemoryStore(), on_event=events.append) as gateway:
        if comes_back:
            await gateway.complete(ask(0), lane="lane")
        else:
            with pytest.raises(Unavailable, match="nobody there"):
                await gateway.complete(ask(0), lane="lane")
    assert isinstance(events[0], EndpointDown)


class OwnProcess(ColdServer):
    """A start goes on when nobody waits for it any more, and who probes waits for it."""

    starting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self.starting is None or (self.starting.done() and not self.started):
            self.starting = asyncio.create_task(super().start())
        await asyncio.wait({self.starting})

    async def probe(self) -> ServerInfo:
        await self.start()
        return await super().probe()


@pytest.mark.virtual
async def test_one_that_died_is_asked_as_soon_as_it_is_there_again() -> None:
    """However long that takes: probes that run out come later and later, and it would wait for the next."""

    def plan(_request: Request) -> None:
        if not server.started:
            raise Unreachable("It died and is started again.")

    server = OwnProcess(start_time=55.0)
    server.plan = plan
    async with Gateway([Lane("lane", [server], HASTY)], store=MemoryStore()) as gateway:
        await gateway.complete(ask(0), lane="lane")
        died, server.started = now(), False
        await gateway.complete(ask(1), lane="lane")
        assert now() - died < 55 + 3


@pytest.mark.virtual
async def test_a_mistake_in_a_start_leaves_nobody_waiting() -> None:
    """It is raised as it is, and the next request starts anew."""
    server = ColdServer(start_time=5.0)
    server.start_plan = lambda: [][0]
    async with Gateway([Lane("lane", [server], HASTY)], store=MemoryStore()) as gateway:
        with pytest.raises(IndexError):
            await gateway.complete(ask(0), lane="lane")
        server.start_plan = lambda: None
        await gateway.complete(ask(0), lane="lane")
    assert server.starts == 2


@pytest.mark.virtual
async def test_closing_does_not_wait_for_a_start() -> None:
    """It is cancelled, and the backend closed."""
    server = ColdServer(start_time=3_600.0)
    async with Gateway([Lane("lane", [server], HASTY)], store=MemoryStore()) as gateway:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await gateway.complete(ask(0), lane="lane")
    assert now() == pytest.approx(10)
    assert (server.started, server.closed) == (False, True)
